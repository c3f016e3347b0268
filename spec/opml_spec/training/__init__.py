"""Training: the operations, the layout and the tape of a run that leaves trained weights in the state quarter.

Its text is spec §6, in the README of this folder.
"""
