"""The operations of the tape, in both arithmetics."""
