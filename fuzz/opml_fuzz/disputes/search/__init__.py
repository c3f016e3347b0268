"""The exhaustive search over all plays of small dispute trees."""
