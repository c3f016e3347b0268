"""The table of training operations, the ranges of their operands, and how a record of a training tape is read.

An operand's name says its range: the same name means the same in every operation.

*Source*: spec §6.1 and §6.8.
"""

from collections.abc import Iterator

from attrs import fields

from opml_spec.errors import ImageOp
from opml_spec.model.layout import Record
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention, Heads
from opml_spec.training.operations.backward import BackwardNorm, BackwardRelu, BackwardRope, BackwardSwiGlu, CrossEntropy, Round, Sum
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import (
    ForwardAdd,
    ForwardEmbed,
    ForwardMatMul,
    ForwardNorm,
    ForwardRelu,
    ForwardRope,
    ForwardSwiGlu,
)
from opml_spec.training.operations.optimisers import Adam, Muon, Sgd
from opml_spec.training.operations.products import EmbedWeights, MatMulData, MatMulWeights, TargetData, TargetWeights
from opml_spec.training.operations.weights import Cast, Export, Init, Pictures, Tokens

WEIGHT_OPERATIONS: tuple[type[BatchOperation], ...] = (Init, Tokens, Pictures, Cast, Export)

FORWARD_OPERATIONS: tuple[type[BatchOperation], ...] = (
    ForwardEmbed,
    ForwardNorm,
    ForwardMatMul,
    ForwardRope,
    Heads,
    ForwardAttention,
    ForwardSwiGlu,
    ForwardAdd,
    ForwardRelu,
)

BACKWARD_OPERATIONS: tuple[type[BatchOperation], ...] = (
    CrossEntropy,
    Round,
    Sum,
    MatMulData,
    MatMulWeights,
    TargetData,
    TargetWeights,
    EmbedWeights,
    BackwardNorm,
    BackwardRope,
    BackwardAttention,
    BackwardSwiGlu,
    BackwardRelu,
)

OPTIMISERS: tuple[type[BatchOperation], ...] = (Adam, Sgd, Muon)

BATCH_OPERATIONS = {kind.opcode: kind for kind in WEIGHT_OPERATIONS + FORWARD_OPERATIONS + BACKWARD_OPERATIONS + OPTIMISERS}

RANGES = {  # of each operand that is no address: the least and the largest value
    **dict.fromkeys(("rows", "length", "columns", "matrix_rows", "taken", "sequences", "period", "vocabulary"), (1, 1 << 20)),
    **dict.fromkeys(("heads", "kv_heads", "head_size"), (1, 1 << 10)),
    "first": (0, 1 << 20),
    "per_update": (1, 1 << 20),
    "count": (1, 1 << 32),
    "token_bytes": (1, 4),
    "mean": (0, (1 << 31) - 1),
    "scale_q16": (0, (1 << 31) - 1),
    "stream": (0, (1 << 32) - 1),
    "width": (7, 15),
    "r": (4, 18),
    "eps_q48": (0, (1 << 36) - 1),
    "frac": (18, 30),
    "sum_frac": (0, 24),
    "out_frac": (0, 30),
    "vector_frac": (0, 30),
    "rate_q16": (0, 1 << 24),
    "decays": (0, 1),
}


def decode_batch_operation(record: Record) -> BatchOperation:
    """The operation that a record stands for. Words after its last operand mean nothing."""
    if record.opcode not in BATCH_OPERATIONS:
        raise ImageOp(f"opcode {record.opcode}")
    kind = BATCH_OPERATIONS[record.opcode]
    return kind(*record.operands[: len(fields(kind))])


def operands(operation: BatchOperation) -> Iterator[tuple[str, int]]:
    """Yield name and value of each operand."""
    for field in fields(type(operation)):
        yield field.name, getattr(operation, field.name)
