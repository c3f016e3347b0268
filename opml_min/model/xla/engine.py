"""The engine of XLA: weights stay on the device, and at every stop the host's memory is the truth.

Before a range of stages it uploads the pages that the host changed since the last one. Afterwards it copies back those that the stages
wrote. So native code, the machine and the device can take turns at any stage, and leave the same bytes.
"""

import time
from collections.abc import Callable

import jax
import numpy as np
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.memory_map import OUTPUT, REQUEST, STATE
from opml_min.model.image.image import Image
from opml_min.model.image.ops import BUFFERS, OPERANDS, Op, Tape, buffers, ops_of
from opml_min.model.image.request import MAX_REQUEST_BYTES
from opml_min.model.native.check import tensors
from opml_min.model.native.kernels.fixed.fixed_point import sigmoid_table
from opml_min.model.watched_weights import WatchedWeights
from opml_min.model.written import written_ranges
from opml_min.model.xla.first_device import XlaDevice, require_computable
from opml_min.model.xla.one_stage import Fixed
from opml_min.model.xla.pages import Pages
from opml_min.model.xla.shapes import TENSOR, shape_of, tensor_address
from opml_min.model.xla.tensors import Tensors, shared_tensors
from opml_min.model.xla.walk import TapeArrays, exact, walk

LAUNCH_SECONDS = 0.05  # about how long the device works between two calls of `watch`


class XlaEngine:
    """Computes stages of a memory whose tape has been checked."""

    batch_positions = 1

    def __init__(self, memory: Memory, image: Image, tape: Tape, device: XlaDevice) -> None:
        require_computable(image)
        self._memory, self._device, self._header = memory, device, image.header
        self._ops = ops_of(tape)
        self._weights = WatchedWeights(memory, image, [tensor for op in self._ops for tensor in tensors(op, image.header)])
        with exact(self._device):
            self._carry = Pages(device, self._carried())
            self._use(shared_tensors(device, memory, image.identity, self._ops, self._header))

    def run(self, first: int, end: int, *, watch: Callable[[], None] = lambda: None) -> None:
        """Compute the stages [first, end), calling `watch` from time to time. Afterwards the host has all that they wrote."""
        with exact(self._device):
            self._bring_up()
            done, at_once = first, len(self._ops)
            try:
                while done < end and not self._is_done():
                    until = min(done + at_once, end)
                    begin = time.perf_counter()
                    self._compute(done, until)
                    if time.perf_counter() - begin < LAUNCH_SECONDS / 2:
                        at_once *= 2
                    done = until
                    self._carry.download(self._memory, [(OUTPUT, 16)])
                    self._carry.download(self._memory, [(OUTPUT, 32 + 4 * self._output_count())])
                    watch()
            finally:
                if done > first:
                    self._bring_back(first, done)

    def buffers(self, address: int, length: int, positions: int) -> NDArray[np.uint8]:
        """Return what the only position of the last run left in a buffer: (1, length)."""
        left: NDArray[np.uint8] = self._memory.view(address, length, np.uint8)[None]  # type: ignore[assignment]
        return left

    def losses(self) -> None:
        """Return None: nothing here counts what fixed point loses."""

    def _compute(self, first: int, end: int) -> None:
        names = tuple(("tensor", *OPERANDS[shape.opcode]) for shape in self._tensors.shapes)
        stages = np.int64(first), np.int64(end)
        how = {"shapes": self._tensors.shapes, "names": names, "kind": self._header.request_kind}
        self._carry.words = walk(self._carry.words, *stages, self._tape, self._tensors.stacks, self._fixed, **how)
        self._carry.words.block_until_ready()

    def _bring_up(self) -> None:
        """Upload what the host changed since the last stop; everything at the first time."""
        self._carry.upload(self._memory, self._weights.take_changed())
        if self._weights.have_changed():  # they are no longer the image's, so nobody else may use them
            self._use(Tensors(self._device, self._memory, self._ops, self._header))
            self._weights.note_copied()

    def _bring_back(self, first: int, end: int) -> None:
        """Copy what the stages wrote to the host, and put it on the record of writes."""
        written = list(written_ranges(self._ops, first, end, self._output_count()))
        self._carry.download(self._memory, written)
        for address, length in written:
            self._memory.mark_written(address, length)
        self._memory.take_changed()  # the device has all of this

    def _use(self, tensors: Tensors) -> None:
        """Take the model's tensors from here on, and put the tape that chooses among them on the device."""
        self._tensors = tensors
        numbers = np.array([tensors.shapes.index(shape_of(op)) for op in self._ops], np.int64)
        conditions = np.array([op.condition for op in self._ops], np.int64)
        operands = np.array([self._operands(op) for op in self._ops], np.int64)
        self._tape = jax.device_put(TapeArrays(numbers, conditions, operands), self._device.handle)  # type: ignore[arg-type]
        request, output = (np.int64(self._carry.place_of(address)) for address in (REQUEST + 32, OUTPUT))
        fixed = Fixed(request, output, np.array(self._header.stop_tokens, np.uint64).view(np.int64), sigmoid_table())  # type: ignore[arg-type]
        self._fixed = jax.device_put(fixed, self._device.handle)

    def _operands(self, op: Op) -> list[int]:
        """Return the index of the op's tensor, then its operands with words of the carry instead of addresses."""
        found = [self._tensors.index(op)]
        for name in OPERANDS[op.opcode]:
            value = op.operands[name]
            is_tensor = name == TENSOR.get(op.opcode) and tensor_address(op) is not None
            found.append(self._carry.place_of(value) if name in BUFFERS and not is_tensor else 0 if is_tensor else value)
        return found + [0] * (1 + max(map(len, OPERANDS.values())) - len(found))

    def _carried(self) -> list[tuple[int, int]]:
        """Return what stages read and write in the state and io quarters."""
        carried = [buffer for op in self._ops for group in buffers(op)[:2] for buffer in group if buffer[0] >= STATE]
        return [*carried, (REQUEST, 32 + MAX_REQUEST_BYTES), (OUTPUT, 32 + 4 * self._header.context)]

    def _is_done(self) -> bool:
        return bool(self._memory.view(OUTPUT + 8, 1, np.uint64)[0])

    def _output_count(self) -> int:
        return int(self._memory.view(OUTPUT, 1, np.uint64)[0])
