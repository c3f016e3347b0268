"""The dispute: runs of stages (2), narrowing, clocks, bonds, one game, the result, and the court of them all (6)."""
