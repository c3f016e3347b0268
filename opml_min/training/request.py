"""The request of a training run: the settings of the optimisers, and the rate that follows from them in each update.

*Source*: spec §6.2.
"""

import struct
from functools import lru_cache
from math import isqrt

from attrs import astuple, frozen

from opml_min.model.errors import RequestError
from opml_min.training.layout import SETTINGS_BYTES, TrainingHeader

LARGEST = (1 << 31) - 1
ONE_Q16, ONE_Q30 = 1 << 16, 1 << 30


def round_shift(v: int, s: int) -> int:
    """Return floor(v / 2^s + 1/2), unbounded."""
    return (v + (1 << (s - 1))) >> s if s > 0 else v << -s


@lru_cache(maxsize=2)  # all ops of an update ask for those of both moments
def power(a_q16: int, exponent: int) -> int:
    """Return (1 − a)^exponent in Q30, rounded down after each factor. It falls to 0 within a million factors, and stays there."""
    p, done = ONE_Q30, 0
    while p and done < exponent:
        p, done = p * (ONE_Q16 - a_q16) >> 16, done + 1
    return p


@frozen
class Settings:
    """The fields of a request, in their order."""

    seed: int
    updates: int
    warmup: int
    rate_q34: int
    last_rate_q34: int
    first_moment_q16: int  # 1 − β1
    second_moment_q16: int  # 1 − β2
    momentum_q16: int
    decay_q16: int

    def pack(self) -> bytes:
        return struct.pack("<Q8I", *astuple(self)).ljust(SETTINGS_BYTES, b"\0")

    @classmethod
    def unpack(cls, request: bytes) -> "Settings":
        """Read the settings; RequestError is raised if a bound does not hold."""
        if len(request) < SETTINGS_BYTES:
            raise RequestError("a request for training has at least 64 bytes")
        s = cls(*struct.unpack_from("<Q8I", request))
        if not (
            s.updates >= 1
            and s.warmup <= s.updates
            and s.last_rate_q34 <= s.rate_q34 <= LARGEST
            and 1 <= s.first_moment_q16 <= ONE_Q16
            and 1 <= s.second_moment_q16 <= ONE_Q16
            and s.momentum_q16 <= ONE_Q16
            and s.decay_q16 <= ONE_Q16
            and not any(request[40:SETTINGS_BYTES])
        ):
            raise RequestError("a setting of the request is out of its bounds")
        return s

    def rate(self, update: int, factor_q16: int) -> int:
        """Return rate_k, Q34."""
        if update < self.warmup:
            scheduled = self.rate_q34 * (update + 1) // self.warmup
        else:
            falling = (self.rate_q34 - self.last_rate_q34) * (self.updates - update)
            scheduled = self.last_rate_q34 + falling // (self.updates - self.warmup)
        return min(round_shift(scheduled * factor_q16, 16), LARGEST)

    def corrected_rate(self, update: int, factor_q16: int) -> int:
        """Return ADAM's rate, for moments that begin at 0, Q34."""
        first = ONE_Q30 - power(self.first_moment_q16, update + 1)
        second = ONE_Q30 - power(self.second_moment_q16, update + 1)
        return min(self.rate(update, factor_q16) * isqrt(second << 30) // first, LARGEST)

    def decay(self, update: int, factor_q16: int) -> int:
        """Return decay_k of an op whose weights decay, Q32."""
        return round_shift(self.rate(update, factor_q16) * self.decay_q16, 18)


def stage_count(header: TrainingHeader, request: bytes) -> int:
    """Return the only N that stage 0 accepts; RequestError is raised if it accepts none."""
    if len(request) != header.request_bytes:
        raise RequestError(f"a request for this model has {header.request_bytes} bytes, not {len(request)}")
    return header.op_count * Settings.unpack(request).updates
