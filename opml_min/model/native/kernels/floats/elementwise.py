"""The float ops without a matrix product: EMBED, NORM, ROPE, CACHE, SWIGLU, ADD, INPUT, RELU.

*Source*: spec/README.md §7.
"""

from math import sqrt

import numpy as np
from numba import njit

from opml_min.model.image.weights import TILE_ROWS
from opml_min.model.native.kernels.addressing import float32s, int32s, uint8s
from opml_min.model.native.kernels.floats.functions import ONE, ZERO, canonical, sigmoid

BYTE_UNITS = np.float32(256)


@njit
def float_embed(base, operands, token):
    """Copy the token's row of the matrix, pattern for pattern."""
    out_address, matrix_address, columns = operands[:3]
    out = int32s(base, out_address, columns)  # (columns)
    tile = int32s(base, matrix_address + token // TILE_ROWS * columns * TILE_ROWS * 4, columns * TILE_ROWS)  # (columns, TILE_ROWS)
    for c in range(columns):
        out[c] = tile[c * TILE_ROWS + token % TILE_ROWS]


@njit
def float_norm(base, operands):
    """Compute s = Σ x_i ⊗ x_i, R = 1 ⊘ √((s ⊘ length) ⊕ eps), y_i = w_i ⊗ (R ⊗ x_i)."""
    out_address, x_address, weight_address, length, eps_bits = operands[:5]
    out = float32s(base, out_address, length)  # (length)
    x = float32s(base, x_address, length)  # (length)
    weights = float32s(base, weight_address, length)  # (length)
    squares = ZERO
    for value in x:
        squares += value * value
    inverse = ONE / np.float32(sqrt(squares / np.float32(length) + np.int32(eps_bits).view(np.float32)))
    for i in range(length):
        out[i] = canonical(weights[i] * (inverse * x[i]))


@njit
def float_rope(base, operands, position):
    """Compute a' = (a ⊗ cos) ⊖ (b ⊗ sin), b' = (a ⊗ sin) ⊕ (b ⊗ cos) for each pair of neighbours, in place."""
    vector_address, heads, head_size, table_address = operands[:4]
    vector = float32s(base, vector_address, heads * head_size)  # (heads, head_size / 2, 2)
    table = float32s(base, table_address + position * 4 * head_size, head_size)  # (head_size / 2, 2): cos, sin
    for i in range(0, heads * head_size, 2):
        cosine, sine = table[i % head_size], table[i % head_size + 1]
        a, b = vector[i], vector[i + 1]
        vector[i] = canonical(a * cosine - b * sine)
        vector[i + 1] = canonical(a * sine + b * cosine)


@njit
def float_kv_cache(base, operands, position):
    """Copy the key and value of this position into their rows, pattern for pattern."""
    kv_heads, head_size, context = operands[4], operands[5], operands[6]
    for which in range(2):  # keys, values
        vector = int32s(base, operands[which], kv_heads * head_size)  # (kv_heads, head_size)
        for head in range(kv_heads):
            row = head * context + position
            out = int32s(base, operands[2 + which] + 4 * row * head_size, head_size)  # one row of (kv_heads, context, head_size)
            out[:] = vector[head * head_size : (head + 1) * head_size]


@njit
def float_swiglu(base, operands):
    """Compute (gate ⊗ sigmoid(gate)) ⊗ up."""
    out_address, gate_address, up_address, length = operands[:4]
    out = float32s(base, out_address, length)  # (length)
    gate = float32s(base, gate_address, length)  # (length)
    up = float32s(base, up_address, length)  # (length)
    for i in range(length):
        out[i] = canonical(gate[i] * sigmoid(gate[i]) * up[i])


@njit
def float_add(base, operands):
    x_address, y_address, length = operands[:3]
    x = float32s(base, x_address, length)  # (length)
    y = float32s(base, y_address, length)  # (length)
    for i in range(length):
        x[i] = canonical(x[i] + y[i])


@njit
def float_input(base, operands, request):
    """Divide each byte of the request by 256."""
    out_address, length = operands[:2]
    data = uint8s(base, request, length)  # (length)
    out = float32s(base, out_address, length)  # (length)
    for i in range(length):
        out[i] = np.float32(data[i]) / BYTE_UNITS


@njit
def float_relu(base, operands):
    """Keep x where x > 0, else +0."""
    out_address, x_address, length = operands[:3]
    x = float32s(base, x_address, length)  # (length)
    out = float32s(base, out_address, length)  # (length)
    for i in range(length):
        out[i] = x[i] if x[i] > ZERO else ZERO
