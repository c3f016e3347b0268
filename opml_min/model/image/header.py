"""The header of an image: what kind of model it is, and where its parts lie.

*Source*: spec/README.md §3.1.
"""

import struct

from attrs import astuple, frozen

from opml_min.model.errors import ImageError
from opml_min.model.image.ops import FIXED

MAGIC = int.from_bytes(b"OPMLTAPE", "little")
VERSION = 1
HEADER_WORDS = 26
NO_TOKEN = (1 << 64) - 1
SINGLE_PHASE = 1  # bit of the header's flags
TEXT, BYTES = 0, 1  # request kinds
TOKENIZER_NONE, TOKENIZER_LLAMA2C, TOKENIZER_HUGGING_FACE = 0, 1, 2
MAX_STOP_TOKENS = 4


@frozen
class Header:
    """The words of an image's header, in their order. The four stop tokens are one field."""

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
        fields = astuple(self, recurse=False)
        stops = self.stop_tokens + (0,) * (MAX_STOP_TOKENS - len(self.stop_tokens))
        words = (MAGIC, VERSION, *fields[:6], len(self.stop_tokens), *stops, *fields[7:])
        return struct.pack(f"<{len(words)}Q", *words)

    @classmethod
    def unpack(cls, data: bytes) -> "Header":
        words = struct.unpack_from(f"<{HEADER_WORDS}Q", data)
        if words[0] != MAGIC:
            raise ImageError("the image has no header at 0x4010000000")
        if words[1] != VERSION:
            raise ImageError(f"the image's header has version {words[1]}; this program reads {VERSION}")
        if words[8] > MAX_STOP_TOKENS:
            raise ImageError(f"the image's header counts {words[8]} stop tokens; the maximum is {MAX_STOP_TOKENS}")
        flags, kind, ops, tape, context, vocabulary = words[2:8]
        return cls(flags, kind, ops, tape, context, vocabulary, words[9 : 9 + words[8]], *words[13:])
