"""Several positions at once on an accelerator, so that the weights are read once for all of them.

Positions of one prompt may be computed together if they share nothing but the KV cache, which `native/batching.py` verifies. All but the
last of them then work on copies of the request's buffers; the last one works in place, and leaves what it would leave alone. Current
positions of different requests share only the weights, so they may always be computed together.

*Source*: spec §3.3, by which stages may be computed in any order that leaves the same memory.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.gpu.accelerator import Accelerator, AcceleratorArray, AcceleratorSpace, Bytes, launches
from opml_min.model.gpu.barriers import barriers_before
from opml_min.model.gpu.resident import Resident
from opml_min.model.image.ops import ALIGNMENT, RECORD_WORDS, Buffer, Op, Opcode, align
from opml_min.model.native.batching import Copied

MOST_POSITIONS = 32  # of a batch: a lane of a warp for each
CHUNK_POSITIONS = 64  # of the KV cache, as in kernels/parallel.cuh
SHARE_OF_FREE_BYTES = 4  # batches take at most one part in so many of what is free


class Member(Protocol):
    """A run that takes part."""

    model: Resident
    job: int

    def bring_up(self) -> None:
        """Upload what the host changed since the last stop."""

    def place_of(self, address: int) -> int:
        """Return where a byte of the state lies on the accelerator."""

    def follow(self) -> bool:
        """Copy the output to the host; return whether the run has ended."""

    def bring_back(self, first: int, end: int) -> None:
        """Copy what the stages wrote to the host."""


@frozen(eq=False)
class Span:
    """The positions [first, end) of a run. Those before `draws_from` draw no token."""

    member: Member
    first: int
    end: int
    draws_from: int


@frozen
class Place:
    """A position in a batch: whose it is, and which copy of the buffers it has; None for the request's own."""

    span: int
    position: int
    copy: int | None


def planned(spans: Sequence[Span], most: int, may_copy: bool) -> list[list[Place]]:
    """Divide spans into batches of at most `most` positions. The earlier spans go first, and each that is not finished gets a position."""
    following, batches = [span.first for span in spans], list[list[Place]]()
    while unfinished := [index for index, span in enumerate(spans) if following[index] < span.end][:most]:
        free, copies, batch = most - len(unfinished), 0, list[Place]()
        for index in unfinished:
            span, first = spans[index], following[index]
            more = max(0, min(free, span.draws_from - first, span.end - 1 - first)) if may_copy else 0
            batch += [Place(index, first + k, copies + k) for k in range(more)] + [Place(index, first + more, None)]
            free, copies, following[index] = free - more, copies + more, first + more + 1
        batches.append(batch)
    return batches


class Batches:
    """The batches of runs of one tape. Memory for them is allocated when they are first needed, and freed with this object."""

    def __init__(self, accelerator: Accelerator, ops: list[Op], copied: Copied | None) -> None:
        self._accelerator, self._ops = accelerator, ops
        self._address, length = copied_range(copied)
        self._stride = align(length, 256)
        self._length = length
        self._is_copied = np.zeros((len(ops), RECORD_WORDS - 2), np.uint8) if copied is None else copied.is_copied.astype(np.uint8)
        self._may_copy = copied is not None
        self._scratch_sizes = scratch_sizes(ops)
        affordable = accelerator.free_bytes() // SHARE_OF_FREE_BYTES // (self._stride + sum(self._scratch_sizes))
        self.most_positions = max(1, min(MOST_POSITIONS, affordable)) if _is_known(ops) else 1
        self._space: AcceleratorSpace | None = None
        self._space_positions = 0

    @property
    def most_of_a_prompt(self) -> int:
        """How many positions of one prompt can be in a batch."""
        return self.most_positions if self._may_copy else 1

    def run(self, spans: Sequence[Span], watch: Callable[[], None]) -> None:
        """Compute the spans, calling `watch` from time to time. Afterwards the host has all that they wrote."""
        for span in spans:
            span.member.bring_up()
        assert all(span.member.model is spans[0].member.model for span in spans)
        batches = planned(spans, self.most_positions, self._may_copy)
        self._require_space(max(map(len, batches)))
        arrays = self._arrays(spans, batches)
        job, arrived = arrays[-1].place, arrays[0]

        def compute(first: int, end: int) -> None:
            arrived.put(np.zeros(1, np.uint64))
            self._accelerator.run_batches(job, first, end)

        computed = 0
        for until in launches(compute, 0, len(batches), 1):
            computed, has_ended = until, [span.member.follow() for span in spans]
            watch()
            if all(has_ended):
                break
        positions = Counter(place.span for batch in batches[:computed] for place in batch)
        for index, count in positions.items():
            first = spans[index].first
            spans[index].member.bring_back(first * len(self._ops), (first + count) * len(self._ops))

    def copies(self, address: int, length: int, count: int) -> Bytes:
        """Return the bytes of a buffer in the first copies: (count, length)."""
        found = np.empty((count, length), np.uint8)
        for copy, row in enumerate(found):
            self._accelerator.download(self._place_of_copy(copy) + address - self._address, row)
        return found

    def _require_space(self, positions: int) -> None:
        if positions > self._space_positions:
            self._space = None
            self._space = AcceleratorSpace(self._accelerator, positions * (self._stride + sum(self._scratch_sizes)))
            self._space_positions = positions

    def _place_of_copy(self, copy: int) -> int:
        assert self._space is not None
        return self._space.place + copy * self._stride

    # What the kernel reads --------------------------------------------------------------------------------------------------

    def _arrays(self, spans: Sequence[Span], batches: list[list[Place]]) -> list[AcceleratorArray]:
        """Return the arrays that the struct BatchJob of kernels/batches.cu names, the grid's barrier first and the struct itself last."""
        owns = [span.member.place_of(self._address) if self._may_copy else 0 for span in spans]
        positions = [
            (spans[p.span].member.job, p.position, owns[p.span], 0 if p.copy is None else self._place_of_copy(p.copy) - owns[p.span])
            for batch in batches
            for p in batch
        ]
        ends = np.cumsum([0, *map(len, batches)], dtype=np.int64)
        scratch = self._place_of_copy(self._space_positions) + np.arange(self._space_positions)[:, None] * sum(self._scratch_sizes)
        contents = [
            np.zeros(1, np.uint64),
            np.array(positions, np.int64),
            ends,
            self._is_copied,
            waits_before(self._ops),
            scratch + np.cumsum([0, *self._scratch_sizes[:-1]]),  # the struct Scratch of kernels/attention.cuh for each
        ]
        arrays = [AcceleratorArray(self._accelerator, content) for content in contents]
        arrived, places, firsts, is_copied, waits, scratches = (array.place for array in arrays)
        words = np.array([places, firsts, is_copied, self._length, waits, scratches, arrived], np.int64)
        return [*arrays, AcceleratorArray(self._accelerator, words)]


def _is_known(ops: list[Op]) -> bool:
    """Tell whether the kernel has all ops, and draws a token only where it can: at the end of a position."""
    return not any(op.opcode == Opcode.INPUT or (op.opcode == Opcode.SAMPLE and op is not ops[-1]) for op in ops)


def waits_before(ops: list[Op]) -> NDArray[np.uint8]:
    """Return for each op whether blocks wait before it: (ops). They do before a token is drawn, which may end the run of its request."""
    flags = barriers_before(ops)
    flags[-1] |= ops[-1].opcode == Opcode.SAMPLE
    return flags


def copied_range(copied: Copied | None) -> Buffer:
    """Return the bytes that copies are made of, in whole leaves."""
    return (0, 0) if copied is None else (copied.address, align(copied.length, ALIGNMENT))


def scratch_sizes(ops: list[Op]) -> list[int]:
    """Return how many bytes each field of the struct Scratch needs."""
    attentions = [op.operands for op in ops if op.opcode == Opcode.ATTENTION]

    def most(size: int, of: Callable[[dict[str, int]], int]) -> int:
        return align(size * max(map(of, attentions), default=1), 16)

    def chunks(o: dict[str, int]) -> int:
        return o["heads"] * -(-o["context"] // CHUNK_POSITIONS)

    return [
        most(4, lambda o: o["heads"] * o["context"]),
        most(4, chunks),
        most(4, chunks),
        most(8, lambda o: o["heads"] * o["head_size"]),
        most(8, lambda o: o["heads"]),
        most(4, lambda o: o["heads"]),
    ]

