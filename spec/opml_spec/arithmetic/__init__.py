"""Numbers: fixed point, the elementary functions on it, and IEEE-754 binary32. Every function rounds only where the text says.

Its text is spec §1, in the README of this folder.
"""
