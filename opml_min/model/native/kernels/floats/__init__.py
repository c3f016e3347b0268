"""The ops of float arithmetic: IEEE-754 binary32 by the hardware, every operation rounded once, to nearest even, in the specified order.

Nothing is contracted into fma and nothing is reassociated: numba does neither unless told to. Subnormals are kept. Hardware has many NaN
patterns and the machine has one, so `canonical` is applied whenever a result that may be a NaN is stored.

*Source*: spec/README.md §7.
"""
