"""The part where specification, fast implementation and contracts meet: fuzzing, conformance, proofs, test vectors."""
