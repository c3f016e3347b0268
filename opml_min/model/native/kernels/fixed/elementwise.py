"""The ops on single elements: SWIGLU, ADD, INPUT, RELU.

*Source*: spec §3.5.
"""

import numpy as np
from numba import njit

from opml_min.model.native.kernels.addressing import int16s, int32s, uint8s
from opml_min.model.native.kernels.fixed.fixed_point import bits, largest_bits, normalise, normalise_sized, round_shift, sat32, sigmoid
from opml_min.model.native.kernels.fixed.losses import is_saturated


@njit
def swiglu(base, operands, table, z):
    """Compute gate·σ(gate)·up: p_i = gate_i·sigmoid(gate_i), c = max(0, max bits(p_i) − 31), z_i = round_shift(p_i, c)·up_i → act.

    table: i32 (4097) · z: i64 (length) or longer, scratch"""
    out_address, gate_address, up_address, length = operands[:4]
    gate = int32s(base, gate_address, length)  # (length), Q14
    up = int32s(base, up_address, length)  # (length), Q14
    for i in range(length):
        z[i] = np.int64(gate[i]) * sigmoid(gate[i], table)
    c = max(0, largest_bits(z[:length]) - 31)
    union = np.int64(0)
    for i in range(length):
        product = round_shift(z[i], c) * np.int64(up[i])
        union |= abs(product)
        z[i] = product
    int32s(base, out_address, 1)[0] = normalise_sized(z[:length], bits(union), 58 - c, 15, int16s(base, out_address + 32, length))


@njit
def add(base, operands):
    """Compute x_i = sat32(x_i + y_i). Return the losses."""
    x_address, y_address, length = operands[:3]
    x = int32s(base, x_address, length)  # (length)
    y = int32s(base, y_address, length)  # (length)
    found = np.int64(0)
    for i in range(length):
        x[i] = sat32(np.int64(x[i]) + np.int64(y[i]))
        found += is_saturated(x[i])
    return found


@njit
def input_bytes(base, operands, request):
    """Set q_i to byte i of the request, and e to 8."""
    out_address, length = operands[:2]
    data = uint8s(base, request, length)  # (length)
    q = int16s(base, out_address + 32, length)  # (length)
    int32s(base, out_address, 1)[0] = 8
    for i in range(length):
        q[i] = data[i]


@njit
def relu(base, operands, z):
    """Compute max(x_i, 0) with `frac` fraction bits → act. z: i64 (length) or longer, scratch"""
    out_address, x_address, length, frac = operands[:4]
    x = int32s(base, x_address, length)  # (length)
    for i in range(length):
        z[i] = max(x[i], 0)
    int32s(base, out_address, 1)[0] = normalise(z[:length], frac, 15, int16s(base, out_address + 32, length))
