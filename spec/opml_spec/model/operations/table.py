"""The table of operations, and how a record on the tape is read.

*Source*: spec §3.5 and §3.6.
"""

from attrs import fields

from opml_spec.errors import ImageOp
from opml_spec.model.layout import Record
from opml_spec.model.operations.fixed import Add, Attention, Cache, Embed, Input, MatMul, Norm, Relu, Rope, Sample, SwiGlu
from opml_spec.model.operations.float import (
    FloatAdd,
    FloatAttention,
    FloatCache,
    FloatEmbed,
    FloatInput,
    FloatMatMul,
    FloatNorm,
    FloatRelu,
    FloatRope,
    FloatSample,
    FloatSwiGlu,
)
from opml_spec.model.operations.operation import Operation

FIXED_OPERATIONS: tuple[type[Operation], ...] = (Embed, Norm, MatMul, Rope, Cache, Attention, SwiGlu, Add, Sample, Input, Relu)

FLOAT_OPERATIONS: tuple[type[Operation], ...] = (
    FloatEmbed,
    FloatNorm,
    FloatMatMul,
    FloatRope,
    FloatCache,
    FloatAttention,
    FloatSwiGlu,
    FloatAdd,
    FloatSample,
    FloatInput,
    FloatRelu,
)

OPERATIONS = {kind.opcode: kind for kind in FIXED_OPERATIONS + FLOAT_OPERATIONS}


def decode_operation(record: Record) -> Operation:
    """The operation that a record stands for. Words after its last operand mean nothing."""
    if record.opcode not in OPERATIONS:
        raise ImageOp(f"opcode {record.opcode}")
    kind = OPERATIONS[record.opcode]
    return kind(*record.operands[: len(fields(kind))])
