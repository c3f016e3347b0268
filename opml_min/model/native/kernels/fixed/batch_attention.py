"""ATTENTION for neighbouring positions of a batch: the results of `attention`, with keys and values packed once for all of them.

*Source*: spec §3.5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int8s, int16s, int32s, int64s
from opml_min.model.native.kernels.fixed.attention_output import attention_output
from opml_min.model.native.kernels.fixed.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    QUERY_BITS,
    VECTOR_FRACTION_BITS,
    bits,
    exp2,
    largest_bits,
    normalise,
    reciprocal,
    round_shift,
    round_shift_sat32,
    sat32,
)
from opml_min.model.native.kernels.fixed.losses import saturated_in
from opml_min.model.native.kernels.vector.packed import (
    COLUMNS,
    LANES,
    QUERIES,
    QUERY_LOW_BITS,
    WEIGHT_LOW_BITS,
    dots_of_16_keys,
    pack_keys,
    pack_values,
    sums_of_16_columns,
)

ATTENTION_POSITIONS = 16  # at most; they share the packed keys and values


@njit
def _padded(length, multiple):
    return (length + multiple - 1) // multiple * multiple


@njit
def _pack(base, address, length, head_size, rows, packed, are_keys):
    """Pack the rows [0, length) of a head, padded with zeros.

    address: of i16 (length, head_size) · rows, packed: process addresses of i16 (LANES, columns), scratch, and of the result"""
    columns = _padded(head_size, COLUMNS)
    for first in range(0, length, LANES):
        start, stride = base + address + 2 * first * head_size, 2 * head_size
        count = min(LANES, length - first)
        if count < LANES or head_size < columns:
            start, stride = rows, 2 * columns
            int16s(0, rows, LANES * columns)[:] = 0
            for row in range(count):
                int16s(0, rows + row * stride, head_size)[:] = int16s(base, address + 2 * (first + row) * head_size, head_size)
        if are_keys:
            pack_keys(start, stride, columns, packed + 2 * first * columns)
        else:
            pack_values(start, stride, columns, packed + 2 * first * LANES, 2 * _padded(length, LANES) * LANES)


@njit
def _weigh(scores, exponents, value_exponents, places, scale, high, low):
    """Turn dot products into softmax weights. Return the sum of the weights, the least exponent of the values, and the losses.

    scores: i64 (length), the dot products, overwritten · exponents, value_exponents: i8 (length) · places: added to a key's exponent
    high, low: i16 (length), written"""
    length = len(scores)
    smallest = np.int64(127)
    for t in range(length):
        smallest = min(smallest, np.int64(exponents[t]))
    if smallest + places > 0:  # always for keys that CACHE wrote
        for t in range(length):
            shift = min(exponents[t] + places, 64)
            product = scores[t] * scale
            rounded = (product >> min(shift, 63)) + ((product >> (shift - 1)) & 1)
            scores[t] = sat32(rounded) if shift < 64 else 0
    else:
        for t in range(length):
            scores[t] = round_shift_sat32(scores[t] * scale, exponents[t] + places)
    largest, lowest = np.int64(INT32_MIN), np.int64(INT32_MAX)
    least = np.int64(127)
    for t in range(length):
        largest, lowest = max(largest, scores[t]), min(lowest, scores[t])
        least = min(least, np.int64(value_exponents[t]))
    found = saturated_in(scores, lowest, largest)
    total = np.int64(0)
    for t in range(length):
        weight = exp2(scores[t] - largest)
        total += weight
        shift = min(value_exponents[t] - least, 40)  # a weight has 25 bits
        weight = (weight + ((np.int64(1) << shift) >> 1)) >> shift
        high[t] = weight >> WEIGHT_LOW_BITS
        low[t] = weight & ((1 << WEIGHT_LOW_BITS) - 1)
    return total, least, found


@njit
def _attend(base, operands, stride, position, count, head, places, longest, o, fractions):
    """Compute one head at up to QUERIES positions, and write their rows of o and fractions. Return the losses.

    places, longest: see `attend`"""
    q_address, _, key_exp_address, _, value_exp_address = operands[1:6]
    heads, kv_heads, head_size, context, scale = operands[6:11]
    row = head // (heads // kv_heads) * context
    _, keys, values, queries, weights, scores, sums = places
    columns, length = _padded(head_size, COLUMNS), _padded(position + count, LANES)
    fraction_bits, totals = int64s(0, sums + 8 * QUERIES * columns, QUERIES), int64s(0, sums + 8 * QUERIES * (columns + 1), QUERIES)

    for i in range(count):
        q = int32s(base, q_address + i * stride + 4 * head * head_size, head_size)  # (head_size), Q14
        high, low = int16s(0, queries + 4 * i * columns, head_size), int16s(0, queries + 2 * (2 * i + 1) * columns, head_size)
        fraction_bits[i] = normalise(q, VECTOR_FRACTION_BITS, QUERY_BITS, high)
        for c in range(head_size):
            low[c] = high[c] & ((1 << QUERY_LOW_BITS) - 1)
            high[c] >>= QUERY_LOW_BITS
    for first in range(0, length, LANES):
        dots_of_16_keys(keys + 2 * first * columns, queries, head_size // 2, 2 * columns, scores + 8 * first, 8 * longest)
    found = np.int64(0)
    for i in range(count):
        high, low = int16s(0, weights + 4 * i * longest, length), int16s(0, weights + 2 * (2 * i + 1) * longest, length)
        mine = position + i + 1
        key_exponents, value_exponents = int8s(base, key_exp_address + row, mine), int8s(base, value_exp_address + row, mine)
        dots = int64s(0, scores + 8 * i * longest, mine)
        totals[i], least, saturated = _weigh(dots, key_exponents, value_exponents, fraction_bits[i] + 14, scale, high, low)
        found += saturated
        high[mine:], low[mine:] = 0, 0
        fraction_bits[i] = least + bits(totals[i]) + 30
    for first in range(0, head_size, LANES):
        place = values + 2 * first * longest
        sums_of_16_columns(place, weights, length // LANES, 2 * longest, sums + 8 * first, 8 * columns)
    for i in range(count):
        acc, mine = int64s(0, sums + 8 * i * columns, head_size), int64s(0, o + 8 * (i * heads + head) * head_size, head_size)
        c = max(0, largest_bits(acc) - 31)
        inverse = reciprocal(totals[i])
        for column in range(head_size):
            mine[column] = round_shift(acc[column], c) * inverse
        int64s(0, fractions + 8 * (i * heads + head), 1)[0] = fraction_bits[i] - c
    return found


@njit
def attend(base, operands, stride, position, count, scratch):
    """Compute `count` positions from `position` on, at most ATTENTION_POSITIONS. Return the losses.

    operands: for the first one's copy of the buffers, overwritten · stride: bytes to the next copy
    scratch: the process address of attention_scratch_bytes bytes"""
    out_address, q_address, key_address, _, value_address, _, heads, kv_heads, head_size, context = operands[:10]
    columns, longest = _padded(head_size, COLUMNS), _padded(position + count, LANES)
    keys = scratch + 2 * LANES * columns  # behind a buffer for rows
    values = keys + 2 * longest * columns
    queries = values + 2 * longest * columns  # i16 (QUERIES, 2, columns): high and low
    weights = queries + 4 * QUERIES * columns  # i16 (QUERIES, 2, longest): high and low
    scores = weights + 4 * QUERIES * longest  # i64 (QUERIES, longest)
    sums = scores + 8 * QUERIES * longest  # i64 (QUERIES, columns), then fraction bits and sums of weights: i64 (QUERIES)
    o = sums + 8 * QUERIES * (columns + 2)  # i64 (ATTENTION_POSITIONS, heads, head_size)
    fractions = o + 8 * ATTENTION_POSITIONS * heads * head_size  # i64 (ATTENTION_POSITIONS, heads)
    places = scratch, keys, values, queries, weights, scores, sums
    found = np.int64(0)
    for kv_head in range(kv_heads):
        offset = 2 * kv_head * context * head_size
        _pack(base, key_address + offset, position + count, head_size, scratch, keys, True)
        _pack(base, value_address + offset, position + count, head_size, scratch, values, False)
        for head in range(kv_head * (heads // kv_heads), (kv_head + 1) * (heads // kv_heads)):
            for i in range(0, count, QUERIES):
                operands[1] = q_address + i * stride
                rows = o + 8 * i * heads * head_size, fractions + 8 * i * heads
                found += _attend(base, operands, stride, position + i, min(QUERIES, count - i), head, places, longest, *rows)
    for i in range(count):
        operands[0] = out_address + i * stride
        row = int64s(0, o + 8 * i * heads * head_size, heads * head_size)
        attention_output(base, operands, row, int64s(0, fractions + 8 * i * heads, heads))
    return found


def attention_scratch_bytes(heads: int, head_size: int, context: int) -> int:
    columns, longest = -(-head_size // COLUMNS) * COLUMNS, -(-context // LANES) * LANES
    return (
        2 * LANES * columns + 4 * longest * columns + 12 * QUERIES * columns + 12 * QUERIES * longest + 16 * QUERIES
        + 8 * ATTENTION_POSITIONS * heads * (head_size + 1)
    )  # fmt: skip
