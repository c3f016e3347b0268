"""EMBED: x_c = sat32(round_shift(w_c·d (+ m), 24 − r)) for the row of the token, c < length.

*Source*: spec §3.4 (blocks) and §3.5.
"""

import numpy as np
from numba import njit

from opml_min.model.image.weights import BLOCK_BYTES, GROUP, MINIMUM_OFFSET, Q4_0, Q4_1, Q8_0, SCALE_OFFSET, TILE_ROWS
from opml_min.model.native.kernels.addressing import int8s, int32s, uint8s, uint16s
from opml_min.model.native.kernels.fixed.fixed_point import round_shift_sat32
from opml_min.model.native.kernels.fixed.losses import loss_of


@njit
def half_q24(pattern):
    """Decode a finite half from its pattern, times 2^24."""
    exponent = np.int64(pattern >> 10) & 31
    fraction = np.int64(pattern) & 1023
    size = fraction if exponent == 0 else (1024 + fraction) << (exponent - 1)
    return -size if pattern >> 15 else size


@njit
def embed(base, operands, token):
    """Compute one EMBED. Return the losses."""
    out_address, matrix_address, quantisation, columns, length, r = operands[:6]
    out = int32s(base, out_address, length)  # (length)
    row = token % TILE_ROWS
    block_bytes = BLOCK_BYTES[quantisation]
    tile = matrix_address + token // TILE_ROWS * (columns // GROUP) * block_bytes
    scale_offset = SCALE_OFFSET[quantisation]
    found = np.int64(0)
    for c in range(length):
        block = tile + c // GROUP * block_bytes
        place = c % GROUP if quantisation == Q8_0 else c % 16
        offset = place // 2 * 16 + row * 2 + place % 2
        if quantisation == Q8_0:
            w = np.int64(int8s(base, block, block_bytes)[offset])
        else:
            both = np.int64(uint8s(base, block, block_bytes)[offset])
            w = both & 15 if c % GROUP < 16 else both >> 4
            if quantisation == Q4_0:
                w -= 8
        value = w * half_q24(uint16s(base, block + scale_offset, TILE_ROWS)[row])
        if quantisation == Q4_1:
            value += half_q24(uint16s(base, block + MINIMUM_OFFSET, TILE_ROWS)[row])
        out[c] = round_shift_sat32(value, 24 - r)
        found += loss_of(value, out[c])
    return found
