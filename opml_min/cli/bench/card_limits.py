"""What bounds a kernel's time on a card: reading memory, issuing instructions, and waiting for all blocks.

    memory   bytes read and written ÷ speed of a copy on the card
    issue    instructions of all lanes ÷ (multiprocessors × clock × 4 schedulers × 32 lanes), as `gpu/card.py` derives it
    barriers barriers of all blocks × time of one

Instructions are counted in the committed PTX, in the innermost loops that multiply: those of MATMUL and ATTENTION, which nearly all time
goes to. The card's own instructions may be somewhat more or fewer.
"""

import re
from functools import cache

from attrs import frozen

from opml_min.model.gpu.barriers import barriers_before
from opml_min.model.gpu.batches import MOST_POSITIONS
from opml_min.model.gpu.build import ptx_of
from opml_min.model.image.header import Header
from opml_min.model.image.ops import Op, Opcode, buffers, writes
from opml_min.model.image.weights import BLOCK_BYTES, GROUP, Q4_0, Q4_1, Q8_0, TILE_ROWS
from opml_min.model.native.check import tensors

NUMBERS_AT_ONCE = 8  # of the KV cache: WIDE in kernels/attention.cuh for a head size that is a multiple of it
BARRIERS_IN_ATTENTION = 2
MILLI = 1000
LABEL, BRANCH = re.compile(r"\$\w+:$"), re.compile(r"\bbra(?:\.uni)?\s+(\$\w+);")
INSTRUCTION = re.compile(r"(@!?%p\d+\s+)?[a-z][\w.]*\s.*;$")


@frozen
class Speeds:
    """What a card can do per second, and how long it takes to wait."""

    bytes_per_second: float
    issues_per_second: float
    barrier_seconds: float


@frozen
class Work:
    """What some ops need."""

    read_and_written: float
    instructions: float
    barriers: float

    def __add__(self, other: "Work") -> "Work":
        sums = (self.read_and_written + other.read_and_written, self.instructions + other.instructions, self.barriers + other.barriers)
        return Work(*sums)

    def each(self, count: int) -> "Work":
        """Return an equal share of it."""
        return Work(self.read_and_written / count, self.instructions / count, self.barriers / count)


@frozen
class LimitedRow:
    """A time on the card beside its limits."""

    name: str
    seconds: float
    work: Work
    speeds: Speeds

    def limits(self) -> dict[str, float]:
        """Return the least seconds that each of the three alone would take."""
        return {
            "memory": self.work.read_and_written / self.speeds.bytes_per_second,
            "issue": self.work.instructions / self.speeds.issues_per_second,
            "barriers": self.work.barriers * self.speeds.barrier_seconds,
        }

    def holds(self) -> bool:
        return True

    def fields(self) -> dict[str, str | float]:
        limits = self.limits()
        largest = max(limits, key=limits.__getitem__)
        return {
            "name": self.name, "value": self.seconds * MILLI, "unit": "ms",
            "bytes": self.work.read_and_written, "gigabytes_per_second": self.work.read_and_written / self.seconds / 1e9,
            **{f"{limit}_ms": seconds * MILLI for limit, seconds in limits.items()},
            "largest_limit": largest, "ratio": self.seconds / limits[largest],
        }  # fmt: skip

    def line(self) -> str:
        found = self.fields()
        columns = "".join(f"  {limit} {found[f'{limit}_ms']:<9,.4g}" for limit in ("memory", "issue", "barriers"))
        moved = f"{found['bytes']:>14,.0f} B {found['gigabytes_per_second']:>9,.4g} GB/s"
        return f"{self.name:<56} {found['value']:>10,.4g} ms {moved}{columns}  {found['ratio']:.2f} × {found['largest_limit']}"


@frozen
class NotMeasured:
    """A row that has no value, and why."""

    name: str
    reason: str

    def holds(self) -> bool:
        return True

    def fields(self) -> dict[str, str | float]:
        return {"name": self.name, "not_measured": self.reason}

    def line(self) -> str:
        return f"{self.name:<56} not measured: {self.reason}"


def work_of(ops: list[Op], header: Header, context: int, batch: int = 1) -> Work:
    """Return what ops at the last of `context` positions need, for `batch` requests that share a matrix up to MOST_POSITIONS at a time."""
    attentions = sum(op.opcode == Opcode.ATTENTION for op in ops)
    barriers = int(barriers_before(ops).sum()) + BARRIERS_IN_ATTENTION * attentions
    times, source = -(-batch // MOST_POSITIONS), "stages" if batch == 1 else "batches"
    weights = sum(_weight_bytes(op, header) for op in ops)
    moved = times * weights + batch * (sum(_bytes(op, header, context) for op in ops) - weights)
    return Work(moved, batch * sum(_instructions(op, context, source) for op in ops), times * barriers)


def _weight_bytes(op: Op, header: Header) -> int:
    return sum(length for _, length in tensors(op, header)) if op.opcode == Opcode.MATMUL else 0


def _bytes(op: Op, header: Header, context: int) -> float:
    """Return what the op reads and writes, each byte once."""
    o = op.operands
    match op.opcode:
        case Opcode.EMBED:
            row = o["columns"] // GROUP * BLOCK_BYTES[o["quantisation"]] / TILE_ROWS
            return row + sum(length for _, length in writes(op))
        case Opcode.ROPE:
            return 2 * sum(length for _, length in writes(op)) + 4 * o["head_size"]
        case Opcode.CACHE:
            return 2 * 4 * o["kv_heads"] * o["head_size"] + sum(length for _, length in writes(op))
        case Opcode.ATTENTION:
            cached = 2 * o["kv_heads"] * (2 * o["head_size"] + 1) * context
            return cached + (4 + 2) * o["heads"] * o["head_size"]
        case _:
            written, read, _ = buffers(op)
            return sum(length for _, length in [*written, *read, *tensors(op, header)])


def _instructions(op: Op, context: int, source: str) -> float:
    """Return the instructions of the op's innermost loops over all lanes, in one of the kernels."""
    o = op.operands
    match op.opcode:
        case Opcode.MATMUL:
            return o["rows"] * o["columns"] * instructions_per_product(source)[o["quantisation"]]
        case Opcode.ATTENTION:
            return o["heads"] * o["head_size"] * context * instructions_per_cached_number(source)
        case _:
            return 0


@cache
def instructions_per_product(source: str) -> dict[int, float]:
    """Return for each quantisation how many instructions of a lane a kernel's loop over a row has per weight and position.

    The upper half of a pair of dp2a, `dp2a.hi`, is only used for weights: it multiplies two of each four."""
    loops = [loop for loop in innermost_loops(source) if _count(loop, "dp2a.hi")]
    by_quantisation = zip((Q8_0, Q4_0, Q4_1), loops, strict=True)  # in the order of `matmul`
    return {quantisation: len(loop) / (4 * _count(loop, "dp2a.hi")) for quantisation, loop in by_quantisation}


@cache
def instructions_per_cached_number(source: str) -> float:
    """Return how many instructions of a lane the loops over K and V have per number, K and V together."""
    loops = [loop for loop in innermost_loops(source) if not _count(loop, "dp2a")]
    (scores,) = [loop for loop in loops if _count(loop, "mad.lo.s32") == NUMBERS_AT_ONCE - 1]
    (sums,) = [loop for loop in loops if _count(loop, "mul.wide.s32") == NUMBERS_AT_ONCE]
    return (len(scores) + len(sums)) / NUMBERS_AT_ONCE


def _count(loop: list[str], opcode: str) -> int:
    return sum(line.startswith(opcode) for line in loop)


def innermost_loops(source: str) -> list[list[str]]:
    """Return the instructions of each innermost loop of a kernel's PTX, from a label to the branch back to it."""
    lines = [line.strip() for line in ptx_of(source).read_text(encoding="utf-8").splitlines()]
    labels, loops = dict[str, int](), list[tuple[int, int]]()
    for number, line in enumerate(lines):
        if LABEL.match(line):
            labels[line[:-1]] = number
        elif (branch := BRANCH.search(line)) and branch[1] in labels:
            loops.append((labels[branch[1]], number))
    innermost = [(a, b) for a, b in loops if not any(a <= c and d <= b and (c, d) != (a, b) for c, d in loops)]
    return [[line for line in lines[first : last + 1] if INSTRUCTION.match(line)] for first, last in innermost]
