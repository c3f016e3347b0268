"""The fuzzing loop, what it says of a difference, and the mutants that measure it."""
