"""Requests: what a user asks of a model, as bytes in the io quarter, and how many stages that takes.

*Source*: spec §3.2.
"""

import struct

from attrs import frozen

from opml_min.model.errors import RequestError
from opml_min.model.image.header import BYTES, TEXT, Header

MAX_STAGES = 1 << 24
MAX_REQUEST_BYTES = 16384
HEAD_BYTES = 24  # of a text request, before its tokens
MAX_PROMPT_TOKENS = (MAX_REQUEST_BYTES - HEAD_BYTES) // 4


@frozen
class TextRequest:
    """A prompt to continue. The temperature is in Q16; 0 is greedy."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    temperature_q16: int = 0
    seed: int = 0

    def pack(self) -> bytes:
        head = struct.pack("<4IQ", len(self.prompt), self.max_new_tokens, self.temperature_q16, 0, self.seed)
        return head + struct.pack(f"<{len(self.prompt)}I", *self.prompt)

    @classmethod
    def unpack(cls, data: bytes) -> "TextRequest":
        if len(data) < 24 or len(data) != 24 + 4 * prompt_length(TEXT, data):
            raise RequestError(f"a text request of {len(data)} bytes does not hold the prompt that it announces")
        length, max_new_tokens, temperature_q16, zero, seed = struct.unpack_from("<4IQ", data)
        if zero != 0:
            raise RequestError("the fourth word of a text request must be 0")
        return cls(struct.unpack_from(f"<{length}I", data, 24), max_new_tokens, temperature_q16, seed)


def prompt_length(kind: int, request: bytes) -> int:
    """Return how many prompt tokens a request announces. A bytes request counts as one."""
    return int.from_bytes(request[:4], "little") if kind == TEXT else 1


def position_count(kind: int, request: bytes) -> int:
    """Return at how many positions a model runs its tape for this request."""
    return prompt_length(kind, request) + int.from_bytes(request[4:8], "little") - 1 if kind == TEXT else 1


def stage_count(header: Header, request: bytes) -> int:
    """Return the only N with which stage 0 accepts this request; raise RequestError if it accepts none."""
    if len(request) > MAX_REQUEST_BYTES:
        count = (len(request) - HEAD_BYTES) // 4
        tokens = f": its prompt has {count} tokens, and {MAX_PROMPT_TOKENS} fit" if header.request_kind == TEXT else ""
        raise RequestError(f"the request has {len(request)} bytes; the maximum is {MAX_REQUEST_BYTES}{tokens}")
    if header.request_kind == BYTES:
        if len(request) != header.context:
            raise RequestError(f"the model takes exactly {header.context} bytes, not {len(request)}")
    else:
        text = TextRequest.unpack(request)
        if not text.prompt:
            raise RequestError("the prompt is empty, and the model has no token that begins a text")
        if text.max_new_tokens < 1:
            raise RequestError("the request must ask for at least one new token")
        if len(text.prompt) + text.max_new_tokens > header.context:
            raise RequestError(
                f"{len(text.prompt)} prompt tokens and {text.max_new_tokens} new ones exceed the context of {header.context}"
            )
        if text.temperature_q16 != 0 and not 1 << 10 <= text.temperature_q16 <= 1 << 22:
            raise RequestError("the temperature must be 0 or from 1/64 to 64")
        if max(text.prompt) >= header.vocabulary:
            raise RequestError(f"token {max(text.prompt)} is outside the vocabulary of {header.vocabulary}")
    stages = 1 if header.single_phase else header.op_count * position_count(header.request_kind, request)
    if stages > MAX_STAGES:
        raise RequestError(f"the request needs {stages} stages; the maximum is {MAX_STAGES}")
    return stages
