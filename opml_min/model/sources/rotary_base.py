"""The rotary base of a model, recovered from its table of cosines and sines.

An image holds the table, and files of others hold the base from which it is computed, and perhaps divisors of the frequencies.

*Source*: spec §3.4 (RoPE table).
"""

from collections.abc import Iterator
from math import floor, log2

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

USUAL_BASE = 10000.0
MOST_DIGITS, SIGNIFICAND_BITS = 9, 24  # of a binary32
MOST_NEIGHBOURS = 64

Table = NDArray[np.int32]  # Q30, (context, pairs, 2)


@frozen(eq=False)
class Rotation:
    """A base, and the divisors of the frequencies if they are not all 1. It gives the table exactly, or nearly."""

    base: float
    divisors: NDArray[np.float32] | None
    is_exact: bool


def frequencies_of(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angle between neighbouring positions for each pair, refined at the positions 1, 2, 4, …: (pairs).

    turns: cosine and sine, (context, pairs, 2)"""
    frequencies = np.zeros(turns.shape[1])
    position = 1
    while position < len(turns):
        measured = np.arctan2(turns[position, :, 1], turns[position, :, 0])
        whole = np.rint((position * frequencies - measured) / (2 * np.pi))
        frequencies = (measured + 2 * np.pi * whole) / position
        position *= 2
    return frequencies


def turns_of(base: float, divisors: NDArray[np.float32] | None, context: int, pairs: int) -> NDArray[np.float64]:
    """Return cosine and sine of position·base^(−j/pairs)/divisor: (context, pairs, 2)."""
    frequencies = base ** (-np.arange(0, 2 * pairs, 2) / (2 * pairs)) / (1.0 if divisors is None else divisors.astype(np.float64))
    angles = np.arange(context)[:, None] * frequencies[None, :]
    return np.stack([np.cos(angles), np.sin(angles)], axis=2)


def rotation_of(table: Table) -> Rotation:
    """Return a base with as few digits as possible that gives the table, without divisors if there is one."""
    context, pairs, _ = table.shape
    found = np.maximum(frequencies_of(table / 2.0**30), 1e-30)
    estimate = float((found[0] / found[1]) ** pairs) if pairs > 1 else USUAL_BASE
    bases = [USUAL_BASE, *(float(np.float32(float(f"{estimate:.{digits}e}"))) for digits in range(MOST_DIGITS))]
    for base in bases:
        if (np.rint(turns_of(base, None, context, pairs) * 2**30) == table).all():
            return Rotation(base, None, True)
    base = next((base for base in bases if np.isclose(base, estimate, rtol=1e-6)), USUAL_BASE)
    wanted = base ** (-np.arange(pairs) / pairs) / found
    exact = [_divisor(table, base, j, wanted[j]) for j in range(pairs)]
    divisors = np.array([wanted[j] if divisor is None else divisor for j, divisor in enumerate(exact)], np.float32)
    return Rotation(base, divisors, None not in exact)


def _divisor(table: Table, base: float, pair: int, wanted: float) -> float | None:
    """Return a binary32 near the wanted divisor that gives a pair's column of the table exactly, the one with the fewest bits."""
    positions, frequency = np.arange(len(table)), base ** (-2 * pair / (2 * table.shape[1]))
    for divisor in _near(wanted):
        for some in (positions[-64:], positions):  # most candidates fail on a few positions
            angles = some * (frequency / divisor)
            if not (np.rint(np.stack([np.cos(angles), np.sin(angles)], axis=1) * 2**30) == table[some, pair]).all():
                break
        else:
            return divisor
    return None


def _near(value: float) -> Iterator[float]:
    """Yield binary32 numbers: the value rounded to more and more bits, and then its neighbours."""
    exponent = floor(log2(value))
    for bits in range(SIGNIFICAND_BITS):
        yield float(np.float32(round(value * 2.0 ** (bits - exponent)) * 2.0 ** (exponent - bits)))
    for steps in range(1, MOST_NEIGHBOURS):
        for sign in (1, -1):
            yield float(np.float32(value) + np.float32(sign * steps * 2.0 ** (exponent - SIGNIFICAND_BITS + 1)))
