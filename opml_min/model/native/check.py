"""The check of an image before native code runs it. After it every kernel is exact, in bounds, and agrees with the guest.

What is checked of a weight is checked once, so it must stay as it is. It lies in the model quarter, or in the state quarter where no op of
the tape has a buffer to write to.

An image that fails may still be a valid model. The machine defines what it computes, and runs it with `--device vm`.

*Source*: spec §3.8 (What a loader checks) and §3.6.
"""

from bisect import bisect_left
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from itertools import accumulate

import numpy as np

from opml_min.memory_map import MODEL, QUARTER_BYTES, STAGE_STEP_LIMIT, STATE
from opml_min.model.errors import CheckFailed, ImageError, MayNeedTooManySteps
from opml_min.model.files.cache import MODEL_SOURCES, digest_of_sources
from opml_min.model.files.file_memo import remembered
from opml_min.model.image.header import BYTES, SINGLE_PHASE, TEXT, Header
from opml_min.model.image.image import Image
from opml_min.model.image.ops import ALIGNMENT, FIXED, FLOAT, OPERANDS, RECORD_BYTES, WHEN_DRAWN, Buffer, Op, Opcode, buffers
from opml_min.model.image.program import shipped_program
from opml_min.model.image.weights import (
    BLOCK_BYTES,
    F32,
    GROUP,
    MINIMUM_OFFSET,
    Q4_1,
    SCALE_OFFSET,
    block_halfs,
    matrix_bytes,
    problem_of_scales,
)

MAX_NORM_LENGTH = (1 << 15) - 1  # the sum of squares fits 63 bits
MAX_CONTEXT = 1 << 23  # attention's sums fit 64 bits
STEPS_PER_WEIGHT = {FIXED: 16, FLOAT: 128}  # an upper bound for the guest


def check(image: Image) -> None:
    """Raise CheckFailed unless native code may run the image. Large files that passed are remembered."""
    remembered(f"checked {_rules()}", image.path, image.identity, lambda: _checked(image))


@cache
def _rules() -> str:
    """Identify the checks, and the code that relies on them."""
    return sha256(digest_of_sources(*MODEL_SOURCES) + shipped_program()).hexdigest()


def _checked(image: Image) -> bytes:
    if image.program != shipped_program():
        raise CheckFailed(f"{image.path}: its program is not the shipped one, so only the machine can run it (--device vm)")
    header = image.header
    if header.arithmetic not in (FIXED, FLOAT):
        raise CheckFailed(f"{image.path}: arithmetic {header.arithmetic} is unknown")
    if header.flags > SINGLE_PHASE:
        raise CheckFailed(f"{image.path}: the header's flags {header.flags:#x} are unknown")
    if header.request_kind not in (TEXT, BYTES) or not 1 <= header.context <= MAX_CONTEXT:
        raise CheckFailed(f"{image.path}: request kind {header.request_kind} with a length of {header.context} is not supported")
    if not MODEL <= header.tape_address <= MODEL + QUARTER_BYTES - RECORD_BYTES * header.op_count:
        raise CheckFailed(f"{image.path}: the tape is outside the model quarter")
    checked_matrices: set[tuple[int, int, int, int]] = set()
    for index, words in enumerate(image.tape.view(np.uint64).tolist()):
        try:
            if words[0] not in OPERANDS:
                raise CheckFailed(f"unknown opcode {words[0]}")
            op = Op.from_words(words)
            _check_op(op, image)
            for matrix in matrices(op, image.header):
                if matrix not in checked_matrices:
                    _check_weights(matrix, image)
                    checked_matrices.add(matrix)
        except (CheckFailed, ImageError) as error:
            raise CheckFailed(f"{image.path}: op {index} of the tape: {error}") from error
    _check_that_weights_stay(image)
    image.release()
    return b""


def steps_bound(image: Image) -> int:
    """Return an upper bound of the machine steps for one position, for the limit of a model in one stage."""
    return sum(_steps(op, image) for op in image.ops)


def matrices(op: Op, header: Header) -> Iterator[tuple[int, int, int, int]]:
    """Yield the op's weight matrix: (address, quantisation, rows, columns)."""
    if op.opcode.kind in (Opcode.EMBED, Opcode.MATMUL):
        o = op.operands
        yield o["matrix"], o.get("quantisation", F32), o.get("rows", header.vocabulary), o["columns"]


def tensors(op: Op, header: Header) -> list[Buffer]:
    """Return the weights that the op reads: a vector, the RoPE table, or the matrix."""
    o = op.operands
    found = [(o["table"], 4 * o["head_size"] * header.context)] if op.opcode.kind == Opcode.ROPE else buffers(op)[2]
    return found + [(address, matrix_bytes(*sizes)) for address, *sizes in matrices(op, header)]


def _steps(op: Op, image: Image) -> int:
    """Return an upper bound of the machine steps for the op."""
    return _weights(op, image) * STEPS_PER_WEIGHT[op.opcode.arithmetic]


def _weights(op: Op, image: Image) -> int:
    """Return roughly how many multiplications the op needs."""
    o = op.operands
    match op.opcode.kind:
        case Opcode.MATMUL:
            return (o["rows"] + 8) * (o["columns"] + 64)
        case Opcode.ATTENTION:
            return o["heads"] * image.header.context * (o["head_size"] + 16) * 2
        case _:
            return 64 * (64 + o.get("length", 0) + (o.get("heads", 0) + o.get("kv_heads", 0)) * o.get("head_size", 0))


def _check_op(op: Op, image: Image) -> None:
    o, header = op.operands, image.header
    _require(op.opcode.arithmetic == header.arithmetic, f"{op.opcode.name} is an op of the other arithmetic")
    _require(op.condition <= WHEN_DRAWN, f"unknown condition {op.condition}")
    sizes = {name: o[name] for name in ("length", "rows", "columns", "heads", "kv_heads", "head_size", "context") if name in o}
    for name, value in sizes.items():
        _require(1 <= value < 1 << 32, f"{name} is {value}")
    for fraction in ("out_frac", "frac"):
        _require(o.get(fraction, 0) <= 62, f"{fraction} exceeds 62")
    _require(4 <= o.get("r", 14) <= 14, "r is not from 4 to 14")
    for pattern in ("eps_bits", "root_bits"):
        _require(o.get(pattern, 0) < 1 << 32, f"{pattern} has more than 32 bits")
    if op.opcode.kind in (Opcode.EMBED, Opcode.ROPE, Opcode.CACHE, Opcode.ATTENTION):
        _require(header.request_kind == TEXT, f"{op.opcode.name} needs a text request")
    if "head_size" in o:
        _require(o["head_size"] % 2 == 0, "the head size is odd")
    if "context" in o:
        _require(header.context <= o["context"] <= MAX_CONTEXT, "a KV cache is shorter than the context, or too long")
    if "quantisation" in o:
        known = o["quantisation"] < len(BLOCK_BYTES)
        _require(o["columns"] % GROUP == 0 and known, "a matrix has an unknown quantisation or an incomplete group")
    if op.opcode == Opcode.EMBED:
        _require(o["length"] <= o["columns"], "a token's row is longer than the matrix")
    if op.opcode == Opcode.NORM:
        _require(o["length"] <= MAX_NORM_LENGTH and o["eps_q48"] < 1 << 36, "its length or epsilon is too large")
    if op.opcode.kind == Opcode.ATTENTION:
        _require(o["heads"] % o["kv_heads"] == 0, "the kv heads do not divide the heads")
    if op.opcode == Opcode.ATTENTION:
        _require(o["head_size"] * 8191 * 32768 * o["scale_q30"] < 1 << 63, "its scale is too large")
    if op.opcode.kind == Opcode.SAMPLE and header.request_kind == TEXT:
        _require(o["length"] <= header.vocabulary, "it has more logits than the vocabulary has tokens")
        _require(op.condition == WHEN_DRAWN, "it would also draw at positions before the first new token")
    if op.opcode.kind == Opcode.INPUT:
        _require(header.request_kind == BYTES and o["length"] <= header.context, "it reads more bytes than the request has")
    if _steps(op, image) > STAGE_STEP_LIMIT:
        raise MayNeedTooManySteps("it may need more steps than a stage has")
    _check_places(op, image)


def _check_places(op: Op, image: Image) -> None:
    written, read, _ = buffers(op)
    weights = tensors(op, image.header)
    for address, length in written + read:
        _require(address >= STATE and address + length <= STATE + QUARTER_BYTES, f"the buffer at {address:#x} is outside the state quarter")
    for address, length in weights:
        is_inside = any(quarter <= address and address + length <= quarter + QUARTER_BYTES for quarter in (MODEL, STATE))
        _require(is_inside, f"the tensor at {address:#x} is in neither the model nor the state quarter")
    for address, _ in written + read + weights:
        _require(address % ALIGNMENT == 0, f"the buffer at {address:#x} is not aligned")
    for i, (address, length) in enumerate(written):
        for other, other_length in written[i + 1 :] + read:
            _require(address + length <= other or other + other_length <= address, f"the buffers at {address:#x} and {other:#x} overlap")
    if op.opcode == Opcode.ROPE:
        table = image.view(*weights[0]).view(np.int32)
        _require(int(table.min()) >= -(1 << 30) and int(table.max()) <= 1 << 30, "its table exceeds ±1")


def _check_that_weights_stay(image: Image) -> None:
    """Require that no op writes into a weight, at whatever position. A KV cache counts as a whole."""
    written = sorted(buffer for op in image.ops for buffer in buffers(op)[0])
    starts = [address for address, _ in written]
    ends = list(accumulate((address + length for address, length in written), max))  # of all buffers up to each
    for index, op in enumerate(image.ops):
        for address, length in tensors(op, image.header):
            before_end = bisect_left(starts, address + length)
            if before_end and ends[before_end - 1] > address:
                raise CheckFailed(f"{image.path}: op {index} of the tape: an op writes into its tensor at {address:#x}")


def _check_weights(matrix: tuple[int, int, int, int], image: Image) -> None:
    """Require that scales are finite and below 128, and that no row can overflow 62 bits."""
    address, quantisation, rows, columns = matrix
    if quantisation == F32:
        return  # every pattern is a number or a NaN, and float arithmetic is total
    data = image.view(address, matrix_bytes(quantisation, rows, columns))
    minimums = block_halfs(data, MINIMUM_OFFSET, quantisation, columns) if quantisation == Q4_1 else None
    scales = block_halfs(data, SCALE_OFFSET[quantisation], quantisation, columns)
    problem = problem_of_scales(quantisation, scales, minimums)
    _require(problem is None, problem or "")


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise CheckFailed(problem)
