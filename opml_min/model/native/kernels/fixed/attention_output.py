"""The end of ATTENTION: the outputs of all heads, each with its own fraction bits, become one activation.

*Source*: spec/README.md §5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int32s
from opml_min.model.native.kernels.fixed.fixed_point import ZERO_EXPONENT, largest_bits, quantise


@njit
def attention_output(base, operands, o, fractions):
    """Normalise all heads together.

    o: i64 (heads, head_size), as one vector · fractions: i64 (heads), the fraction bits of each head"""
    heads, head_size = operands[6], operands[8]
    exponent = int32s(base, operands[0], 1)
    q = int16s(base, operands[0] + 32, heads * head_size)  # (heads, head_size)
    smallest = np.int64(1 << 62)
    for head in range(heads):
        size = largest_bits(o[head * head_size : (head + 1) * head_size])
        if size != 0:
            smallest = min(smallest, fractions[head] + 15 - size)
    if smallest == 1 << 62:
        exponent[0] = ZERO_EXPONENT
        q[:] = 0
        return
    exponent[0] = smallest
    for head in range(heads):
        row = o[head * head_size : (head + 1) * head_size]
        if largest_bits(row) == 0:
            q[head * head_size : (head + 1) * head_size] = 0
        else:
            quantise(row, fractions[head] - smallest, 32767, q[head * head_size : (head + 1) * head_size])
