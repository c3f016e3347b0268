"""Building an image: quantised weights, the tape, one file."""
