"""NORM: x_i·w_i / √(mean(x²) + eps), normalised to an activation.

    b = max bits(x_i), xs_i = round_shift(x_i, b − 24), F = r − (b − 24)
    mean = (Σ xs_i²) // length + round_shift(eps_q48, 48 − 2F), R = rsqrt(mean·2^t)
    p_i = x_i·w_i, c = max(0, max bits(p_i) − 31), z_i = round_shift(p_i, c)·R

*Source*: spec/README.md §5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int32s
from opml_min.model.native.kernels.fixed.fixed_point import ZERO_EXPONENT, bits, largest_bits, normalise_sized, round_shift, rsqrt


@njit
def norm(base, operands, z):
    """Compute one NORM. z: i64 (length) or longer, scratch"""
    out_address, x_address, weight_address, length, r, eps_q48 = operands[:6]
    exponent = int32s(base, out_address, 1)
    q = int16s(base, out_address + 32, length)  # (length)
    x = int32s(base, x_address, length)  # (length), r fraction bits
    weights = int32s(base, weight_address, length)  # (length), Q24

    size = largest_bits(x)
    if size == 0:
        exponent[0] = ZERO_EXPONENT
        q[:] = 0
        return
    squares, union = np.uint64(0), np.int64(0)  # up to 2^15 squares of up to 2^48
    for i in range(length):
        value = np.int64(x[i])
        scaled = round_shift(value, size - 24)
        squares += np.uint64(scaled * scaled)
        product = value * np.int64(weights[i])
        union |= abs(product)
        z[i] = product
    mean = np.int64(squares // np.uint64(length)) + round_shift(eps_q48, 48 - 2 * (r - (size - 24)))
    t = (64 - bits(mean)) // 2 * 2
    inverse = rsqrt(np.uint64(mean) << np.uint64(t))

    c, union = max(0, bits(union) - 31), np.int64(0)
    for i in range(length):
        product = round_shift(z[i], c) * inverse
        union |= abs(product)
        z[i] = product
    exponent[0] = normalise_sized(z[:length], bits(union), r + 24 - c + 62 - (r - (size - 24)) - t // 2, 15, q)
