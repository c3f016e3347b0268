"""The implementations, each behind the same few methods."""
