"""The implementations, each behind the same one or two methods."""
