"""An op as XLA sees it: a shape, which is compiled once, and operands, which are data.

Two ops of one shape differ in where their buffers lie, which tensor they use, and in numbers such as fraction bits. A LLaMA of any depth
has about fifteen shapes.
"""

from attrs import frozen

from opml_min.memory_map import STATE
from opml_min.model.image.ops import Op, Opcode
from opml_min.model.image.weights import Q4_1

SIZES: dict[Opcode, tuple[str, ...]] = {
    Opcode.EMBED: ("columns", "length"),
    Opcode.NORM: ("length",),
    Opcode.MATMUL: ("rows", "columns"),
    Opcode.ROPE: ("heads", "head_size"),
    Opcode.CACHE: ("kv_heads", "head_size", "context"),
    Opcode.ATTENTION: ("heads", "kv_heads", "head_size", "context"),
    Opcode.SWIGLU: ("length",),
    Opcode.ADD: ("length",),
    Opcode.SAMPLE: ("length",),
    Opcode.INPUT: ("length",),
    Opcode.RELU: ("length",),
}
TENSOR: dict[Opcode, str] = {
    Opcode.EMBED: "matrix", Opcode.MATMUL: "matrix", Opcode.NORM: "weights", Opcode.ROPE: "table", Opcode.ADD: "y",
}  # fmt: skip


@frozen
class OpShape:
    """What must be equal for two ops to share compiled code."""

    opcode: Opcode
    sizes: tuple[int, ...]
    has_tensor: bool
    has_minimums: bool


def shape_of(op: Op) -> OpShape:
    """Return the shape of an op in fixed point."""
    sizes = tuple(op.operands[name] for name in SIZES[op.opcode])
    return OpShape(op.opcode, sizes, tensor_address(op) is not None, op.operands.get("quantisation") == Q4_1)


def tensor_address(op: Op) -> int | None:
    """Return where the op's weights begin, if it has some. What an ADD adds is a buffer if it lies in the state quarter."""
    address = op.operands[TENSOR[op.opcode]] if op.opcode in TENSOR else None
    return None if address is None or (op.opcode == Opcode.ADD and address >= STATE) else address
