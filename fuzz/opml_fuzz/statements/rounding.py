"""Statements about rounding and saturation: what they mean, and that opml_min's 64-bit forms mean the same.

*Source*: spec §1.1.
"""

from types import FunctionType, ModuleType
from typing import Any

from opml_spec.arithmetic.fixed import INT32_MAX, INT32_MIN, round_shift, sat32

from opml_fuzz.statements.fitting import fitting
from opml_fuzz.statements.statement import Statement, Word
from opml_min.model.native.kernels.fixed import fixed_point

I64 = {"v": Word(64, is_signed=True)}
SHIFTS = tuple((shift,) for shift in range(1, 66))
BOTH_WAYS = tuple((shift,) for shift in range(-33, 66))


class PlainNumbers:
    """Replaces numpy inside a kernel, so that it computes with numbers that have no width: `fitting` says whether 64 bits hold them."""

    @staticmethod
    def int64(value: Any) -> Any:
        return value


def uncompiled(module: ModuleType, name: str) -> Any:
    """Returns the Python function that numba compiles, with all that it calls in the same module."""
    inside = {"np": PlainNumbers}
    functions = {key: value.py_func for key, value in vars(module).items() if hasattr(value, "py_func")}
    scope = vars(module) | inside
    scope |= {key: FunctionType(function.__code__, scope, key) for key, function in functions.items()}
    for key in functions:
        scope[key] = FunctionType(functions[key].__code__, scope, key)
    return scope[name]


FAST_ROUND_SHIFT = uncompiled(fixed_point, "round_shift")
FAST_ROUND_SHIFT_SAT32 = uncompiled(fixed_point, "round_shift_sat32")


def nearest(shift: int, v: Any) -> Any:
    """2^shift · round_shift(v) is within 2^(shift−1) of v, and above v in case of a tie."""
    error = (round_shift(v, shift) << shift) - v
    return (-(1 << (shift - 1)) < error) & (error <= 1 << (shift - 1))


def is_exact(shift: int, v: Any) -> Any:
    return round_shift(v, -shift) >> shift == v


def fast_rounds_alike(shift: int, v: Any) -> Any:
    rounded, fits = fitting(lambda number: FAST_ROUND_SHIFT(number, shift), v)
    return (rounded == round_shift(v, shift)) & fits


def fast_saturates_alike(shift: int, v: Any) -> Any:
    rounded, fits = fitting(lambda number: FAST_ROUND_SHIFT_SAT32(number, shift), v)
    return (rounded == sat32(round_shift(v, shift))) & fits


def nearest_in_range(v: Any) -> Any:
    """The result is the number in range that is nearest to v."""
    clamped = sat32(v)
    inside = (clamped >= INT32_MIN) & (clamped <= INT32_MAX)
    return inside & ((clamped == v) | (v < INT32_MIN) & (clamped == INT32_MIN) | (v > INT32_MAX) & (clamped == INT32_MAX))


def monotone(v: Any, w: Any) -> Any:
    return sat32(v) <= sat32(w)


def rounding_is_monotone(shift: int, v: Any, w: Any) -> Any:
    return round_shift(v, shift) <= round_shift(w, shift)


def ordered(*numbers: Any) -> Any:
    return numbers[-2] <= numbers[-1]


TWO = {"v": Word(64, is_signed=True), "w": Word(64, is_signed=True)}
STATEMENTS = (
    Statement("rounding.nearest", "round_shift is off by at most 1/2, and goes up at 1/2", I64, nearest, cases=SHIFTS),
    Statement("rounding.exact", "a shift to the left loses nothing", I64, is_exact, cases=SHIFTS),
    Statement("rounding.monotone", "round_shift keeps order", TWO, rounding_is_monotone, ordered, SHIFTS),
    Statement("rounding.fast", "opml_min's round_shift is round_shift for all 64-bit numbers", I64, fast_rounds_alike, cases=SHIFTS),
    Statement("saturation.nearest", "sat32 gives the nearest number in range", I64, nearest_in_range),
    Statement("saturation.monotone", "sat32 keeps order", TWO, monotone, ordered),
    Statement(
        "saturation.fast",
        "opml_min's rounding, saturating shift is sat32(round_shift) for all 64-bit numbers, shifts left included",
        I64,
        fast_saturates_alike,
        cases=BOTH_WAYS,
    ),
)
