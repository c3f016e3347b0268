"""How each op is computed: the phases that follow one another, the units of each, and the room that they need.

A plan depends on the operands alone, so it is made once and serves all updates.

*Source*: the layouts in the kernels' docstrings.
"""

from collections.abc import Callable
from itertools import accumulate
from math import isqrt

import numpy as np
import numpy.typing as npt
from attrs import frozen

from opml_min.model.native.kernels.fixed.fixed_point import sigmoid_table
from opml_min.training.kernels import attention, attention_backward, data, elementwise, loss, muon, norm, optimisers, products, weights
from opml_min.training.kernels.attention import POSITIONS
from opml_min.training.kernels.product_code import TILE_COLUMNS, TWO_PIECE_ROWS
from opml_min.training.loader import scale_q24
from opml_min.training.operations import TrainingOp, TrainingOpcode, padded, row_tensor_bytes

Words = npt.NDArray[np.int64]
WEIGHTS_AT_ONCE = 1 << 14  # of an op on single numbers
ELEMENTS_AT_ONCE = 1 << 13  # of an op on rows
PAIRS_AT_ONCE = 16  # of a factor that is packed
MATRIX_ROWS_AT_ONCE = 16  # of those that an index names
_SIGMOID: Words = sigmoid_table().astype(np.int64)


@frozen
class Phase:
    """One call after another of a kernel, for pieces of its units. `scratch` is bytes of one thread."""

    kernel: Callable[..., None]
    units: int
    units_at_once: int
    scratch: int = 8

    @property
    def chunks(self) -> int:
        return -(-self.units // self.units_at_once)


@frozen(eq=False)
class Plan:
    """The phases of an op, and the i64 that they share: room, or a table. `words` are numbers that only depend on the operands."""

    phases: tuple[Phase, ...]
    shared: int | Words = 0
    words: tuple[int, ...] = ()


def plan_of(op: TrainingOp) -> Plan:
    return _PLANS[op.opcode](op)


def _rows(kernel: Callable[..., None], lines: int = 1, shared: int | Words = 0) -> Callable[[TrainingOp], Plan]:
    """Plan an op on rows, which needs some i64 lines as long as a row."""

    def plan(op: TrainingOp) -> Plan:
        names = op.operands.keys()
        length = next((op[name] for name in ("length", "vocabulary", "columns") if name in names), 0) or op["heads"] * op["head_size"]
        return Plan((Phase(kernel, op["rows"], max(1, ELEMENTS_AT_ONCE // length), 8 * lines * length),), shared)

    return plan


def _numbers(kernel: Callable[..., None]) -> Callable[[TrainingOp], Plan]:
    return lambda op: Plan((Phase(kernel, op["count"], WEIGHTS_AT_ONCE),))


def _cast(op: TrainingOp) -> Plan:
    phases = Phase(weights.cast_size, op["count"], WEIGHTS_AT_ONCE), Phase(weights.cast, op["count"], WEIGHTS_AT_ONCE)
    return Plan(phases, phases[0].chunks)


def _heads(op: TrainingOp) -> Plan:
    length = op["period"] * op["head_size"]
    return Plan((Phase(elementwise.heads, op["sequences"] * op["heads"], max(1, ELEMENTS_AT_ONCE // length), 8 * length),))


def _norm_backward(op: TrainingOp) -> Plan:
    length = op["length"]
    rows = Phase(norm.norm_backward, op["rows"], max(1, ELEMENTS_AT_ONCE // length), 24 * length)
    return Plan((rows, Phase(norm.norm_backward_sums, length, length)), rows.chunks * length)


def _product_scratch(rows: int, inner: int, columns: int) -> int:
    return 8 * rows * (padded(inner, 2) // 2 + padded(columns, TILE_COLUMNS))


def _matmul(op: TrainingOp) -> Plan:
    columns, taken, rows = op["columns"], op["taken"], products.BLOCK_ROWS
    phases = (
        Phase(products.matmul_pack, padded(columns, 2) // 2, PAIRS_AT_ONCE),
        Phase(products.matmul, op["rows"], rows, _product_scratch(rows, columns, taken)),
    )
    return Plan(phases, padded(columns, 2) * padded(taken, TILE_COLUMNS) // 4)


def _matmul_data(op: TrainingOp) -> Plan:
    columns, taken, rows = op["columns"], op["taken"], products.BLOCK_ROWS
    phases = (
        Phase(products.matmul_data_pack, padded(taken, 2) // 2, PAIRS_AT_ONCE),
        Phase(products.matmul_data, op["rows"], rows, _product_scratch(rows, taken, columns)),
    )
    return Plan(phases, padded(taken, 2) * padded(columns, TILE_COLUMNS) // 4)


def _matmul_weights(op: TrainingOp) -> Plan:
    columns, taken, rows, pairs, block = op["columns"], op["taken"], op["rows"], (op["rows"] + 1) // 2, products.BLOCK_ROWS
    g_width, x_width = padded(padded(taken, TWO_PIECE_ROWS), TILE_COLUMNS), padded(columns, TILE_COLUMNS)
    phases = (
        Phase(products.matmul_weights_exponents, rows, 256),
        Phase(products.matmul_weights_pack, pairs, 64),
        Phase(products.matmul_weights, taken, block // 2, 8 * block * x_width + 4 * columns),
    )
    return Plan(phases, padded(rows, 8) + pairs * (g_width + x_width // 2 + 1))


def _by_index(order: Callable[..., None], kernel: Callable[..., None]) -> Callable[[TrainingOp], Plan]:
    """Plan an op that adds rows of the batch to the rows of a matrix that an index names, after ordering the former by the latter."""

    def plan(op: TrainingOp) -> Plan:
        adding = Phase(kernel, op["matrix_rows"], MATRIX_ROWS_AT_ONCE, 8 * op["columns"])
        return Plan((Phase(order, 1, 1), adding), op["matrix_rows"] + 1 + op["rows"])

    return plan


def _root_and_scale(op: TrainingOp) -> tuple[int, int]:
    return scale_q24(op["head_size"]), isqrt((1 << 60) // op["head_size"])


def _attention(op: TrainingOp) -> Plan:
    period, heads, size, rows = op["period"], op["heads"], op["head_size"], op["sequences"] * op["period"]
    width, columns, pairs = padded(period, TILE_COLUMNS), padded(size, TILE_COLUMNS), (period + 1) // 2
    scratch = 2 * padded(size, 2) * width + 4 * pairs * columns + 8 * POSITIONS * (width + columns)
    scratch += 4 * padded(size, 2) * padded(period, TWO_PIECE_ROWS) + 6 * POSITIONS * width
    phases = Phase(attention.attention_heads, op["sequences"] * heads, 1, scratch), Phase(attention.attention_rows, rows, 64)
    return Plan(phases, rows * heads * (size + 1), _root_and_scale(op))


def _attention_backward(op: TrainingOp) -> Plan:
    period, heads, kv_heads, size, rows = op["period"], op["heads"], op["kv_heads"], op["head_size"], op["sequences"] * op["period"]
    width, columns, pairs = padded(period + TWO_PIECE_ROWS, TILE_COLUMNS), padded(size, TILE_COLUMNS), (period + 1) // 2
    group, part = heads // kv_heads, padded(period, TWO_PIECE_ROWS) * columns
    scratch = 4 * padded(size, 2) * width + 8 * pairs * columns + 16 * POSITIONS * width + 4 * period * width
    scratch += 4 * padded(period * size, 4) + 32 * period + 8 * POSITIONS * columns + 16 * group * (part + 1)
    scratch += 8 * padded(size, 2) * padded(period, TWO_PIECE_ROWS) + 8 * pairs * max(width, POSITIONS)
    phases = (
        Phase(attention_backward.attention_backward_heads, op["sequences"] * kv_heads, 1, scratch),
        Phase(attention_backward.attention_backward_rows, rows, 64),
    )
    return Plan(phases, rows * (heads + 2 * kv_heads) * (size + 1), _root_and_scale(op))


def _muon(op: TrainingOp) -> Plan:
    rows, columns = sorted((op["matrix_rows"], op["columns"]))
    width, square_width = padded(columns, TILE_COLUMNS), padded(rows, TILE_COLUMNS)
    pieces = -(-rows // muon.PIECE_ROWS)
    sizes = (  # in the order of the kernels' offsets
        *(8 * rows * columns, row_tensor_bytes(rows, columns, 2), 8 * rows * rows, row_tensor_bytes(rows, rows, 2)),
        *(2 * padded(columns, 2) * square_width, 2 * padded(rows, 2) * width, 2 * padded(rows, 2) * square_width),
    )
    offsets = list(accumulate((padded(size, 64) for size in sizes), initial=padded(8 * (muon.NUMBERS + 3 * pieces), 64)))
    scratch = max(_product_scratch(muon.PIECE_ROWS, columns, rows), _product_scratch(muon.PIECE_ROWS, rows, columns))
    iteration = (muon.muon_square, muon.muon_normalise_square, muon.muon_polynomial, muon.muon_normalise_square)
    kernels = (
        *(muon.muon_momentum, muon.muon_normalise, muon.muon_scale, muon.muon_normalise),
        *(*iteration, muon.muon_iterate, muon.muon_normalise) * muon.ITERATIONS,
        muon.muon_step,
    )
    phases = tuple(Phase(kernel, rows, muon.PIECE_ROWS, scratch) for kernel in kernels)
    return Plan(phases, offsets[-1] // 8, (pieces, *offsets[:-1]))


_PLANS: dict[TrainingOpcode, Callable[[TrainingOp], Plan]] = {
    TrainingOpcode.INIT: _numbers(data.init),
    TrainingOpcode.TOKENS: lambda op: Plan((Phase(data.tokens, op["sequences"], 1),)),
    TrainingOpcode.PICTURES: _rows(data.pictures),
    TrainingOpcode.CAST: _cast,
    TrainingOpcode.EXPORT: lambda op: Plan((Phase(weights.export, padded(op["rows"], 8) // 8, 4),)),
    TrainingOpcode.EMBED: _rows(elementwise.embed),
    TrainingOpcode.NORM: _rows(norm.norm),
    TrainingOpcode.MATMUL: _matmul,
    TrainingOpcode.ROPE: _rows(elementwise.rope),
    TrainingOpcode.HEADS: _heads,
    TrainingOpcode.ATTENTION: _attention,
    TrainingOpcode.SWIGLU: _rows(elementwise.swiglu, shared=_SIGMOID),
    TrainingOpcode.ADD: _numbers(elementwise.add),
    TrainingOpcode.RELU: _rows(elementwise.relu),
    TrainingOpcode.CROSS_ENTROPY: _rows(loss.cross_entropy),
    TrainingOpcode.ROUND: _rows(elementwise.round_rows),
    TrainingOpcode.SUM: _rows(elementwise.sum_rows),
    TrainingOpcode.MATMUL_DATA: _matmul_data,
    TrainingOpcode.MATMUL_WEIGHTS: _matmul_weights,
    TrainingOpcode.TARGET_DATA: _rows(loss.target_data),
    TrainingOpcode.TARGET_WEIGHTS: _by_index(loss.order_by_target, loss.target_weights),
    TrainingOpcode.EMBED_WEIGHTS: _by_index(loss.order_by_token, loss.embed_weights),
    TrainingOpcode.NORM_BACKWARD: _norm_backward,
    TrainingOpcode.ROPE_BACKWARD: _rows(elementwise.rope_backward),
    TrainingOpcode.ATTENTION_BACKWARD: _attention_backward,
    TrainingOpcode.SWIGLU_BACKWARD: _rows(elementwise.swiglu_backward, 2, _SIGMOID),
    TrainingOpcode.RELU_BACKWARD: _rows(elementwise.relu_backward),
    TrainingOpcode.ADAM: _numbers(optimisers.adam),
    TrainingOpcode.SGD: _numbers(optimisers.sgd),
    TrainingOpcode.MUON: _muon,
}
