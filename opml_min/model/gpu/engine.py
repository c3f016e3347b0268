"""The engine of an accelerator: weights stay there, and at every stop the host's memory is the truth.

Before a range of stages it uploads what the host changed since the last one, afterwards it copies back what the stages wrote. So native
code, the machine and the accelerator can take turns at any stage, and leave the same bytes.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.memory_map import OUTPUT, PAGE_BYTES, REQUEST, STATE
from opml_min.model.errors import AcceleratorUnusable
from opml_min.model.gpu.accelerator import Accelerator, AcceleratorArray, Bytes, launches, roots_on
from opml_min.model.gpu.barriers import barriers_before
from opml_min.model.gpu.batches import Batches, Span, copied_range, scratch_sizes
from opml_min.model.gpu.resident import Resident, ranges_of_pages, require_room, resident_model
from opml_min.model.image.header import TEXT, Header
from opml_min.model.image.image import Image
from opml_min.model.image.ops import BUFFERS, FLOAT, OPERANDS, RECORD_WORDS, WEIGHTS, Buffer, Op, Tape, align, buffers, ops_of
from opml_min.model.image.request import MAX_REQUEST_BYTES
from opml_min.model.native.batching import copied_buffers
from opml_min.model.native.check import check, tensors
from opml_min.model.native.kernels.fixed.fixed_point import sigmoid_table
from opml_min.model.watched_weights import WatchedWeights
from opml_min.model.written import written_ranges

MOST_HEADS, MOST_HEAD_SIZE = 256, 1024  # as in kernels/parallel.cuh


def require_usable(image: Image, accelerator: Accelerator) -> None:
    """Raise AcceleratorUnusable if the kernels cannot compute the image, or the accelerator has no room for it.

    Raise CheckFailed if no engine may compute it."""
    check(image)
    _require_computable(image)
    require_room(accelerator, _tensors(image.ops, image.header) + _carried(image.ops, image.header), sum(scratch_sizes(image.ops)))


def _require_computable(image: Image) -> None:
    if image.header.arithmetic == FLOAT:
        raise AcceleratorUnusable(f"{image.path} is a float image; accelerators compute fixed point only")
    for op in image.ops:
        if op.operands.get("heads", 0) > MOST_HEADS or op.operands.get("head_size", 0) > MOST_HEAD_SIZE:
            raise AcceleratorUnusable(f"{image.path} has more than {MOST_HEADS} heads, or heads of more than {MOST_HEAD_SIZE} numbers")


def _tensors(ops: list[Op], header: Header) -> list[Buffer]:
    return [tensor for op in ops for tensor in tensors(op, header)]


def _carried(ops: list[Op], header: Header) -> list[Buffer]:
    """Return what stages read and write in the state and io quarters, in whole pages."""
    carried = [buffer for op in ops for group in buffers(op)[:2] for buffer in group if buffer[0] >= STATE]
    carried += [(REQUEST, 32 + MAX_REQUEST_BYTES), (OUTPUT, 32 + 4 * header.context)]
    return [_whole_pages(*buffer) for buffer in carried]


def _whole_pages(address: int, length: int) -> Buffer:
    first = address - address % PAGE_BYTES
    return first, align(address + length, PAGE_BYTES) - first


class AcceleratorEngine:
    """Computes stages of a memory whose tape has been checked."""

    def __init__(self, memory: Memory, image: Image, tape: Tape, accelerator: Accelerator) -> None:
        _require_computable(image)
        self._memory, self._accelerator, self._header = memory, accelerator, image.header
        self._ops = ops_of(tape)
        self._weights = WatchedWeights(memory, image, _tensors(self._ops, self._header))
        copied = copied_buffers(self._ops) if image.header.request_kind == TEXT else None
        self.model = resident_model(accelerator, memory, image.identity, _tensors(self._ops, self._header))
        self._carry = Resident(accelerator, [*_carried(self._ops, image.header), *([] if copied is None else [copied_range(copied)])])
        self._place_job()
        self.batches = Batches(accelerator, self._ops, copied)
        self._has_carry = False

    def run(self, first: int, end: int, *, watch: Callable[[], None] = lambda: None) -> None:
        """Compute the stages [first, end), calling `watch` from time to time. Afterwards the host has all that they wrote.

        After an exception only the output is on the host, and the next call uploads everything."""
        count = len(self._ops)
        span = self.span(-(-first // count), min(end // count, self._prompt_length()))
        if min(span.end - span.first, self.batch_positions) < 2:
            self._run_in_turn(first, end, watch)
            return
        self._run_in_turn(first, span.first * count, watch)
        self.batches.run([span], watch)
        self._run_in_turn(span.end * count, end, watch)

    def span(self, first: int, end: int) -> Span:
        """Return the positions [first, end) of this run, for a batch."""
        return Span(self, first, end, self._prompt_length() - 1)

    def _run_in_turn(self, first: int, end: int, watch: Callable[[], None]) -> None:
        """Compute stages one after the other."""
        self.bring_up()
        done = first
        if not self._is_done():
            for until in launches(self.compute, first, end, len(self._ops)):
                done, has_ended = until, self.follow()
                watch()
                if has_ended:
                    break
        self.bring_back(first, done)

    def compute(self, first: int, end: int) -> None:
        """Compute the stages [first, end) in one launch, and leave the host's memory as it is."""
        self._arrived.put(np.zeros(1, np.uint64))
        self._accelerator.run_stages(self.job, first, end)

    @property
    def batch_positions(self) -> int:
        """The most positions whose buffers all survive a run, so that `buffers` can return them."""
        return self.batches.most_of_a_prompt

    def buffers(self, address: int, length: int, positions: int) -> Bytes:
        """Return what each position of the last run left in the bytes of a buffer: (positions, length).

        That run must have computed exactly these positions, at most `batch_positions`, and drawn no token."""
        last: Bytes = self._memory.view(address, length, np.uint8)[None]  # type: ignore[assignment]
        return np.concatenate([self.batches.copies(address, length, positions - 1), last])

    def may_be_joined(self) -> bool:
        """Tell whether another run of the image can be computed with this one. The accelerator must have room for two more of them."""
        return self.batches.most_positions > 1 and self._accelerator.free_bytes() > 2 * sum(extent.length for extent in self._carry.extents)

    def hash_pages(self) -> None:
        """Give the host's memory the roots of the pages that lie here and are not hashed, if they are so many that it pays."""
        least = self._accelerator.hashes_from
        if least is None or not self._has_carry:
            return
        pages, places = self._carry.held_pages(self._memory.carry_pages_to_hash())
        if len(pages) < max(least, 1):
            return
        self._has_carry = False  # until the upload has succeeded
        self._carry.upload(self._memory, ranges_of_pages(self._weights.take_changed()))
        self._has_carry = True
        self._memory.put_carry_roots(pages, roots_on(self._accelerator, places))

    def losses(self) -> None:
        """Return None: these kernels do not count what fixed point loses."""

    def place_of(self, address: int) -> int:
        """Return where a byte of the state lies on the accelerator."""
        return self._carry.place_of(address)

    def bring_up(self) -> None:
        """Upload what the host changed since the last stop; everything at first, and after a call that no `bring_back` followed."""
        has_carry, self._has_carry = self._has_carry, False
        changed = self._weights.take_changed()
        self._carry.upload(self._memory, ranges_of_pages(changed) if has_carry else None)
        if self._weights.have_changed():  # they are no longer the image's, so nobody else may use them
            self.model = Resident(self._accelerator, _tensors(self._ops, self._header))
            self.model.upload(self._memory)
            self._place_job()
            self._weights.note_copied()

    def follow(self) -> bool:
        """Copy the output to the host; return whether the run has ended."""
        self._carry.download(self._memory, [(OUTPUT, 16)])
        self._carry.download(self._memory, [(OUTPUT, 32 + 4 * self._output_count())])
        return self._is_done()

    def bring_back(self, first: int, end: int) -> None:
        """Copy what the stages wrote to the host, and put it on the record of writes."""
        written = list(written_ranges(self._ops, first, end, self._output_count()))
        self._carry.download(self._memory, written)
        for address, length in written:
            self._memory.mark_written(address, length)
        self._memory.take_changed()  # the accelerator has all of this
        self._has_carry = True

    def _is_done(self) -> bool:
        return bool(self._memory.view(OUTPUT + 8, 1, np.uint64)[0])

    def _output_count(self) -> int:
        return int(self._memory.view(OUTPUT, 1, np.uint64)[0])

    def _prompt_length(self) -> int:
        return int(self._memory.view(REQUEST + 32, 1, np.uint32)[0]) if self._header.request_kind == TEXT else 1

    # What the kernel reads --------------------------------------------------------------------------------------------------

    def _place_job(self) -> None:
        """Put what the kernel reads besides tensors and state on the accelerator, in place of what was there."""
        self._arrays: list[AcceleratorArray] = []
        self._arrived = self._array(np.zeros(1, np.uint64))
        self.job = self._array(self._job_words()).place

    def _job_words(self) -> NDArray[np.uint64]:
        """Return the struct Job of kernels/stages.cu."""
        header = self._header
        stops = (*header.stop_tokens, 0, 0, 0, 0)[:4]
        words = [
            self._array(self._placed_tape()).place,
            self._array(barriers_before(self._ops)).place,
            len(self._ops),
            self._carry.place_of(REQUEST) + 32,
            self._carry.place_of(OUTPUT),
            header.request_kind,
            len(header.stop_tokens),
            *stops,
            self._array(sigmoid_table()).place,
            *(self._array(np.zeros(size, np.uint8)).place for size in scratch_sizes(self._ops)),
            self._arrived.place,
        ]
        return np.array(words, np.uint64)

    def _placed_tape(self) -> Tape:
        """Return the tape with addresses on the accelerator."""
        placed = np.zeros((len(self._ops), RECORD_WORDS), np.int64)
        for index, op in enumerate(self._ops):
            words = op.words()
            for word, name in enumerate(OPERANDS[op.opcode], 2):
                if name in WEIGHTS or (name in BUFFERS and words[word] < STATE):
                    words[word] = self.model.place_of(words[word])
                elif name in BUFFERS:
                    words[word] = self._carry.place_of(words[word])
            placed[index] = words
        return placed

    def _array(self, content: NDArray[np.generic]) -> AcceleratorArray:
        array = AcceleratorArray(self._accelerator, content)
        self._arrays.append(array)
        return array


def run_together(engines: Sequence[AcceleratorEngine], positions: Sequence[int], watch: Callable[[], None]) -> None:
    """Compute the first positions of several runs of one image, as many of each as asked for."""
    spans = [engine.span(0, count) for engine, count in zip(engines, positions, strict=True)]
    engines[-1].batches.run(spans, watch)  # which knows how much memory all of them have left
