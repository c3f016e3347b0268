"""What a loader of training models checks: operands in their ranges, tensors in their places, no number beyond 64 bits.

All ops that name a byte agree on the tensor to which it belongs. So what an op reads was written as such a tensor, or lay in memory
before the run.

*Source*: spec §6.8.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise

from opml_spec.errors import ImageBound, ImageOp
from opml_spec.machine.memory import IO, MEMORY_BYTES, MODEL, STATE, Memory
from opml_spec.model.layout import MAX_REQUEST_BYTES, RECORD_BYTES, REQUEST_BYTES, Record
from opml_spec.model.operations.fixed import ROTATION_BITS
from opml_spec.model.tensors import ALIGNMENT, load_vector
from opml_spec.training.layout import TENSORS, TrainingHeader
from opml_spec.training.operations.backward import BackwardRope
from opml_spec.training.operations.batch_operation import MOMENTS, Access, BatchOperation, Span
from opml_spec.training.operations.forward import ForwardRope
from opml_spec.training.operations.opcodes import RANGES, decode_batch_operation, operands
from opml_spec.training.tensors import RowTensor

PLACES = {  # where a tensor may lie: [start, end)
    Access.READ: ((MODEL, IO), (REQUEST_BYTES, REQUEST_BYTES + MAX_REQUEST_BYTES), (TENSORS, STATE), (STATE, MEMORY_BYTES)),
    Access.WRITE: ((TENSORS, STATE),),
    Access.WEIGHTS: ((STATE, MEMORY_BYTES),),
}
LARGEST_ANGLE = 1 << ROTATION_BITS  # sine and cosine of 1


def check_training(memory: Memory) -> None:
    """Raise unless native code may run the tape of this model."""
    header = TrainingHeader.read(memory)
    header.check()
    tensors: list[Span] = []
    for op in range(header.ops):
        try:
            operation = decode_batch_operation(Record.read(memory, header.tape + RECORD_BYTES * op))
            check_operation(operation)
            check_rotation(memory, operation)
        except (ImageOp, ImageBound) as error:
            raise type(error)(f"op {op}", *error.args) from None
        tensors += operation.spans()
    for a, b in pairwise(sorted(tensors, key=lambda span: (span.address, -span.size))):
        if b.address < a.end and (a.address, a.size, a.form) != (b.address, b.size, b.form):
            raise ImageOp(f"the tensors at {a.address:#x} and {b.address:#x} share bytes and are not the same")


def check_rotation(memory: Memory, operation: BatchOperation) -> None:
    """Raise if it rotates by a table that another op might change, or whose entries exceed 1."""
    if isinstance(operation, ForwardRope | BackwardRope):
        size = 4 * operation.period * operation.head_size
        if not MODEL <= operation.table <= IO - size:
            raise ImageOp("the RoPE table is not in the model quarter")
        check_angles(load_vector(memory, operation.table, size // 4))


def check_angles(angles: Sequence[int]) -> None:
    """Raise if a sine or cosine exceeds 1."""
    if max(map(abs, angles)) > LARGEST_ANGLE:
        raise ImageBound("an entry of the RoPE table exceeds 1")


def check_operation(operation: BatchOperation) -> None:
    """Raise unless one operation is valid."""
    for name, value in operands(operation):
        low, high = RANGES.get(name, (0, MEMORY_BYTES))
        if not low <= value <= high:
            raise ImageOp(f"{name} is {value}")
    if not operation.consistent:
        raise ImageOp("its operands do not fit each other")
    spans = list(operation.spans())
    for span in spans:
        access = Access.WRITE if isinstance(span.form, RowTensor) or span.form == MOMENTS else span.access  # only ops make these
        if span.address % ALIGNMENT or not any(start <= span.address and span.end <= end for start, end in PLACES[access]):
            raise ImageOp(f"the tensor at {span.address:#x} may not lie there")
    for a, b in combinations(spans, 2):
        if overlap(a, b) and not (operation.in_place and a.address == b.address):
            raise ImageOp(f"the tensors at {a.address:#x} and {b.address:#x} overlap")
    for bound in operation.bounds():
        if bound.magnitude >= bound.limit:
            raise ImageBound(f"{bound.name} can reach {bound.magnitude}")


def overlap(a: Span, b: Span) -> bool:
    """Whether two tensors share a byte that one of them changes."""
    return {a.access, b.access} != {Access.READ} and a.address < b.end and b.address < a.end
