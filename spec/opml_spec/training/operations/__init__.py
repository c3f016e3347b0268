"""The operations of a training tape: each works on all rows of a batch at once."""
