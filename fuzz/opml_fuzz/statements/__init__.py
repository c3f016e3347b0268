"""Equivalences and invariants, each stated once as an executable predicate."""
