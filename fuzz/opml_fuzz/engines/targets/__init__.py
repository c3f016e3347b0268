"""Somebody else's implementation: how it is started, asked and ended, and what it must answer."""
