"""Where everything lies in the 2^40-byte memory: the header and the tape of an image, the request and the output of a run.

*Source*: spec/README.md §3 and the operand table of §5.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opml_min.model.errors import ImageError, RequestError

QUARTER_BYTES = 1 << 38
MODEL = 1 * QUARTER_BYTES
IO = 2 * QUARTER_BYTES
STATE = 3 * QUARTER_BYTES
ENTRY = MODEL
PROGRAM_BYTES = 1 << 28  # the window that can be fetched
HEADER = ENTRY + PROGRAM_BYTES  # (= 0x40_1000_0000)
REQUEST = IO
OUTPUT = IO + (1 << 28)  # (= 0x80_1000_0000)
ALIGNMENT = 32  # of every buffer and tensor: a leaf

STAGE_STEP_LIMIT = 1 << 32
MAX_STAGES = 1 << 24
MAX_REQUEST_BYTES = 16384
MAGIC = int.from_bytes(b"OPMLTAPE", "little")
VERSION = 1
HEADER_WORDS = 26
NO_TOKEN = (1 << 64) - 1
SINGLE_PHASE = 1  # bit of the header's flags
TEXT, BYTES = 0, 1  # request kinds
TOKENIZER_NONE, TOKENIZER_LLAMA2C, TOKENIZER_HUGGING_FACE = 0, 1, 2
FIXED, FLOAT = 0, 1  # arithmetics
FLOAT_OPCODES = 32  # what the opcodes of float arithmetic begin after
ALWAYS, WHEN_DRAWN = 0, 1  # conditions of an op
MAX_STOP_TOKENS = 4
RECORD_WORDS = 16

Tape = NDArray[np.int64]  # (ops, RECORD_WORDS)


class Header(NamedTuple):
    """The words of an image's header, in their order (the four stop tokens as one field)."""

    flags: int
    request_kind: int
    op_count: int
    tape_address: int
    context: int
    vocabulary: int
    stop_tokens: tuple[int, ...]
    tokenizer_address: int
    tokenizer_length: int
    tokenizer_kind: int
    bos_token: int
    dim: int = 0
    hidden_dim: int = 0
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_size: int = 0
    arithmetic: int = FIXED
    template_address: int = 0
    template_length: int = 0

    @property
    def single_phase(self) -> bool:
        return bool(self.flags & SINGLE_PHASE)

    def pack(self) -> bytes:
        stops = self.stop_tokens + (0,) * (MAX_STOP_TOKENS - len(self.stop_tokens))
        words = (MAGIC, VERSION, *self[:6], len(self.stop_tokens), *stops, *self[7:])
        return struct.pack(f"<{len(words)}Q", *words)

    @classmethod
    def unpack(cls, data: bytes) -> "Header":
        words = struct.unpack_from(f"<{HEADER_WORDS}Q", data)
        if words[0] != MAGIC:
            raise ImageError("the image has no header at 0x4010000000")
        if words[1] != VERSION:
            raise ImageError(f"the image's header has version {words[1]}; this program reads {VERSION}")
        if words[8] > MAX_STOP_TOKENS:
            raise ImageError(f"the image's header counts {words[8]} stop tokens; at most {MAX_STOP_TOKENS} are possible")
        flags, kind, ops, tape, context, vocabulary = words[2:8]
        return cls(flags, kind, ops, tape, context, vocabulary, words[9 : 9 + words[8]], *words[13:])


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


# ------------------------------------------------------------------------------------------------------------------- requests


class TextRequest(NamedTuple):
    """A prompt to continue. Temperature in Q16; 0 is greedy."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    temperature_q16: int = 0
    seed: int = 0

    def pack(self) -> bytes:
        head = struct.pack("<4IQ", len(self.prompt), self.max_new_tokens, self.temperature_q16, 0, self.seed)
        return head + struct.pack(f"<{len(self.prompt)}I", *self.prompt)

    @classmethod
    def unpack(cls, data: bytes) -> "TextRequest":
        if len(data) < 24 or len(data) != 24 + 4 * int.from_bytes(data[:4], "little"):
            raise RequestError(f"a text request of {len(data)} bytes does not hold the prompt that it announces")
        prompt_length, max_new_tokens, temperature_q16, zero, seed = struct.unpack_from("<4IQ", data)
        if zero != 0:
            raise RequestError("the fourth word of a text request must be 0")
        return cls(struct.unpack_from(f"<{prompt_length}I", data, 24), max_new_tokens, temperature_q16, seed)


def stage_count(header: Header, request: bytes) -> int:
    """The only N with which stage 0 accepts this request; RequestError if it accepts none."""
    if len(request) > MAX_REQUEST_BYTES:
        raise RequestError(f"the request has {len(request)} bytes; at most {MAX_REQUEST_BYTES} are possible")
    if header.request_kind == BYTES:
        if len(request) != header.context:
            raise RequestError(f"the model takes exactly {header.context} bytes, not {len(request)}")
        positions = 1
    else:
        text = TextRequest.unpack(request)
        positions = len(text.prompt) + text.max_new_tokens - 1
        if not text.prompt:
            raise RequestError("the prompt is empty, and the model has no token to begin a text with")
        if text.max_new_tokens < 1:
            raise RequestError("at least one new token must be asked for")
        if positions + 1 > header.context:
            raise RequestError(
                f"{len(text.prompt)} prompt tokens and {text.max_new_tokens} new ones exceed the context of {header.context}"
            )
        if text.temperature_q16 != 0 and not 1 << 10 <= text.temperature_q16 <= 1 << 22:
            raise RequestError("the temperature must be 0 or from 1/64 to 64")
        if max(text.prompt) >= header.vocabulary:
            raise RequestError(f"token {max(text.prompt)} is outside the vocabulary of {header.vocabulary}")
    stages = 1 if header.single_phase else header.op_count * positions
    if stages > MAX_STAGES:
        raise RequestError(f"the request needs {stages} stages; at most {MAX_STAGES} are possible")
    return stages
