"""Test vectors: cases with their answers, for implementations in any language, computed by the specification alone."""
