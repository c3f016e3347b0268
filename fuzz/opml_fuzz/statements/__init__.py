"""What is stated, each equivalence and invariant once, as an executable predicate."""
