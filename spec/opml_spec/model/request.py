"""A request and its output, as they lie in the io quarter.

A *bytes* request is read as one with a prompt of one token, one new token and temperature 0: it has one position, and the result is drawn
there.

*Source*: spec §3.2 and §3.3.
"""

from typing import Self

from attrs import frozen

from opml_spec.machine.memory import Memory
from opml_spec.model.layout import (
    BYTES,
    MAX_TEMPERATURE_Q16,
    MIN_TEMPERATURE_Q16,
    OUTPUT,
    OUTPUT_DONE,
    OUTPUT_TOKENS,
    REQUEST,
    REQUEST_BYTES,
    TOKEN_BYTES,
    WORD_BYTES,
    Header,
)

FIXED_PART_BYTES = 24  # of a text request, before its tokens


@frozen
class RequestHeader:
    """The numbers that stand before the tokens of a request, accepted or not."""

    stage_count: int
    byte_length: int
    prompt_length: int = 1  # P
    new_tokens: int = 1  # G, at most
    temperature_q16: int = 0  # 0 is greedy
    zero: int = 0
    seed: int = 0

    @classmethod
    def read(cls, memory: Memory, header: Header) -> Self:
        stage_count, byte_length = memory.load(REQUEST, WORD_BYTES), memory.load(REQUEST + WORD_BYTES, WORD_BYTES)
        if header.request_kind == BYTES:
            return cls(stage_count, byte_length)
        prompt_length, new_tokens, temperature_q16, zero = (memory.load(REQUEST_BYTES + offset, 4) for offset in (0, 4, 8, 12))
        seed = memory.load(REQUEST_BYTES + 16, 8)
        return cls(stage_count, byte_length, prompt_length, new_tokens, temperature_q16, zero, seed)

    @property
    def positions(self) -> int:
        """How many positions there are: the last new token is not fed back."""
        return self.prompt_length + self.new_tokens - 1

    def draws_at(self, position: int) -> bool:
        """Whether a token is drawn there: the whole prompt has been read."""
        return position >= self.prompt_length - 1

    def acceptable(self, memory: Memory, header: Header) -> bool:
        """Whether the request passes the checks that stage 0 makes before anything else."""
        needed = 1 if header.single_phase else header.ops * self.positions
        if header.request_kind == BYTES:
            return self.byte_length == header.context and self.stage_count == needed
        return (
            self.byte_length == FIXED_PART_BYTES + TOKEN_BYTES * self.prompt_length
            and self.prompt_length >= 1
            and self.new_tokens >= 1
            and self.prompt_length + self.new_tokens <= header.context
            and self.zero == 0
            and (self.temperature_q16 == 0 or MIN_TEMPERATURE_Q16 <= self.temperature_q16 <= MAX_TEMPERATURE_Q16)
            and all(prompt_token(memory, position) < header.vocabulary for position in range(self.prompt_length))
            and self.stage_count == needed
        )


def prompt_token(memory: Memory, position: int) -> int:
    """`prompt[position]`."""
    return memory.load(REQUEST_BYTES + FIXED_PART_BYTES + TOKEN_BYTES * position, TOKEN_BYTES)


def token_at(memory: Memory, position: int) -> int:
    """The token that is fed in at a position: first those of the prompt, then those of the output."""
    beyond = position - RequestHeader.read(memory, Header.read(memory)).prompt_length
    return prompt_token(memory, position) if beyond < 0 else memory.load(OUTPUT_TOKENS + TOKEN_BYTES * beyond, TOKEN_BYTES)


def put_token(memory: Memory, position: int, token: int) -> Memory:
    """The memory with the token that was drawn at a position added to the output."""
    header = Header.read(memory)
    index = position - (RequestHeader.read(memory, header).prompt_length - 1)
    last = header.request_kind == BYTES or token in header.stops
    memory = memory.store(OUTPUT_TOKENS + TOKEN_BYTES * index, TOKEN_BYTES, token)
    return memory.store(OUTPUT, WORD_BYTES, index + 1).store(OUTPUT_DONE, WORD_BYTES, 1 if last else 0)


def is_done(memory: Memory) -> bool:
    """Whether the output is complete: then no later stage changes anything."""
    return memory.load(OUTPUT_DONE, WORD_BYTES) != 0
