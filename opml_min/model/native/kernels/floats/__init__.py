"""The ops of float arithmetic: IEEE-754 binary32 by the hardware, every operation rounded once, to nearest even, in the pinned order.

Nothing is contracted into fma and nothing is reassociated (numba does neither unless told to); subnormals are kept. Hardware has NaNs
of many patterns, the machine has one, so `canonical` is applied to every result that may be a NaN when it is stored.

*Source*: spec/README.md §7.
"""
