"""The ops of fixed-point arithmetic, one file per op."""
