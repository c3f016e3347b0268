"""CACHE: the key and value of this position go into their rows, each head normalised to i16 with an i8 exponent.

*Source*: spec/README.md §5.
"""

from numba import njit

from opml_min.model.native.kernels.addressing import int8s, int16s, int32s
from opml_min.model.native.kernels.fixed.fixed_point import VECTOR_FRACTION_BITS, normalise


@njit
def kv_cache(base, operands, position):
    kv_heads, head_size, context = operands[6], operands[7], operands[8]
    for which in range(2):  # keys, values
        vector = int32s(base, operands[which], kv_heads * head_size)  # (kv_heads, head_size), Q14
        rows_address, exponents_address = operands[2 + 2 * which], operands[3 + 2 * which]
        exponents = int8s(base, exponents_address, kv_heads * context)  # (kv_heads, context)
        for head in range(kv_heads):
            row = head * context + position
            out = int16s(base, rows_address + 2 * row * head_size, head_size)  # one row of (kv_heads, context, head_size)
            exponents[row] = normalise(vector[head * head_size : (head + 1) * head_size], VECTOR_FRACTION_BITS, 15, out)
