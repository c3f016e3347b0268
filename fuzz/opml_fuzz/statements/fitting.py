"""Numbers that know whether 64 bits would have held every result on the way to them, for ints and for symbols.

A shift by less than 0 or more than 63 places has no such result: a processor takes the amount modulo 64, and LLVM leaves it undefined.
"""

from collections.abc import Callable
from typing import Any

LIMIT = 1 << 63
PLACES = range(64)


class Fitting:
    """A number, or a symbol for one, that notes in `results` whether each result of its arithmetic fits an i64."""

    def __init__(self, value: Any, results: list[Any]) -> None:
        self.value, self.results = value, results

    def of(self, value: Any) -> "Fitting":
        self.results.append((value >= -LIMIT) & (value < LIMIT))
        return Fitting(value, self.results)

    def __add__(self, other: Any) -> "Fitting":
        return self.of(self.value + plain(other))

    def __sub__(self, other: Any) -> "Fitting":
        return self.of(self.value - plain(other))

    def __rsub__(self, other: Any) -> "Fitting":
        return self.of(plain(other) - self.value)

    def __mul__(self, other: Any) -> "Fitting":
        return self.of(self.value * plain(other))

    __radd__, __rmul__ = __add__, __mul__

    def __and__(self, other: Any) -> "Fitting":
        return self.of(self.value & plain(other))

    def __rshift__(self, shift: int) -> "Fitting":
        self.results.append(shift in PLACES)
        return self.of(self.value >> shift)

    def __lshift__(self, shift: int) -> "Fitting":
        self.results.append(shift in PLACES)
        return self.of(self.value << shift)

    def __lt__(self, other: Any) -> Any:
        return self.value < plain(other)

    def __gt__(self, other: Any) -> Any:
        return self.value > plain(other)


def plain(number: Any) -> Any:
    return number.value if isinstance(number, Fitting) else number


def all_fit(function: Callable[..., Any], *values: Any) -> Any:
    """Runs the function on these values; tells whether every result inside it fits an i64."""
    return fitting(function, *values)[1]


def fitting(function: Callable[..., Any], *values: Any) -> tuple[Any, Any]:
    """What the function gives for these values, and whether every result inside it fits an i64."""
    results, every = list[Any](), True
    given = function(*(Fitting(value, results) for value in values))
    for one in results:
        every = one & every
    return plain(given), every
