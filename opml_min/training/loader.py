"""What is checked before native code computes a training tape: that no op leaves its tensors, and no number 64 bits.

An image that is refused may still be valid; the machine computes it.

*Source*: spec §6.8.
"""

from collections.abc import Callable, Iterator
from math import isqrt

import numpy as np

from opml_min.machine import Memory
from opml_min.memory_map import HEADER, IO, MODEL, QUARTER_BYTES, STATE
from opml_min.model.errors import CheckFailed
from opml_min.model.image.ops import RECORD_BYTES
from opml_min.training.errors import ImageBound, ImageHeader, ImageOp
from opml_min.training.layout import HEADER_WORDS, MAX_REQUEST_BYTES, TENSORS, TrainingHeader, unpack_tape
from opml_min.training.operations import OPERANDS, Tensor, TensorPlace, TrainingOp, TrainingOpcode
from opml_min.training.request import round_shift

_SIZE, _HEADS = (1, 1 << 20), (1, 1 << 10)
RANGES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("rows", "length", "columns", "matrix_rows", "taken", "sequences", "period", "vocabulary", "per_update"), _SIZE),
    **dict.fromkeys(("heads", "kv_heads", "head_size"), _HEADS),
    "first": (0, 1 << 20),
    "count": (1, 1 << 32),
    "token_bytes": (1, 4),
    "mean": (0, (1 << 31) - 1),
    "scale_q16": (0, (1 << 31) - 1),
    "stream": (0, (1 << 32) - 1),
    "width": (7, 15),
    "r": (4, 18),
    "eps_q48": (0, (1 << 36) - 1),
    "frac": (18, 30),
    "sum_frac": (0, 24),
    "out_frac": (0, 30),
    "vector_frac": (0, 30),
    "rate_q16": (0, 1 << 24),
    "decays": (0, 1),
}
TABLE_LIMIT = 1 << 30
TABLE_BYTES_AT_ONCE = 1 << 20
MOST_TABLE_BYTES = 1 << 28  # of all ops, so that no image holds the loader up
MOST_OPS = 1 << 18  # of which native code keeps what it knows in memory
PLACES: dict[TensorPlace, tuple[tuple[int, int], ...]] = {
    TensorPlace.STATE: ((STATE, STATE + QUARTER_BYTES),),
    TensorPlace.TENSORS: ((TENSORS, IO + QUARTER_BYTES),),
    TensorPlace.MODEL: ((MODEL, MODEL + QUARTER_BYTES),),
}
PLACES[TensorPlace.ANYWHERE] = (
    *PLACES[TensorPlace.MODEL],
    (IO + 32, IO + 32 + MAX_REQUEST_BYTES),
    *PLACES[TensorPlace.TENSORS],
    *PLACES[TensorPlace.STATE],
)


def load_header(memory: Memory) -> TrainingHeader:
    header = TrainingHeader.unpack(memory.read(HEADER, 8 * HEADER_WORDS))
    end = header.tape_address + RECORD_BYTES * header.op_count
    if not MODEL <= header.tape_address <= end <= MODEL + QUARTER_BYTES:
        raise ImageHeader("the tape lies outside the model quarter")
    return header


def load_ops(memory: Memory, header: TrainingHeader) -> list[TrainingOp]:
    """Read the tape of a memory, and raise TrainingImageRefused unless native code may compute it."""
    ops: list[TrainingOp] = []
    checked_tables: set[tuple[int, int]] = set()
    for index, op in enumerate(_decoded_one_by_one(header, memory.read)):  # the first op with a fault decides
        _check_operands(index, op)
        _check_tensors(index, op)
        _check_bounds(index, op, memory, checked_tables)
        ops.append(op)
    _check_sharing(ops)
    return ops


def decoded_ops(header: TrainingHeader, read: Callable[[int, int], bytes]) -> list[TrainingOp]:
    """Decode the records of a tape. read: the bytes at an address, so many"""
    return list(_decoded_one_by_one(header, read))


def _decoded_one_by_one(header: TrainingHeader, read: Callable[[int, int], bytes]) -> Iterator[TrainingOp]:
    if header.op_count > MOST_OPS:
        raise CheckFailed(f"the tape has {header.op_count} ops, so only the machine can run it")
    tape = unpack_tape(read(header.tape_address, RECORD_BYTES * header.op_count))
    for index, record in enumerate(tape.view(np.uint64).tolist()):
        try:
            op = TrainingOp.of(tuple(record))
        except ValueError as error:
            raise ImageOp(f"op {index} has the unknown opcode {record[0]}") from error
        yield op


def _check_operands(index: int, op: TrainingOp) -> None:
    for name in OPERANDS[op.opcode]:
        least, largest = RANGES.get(name, (0, (1 << 64) - 1))
        if not least <= op[name] <= largest or (name == "token_bytes" and op[name] == 3):
            raise ImageOp(f"op {index} ({op.opcode.name}): {name} is {op[name]}")
    has = op.operands.keys()
    fits = [
        "taken" not in has or op["first"] + op["taken"] <= op["matrix_rows"],
        op.opcode != TrainingOpcode.TOKENS or (op["first"] + op["sequences"] <= op["per_update"] and op["count"] > op["period"]),
        op.opcode != TrainingOpcode.PICTURES or op["first"] + op["rows"] <= op["per_update"],
        "kv_heads" not in has or op["heads"] % op["kv_heads"] == 0,
        op.opcode not in (TrainingOpcode.ROPE, TrainingOpcode.ROPE_BACKWARD) or op["head_size"] % 2 == 0,
    ]
    if not all(fits):
        raise ImageOp(f"op {index} ({op.opcode.name}): its operands do not fit each other")


def _overlap(a: Tensor, b: Tensor) -> bool:
    return a.address < b.end and b.address < a.end


def _check_tensors(index: int, op: TrainingOp) -> None:
    tensors = op.tensors()
    for tensor in tensors:
        inside = any(start <= tensor.address and tensor.end <= end for start, end in PLACES[tensor.place])
        if tensor.address % 32 or not inside:
            raise ImageOp(f"op {index} ({op.opcode.name}): {tensor.name} at {tensor.address:#x} does not lie in {tensor.place.value}")
    may_coincide = op.opcode in (TrainingOpcode.ADD, TrainingOpcode.SUM)
    for i, a in enumerate(tensors):
        for b in tensors[i + 1 :]:
            if (a.written or b.written) and _overlap(a, b) and not (may_coincide and a.address == b.address):
                raise ImageOp(f"op {index} ({op.opcode.name}): {a.name} and {b.name} overlap")


def _check_sharing(ops: list[TrainingOp]) -> None:
    """Check that any two tensors of the tape are the same or share no byte."""
    found = {(t.address, t.size, t.form) for op in ops for t in op.tensors()}
    end = 0
    for address, size, _ in sorted(found, key=lambda each: each[:2]):
        if address < end:
            raise ImageOp(f"two different tensors share the bytes at {address:#x}")
        end = address + size


def scale_q24(head_size: int) -> int:
    """Return log2(e) / √head_size in Q24, by which dot products become scores."""
    return round_shift(isqrt((1 << 60) // head_size) * 6196328018, 38)


def _largest_numbers(op: TrainingOp) -> list[int]:
    """Return what must stay below 2^63."""
    match op.opcode:
        case TrainingOpcode.NORM:
            return [(1 << 48) + round_shift(op["eps_q48"], 48 - 2 * (op["r"] + 23))]
        case TrainingOpcode.NORM_BACKWARD:
            mean = (1 << 48) + round_shift(op["eps_q48"], 48 - 2 * (op["r"] + 23))
            return [mean, (op["rows"] + 1) << 31, op["length"] << 50]
        case TrainingOpcode.MATMUL:
            return [op["columns"] << 30]
        case TrainingOpcode.MATMUL_DATA:
            return [op["taken"] << 30]
        case TrainingOpcode.MATMUL_WEIGHTS:
            return [op["rows"] << 30]
        case TrainingOpcode.ATTENTION:
            return [op["head_size"] * scale_q24(op["head_size"]) << 30, op["period"] << 39]
        case TrainingOpcode.ATTENTION_BACKWARD:
            score = op["head_size"] * scale_q24(op["head_size"]) << 30
            return [score, op["period"] << 39, op["period"] * op["head_size"] << 45]
        case TrainingOpcode.CROSS_ENTROPY:
            return [op["vocabulary"] << 24]
        case TrainingOpcode.TARGET_WEIGHTS | TrainingOpcode.EMBED_WEIGHTS:
            return [(op["rows"] + 1) << 31]
        case TrainingOpcode.MUON:
            return [op["matrix_rows"] * op["columns"] << 30]
    return []


def _is_within_limit(memory: Memory, address: int, size: int) -> bool:
    """Tell whether no entry of a table exceeds ±2^30. A table may be much longer than what any op reads of it."""
    for first in range(address, address + size, TABLE_BYTES_AT_ONCE):
        entries = memory.view(first, min(TABLE_BYTES_AT_ONCE, address + size - first) // 4, np.int32)
        if int(entries.max()) > TABLE_LIMIT or int(entries.min()) < -TABLE_LIMIT:
            return False
    return True


def _check_bounds(index: int, op: TrainingOp, memory: Memory, checked_tables: set[tuple[int, int]]) -> None:
    too_long = op.opcode in (TrainingOpcode.NORM, TrainingOpcode.NORM_BACKWARD) and op["length"] > 4096
    if too_long or any(number >= 1 << 63 for number in _largest_numbers(op)):
        raise ImageBound(f"op {index} ({op.opcode.name}): its numbers may leave 64 bits")
    for tensor in op.tensors():
        if tensor.place == TensorPlace.MODEL and (tensor.address, tensor.size) not in checked_tables:
            if sum(size for _, size in checked_tables) + tensor.size > MOST_TABLE_BYTES:
                raise CheckFailed(f"op {index} ({op.opcode.name}): its tables are too long to be looked at")
            if not _is_within_limit(memory, tensor.address, tensor.size):
                raise ImageBound(f"op {index} ({op.opcode.name}): an entry of its table is not within ±2^30")
            checked_tables.add((tensor.address, tensor.size))
