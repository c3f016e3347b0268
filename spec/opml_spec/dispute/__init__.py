"""The dispute: narrowing, clocks, money, one game, the result, and the acts of the court.

Its text is spec §5, in the README of this folder.
"""
