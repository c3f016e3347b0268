"""Where spec, fast implementation and judge meet: fuzzing, proofs, vectors."""
