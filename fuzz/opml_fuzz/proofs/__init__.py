"""The statements, proved by z3."""
