"""Comparisons, minimum and maximum, by the order of the patterns.

Read as sign and magnitude, patterns have the order of their values; `_place` is that number. Comparisons with a NaN are false.

*Source*: IEEE 754-2019, 5.11; the RISC-V manual, chapter F: FMIN and FMAX prefer a number to a NaN, and −0 is less than +0 for them.
"""

from opml_fuzz.conformance.integer_float.bit_pattern import NAN, SIGN, is_nan


def _place(a: int) -> int:
    return SIGN - a if a & SIGN else a


def equal(a: int, b: int) -> int:
    return int(not is_nan(a) and not is_nan(b) and _place(a) == _place(b))


def less(a: int, b: int) -> int:
    return int(not is_nan(a) and not is_nan(b) and _place(a) < _place(b))


def less_or_equal(a: int, b: int) -> int:
    return int(not is_nan(a) and not is_nan(b) and _place(a) <= _place(b))


def minimum(a: int, b: int) -> int:
    if is_nan(a) or is_nan(b):
        return _number_of(a, b)
    return a if (_place(a), b & SIGN) < (_place(b), a & SIGN) else b


def maximum(a: int, b: int) -> int:
    if is_nan(a) or is_nan(b):
        return _number_of(a, b)
    return b if (_place(a), b & SIGN) < (_place(b), a & SIGN) else a


def _number_of(a: int, b: int) -> int:
    """Returns the operand that is a number, if there is one."""
    if not is_nan(a):
        return a
    return NAN if is_nan(b) else b
