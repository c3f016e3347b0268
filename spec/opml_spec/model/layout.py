"""What lies where: the header and the tape of a model, the request, the output. All numbers in memory are little-endian.

An encoding is a class whose fields are its words in order; `read` and `words` are the only two things that are done with it.

*Source*: spec §3.1 and §3.2.
"""

from typing import Self

from attrs import astuple, frozen

from opml_spec.errors import ImageHeader
from opml_spec.machine.memory import IO, MODEL, Memory

WORD_BYTES = 8

HEADER = MODEL + (1 << 28)
"""Address of the header, right above the program. (= 0x40_1000_0000)"""

REQUEST = IO
"""Address of the request's leaf: u64 number of stages, u64 byte length. Its bytes follow from the next leaf on. (= 0x80_0000_0000)"""

REQUEST_BYTES = REQUEST + 32
"""Address of the request's bytes. (= 0x80_0000_0020)"""

MAX_REQUEST_BYTES = 16384
TOKEN_BYTES = 4

MIN_TEMPERATURE_Q16 = 1 << 10
"""1/64. (= 1024)"""

MAX_TEMPERATURE_Q16 = 1 << 22
"""64. (= 4194304)"""

OUTPUT = IO + (1 << 28)
"""Address of the output's leaf: u64 number of tokens, u64 done. (= 0x80_1000_0000)"""

OUTPUT_DONE = OUTPUT + WORD_BYTES
OUTPUT_TOKENS = OUTPUT + 32
"""Address of the output's tokens, u32 each. (= 0x80_1000_0020)"""

MAGIC = int.from_bytes(b"OPMLTAPE", "little")
VERSION = 1
SINGLE_PHASE = 1  # bit 0 of the flags
TEXT, BYTES = 0, 1  # kinds of request
NO_BOS = (1 << 64) - 1
FIXED, FLOAT = 0, 1  # arithmetics
STOP_TOKENS = 4  # at most


@frozen
class Header:
    """The words at HEADER."""

    magic: int = MAGIC
    version: int = VERSION
    flags: int = 0
    request_kind: int = TEXT
    ops: int = 0
    tape: int = 0
    context: int = 0  # text: the most positions; bytes: the length of the request
    vocabulary: int = 0
    stop_tokens: int = 0  # how many of the next four count
    stop_0: int = 0
    stop_1: int = 0
    stop_2: int = 0
    stop_3: int = 0
    tokenizer: int = 0
    tokenizer_bytes: int = 0
    tokenizer_kind: int = 0
    bos: int = NO_BOS
    dim: int = 0
    hidden_dim: int = 0
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_size: int = 0
    arithmetic: int = FIXED
    chat_template: int = 0
    chat_template_bytes: int = 0

    @classmethod
    def read(cls, memory: Memory) -> Self:
        """The header of the model in this memory."""
        return cls(*words_at(memory, HEADER, HEADER_WORDS))

    @property
    def words(self) -> tuple[int, ...]:
        return astuple(self)

    @property
    def stops(self) -> tuple[int, ...]:
        """The tokens that end the output."""
        return (self.stop_0, self.stop_1, self.stop_2, self.stop_3)[: self.stop_tokens]

    @property
    def single_phase(self) -> bool:
        return self.flags & SINGLE_PHASE != 0

    def check(self) -> None:
        """Raise unless everything that does not depend on the ops is valid."""
        if (self.magic, self.version) != (MAGIC, VERSION) or self.flags > SINGLE_PHASE or self.ops == 0:
            raise ImageHeader("magic, version, flags or number of ops")
        if self.request_kind not in (TEXT, BYTES) or self.arithmetic not in (FIXED, FLOAT) or self.stop_tokens > STOP_TOKENS:
            raise ImageHeader("kind of request, arithmetic or number of stop tokens")


HEADER_WORDS = len(Header().words)
"""(= 26)"""

RECORD_WORDS = 16
RECORD_BYTES = RECORD_WORDS * WORD_BYTES
"""The size of a record on the tape. (= 128)"""

ALWAYS, WHEN_DRAWING = 0, 1  # conditions


@frozen
class Record:
    """An op on the tape, not yet interpreted: word 0, word 1, words 2 and up."""

    opcode: int
    condition: int
    operands: tuple[int, ...]

    @classmethod
    def read(cls, memory: Memory, address: int) -> Self:
        opcode, condition, *operands = words_at(memory, address, RECORD_WORDS)
        return cls(opcode, condition, tuple(operands))

    @property
    def words(self) -> tuple[int, ...]:
        """All sixteen words; those after the last operand are 0."""
        given = (self.opcode, self.condition, *self.operands)
        return given + (0,) * (RECORD_WORDS - len(given))


def words_at(memory: Memory, address: int, count: int) -> tuple[int, ...]:
    """Read u64[count]."""
    data = memory.load_bytes(address, WORD_BYTES * count)
    return tuple(int.from_bytes(data[i : i + WORD_BYTES], "little") for i in range(0, len(data), WORD_BYTES))


def encode_words(words: tuple[int, ...]) -> bytes:
    """The inverse of `words_at`."""
    return b"".join(word.to_bytes(WORD_BYTES, "little") for word in words)


def encode_tape(records: list[Record]) -> bytes:
    """The bytes of a tape."""
    return b"".join(encode_words(record.words) for record in records)
