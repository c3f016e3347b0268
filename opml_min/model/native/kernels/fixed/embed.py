"""EMBED: x_c = sat32(round_shift(w_c·d (+ m), 24 − r)) for the row of the token, c < length.

*Source*: spec/README.md §3.4 (blocks) and §5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int8s, int32s, uint8s, uint16s
from opml_min.model.native.kernels.fixed.fixed_point import round_shift_sat32
from opml_min.model.native.kernels.vector.tile import BLOCK_BYTES, GROUP, LANES, Q4_0, Q4_1, Q8_0


@njit
def half_q24(pattern):
    """The finite half of a 16-bit pattern, times 2^24."""
    exponent = np.int64(pattern >> 10) & 31
    fraction = np.int64(pattern) & 1023
    size = fraction if exponent == 0 else (1024 + fraction) << (exponent - 1)
    return -size if pattern >> 15 else size


@njit
def embed(base, operands, token):
    out_address, matrix_address, form, columns, length, r = operands[:6]
    out = int32s(base, out_address, length)  # (length)
    lane = token % LANES
    block_bytes = BLOCK_BYTES[form]
    tile = matrix_address + token // LANES * (columns // GROUP) * block_bytes
    scale_offset = 256 if form == Q8_0 else 128
    for c in range(length):
        block = tile + c // GROUP * block_bytes
        place = c % GROUP if form == Q8_0 else c % 16
        offset = place // 2 * 16 + lane * 2 + place % 2
        if form == Q8_0:
            w = np.int64(int8s(base, block, block_bytes)[offset])
        else:
            both = np.int64(uint8s(base, block, block_bytes)[offset])
            w = both & 15 if c % GROUP < 16 else both >> 4
            if form == Q4_0:
                w -= 8
        value = w * half_q24(uint16s(base, block + scale_offset, LANES)[lane])
        if form == Q4_1:
            value += half_q24(uint16s(base, block + 144, LANES)[lane])
        out[c] = round_shift_sat32(value, 24 - r)
