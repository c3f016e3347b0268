"""The rotary base of a model, recovered from its table of cosines and sines.

An image holds the table, and files of others hold the base from which it is computed, and perhaps divisors of the frequencies.

*Source*: spec §3.4 (RoPE table).
"""

from collections.abc import Iterator
from math import floor, log2
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

USUAL_BASE = 10000.0
LEAST_BASE, LARGEST_BASE = 1e-9, 1e30
MOST_DIGITS, SIGNIFICAND_BITS = 9, 24  # of a binary32
MOST_NEIGHBOURS = 64
MOST_ERROR = 1e-6  # of a table's numbers, which may be binary32
POSITIONS_AT_ONCE = 4096

Table = NDArray[np.int32]  # Q30, (context, pairs, 2)


@frozen(eq=False)
class Rotation:
    """A base, and the divisors of the frequencies if they are not all 1. error: by how much a number of the table differs at most"""

    base: float
    divisors: NDArray[np.float32] | None
    error: float = 0.0


def frequencies_of(turns: NDArray[Any]) -> NDArray[np.float64]:
    """Return the angle between neighbouring positions for each pair, refined at the positions 1, 2, 4, …: (pairs), from 0 to 2π.

    turns: cosine and sine times any number, (context, pairs, 2)"""
    frequencies = np.zeros(turns.shape[1])
    position = 1
    while position < len(turns):
        cosines, sines = turns[position].astype(np.float64).T
        measured = np.arctan2(sines, cosines)
        whole = np.rint((position * frequencies - measured) / (2 * np.pi))
        frequencies = (measured + 2 * np.pi * whole) / position
        position *= 2
    return np.where(frequencies < 0, frequencies + 2 * np.pi, frequencies)


def are_rotations(table: NDArray[Any]) -> bool:
    """Tell whether each pair turns by one angle from each position to the next, apart from rounding. table: i32 Q30, or binary32"""
    with np.errstate(invalid="ignore", over="ignore"):  # a stranger's floats
        return _error(table, frequencies_of(table)) <= MOST_ERROR


def turns_of(base: float, divisors: NDArray[np.float32] | None, context: int, pairs: int) -> NDArray[np.float64]:
    """Return cosine and sine of position·base^(−j/pairs)/divisor: (context, pairs, 2)."""
    return _turns(np.arange(context), _frequencies(base, divisors, pairs))


def _frequencies(base: float, divisors: NDArray[np.float32] | None, pairs: int) -> NDArray[np.float64]:
    frequencies: NDArray[np.float64] = base ** (-np.arange(0, 2 * pairs, 2) / (2 * pairs))
    return frequencies if divisors is None else frequencies / divisors.astype(np.float64)


def _turns(positions: NDArray[np.int64], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    angles = positions[:, None] * frequencies[None, :]
    return np.stack([np.cos(angles), np.sin(angles)], axis=2)


def _error(table: NDArray[Any], frequencies: NDArray[np.float64]) -> float:
    """Return by how much a number of the table differs at most from rotations with these frequencies; NaN if one is NaN."""
    one, most = 2.0**30 if table.dtype == np.int32 else 1.0, 0.0
    for positions in np.split(np.arange(len(table)), range(POSITIONS_AT_ONCE, len(table), POSITIONS_AT_ONCE)):
        found = table[positions].astype(np.float64) / one
        most = np.maximum(most, np.abs(found - _turns(positions, frequencies)).max())
    return float(most)


def rotation_of(table: Table) -> Rotation:
    """Return a base with as few digits as possible that gives the table, without divisors if there is one."""
    context, pairs, _ = table.shape
    found = np.maximum(frequencies_of(table), 1e-30)
    with np.errstate(over="ignore"):
        estimate = float((found[0] / found[1]) ** pairs) if pairs > 1 else USUAL_BASE
    rounded = (float(f"{min(estimate, LARGEST_BASE):.{digits}e}") for digits in range(MOST_DIGITS))
    bases = [USUAL_BASE, *(float(np.float32(max(base, LEAST_BASE))) for base in rounded)]
    for base in bases:
        if (np.rint(turns_of(base, None, context, pairs) * 2**30) == table).all():
            return Rotation(base, None)
    base = next((base for base in bases if base >= 1 and np.isclose(base, estimate, rtol=1e-6)), USUAL_BASE)
    wanted = base ** (-np.arange(pairs) / pairs) / found
    exact = [_divisor(table, base, j, wanted[j]) for j in range(pairs)]
    divisors = np.array([wanted[j] if divisor is None else divisor for j, divisor in enumerate(exact)], np.float32)
    return Rotation(base, divisors, _error(table, _frequencies(base, divisors, pairs)) if None in exact else 0.0)


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
