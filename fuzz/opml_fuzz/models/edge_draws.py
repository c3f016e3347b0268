"""Draws at the edge between two tokens: the last random number that draws one of them, and the first that draws the next.

A random seed comes to such a number once in millions of draws. But the token never falls when the number rises: bisection finds the edge,
and splitmix64 can be run backwards, to a seed. The smallest and the largest number are edges, too: what weighs nothing is never drawn.

*Source*: spec §3.5 and §3.6.
"""

import struct
from collections.abc import Iterator
from random import Random

from opml_spec.arithmetic.elementary import LOG2_E_Q32, exp2
from opml_spec.arithmetic.fixed import round_shift
from opml_spec.machine.memory import Memory
from opml_spec.model.layout import OUTPUT_TOKENS, REQUEST_BYTES, TOKEN_BYTES, WHEN_DRAWING, WORD_BYTES
from opml_spec.model.operations import fixed
from opml_spec.model.stage import run_stage

from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.models.tiny_models import POSITIONS, PROMPT, ModelBuilder, as_float, text_request, with_request

SEED = REQUEST_BYTES + 16  # its address, in a request
EDGE_DRAWS, LARGEST = 4, (1 << 64) - 1
TEMPERATURES_Q16 = 30_000, 65_536, 400_000  # at which each of several tokens is likely
PLAIN_TEMPERATURE_Q16 = 1 << 16  # 1
UNLIKELY = range(-600, 0), range(-48_000, -600, 80), range(-76_000, -48_000, 50)
"""Logits (Q12) of hundreds of tokens beside one that has 0: weights are nearly 1, from 1 to 2^-17, or down to the least one."""
TOKENS, LIKELY = 7, (1, 2, 4, 5)  # the others weigh nothing


def edge_draws(rng: Random, is_float: bool) -> Iterator[OneStage]:
    """Draws logits and yields four draws from them: by the smallest number and the largest, and on either side of an edge between."""
    at = ModelBuilder(rng, is_float)
    logits = [rng.uniform(-1, 1) if token in LIKELY else -1_000.0 for token in range(TOKENS)]
    numbers = logits if is_float else [round(logit * (1 << fixed.LOGIT_BITS)) for logit in logits]
    operation = fixed.Sample(at.reserve(struct.pack(f"<{TOKENS}{'f' if is_float else 'i'}", *numbers)), TOKENS)
    segments = at.segments([(as_float(operation) if is_float else operation).record(WHEN_DRAWING)])
    request = text_request(rng, rng.choice(TEMPERATURES_Q16))
    position = rng.randrange(len(PROMPT) - 1, POSITIONS)
    memory = Memory.from_segments(with_request(segments, request, POSITIONS))

    def token(number: int) -> int:
        after, _ = run_stage(memory.store(SEED, WORD_BYTES, seed_of(number, position)), position)
        return after.load(OUTPUT_TOKENS + TOKEN_BYTES * (position - len(PROMPT) + 1), TOKEN_BYTES)

    below, above, wanted = 0, LARGEST, rng.choice(LIKELY[1:])
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if token(middle) < wanted else (below, middle)
    for number in (below, above, 0, LARGEST):
        yield OneStage(with_request(segments, with_seed(request, seed_of(number, position)), POSITIONS), position)


def draws_that_show_weights(rng: Random) -> Iterator[OneStage]:
    """Draws from many tokens, of which the last is the likeliest: by the largest number that draws another one, and by the next number,
    which draws the last. The sum of the others' weights decides, so it shows if some of them are off by one.

    Where fractions of exponents are nearly 1, a coefficient of 2^f that is off by one changes some weights."""
    slope = LOG2_E_Q32 // PLAIN_TEMPERATURE_Q16
    for unlikely in UNLIKELY:
        logits = [*unlikely, 0]
        weights = [exp2(-round_shift(-logit * slope, fixed.LOGIT_BITS)) for logit in logits]
        edge = -(-(sum(weights[:-1]) << 64) // sum(weights))
        at = ModelBuilder(rng)
        operation = fixed.Sample(at.reserve(struct.pack(f"<{len(logits)}i", *logits)), len(logits))
        segments = at.segments([operation.record(WHEN_DRAWING)], vocabulary=len(logits))
        request = text_request(rng, PLAIN_TEMPERATURE_Q16)
        for number in (edge - 1, edge):
            yield OneStage(with_request(segments, with_seed(request, seed_of(number, POSITIONS - 1)), POSITIONS), POSITIONS - 1)


def with_seed(request: bytes, seed: int) -> bytes:
    """Gives a request this seed."""
    return request[:16] + struct.pack("<Q", seed) + request[24:]


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
