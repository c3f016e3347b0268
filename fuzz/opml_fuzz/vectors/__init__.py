"""Test vectors: cases with their answers, for implementations in any language. Everything in them comes from the specification alone."""
