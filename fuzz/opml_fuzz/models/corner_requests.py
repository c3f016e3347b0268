"""Requests at their bounds: each number as large or as small as is accepted, and one beyond; numbers that are right only modulo 2^32.

Chance draws requests that are accepted, or spoils one so much that nobody accepts it.

*Source*: spec §3.2 and §3.3.
"""

import struct
from collections.abc import Iterator
from random import Random

from attrs import frozen
from opml_spec.model.layout import (
    BYTES,
    MAX_TEMPERATURE_Q16,
    MIN_TEMPERATURE_Q16,
    OUTPUT,
    REQUEST,
    REQUEST_BYTES,
    SINGLE_PHASE,
    WHEN_DRAWING,
)
from opml_spec.model.operations import fixed

from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.models.tiny_models import SMALL, ModelBuilder, text_request, with_request

LENGTH, PROMPT, NEW, U32 = 8, 2, 3, 1 << 32  # of the vector; of the prompt and of what is asked for
STOP = 5  # the token that is drawn
CONTEXT, VOCABULARY = SMALL.context, SMALL.vocabulary


@frozen
class Request:
    """What a request says of itself. Its tokens are as many as it really has."""

    prompt: int = PROMPT
    new: int = NEW
    temperature_q16: int = 0
    zero: int = 0
    tokens: tuple[int, ...] = (3, 17)
    more_bytes: int = 0
    more_length: int = 0
    """What is added to the length, though there are no such bytes."""

    stages: int = PROMPT + NEW - 1
    flags: int = 0


FITTING = CONTEXT - NEW
TEXTS = {
    "a prompt of no token": Request(prompt=0, tokens=(), stages=NEW - 1),
    "a prompt of one token": Request(prompt=1, tokens=(5,), stages=NEW),
    "a prompt up to the context": Request(prompt=FITTING, tokens=(1,) * FITTING, stages=CONTEXT - 1),
    "a prompt beyond the context": Request(prompt=FITTING + 1, tokens=(1,) * (FITTING + 1), stages=CONTEXT),
    "a prompt whose length in bytes is right modulo 2^32": Request(prompt=PROMPT + (1 << 30), stages=PROMPT + (1 << 30) + NEW - 1),
    "no new token": Request(new=0, stages=PROMPT - 1),
    "one new token": Request(new=1, stages=PROMPT),
    "new tokens up to the context": Request(new=CONTEXT - PROMPT, stages=CONTEXT - 1),
    "new tokens beyond the context": Request(new=CONTEXT - PROMPT + 1, stages=CONTEXT),
    "2^32 - 1 new tokens": Request(new=U32 - 1, stages=PROMPT + U32 - 2),
    "2^32 - 1 new tokens, stages modulo 2^32": Request(new=U32 - 1, stages=PROMPT - 2),
    **{
        f"temperature {t}": Request(temperature_q16=t)
        for t in (1, MIN_TEMPERATURE_Q16 - 1, MIN_TEMPERATURE_Q16, MAX_TEMPERATURE_Q16, MAX_TEMPERATURE_Q16 + 1, 1 << 31, U32 - 1)
    },
    **{f"{zero} in place of zero": Request(zero=zero) for zero in (1, 1 << 31)},
    "the last token of the vocabulary": Request(tokens=(VOCABULARY - 1, VOCABULARY - 1)),
    **{f"first token {token}": Request(tokens=(token, 17)) for token in (VOCABULARY, 1 << 31, U32 - 1)},
    **{f"last token {token}": Request(tokens=(3, token)) for token in (VOCABULARY, 1 << 31, U32 - 1)},
    **{f"{more:+} bytes": Request(more_bytes=more) for more in (-4, -1, 1, 4)},
    **{f"{more:+} stages": Request(stages=PROMPT + NEW - 1 + more) for more in (-1, 1, U32)},
    "no stages": Request(stages=0),
    "a length 2^32 too large": Request(more_length=U32),
}
"""Requests for text by what is special about them, to a tape of one op."""

IN_ONE = {f"{stages} in a model of one stage": Request(stages=stages, flags=SINGLE_PHASE) for stages in (0, 1, 2, PROMPT + NEW - 1)}
OF_BYTES = {f"{CONTEXT + more} bytes, {stages} stages": (CONTEXT + more, stages) for more in (-1, 0, 1) for stages in (0, 1, 2)}


def corner_requests(rng: Random) -> Iterator[tuple[str, OneStage]]:
    """Yields the stage that checks such a request, with the name of what is special about it."""
    at = ModelBuilder(rng)
    x = at.reserve(at.numbers(LENGTH))
    tape = [fixed.Add(x, at.reserve(at.numbers(LENGTH)), LENGTH).record()]
    for name, it in (TEXTS | IN_ONE).items():
        words = struct.pack("<IIIIQ", it.prompt, it.new, it.temperature_q16, it.zero, rng.getrandbits(64))
        data = (words + struct.pack(f"<{len(it.tokens)}I", *it.tokens) + bytes(max(it.more_bytes, 0)))[: min(it.more_bytes, 0) or None]
        io = {REQUEST: struct.pack("<QQ", it.stages, len(data) + it.more_length), REQUEST_BYTES: data}
        yield name, OneStage(at.segments(tape, flags=it.flags) | io, 0)
    for name, (length, stages) in OF_BYTES.items():
        io = {REQUEST: struct.pack("<QQ", stages, length), REQUEST_BYTES: rng.randbytes(length)}
        yield name, OneStage(at.segments(tape, request_kind=BYTES) | io, 0)


def ends_in_one_stage(rng: Random) -> Iterator[OneStage]:
    """Builds a model of one stage whose tape goes on behind SAMPLE: a stop token that is drawn ends it there, another one does not, nor one
    that is the same in 32 bits. Then one whose output is done before it begins."""
    for is_done, stop in ((False, STOP), (False, STOP + 1), (False, STOP + U32), (True, STOP)):
        at = ModelBuilder(rng)
        x, y = (at.reserve(at.numbers(LENGTH)) for _ in range(2))
        logits = at.reserve(struct.pack(f"<{VOCABULARY}i", *(token == STOP for token in range(VOCABULARY))))
        tape = [fixed.Sample(logits, VOCABULARY).record(WHEN_DRAWING), fixed.Add(x, y, LENGTH).record()]
        memory = with_request(at.segments(tape, flags=SINGLE_PHASE, stop_tokens=1, stop_0=stop), text_request(rng), 1)
        yield OneStage(memory | ({OUTPUT: struct.pack("<QQ", 0, 1)} if is_done else {}), 0)
