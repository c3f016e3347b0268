"""Draws at the edge between two tokens: the last random number that draws one of them, and the first that draws the next.

A random seed comes to such a number once in millions of draws. But the token never falls when the number rises: bisection finds the edge,
and splitmix64 can be run backwards, to a seed. The smallest and the largest number are edges, too: what weighs nothing is never drawn.

*Source*: spec §3.5 and §3.6.
"""

import struct
from collections.abc import Iterator
from random import Random

from opml_spec.machine.memory import Memory
from opml_spec.model.layout import OUTPUT_TOKENS, REQUEST_BYTES, TOKEN_BYTES, WORD_BYTES
from opml_spec.model.operations import fixed
from opml_spec.model.stage import run_stage

from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.models.tiny_models import POSITIONS, PROMPT, ModelBuilder, as_float, text_request, with_request

SEED = REQUEST_BYTES + 16  # its address, in a request
EDGE_DRAWS, LARGEST = 4, (1 << 64) - 1
TEMPERATURES_Q16 = 30_000, 65_536, 400_000  # at which each of several tokens is likely
TOKENS, LIKELY = 7, (1, 2, 4, 5)  # the others weigh nothing


def edge_draws(rng: Random, is_float: bool) -> Iterator[OneStage]:
    """Draws logits and yields four draws from them: by the smallest number and the largest, and on either side of an edge between."""
    at = ModelBuilder(rng, is_float)
    logits = [rng.uniform(-1, 1) if token in LIKELY else -1_000.0 for token in range(TOKENS)]
    numbers = logits if is_float else [round(logit * (1 << fixed.LOGIT_BITS)) for logit in logits]
    operation = fixed.Sample(at.reserve(struct.pack(f"<{TOKENS}{'f' if is_float else 'i'}", *numbers)), TOKENS)
    segments = at.segments([(as_float(operation) if is_float else operation).record()])
    request = text_request(rng, rng.choice(TEMPERATURES_Q16))
    position = rng.randrange(len(PROMPT) - 1, POSITIONS)
    memory = Memory.from_segments(with_request(segments, request, POSITIONS))

    def token(number: int) -> int:
        with_seed = memory.store(SEED, WORD_BYTES, seed_of(number, position))
        after, _ = run_stage(with_seed, position)
        return after.load(OUTPUT_TOKENS + TOKEN_BYTES * (position - len(PROMPT) + 1), TOKEN_BYTES)

    below, above, wanted = 0, LARGEST, rng.choice(LIKELY[1:])
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if token(middle) < wanted else (below, middle)
    for number in (below, above, 0, LARGEST):
        seed = struct.pack("<Q", seed_of(number, position))
        yield OneStage(with_request(segments, request[:16] + seed + request[24:], POSITIONS), position)


def seed_of(number: int, position: int) -> int:
    """Finds the seed from which splitmix64 makes this number at this position."""
    z = unshifted(number, 31) * pow(0x94D049BB133111EB, -1, 1 << 64) & LARGEST
    z = unshifted(z, 27) * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & LARGEST
    return unshifted(z, 30) - (position + 1) * 0x9E3779B97F4A7C15 & LARGEST


def unshifted(y: int, bits: int) -> int:
    """Finds the z of which `z ^ z >> bits` is y."""
    z = y
    while y := y >> bits:
        z ^= y
    return z
