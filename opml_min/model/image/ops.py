"""The ops of the tape: their numbers, their operands, the record that holds one, and the buffers that it reads and writes.

*Source*: spec §3.1 and the operand tables of spec §3.5 and §3.6.
"""

from enum import IntEnum

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.memory_map import MODEL, QUARTER_BYTES

FIXED, FLOAT = 0, 1  # arithmetics
ARITHMETICS = ("fixed", "float")  # their names, by number
FLOAT_OPCODES = 32  # an opcode of float arithmetic is that of fixed point plus this
ALWAYS, WHEN_DRAWN = 0, 1  # conditions of an op
RECORD_WORDS = 16
RECORD_BYTES = 8 * RECORD_WORDS
ALIGNMENT = 32  # every buffer and tensor begins with a leaf

Tape = NDArray[np.int64]  # (ops, RECORD_WORDS)
Buffer = tuple[int, int]  # address, bytes


class Opcode(IntEnum):
    """What an op computes. In float arithmetic its number is 32 higher."""

    EMBED = 1
    NORM = 2
    MATMUL = 3
    ROPE = 4
    CACHE = 5
    ATTENTION = 6
    SWIGLU = 7
    ADD = 8
    SAMPLE = 9
    INPUT = 10
    RELU = 11
    FLOAT_EMBED = 33
    FLOAT_NORM = 34
    FLOAT_MATMUL = 35
    FLOAT_ROPE = 36
    FLOAT_CACHE = 37
    FLOAT_ATTENTION = 38
    FLOAT_SWIGLU = 39
    FLOAT_ADD = 40
    FLOAT_SAMPLE = 41
    FLOAT_INPUT = 42
    FLOAT_RELU = 43

    @property
    def arithmetic(self) -> int:
        return self // FLOAT_OPCODES

    @property
    def kind(self) -> "Opcode":
        """The op without its arithmetic: the opcode that it has in fixed point."""
        return Opcode(self % FLOAT_OPCODES)

    def in_arithmetic(self, arithmetic: int) -> "Opcode":
        return Opcode(self.kind + FLOAT_OPCODES * arithmetic)


OPERANDS: dict[Opcode, tuple[str, ...]] = {
    Opcode.EMBED: ("out", "matrix", "quantisation", "columns", "length", "r"),
    Opcode.NORM: ("out", "x", "weights", "length", "r", "eps_q48"),
    Opcode.MATMUL: ("out", "x", "matrix", "quantisation", "rows", "columns", "out_frac"),
    Opcode.ROPE: ("vector", "heads", "head_size", "table"),
    Opcode.CACHE: ("k", "v", "keys", "key_exps", "values", "value_exps", "kv_heads", "head_size", "context"),
    Opcode.ATTENTION: (
        "out", "q", "keys", "key_exps", "values", "value_exps", "heads", "kv_heads", "head_size", "context", "scale_q30",
    ),
    Opcode.SWIGLU: ("out", "gate", "up", "length"),
    Opcode.ADD: ("x", "y", "length"),
    Opcode.SAMPLE: ("logits", "length"),
    Opcode.INPUT: ("out", "length"),
    Opcode.RELU: ("out", "x", "length", "frac"),
    Opcode.FLOAT_EMBED: ("out", "matrix", "columns"),
    Opcode.FLOAT_NORM: ("out", "x", "weights", "length", "eps_bits"),
    Opcode.FLOAT_MATMUL: ("out", "x", "matrix", "rows", "columns"),
    Opcode.FLOAT_ROPE: ("vector", "heads", "head_size", "table"),
    Opcode.FLOAT_CACHE: ("k", "v", "keys", "values", "kv_heads", "head_size", "context"),
    Opcode.FLOAT_ATTENTION: ("out", "q", "keys", "values", "heads", "kv_heads", "head_size", "context", "root_bits"),
    Opcode.FLOAT_SWIGLU: ("out", "gate", "up", "length"),
    Opcode.FLOAT_ADD: ("x", "y", "length"),
    Opcode.FLOAT_SAMPLE: ("logits", "length"),
    Opcode.FLOAT_INPUT: ("out", "length"),
    Opcode.FLOAT_RELU: ("out", "x", "length"),
}  # fmt: skip

BUFFERS = {"out", "x", "y", "vector", "k", "v", "q", "gate", "up", "logits", "keys", "key_exps", "values", "value_exps"}
"""The operands that are addresses of buffers. What an ADD adds may lie among the weights."""
WEIGHTS = {"matrix", "weights", "table"}
"""The operands that are addresses of weights."""


@frozen
class Op:
    """One record of the tape: what is computed, when, and on which buffers."""

    opcode: Opcode
    condition: int
    operands: dict[str, int]

    def words(self) -> list[int]:
        values = [self.operands[name] for name in OPERANDS[self.opcode]]
        return [self.opcode, self.condition, *values] + [0] * (RECORD_WORDS - 2 - len(values))

    @classmethod
    def from_words(cls, words: list[int]) -> "Op":
        """Read a record. An unknown opcode raises ValueError."""
        opcode = Opcode(words[0])
        return cls(opcode, words[1], dict(zip(OPERANDS[opcode], words[2:], strict=False)))


def ops_of(tape: Tape) -> list[Op]:
    """Read all records of a tape."""
    return [Op.from_words(words) for words in tape.tolist()]


def align(address: int, alignment: int = ALIGNMENT) -> int:
    return -(-address // alignment) * alignment


def activation_bytes(columns: int, arithmetic: int = FIXED) -> int:
    """Return the size of an activation in bytes: in float arithmetic, that of its floats.

    In fixed point it is 32 bytes with the exponent, and i16 padded to whole groups of 32 columns."""
    return 4 * columns if arithmetic == FLOAT else 32 + 2 * align(columns)


def writes(op: Op, position: int = 0) -> list[Buffer]:
    """Return the bytes in the state quarter that the op writes at a position. SAMPLE writes only to io."""
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
    """Return, for each buffer of the op's KV cache, its address and the bytes of one head at one position."""
    o = op.operands
    if op.opcode.arithmetic == FLOAT:
        return [(o["keys"], 4 * o["head_size"]), (o["values"], 4 * o["head_size"])]
    return [(o["keys"], 2 * o["head_size"]), (o["key_exps"], 1), (o["values"], 2 * o["head_size"]), (o["value_exps"], 1)]


def buffers(op: Op) -> tuple[list[Buffer], list[Buffer], list[Buffer]]:
    """Return the state buffers that the op writes, those that it only reads, and its vectors of weights.

    What an ADD adds is such a vector in the model quarter, and a buffer in the state quarter, where no op need ever write to it."""
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
