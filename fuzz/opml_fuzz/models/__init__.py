"""Tiny models to ask about: operations on random buffers, and whole models of random shape; they are described, not run."""
