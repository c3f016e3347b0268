"""A statement: variables, an assumption about them, and a predicate that holds for all values that the assumption admits.

The predicate is plain Python on integers. Hypothesis samples it with ints; z3 proves it with symbols that behave like ints.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen


@frozen
class Word:
    """A number of a fixed width, for predicates that shift and mask."""

    bits: int
    is_signed: bool = False

    @property
    def range(self) -> tuple[int, int]:
        half = 1 << (self.bits - 1)
        return (-half, half - 1) if self.is_signed else (0, 2 * half - 1)


@frozen
class Integer:
    """A number in `[low, high]`, for predicates that add, divide and compare; without `high` it has no bound."""

    low: int
    high: int | None = None


@frozen
class Float:
    """A binary floating-point number of a format, as IEEE 754 defines it; the prover knows what it is (`proofs/ieee.py`)."""

    exponent_bits: int
    fraction_bits: int

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.fraction_bits


Variable = Word | Integer | Float


class NotAdmitted(Exception):
    """Raised by a predicate that finds out only on its way that it claims nothing about these values."""


def nothing(*_: Any) -> bool:
    return True


@frozen
class Statement:
    """A claim that `holds(*case, *values)` is true for each case and all values of the variables that `assuming` admits."""

    name: str
    says: str
    variables: Mapping[str, Variable]
    holds: Callable[..., Any]
    assuming: Callable[..., Any] = nothing
    cases: Sequence[tuple[Any, ...]] = field(factory=lambda: ((),))  # parameters that are not variables; each case is proved on its own
