"""What a loader of training models checks: operands in their ranges, tensors in their places, no number beyond 64 bits.

A place is checked op by op. Ops may use the same bytes one after another; that is the business of whoever builds the tape.

*Source*: spec §6.8.
"""

from itertools import combinations

from opml_spec.errors import ImageBound, ImageOp
from opml_spec.machine.memory import IO, MEMORY_BYTES, MODEL, STATE, Memory
from opml_spec.model.layout import MAX_REQUEST_BYTES, RECORD_BYTES, REQUEST_BYTES, Record
from opml_spec.model.tensors import ALIGNMENT
from opml_spec.training.layout import TENSORS, TrainingHeader
from opml_spec.training.operations.batch_operation import Access, BatchOperation, Span
from opml_spec.training.operations.opcodes import RANGES, decode_batch_operation, operands

PLACES = {  # where a tensor may lie: [start, end)
    Access.READ: ((MODEL, IO), (REQUEST_BYTES, REQUEST_BYTES + MAX_REQUEST_BYTES), (TENSORS, STATE), (STATE, MEMORY_BYTES)),
    Access.WRITE: ((TENSORS, STATE),),
    Access.WEIGHTS: ((STATE, MEMORY_BYTES),),
}


def check_training(memory: Memory) -> None:
    """Raise unless native code may run the tape of this model."""
    header = TrainingHeader.read(memory)
    header.check()
    for op in range(header.ops):
        try:
            check_operation(decode_batch_operation(Record.read(memory, header.tape + RECORD_BYTES * op)))
        except (ImageOp, ImageBound) as error:
            raise type(error)(f"op {op}", *error.args) from None


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
        if span.address % ALIGNMENT or not any(start <= span.address and span.end <= end for start, end in PLACES[span.access]):
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
