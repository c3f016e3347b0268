"""Runs: a fixed number of stages, each one call of the program.

Its text is spec §4, in the README of this folder.
"""
