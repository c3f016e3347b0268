"""NORM and its gradient.

    b = max bits(x_i), xs_i = round_shift(x_i, b − 24), F = r − (b − 24), mean = (Σ xs_i²) // length + round_shift(eps_q48, 48 − 2F)
    R = rsqrt(mean·2^t), x̂_i = round_shift(xs_i·R, 31) with u = 31 − t/2 fraction bits

*Source*: spec §3.5 (NORM) and §6.6 (NORM_BACKWARD).
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int32s, int64s
from opml_min.model.native.kernels.fixed.fixed_point import (
    ZERO_EXPONENT,
    bits,
    largest_bits,
    normalise,
    round_shift,
    round_shift_sat32,
    rsqrt,
    sat32,
)
from opml_min.training.kernels.batch_rows import exponent_of, gradient_row, put_activation, put_gradient
from opml_min.training.kernels.compiled import compiled_for_training
from opml_min.training.kernels.elementwise import shortened
from opml_min.training.kernels.register_width import use_whole_registers

SIZE = 24  # bits of a scaled element
GAIN_FRACTION_BITS, WEIGHTED_BITS = 24, 26


@njit
def inverse_norm(x, size, r, eps_q48, scaled):
    """Write the scaled elements. Return their inverse root mean square R, its t, and the fraction bits F of the elements."""
    squares, fraction_bits = np.int64(0), r - (size - SIZE)
    for i in range(len(x)):
        value = round_shift(np.int64(x[i]), size - SIZE)
        scaled[i] = value
        squares += value * value
    mean = squares // len(x) + round_shift(eps_q48, 48 - 2 * fraction_bits)
    t = (64 - bits(mean)) // 2 * 2
    return rsqrt(np.uint64(mean) << np.uint64(t)), t, fraction_bits


@njit
def add_products(g, unit, shift, parts):
    """Add sat32(round_shift(g_i·unit_i, shift)) to the parts."""
    if 0 < shift <= 63:  # almost always
        for i in range(len(parts)):
            parts[i] += sat32(((np.int64(g[i]) * unit[i] >> (shift - 1)) + 1) >> 1)
    else:
        for i in range(len(parts)):
            parts[i] += round_shift_sat32(np.int64(g[i]) * unit[i], shift)


@compiled_for_training
def norm(base, words, first, end, chunk, scratch, shared):
    use_whole_registers()
    out_address, x_address, gain_address, rows, length, r, eps_q48, width = words[:8]
    gains, z = int32s(base, gain_address, length), int64s(0, scratch, length)
    for row in range(first, end):
        x = int32s(base, x_address + 4 * length * row, length)
        size = largest_bits(x)
        if size == 0:
            z[:] = 0
            put_activation(base, out_address, rows, length, row, z, np.int64(0), width)
            continue
        inverse, t, fraction_bits = inverse_norm(x, size, r, eps_q48, z)
        for i in range(length):
            z[i] = np.int64(x[i]) * np.int64(gains[i])
        c = shortened(z)
        for i in range(length):
            z[i] *= inverse
        put_activation(base, out_address, rows, length, row, z, r + GAIN_FRACTION_BITS - c + 62 - fraction_bits - t // 2, width)


@compiled_for_training
def norm_backward(base, words, first, end, chunk, scratch, shared):
    """Compute the gradients of some rows; their parts of the sums go to row `chunk` of shared, i64 (chunks, length)."""
    use_whole_registers()
    out_address, _, g_address, x_address, gain_address, rows, length, r, eps_q48, sum_frac = words[:10]
    gains, parts = int32s(base, gain_address, length), shared[chunk * length : (chunk + 1) * length]
    unit, z = int64s(0, scratch, length), int64s(0, scratch + 8 * length, length)
    weighted = int64s(0, scratch + 16 * length, length)
    parts[:] = 0
    for row in range(first, end):
        x, g, e_g = int32s(base, x_address + 4 * length * row, length), gradient_row(base, g_address, rows, length, row), np.int64(0)
        size = largest_bits(x)
        if size == 0:
            z[:] = 0
            put_gradient(base, out_address, rows, length, row, z, np.int64(ZERO_EXPONENT))
            continue
        e_g = exponent_of(base, g_address, row)
        inverse, t, fraction_bits = inverse_norm(x, size, r, eps_q48, unit)
        u = 31 - t // 2
        for i in range(length):
            unit[i] = round_shift(unit[i] * inverse, 31)
            z[i] = np.int64(g[i]) * np.int64(gains[i])
        add_products(g, unit, e_g + u - sum_frac, parts)
        e_h = normalise(z, e_g + GAIN_FRACTION_BITS, WEIGHTED_BITS, weighted)
        m = np.int64(0)
        for i in range(length):
            m += weighted[i] * unit[i]
        m = m // length
        c = max(0, bits(m) - 31)
        m = round_shift(m, c)
        for i in range(length):
            z[i] = weighted[i] - round_shift(unit[i] * m, 2 * u - c)
        c2 = shortened(z)
        for i in range(length):
            z[i] *= inverse
        put_gradient(base, out_address, rows, length, row, z, e_h - c2 + 62 - fraction_bits - t // 2)


@compiled_for_training
def norm_backward_sums(base, words, first, end, chunk, scratch, shared):
    """Add to the sums what all chunks of `norm_backward` have found. Units are elements."""
    length = words[6]
    sums = int32s(base, words[1], length)
    for i in range(first, end):
        total = np.int64(0)
        for part in range(len(shared) // length):
            total += shared[part * length + i]
        sums[i] = sat32(np.int64(sums[i]) + total)
