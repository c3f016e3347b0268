"""Requests: what a user asks of a model, as the bytes in the io quarter, and how many stages it takes.

*Source*: spec/README.md §3.2.
"""

import struct
from typing import NamedTuple

from opml_min.model.errors import RequestError
from opml_min.model.image.header import BYTES, Header

MAX_STAGES = 1 << 24
MAX_REQUEST_BYTES = 16384


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
