"""The fuzzing loop, the report of a difference, and the mutants that measure how much the loop finds."""
