"""The ops of fixed-point arithmetic, one file per op, and the arithmetic that they share."""
