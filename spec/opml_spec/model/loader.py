"""What a loader checks before native code runs a model: operands in their ranges, tensors in their places, no number beyond 64 bits.

A model that is refused can still be run by the machine.

*Source*: spec §3.8.
"""

from attrs import asdict

from opml_spec.errors import ImageHeader, ImageOp
from opml_spec.machine.memory import IO, MODEL, Memory
from opml_spec.model.bounds import check_bounds
from opml_spec.model.layout import BYTES, FLOAT, RECORD_BYTES, TEXT, WHEN_DRAWING, Header, Record
from opml_spec.model.operations.fixed import Attention, Cache, Embed, Input, MatMul, Rope, Sample
from opml_spec.model.operations.float import FloatAttention, FloatCache, FloatEmbed, FloatInput, FloatRope, FloatSample
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import FLOAT_OPERATIONS, decode_operation
from opml_spec.model.places import check_places
from opml_spec.model.tensors import GROUP

MOST_OPS = 1 << 24
"""As many as a run can have stages. (= 16777216)"""

CONTEXTS = range(1, (1 << 23) + 1)
"""How many positions a model may have, and how many bytes the request of one that reads bytes. Sums of probabilities need the bound."""

SIZES = range(1, 1 << 32)
RANGES: dict[str, range] = {
    **dict.fromkeys(("length", "rows", "columns", "heads", "kv_heads", "head_size"), SIZES),
    **dict.fromkeys(("frac", "out_frac"), range(63)),
    **dict.fromkeys(("eps_bits", "root_bits"), range(1 << 32)),
    "context": CONTEXTS,
    "r": range(4, 15),
    "eps_q48": range(1 << 36),
}
"""The values that an operand of this name may have. Addresses and scales have rules of their own."""


def check_model(memory: Memory) -> None:
    """Raise unless native code may run this model, whatever its program is."""
    header = Header.read(memory)
    check_header(header)
    for op in range(header.ops):
        record = Record.read(memory, header.tape + RECORD_BYTES * op)
        problem = problem_of(record, decode_operation(record), header)
        if problem:
            raise ImageOp(f"op {op}: {problem}")
    check_places(memory)
    check_bounds(memory)


def check_header(header: Header) -> None:
    """Raise unless the header is valid, and its tape lies whole in the model quarter, where no op writes."""
    header.check()
    if header.ops > MOST_OPS or header.context not in CONTEXTS:
        raise ImageHeader("number of ops, or context")
    if not MODEL <= header.tape <= IO - RECORD_BYTES * header.ops:
        raise ImageHeader(f"the tape at {header.tape:#x} lies outside the model quarter")


def problem_of(record: Record, operation: Operation, header: Header) -> str:
    """What is wrong with the operands of an operation, in themselves; empty if nothing is."""
    for name, value in asdict(operation).items():
        if value not in RANGES.get(name, range(1 << 64)):
            return f"{name} is {value}"
    if record.condition > WHEN_DRAWING:
        return f"condition {record.condition}"
    if isinstance(operation, FLOAT_OPERATIONS) != (header.arithmetic == FLOAT):
        return "an operation of the other arithmetic"
    return "" if fits(record, operation, header) else "its operands fit neither each other nor the header"


def fits(record: Record, operation: Operation, header: Header) -> bool:
    """Whether operands that are in their ranges fit each other, and the header."""
    is_text, head_size = header.request_kind == TEXT, getattr(operation, "head_size", 0)
    match operation:
        case Embed():
            return is_text and operation.length <= operation.columns and operation.columns % GROUP == 0
        case MatMul():
            return operation.columns % GROUP == 0
        case Attention() | FloatAttention():
            shares = operation.heads % operation.kv_heads == 0
            return is_text and shares and head_size % 2 == 0 and operation.context >= header.context
        case Cache() | FloatCache():
            return is_text and head_size % 2 == 0 and operation.context >= header.context
        case Rope() | FloatRope():
            return is_text and head_size % 2 == 0
        case FloatEmbed():
            return is_text
        case Sample() | FloatSample():
            return not is_text or (operation.length <= header.vocabulary and record.condition == WHEN_DRAWING)
        case Input() | FloatInput():
            return header.request_kind == BYTES and operation.length <= header.context
    return True
