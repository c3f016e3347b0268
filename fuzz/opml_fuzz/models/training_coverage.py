"""Functional coverage of training: which ends of its operands and of its numbers a case reaches, op by op.

As in the table of instructions, a *coverpoint* is a question about one stage with a finite number of answers, its *bins*. Operands ask for
the ends of their ranges; sizes for one, for a full vector and for a rest; tensors for zeros and for the ends of their numbers; results that
can saturate, for both ends.

*Source*: spec §6.2 to §6.8.
"""

import struct
from collections import Counter
from collections.abc import Iterator

from attrs import fields
from opml_spec.machine.memory import Memory
from opml_spec.model.layout import REQUEST_BYTES
from opml_spec.training.layout import EACH_UPDATE, FIRST_UPDATE, LAST_UPDATE
from opml_spec.training.operations.backward import BackwardNorm, BackwardRope
from opml_spec.training.operations.batch_operation import BYTES, MOMENTS, BatchOperation, Span
from opml_spec.training.operations.forward import ForwardAdd, ForwardEmbed, ForwardMatMul, ForwardRope
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS, RANGES, operands
from opml_spec.training.operations.optimisers import Adam, Muon, Sgd
from opml_spec.training.operations.products import EmbedWeights, MatMulWeights, TargetWeights
from opml_spec.training.operations.weights import Init, Pictures, Tokens
from opml_spec.training.tensors import RowTensor
from opml_spec.training.training_stage import run_training_stage

from opml_fuzz.machine.training_case import SETTINGS, TrainingStages, numbers_in
from opml_fuzz.models.random_training import USUAL
from opml_fuzz.models.training_tensors import DATA_TENSORS, INDEX_TENSORS, LARGEST, LARGEST_ANGLE, LARGEST_OF_ROWS, role, with_addresses

SIZES = frozenset((
    *("rows", "length", "columns", "matrix_rows", "taken", "sequences", "period", "vocabulary", "heads", "kv_heads", "head_size", "count"),
))  # fmt: skip
FULL = 8  # numbers, at least, in a vector of the native kernels
SATURATING: dict[type[BatchOperation], str] = {
    **{Init: "out", ForwardEmbed: "out", ForwardMatMul: "out", ForwardRope: "vector", ForwardAdd: "out", BackwardNorm: "sums"},
    **{MatMulWeights: "sums", TargetWeights: "sums", EmbedWeights: "sums", Adam: "master", Sgd: "master", Muon: "master"},
}
"""Of each operation whose results saturate, the tensor in which that shows."""

FAR = 64  # between exponents: then nothing is left of the smaller number
Bin = tuple[type[BatchOperation], str, str]


def bins_of(kind: type[BatchOperation]) -> Iterator[tuple[str, str]]:
    """Yields the coverpoints of an operation with each of their bins."""
    for name in (field.name for field in fields(kind) if field.name in RANGES):
        if name in SIZES:
            yield from ((f"cp_{name}", each) for each in ("least", "rest", "full"))
        elif name == "token_bytes":
            yield from ((f"cp_{name}", str(each)) for each in (1, 2, 4))
        elif name == "per_update":
            yield from ((f"cp_{name}", each) for each in ("all of them", "more"))
        elif name == "first" and not issubclass(kind, Tokens | Pictures):
            yield from ((f"cp_{name}", each) for each in ("least", "later"))
        else:
            yield from ((f"cp_{name}", each) for each in ("least", "largest"))
    example = with_addresses(kind, USUAL | {"period": 4, "count": 12})
    for span in example.spans():
        name = role(example, span.address)
        yield from ((f"cp_{name}", each) for each in ("0", "largest", "most negative") if each != "most negative" or _is_signed(span, name))
        if isinstance(span.form, RowTensor) and span.form.rows > 1:
            yield from ((f"cp_{name}_exponents", each) for each in ("equal", "near", "apart"))
    yield from (("cp_condition", each) for each in ("each update", "first update", "last update"))
    yield from (("cp_update", each) for each in ("first", "between", "last"))
    if kind in SATURATING:
        yield from (("cp_saturates", each) for each in ("above", "below"))


def _is_signed(span: Span, name: str) -> bool:
    return span.form not in (BYTES, MOMENTS) and name not in (*DATA_TENSORS, *INDEX_TENSORS)


def reached(case: TrainingStages) -> Iterator[tuple[str, str]]:
    """Yields the bins that a single stage reaches. It is executed by the specification, to see whether its results saturate."""
    yield from asked(case)
    yield from saturated(case)


def asked(case: TrainingStages) -> Iterator[tuple[str, str]]:
    """Yields the bins that can be told from a single stage itself."""
    operation, (record, *_) = case.operation(case.first), case.records
    if operation is None or case.count > 1:
        return
    given = dict(operands(operation))
    for name, value in given.items():
        if name in RANGES:
            yield f"cp_{name}", _of_operand(type(operation), given, name, value)
    for span in operation.spans():
        if (data := case.memory.get(span.address)) is not None:
            yield from _of_tensor(operation, span, data)
    updates = SETTINGS.unpack_from(case.memory.get(REQUEST_BYTES, b"").ljust(SETTINGS.size, b"\0"))[1]
    conditions = {EACH_UPDATE: "each update", FIRST_UPDATE: "first update", LAST_UPDATE: "last update"}
    yield "cp_condition", conditions.get(record.condition, "other")
    yield "cp_update", {0: "first", updates - 1: "last"}.get(case.first, "between")


def saturated(case: TrainingStages) -> Iterator[tuple[str, str]]:
    """Yields the ends at which a result of a single stage saturates."""
    operation = case.operation(case.first)
    if operation is not None and type(operation) in SATURATING:
        after, _ = run_training_stage(Memory.from_segments(case.memory), case.first)
        span = next(each for each in operation.spans() if role(operation, each.address) == SATURATING[type(operation)])
        before, results = (memory.load_bytes(span.address, span.size) for memory in (Memory.from_segments(case.memory), after))
        ends = {(1 << 31) - 1: "above", -(1 << 31): "below"}
        for old, new in zip(struct.iter_unpack("<i", before), struct.iter_unpack("<i", results), strict=True):
            if new != old and new[0] in ends:
                yield "cp_saturates", ends[new[0]]


def _of_operand(kind: type[BatchOperation], given: dict[str, int], name: str, value: int) -> str:
    low, high = RANGES[name]
    if name in SIZES:
        if issubclass(kind, ForwardRope | BackwardRope) and name == "head_size":
            low = 2
        if issubclass(kind, Tokens) and name == "count":
            low = given["period"] + 1
        return "least" if value == low else "full" if value % FULL == 0 else "rest"
    if name == "token_bytes":
        return str(value)
    if name == "per_update":
        batch = given["sequences" if issubclass(kind, Tokens) else "rows"]
        return "more" if value > given["first"] + batch else "all of them"
    if name == "first" and issubclass(kind, Tokens | Pictures):  # the last batch that an update can have
        high -= given["sequences" if issubclass(kind, Tokens) else "rows"]
    elif name == "first":
        return "later" if value else "least"
    return {low: "least", high: "largest"}.get(value, "other")


def _of_tensor(operation: BatchOperation, span: Span, data: bytes) -> Iterator[tuple[str, str]]:
    name, numbers = role(operation, span.address), [*numbers_in(span, data)]
    values = [value for _, _, value in numbers]
    if isinstance(span.form, RowTensor):
        exponents, values = values[: span.form.rows], values[span.form.rows :]
        most = least = LARGEST_OF_ROWS[span.form.value_bytes]
        distances = {abs(a - b) for a in exponents for b in exponents} - {0}
        yield f"cp_{name}_exponents", "equal" if not distances else "near" if max(distances) < FAR else "apart"
    elif not _is_signed(span, name):
        most = least = LARGEST[8] if span.form == MOMENTS else -1  # all bits of a byte or an index
    else:
        most = LARGEST_ANGLE if name == "table" else LARGEST[4]
        least = most + (name != "table")
    ends = {0: "0", most: "largest", -least: "most negative"}
    yield from ((f"cp_{name}", ends[value]) for value in dict.fromkeys(values) if value in ends)


class TrainingTable:
    """Counts hits: by op, coverpoint and bin."""

    def __init__(self) -> None:
        self.bins = {kind: [*bins_of(kind)] for kind in BATCH_OPERATIONS.values()}
        self.hits: Counter[Bin] = Counter()
        self.stages: Counter[type[BatchOperation]] = Counter()

    def add(self, case: TrainingStages) -> None:
        operation = case.operation(case.first)
        if operation is not None:
            self.stages[type(operation)] += 1
            for point, each in reached(case):
                self.hits[type(operation), point, each] += 1

    def missing(self) -> Iterator[tuple[str, str, str]]:
        """Yields the bins that were not hit."""
        for kind, bins in self.bins.items():
            yield from ((kind.__name__, point, each) for point, each in bins if not self.hits[kind, point, each])

    def rows(self) -> Iterator[tuple[str, int, list[tuple[str, int, int]]]]:
        """Yields each op with its stages, and of each of its coverpoints the bins hit and all bins."""
        for kind, bins in self.bins.items():
            points = dict.fromkeys(point for point, _ in bins)
            counts = [[self.hits[kind, point, each] > 0 for other, each in bins if other == point] for point in points]
            yield kind.__name__, self.stages[kind], [(point, sum(hit), len(hit)) for point, hit in zip(points, counts, strict=True)]
