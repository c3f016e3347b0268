"""The ops of the tape: their numbers, their operands, and the record that holds one.

*Source*: spec/README.md §3.1 and the operand tables of §5 and §7.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opml_min.model.image.header import FIXED, FLOAT

FLOAT_OPCODES = 32  # what the opcodes of float arithmetic begin after
ALWAYS, WHEN_DRAWN = 0, 1  # conditions of an op
RECORD_WORDS = 16
ALIGNMENT = 32  # of every buffer and tensor: a leaf

Tape = NDArray[np.int64]  # (ops, RECORD_WORDS)


class Opcode(IntEnum):
    """What an op does; the same op in float arithmetic has a number that is 32 higher."""

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
        """The op whatever its arithmetic, named as the one in fixed point."""
        return Opcode(self % FLOAT_OPCODES)

    def in_arithmetic(self, arithmetic: int) -> "Opcode":
        return Opcode(self.kind + FLOAT_OPCODES * arithmetic)


OPERANDS: dict[Opcode, tuple[str, ...]] = {
    Opcode.EMBED: ("out", "matrix", "format", "columns", "length", "r"),
    Opcode.NORM: ("out", "x", "weights", "length", "r", "eps_q48"),
    Opcode.MATMUL: ("out", "x", "matrix", "format", "rows", "columns", "out_frac"),
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


class Op(NamedTuple):
    """One record of the tape: what is done, when, and to which buffers."""

    opcode: Opcode
    condition: int
    operands: dict[str, int]

    def words(self) -> list[int]:
        values = [self.operands[name] for name in OPERANDS[self.opcode]]
        return [self.opcode, self.condition, *values] + [0] * (RECORD_WORDS - 2 - len(values))

    @classmethod
    def from_words(cls, words: list[int]) -> "Op":
        opcode = Opcode(words[0])
        return cls(opcode, words[1], dict(zip(OPERANDS[opcode], words[2:], strict=False)))


def align(address: int, alignment: int = ALIGNMENT) -> int:
    return -(-address // alignment) * alignment


def activation_bytes(columns: int, arithmetic: int = FIXED) -> int:
    """The bytes of an activation: floats; or a head of 32 with the exponent, and i16 padded to whole groups of 32 columns."""
    return 4 * columns if arithmetic == FLOAT else 32 + 2 * align(columns)
