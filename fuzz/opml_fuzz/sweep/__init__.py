"""The sweep: every corner of the machine and of its witness, once, in a fixed order, before anything is left to chance."""
