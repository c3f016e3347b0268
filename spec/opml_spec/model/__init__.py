"""The model: what lies where in the memory, and what every operation of the tape means.

Its text is spec §3, in the README of this folder.
"""
