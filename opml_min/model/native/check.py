"""What is checked before native code runs an image: then every kernel is exact, in bounds, and agrees with the guest.

An image that fails may still be a valid model: the machine defines what it computes, and `--device vm` runs it.

*Source*: spec/README.md §5 (What a loader checks) and §7.
"""

from collections.abc import Iterator
from functools import cache
from hashlib import sha256

import numpy as np

from opml_min.memory_map import MODEL, QUARTER_BYTES, STAGE_STEP_LIMIT, STATE
from opml_min.model.errors import CheckFailed, ImageError
from opml_min.model.files.cache import MODEL_SOURCES, digest_of_sources
from opml_min.model.files.file_memo import remembered
from opml_min.model.image.header import BYTES, FIXED, FLOAT, TEXT
from opml_min.model.image.image import Image
from opml_min.model.image.ops import ALIGNMENT, OPERANDS, WHEN_DRAWN, Op, Opcode, activation_bytes
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

MAX_NORM_LENGTH = 1 << 15  # the sum of squares fits 64 bits
MAX_CONTEXT = 1 << 23  # attention's sums fit 64 bits
STEPS_A_WEIGHT = {FIXED: 16, FLOAT: 128}  # at most, in the guest

Buffer = tuple[int, int]  # address, bytes


def check(image: Image) -> None:
    """CheckFailed unless native code may run the image. Of a large file that has passed, this is remembered."""
    remembered(f"checked {_rules()}", image.path, image.identity, lambda: _checked(image))


@cache
def _rules() -> str:
    """Names what is checked, and for which code."""
    return sha256(digest_of_sources(*MODEL_SOURCES) + shipped_program()).hexdigest()


def _checked(image: Image) -> bytes:
    if image.program != shipped_program():
        raise CheckFailed(f"{image.path}: its program is not the shipped one, so only the machine can run it (--device vm)")
    header = image.header
    if header.arithmetic not in (FIXED, FLOAT):
        raise CheckFailed(f"{image.path}: arithmetic {header.arithmetic} is unknown")
    if header.request_kind not in (TEXT, BYTES) or not 1 <= header.context <= MAX_CONTEXT:
        raise CheckFailed(f"{image.path}: request kind {header.request_kind} with a length of {header.context} is not supported")
    checked_matrices: set[tuple[int, int, int, int]] = set()
    for index, words in enumerate(image.tape.view(np.uint64).tolist()):
        try:
            if words[0] not in OPERANDS:
                raise CheckFailed(f"unknown opcode {words[0]}")
            op = Op.from_words(words)
            _check_op(op, image)
            for matrix in _matrices(op, image):
                if matrix not in checked_matrices:
                    _check_weights(matrix, image)
                    checked_matrices.add(matrix)
        except (CheckFailed, ImageError) as error:
            raise CheckFailed(f"{image.path}: op {index} of the tape: {error}") from error
    image.release()
    return b""


def steps_bound(image: Image) -> int:
    """More machine steps than one position takes, for the single-phase limit."""
    return sum(_steps(Op.from_words(words), image) for words in image.tape.tolist())


def writes(op: Op, position: int = 0) -> list[Buffer]:
    """What the op writes at a position (in io: nothing; see SAMPLE)."""
    o = op.operands
    match op.opcode:
        case Opcode.EMBED:
            return [(o["out"], 4 * o["length"])]
        case Opcode.FLOAT_EMBED:
            return [(o["out"], 4 * o["columns"])]
        case Opcode.MATMUL | Opcode.FLOAT_MATMUL:
            return [(o["out"], 4 * o["rows"])]
        case Opcode.FLOAT_NORM | Opcode.FLOAT_SWIGLU | Opcode.FLOAT_INPUT | Opcode.FLOAT_RELU:
            return [(o["out"], 4 * o["length"])]
        case Opcode.FLOAT_ATTENTION:
            return [(o["out"], 4 * o["heads"] * o["head_size"])]
        case Opcode.NORM | Opcode.SWIGLU | Opcode.INPUT | Opcode.RELU:
            return [(o["out"], 32 + 2 * o["length"])]
        case Opcode.ATTENTION:
            return [(o["out"], 32 + 2 * o["heads"] * o["head_size"])]
        case Opcode.ROPE | Opcode.FLOAT_ROPE:
            return [(o["vector"], 4 * o["heads"] * o["head_size"])]
        case Opcode.ADD | Opcode.FLOAT_ADD:
            return [(o["x"], 4 * o["length"])]
        case Opcode.CACHE | Opcode.FLOAT_CACHE:
            return [
                (at + (head * o["context"] + position) * width, width)
                for at, width in _caches(op)
                for head in range(o["kv_heads"])
            ]  # fmt: skip
        case Opcode.SAMPLE | Opcode.FLOAT_SAMPLE:
            return []


def _caches(op: Op) -> list[tuple[int, int]]:
    """Address, and bytes of a row of one head at one position, of the buffers of the op's KV cache."""
    o = op.operands
    if op.opcode.arithmetic == FLOAT:
        return [(o["keys"], 4 * o["head_size"]), (o["values"], 4 * o["head_size"])]
    return [(o["keys"], 2 * o["head_size"]), (o["key_exps"], 1), (o["values"], 2 * o["head_size"]), (o["value_exps"], 1)]


def buffers(op: Op) -> tuple[list[Buffer], list[Buffer], list[Buffer]]:
    """The state buffers that the op writes and those that it only reads, and the tensors that may lie in the model quarter."""
    o, arithmetic = op.operands, op.opcode.arithmetic
    match op.opcode.kind:
        case Opcode.EMBED | Opcode.ROPE:
            return writes(op), [], []
        case Opcode.NORM:
            return [(o["out"], activation_bytes(o["length"], arithmetic))], [(o["x"], 4 * o["length"])], [(o["weights"], 4 * o["length"])]
        case Opcode.MATMUL:
            return writes(op), [(o["x"], activation_bytes(o["columns"], arithmetic))], []
        case Opcode.CACHE:
            vector = 4 * o["kv_heads"] * o["head_size"]
            return _whole_caches(op), [(o["k"], vector), (o["v"], vector)], []
        case Opcode.ATTENTION:
            width = o["heads"] * o["head_size"]
            return [(o["out"], activation_bytes(width, arithmetic))], [(o["q"], 4 * width), *_whole_caches(op)], []
        case Opcode.SWIGLU:
            reads = [(o["gate"], 4 * o["length"]), (o["up"], 4 * o["length"])]
            return [(o["out"], activation_bytes(o["length"], arithmetic))], reads, []
        case Opcode.ADD:
            y = (o["y"], 4 * o["length"])
            return (writes(op), [], [y]) if MODEL <= y[0] < MODEL + QUARTER_BYTES else (writes(op), [y], [])
        case Opcode.SAMPLE:
            return [], [(o["logits"], 4 * o["length"])], []
        case Opcode.INPUT:
            return [(o["out"], activation_bytes(o["length"], arithmetic))], [], []
        case _:  # RELU
            return [(o["out"], activation_bytes(o["length"], arithmetic))], [(o["x"], 4 * o["length"])], []


def _whole_caches(op: Op) -> list[Buffer]:
    return [(at, op.operands["kv_heads"] * op.operands["context"] * width) for at, width in _caches(op)]


def _matrices(op: Op, image: Image) -> Iterator[tuple[int, int, int, int]]:
    """(address, format, rows, columns) of the op's weight matrix."""
    if op.opcode.kind in (Opcode.EMBED, Opcode.MATMUL):
        o = op.operands
        yield o["matrix"], o.get("format", F32), o.get("rows", image.header.vocabulary), o["columns"]


def _steps(op: Op, image: Image) -> int:
    """More machine steps than the op takes."""
    return _weights(op, image) * STEPS_A_WEIGHT[op.opcode.arithmetic]


def _weights(op: Op, image: Image) -> int:
    """Multiplications of the op, roughly."""
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
        _require(o["context"] >= header.context, "a cache is shorter than the context")
    if "format" in o:
        _require(o["columns"] % GROUP == 0 and o["format"] in BLOCK_BYTES, "a matrix has an unknown format or half a group")
    if op.opcode == Opcode.EMBED:
        _require(o["length"] <= o["columns"], "a token's row is longer than the matrix")
    if op.opcode == Opcode.NORM:
        _require(o["length"] <= MAX_NORM_LENGTH and o["eps_q48"] < 1 << 36, "its length or epsilon is too large")
    if op.opcode.kind == Opcode.ATTENTION:
        _require(o["heads"] % o["kv_heads"] == 0, "heads cannot be shared evenly")
    if op.opcode == Opcode.ATTENTION:
        _require(o["head_size"] * 8191 * 32767 * o["scale_q30"] < 1 << 63, "its scale is too large")
    if op.opcode.kind == Opcode.SAMPLE and header.request_kind == TEXT:
        _require(o["length"] <= header.vocabulary, "more logits than tokens")
    if op.opcode.kind == Opcode.INPUT:
        _require(header.request_kind == BYTES and o["length"] <= header.context, "the request is shorter")
    _require(_steps(op, image) <= STAGE_STEP_LIMIT, "it may need more steps than a stage has")
    _check_places(op, image)


def _check_places(op: Op, image: Image) -> None:
    written, read, tensors = buffers(op)
    o = op.operands
    for address, length in written + read:
        _require(address >= STATE and address + length <= STATE + QUARTER_BYTES, f"the buffer at {address:#x} is outside the state quarter")
    if op.opcode.kind == Opcode.ROPE:
        tensors = [(o["table"], 4 * o["head_size"] * image.header.context)]
    tensors = tensors + [(address, matrix_bytes(form, rows, columns)) for address, form, rows, columns in _matrices(op, image)]
    for address, length in tensors:
        _require(address >= MODEL and address + length <= MODEL + QUARTER_BYTES, f"the tensor at {address:#x} is outside the model quarter")
    for address, _ in written + read + tensors:
        _require(address % ALIGNMENT == 0, f"the buffer at {address:#x} is not aligned")
    for i, (address, length) in enumerate(written):
        for other, other_length in written[i + 1 :] + read:
            _require(address + length <= other or other + other_length <= address, f"the buffers at {address:#x} and {other:#x} overlap")
    if op.opcode == Opcode.ROPE:
        table = image.view(*tensors[0]).view(np.int32)
        _require(bool((np.abs(table.astype(np.int64)) <= 1 << 30).all()), "its table leaves ±1")


def _check_weights(matrix: tuple[int, int, int, int], image: Image) -> None:
    """Scales are finite and below 128, and no row can overflow 62 bits."""
    address, form, rows, columns = matrix
    if form == F32:
        return  # every pattern is a number or a NaN, and float arithmetic is total
    data = image.view(address, matrix_bytes(form, rows, columns))
    minimums = block_halfs(data, MINIMUM_OFFSET, form, columns) if form == Q4_1 else None
    problem = problem_of_scales(form, block_halfs(data, SCALE_OFFSET[form], form, columns), minimums)
    _require(problem is None, problem or "")


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise CheckFailed(problem)
