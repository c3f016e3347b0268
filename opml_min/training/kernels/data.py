"""INIT, TOKENS, PICTURES: first weights and batches, drawn by a generator that depends on seed, stream and index alone.

*Source*: spec §6.2 (randomness) and §6.4.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int32s, uint8s
from opml_min.model.native.kernels.fixed.fixed_point import round_shift, sat32, scaled, splitmix64
from opml_min.training.kernels.batch_rows import SEED, UPDATE, activation_row, put_exponent
from opml_min.training.kernels.compiled import compiled_for_training

MEAN_OF_FOUR = 131070  # of the sum of four u16


@njit
def random(words, stream, index):
    return splitmix64(splitmix64(np.uint64(words[SEED]), stream), index)


@compiled_for_training
def init(base, words, first, end, chunk, scratch, shared):
    out_address, _, mean, scale, stream = words[:5]
    out = int32s(base, out_address, end)
    for i in range(first, end):
        number, total = random(words, stream, i), np.uint64(0)
        for piece in range(4):
            total += (number >> np.uint64(16 * piece)) & np.uint64(0xFFFF)
        out[i] = sat32(mean + round_shift((np.int64(total) - MEAN_OF_FOUR) * scale, 16))


@njit
def _token(base, text, token_bytes, index):
    token = np.int64(0)
    data = uint8s(base, text + token_bytes * index, token_bytes)
    for i in range(token_bytes):
        token |= np.int64(data[i]) << (8 * i)
    return token


@compiled_for_training
def tokens(base, words, first, end, chunk, scratch, shared):
    """Units are sequences."""
    out_address, target_address, text, token_bytes, count, _, period, start_index, per_update, stream = words[:10]
    for j in range(first, end):
        start = scaled(random(words, stream, words[UPDATE] * per_update + start_index + j), count - period)
        out, targets = int32s(base, out_address + 4 * j * period, period), int32s(base, target_address + 4 * j * period, period)
        for t in range(period):
            out[t] = np.int32(_token(base, text, token_bytes, start + t))
            targets[t] = np.int32(_token(base, text, token_bytes, start + t + 1))


@compiled_for_training
def pictures(base, words, first, end, chunk, scratch, shared):
    """Units are rows."""
    out_address, target_address, picture_address, labels, count, rows, length, start_index, per_update, stream = words[:10]
    for t in range(first, end):
        which = scaled(random(words, stream, words[UPDATE] * per_update + start_index + t), count)
        picture, row = uint8s(base, picture_address + which * length, length), activation_row(base, out_address, rows, length, t)
        put_exponent(base, out_address, t, 8)
        for i in range(length):
            row[i] = picture[i]
        int32s(base, target_address + 4 * t, 1)[0] = uint8s(base, labels + which, 1)[0]
