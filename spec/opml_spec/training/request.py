"""The request of a training run: seed, number of updates, rates. What it says about one update follows from the update's index alone.

*Source*: spec §6.2.
"""

from math import isqrt
from typing import Self

from attrs import frozen

from opml_spec.arithmetic.fixed import round_shift
from opml_spec.machine.memory import Memory
from opml_spec.model.layout import REQUEST, REQUEST_BYTES, WORD_BYTES
from opml_spec.model.operations.fixed import splitmix64
from opml_spec.training.layout import SETTINGS_BYTES, TrainingHeader

SEED_BYTES = 8
SETTING_BYTES = 4
SETTINGS = 8  # after the seed, u32 each; zeros follow

UNIT_Q16 = 1 << 16
UNIT_Q30 = 1 << 30
RATE_BITS = 34  # fraction bits of a rate
LARGEST_RATE = (1 << 31) - 1
"""Just below 1/8. (= 2147483647)"""


@frozen
class Settings:
    """The numbers of a request, accepted or not."""

    stage_count: int
    byte_length: int
    seed: int
    updates: int
    warmup: int  # updates in which the rate rises
    rate_q34: int  # the highest
    last_rate_q34: int  # to which it falls
    first_moment_q16: int  # 1 − β1
    second_moment_q16: int  # 1 − β2
    momentum_q16: int  # of MUON
    decay_q16: int  # λ: what a weight loses per unit of rate

    @classmethod
    def read(cls, memory: Memory) -> Self:
        stage_count, byte_length = memory.load(REQUEST, WORD_BYTES), memory.load(REQUEST + WORD_BYTES, WORD_BYTES)
        starts = (REQUEST_BYTES + SEED_BYTES + SETTING_BYTES * i for i in range(SETTINGS))
        seed = memory.load(REQUEST_BYTES, SEED_BYTES)
        return cls(stage_count, byte_length, seed, *(memory.load(start, SETTING_BYTES) for start in starts))

    def acceptable(self, memory: Memory, header: TrainingHeader) -> bool:
        """Whether the request passes the checks that stage 0 makes before anything else."""
        end = SEED_BYTES + SETTING_BYTES * SETTINGS
        return (
            self.byte_length == header.request_bytes
            and self.stage_count == header.ops * self.updates
            and self.updates >= 1
            and self.warmup <= self.updates
            and self.last_rate_q34 <= self.rate_q34 <= LARGEST_RATE
            and 1 <= self.first_moment_q16 <= UNIT_Q16
            and 1 <= self.second_moment_q16 <= UNIT_Q16
            and self.momentum_q16 <= UNIT_Q16
            and self.decay_q16 <= UNIT_Q16
            and not any(memory.load_bytes(REQUEST_BYTES + end, SETTINGS_BYTES - end))
        )

    def rate(self, update: int, factor_q16: int) -> int:
        """The rate of an op at an update, Q34: it rises in a line to the highest one, then falls in a line towards the last one."""
        if update < self.warmup:
            rate = self.rate_q34 * (update + 1) // self.warmup
        else:
            fall = self.rate_q34 - self.last_rate_q34
            rate = self.last_rate_q34 + fall * (self.updates - update) // (self.updates - self.warmup)
        return min(round_shift(rate * factor_q16, 16), LARGEST_RATE)

    def corrected(self, rate: int, update: int) -> int:
        """ADAM's rate: times `√(1 − β2^(k+1)) / (1 − β1^(k+1))`, because its moments begin at 0."""
        first, second = (UNIT_Q30 - power(share, update + 1) for share in (self.first_moment_q16, self.second_moment_q16))
        return min(rate * isqrt(second << 30) // first, LARGEST_RATE)

    def decay(self, rate: int) -> int:
        """What every weight loses in an update, as a fraction of itself, Q32."""
        return round_shift(rate * self.decay_q16, RATE_BITS + 16 - 32)

    def key(self, stream: int) -> int:
        """The seed of a stream: `splitmix64(key, index)` depends on seed, stream and index, never on an order of calls."""
        return splitmix64(self.seed, stream)


def power(share_q16: int, exponent: int) -> int:
    """`(1 − share)^exponent`, Q30, rounded down after each multiplication."""
    result = UNIT_Q30
    for _ in range(exponent):
        result = result * (UNIT_Q16 - share_q16) >> 16
        if result == 0:
            break
    return result
