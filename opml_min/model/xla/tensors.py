"""The model's tensors on the device: unpacked from the image's tiles once, and stacked so that an operand chooses one.

*Source*: spec §3.4.
"""

import weakref
from collections.abc import Hashable

import jax
import numpy as np
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.model.files.file_memo import Identity
from opml_min.model.image.header import Header
from opml_min.model.image.ops import Op, Opcode
from opml_min.model.image.weights import Q4_0, Halfs, matrix_bytes, unpack
from opml_min.model.native.check import matrices, tensors
from opml_min.model.xla.first_device import XlaDevice
from opml_min.model.xla.operations import UnpackedMatrix
from opml_min.model.xla.shapes import OpShape, shape_of, tensor_address

Stack = UnpackedMatrix | jax.Array | tuple[()]  # with an axis before all others
Key = tuple[int, ...]  # an address, and for a matrix what says how to read it


class Tensors:
    """For each shape of a tape, the distinct tensors of its ops. `index` says which is whose."""

    def __init__(self, device: XlaDevice, memory: Memory, ops: list[Op], header: Header) -> None:
        self.shapes = tuple(dict.fromkeys(map(shape_of, ops)))
        owners: dict[OpShape, dict[Key, Op]] = {shape: {} for shape in self.shapes}
        for op in ops:
            owners[shape_of(op)].setdefault(_key(op, header), op)
        self._places = {shape: {key: place for place, key in enumerate(keys)} for shape, keys in owners.items()}
        self._header = header
        self.stacks = tuple(jax.device_put(_stack(memory, list(owners[shape].values()), header), device.handle) for shape in self.shapes)

    def index(self, op: Op) -> int:
        """Return the place of the op's tensor in the stack of its shape."""
        return self._places[shape_of(op)][_key(op, self._header)]


def _key(op: Op, header: Header) -> Key:
    found = next(matrices(op, header), None)
    return found if found is not None else (tensor_address(op) or 0,)


def _stack(memory: Memory, ops: list[Op], header: Header) -> Stack:
    if tensor_address(ops[0]) is None:
        return ()
    if ops[0].opcode in (Opcode.EMBED, Opcode.MATMUL):
        parts = [_unpacked(memory, *matrix) for op in ops for matrix in matrices(op, header)]
        return UnpackedMatrix(*(None if column[0] is None else np.stack(column) for column in zip(*parts, strict=True)))  # type: ignore[arg-type]
    places = [tensors(op, header)[0] for op in ops]
    found = np.stack([memory.view(address, length // 4, np.int32) for address, length in places])
    if ops[0].opcode == Opcode.ROPE:
        found = found.reshape(len(ops), header.context, -1, 2)
    return found  # type: ignore[return-value]


def _unpacked(memory: Memory, address: int, quantisation: int, rows: int, columns: int) -> UnpackedMatrix:
    """Return signed weights, and scales and minimums as integers."""
    data: NDArray[np.uint8] = memory.view(address, matrix_bytes(quantisation, rows, columns), np.uint8)  # type: ignore[assignment]
    groups = unpack(data, quantisation, rows, columns)
    weights = groups.weights - np.int8(8) if quantisation == Q4_0 else groups.weights
    return UnpackedMatrix(weights, _decoded(groups.scales), None if groups.minimums is None else _decoded(groups.minimums))  # type: ignore[arg-type]


def _decoded(halfs: Halfs) -> NDArray[np.int32]:
    """Return halfs in units of 2^-24. Those of an image that was checked are below 2^31."""
    sign, exponent, fraction = halfs >> 15, (halfs >> 10 & 31).astype(np.int64), (halfs & 1023).astype(np.int64)
    size = np.where(exponent == 0, fraction, (1024 + fraction) << np.maximum(exponent - 1, 0))
    return np.where(sign == 1, -size, size).astype(np.int32)


_shared: "weakref.WeakValueDictionary[Hashable, Tensors]" = weakref.WeakValueDictionary()


def shared_tensors(device: XlaDevice, memory: Memory, identity: Identity, ops: list[Op], header: Header) -> Tensors:
    """Return the tensors of an image for a tape: those that another run of it has brought to the device, if there is one."""
    key = (id(device), identity, *((shape_of(op), _key(op, header)) for op in ops))
    found = _shared.get(key)
    if found is None:
        found = _shared[key] = Tensors(device, memory, ops, header)
    return found
