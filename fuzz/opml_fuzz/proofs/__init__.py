"""Proofs of the statements by z3."""
