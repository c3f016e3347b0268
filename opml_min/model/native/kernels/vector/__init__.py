"""Kernels written as vector code, and the words in which they are written."""
