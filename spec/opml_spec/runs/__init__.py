"""Runs: a fixed number of stages, each one call of the program."""
