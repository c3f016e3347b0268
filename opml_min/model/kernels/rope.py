"""ROPE: each pair of neighbours (a, b) of every head is turned by the position's angle, in place.

    a' = sat32(round_shift(a·cos − b·sin, 30)), b' = sat32(round_shift(a·sin + b·cos, 30))

*Source*: spec/README.md §5.
"""

import numpy as np
from numba import njit

from opml_min.model.kernels.addressing import int32s
from opml_min.model.kernels.fixed_point import round_shift, sat32


@njit
def rope(base, operands, position):
    vector_address, heads, head_size, table_address = operands[:4]
    vector = int32s(base, vector_address, heads * head_size)  # (heads, head_size / 2, 2), Q14
    table = int32s(base, table_address + position * 4 * head_size, head_size)  # (head_size / 2, 2), Q30: cos, sin
    for head in range(heads):
        turned = vector[head * head_size : (head + 1) * head_size]
        for i in range(0, head_size, 2):
            cosine, sine = np.int64(table[i]), np.int64(table[i + 1])
            a, b = np.int64(turned[i]), np.int64(turned[i + 1])
            turned[i] = sat32(round_shift(a * cosine - b * sine, 30))
            turned[i + 1] = sat32(round_shift(a * sine + b * cosine, 30))
