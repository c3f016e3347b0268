"""Which bytes an op may write. A page that no op writes is neither hashed nor kept in a snapshot, however large its tensor is.

*Source*: spec §6.5 and §6.6: the columns of MATMUL that stay, the rows of sums that no index names.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from opml_min.machine import Memory
from opml_min.machine.memory.page_set import Indices
from opml_min.memory_map import PAGE_BYTES
from opml_min.training.operations import TrainingOp, TrainingOpcode

Span = tuple[int, int]  # address, bytes
_INDICES = {TrainingOpcode.TARGET_WEIGHTS: "targets", TrainingOpcode.EMBED_WEIGHTS: "tokens"}


def depends_on_indices(op: TrainingOp) -> bool:
    """Tell whether indices, which another op may write, say where the op writes."""
    return op.opcode in _INDICES


def spans_written_by(op: TrainingOp, memory: Memory) -> Iterator[Span]:
    """Yield what the op may write; indices are read from the memory."""
    match op.opcode:
        case TrainingOpcode.MATMUL:
            yield from _lines(op["out"] + 4 * op["first"], np.arange(op["rows"]), 4 * op["taken"], 4 * op["matrix_rows"])
        case TrainingOpcode.MATMUL_WEIGHTS:
            yield op["sums"] + 4 * op["columns"] * op["first"], 4 * op["columns"] * op["taken"]
        case TrainingOpcode.TARGET_WEIGHTS | TrainingOpcode.EMBED_WEIGHTS:
            indices = memory.view(op[_INDICES[op.opcode]], op["rows"], np.uint32)
            rows = np.unique(np.minimum(indices, op["matrix_rows"] - 1)).astype(np.int64)
            yield from _lines(op["sums"], rows, 4 * op["columns"], 4 * op["columns"])
        case _:
            yield from ((tensor.address, tensor.size) for tensor in op.tensors() if tensor.written)


def _lines(address: int, numbers: Indices, size: int, stride: int) -> Iterator[Span]:
    """Yield some lines of a tensor, those as one that lie less than a page apart. numbers: ascending"""
    starts = address + stride * numbers
    firsts = np.flatnonzero(np.diff(starts, prepend=-(PAGE_BYTES + size)) >= PAGE_BYTES + size)
    lasts = np.append(firsts[1:], len(starts)) - 1
    for first, last in zip(starts[firsts].tolist(), starts[lasts].tolist(), strict=True):
        yield first, last + size - first


def whole_pages(spans: Iterable[Span]) -> list[Span]:
    """Return the pages that spans meet, as few spans."""
    result: list[Span] = []
    for address, size in sorted(spans):
        first, end = address // PAGE_BYTES * PAGE_BYTES, -(-(address + size) // PAGE_BYTES) * PAGE_BYTES
        if result and first <= sum(result[-1]):
            first, end = result[-1][0], max(end, sum(result.pop()))
        result.append((first, end - first))
    return result
