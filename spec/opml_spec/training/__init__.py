"""Training: the operations, the layout and the tape of a run whose last state quarter is a trained model.

Its text is spec §6, in the README of this folder.
"""
