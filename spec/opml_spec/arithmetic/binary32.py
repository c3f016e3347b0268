"""IEEE-754 binary32: the exact rational, rounded once.

A float is its 32 bits, an int. `interpret` reads a finite one as a rational number, `round_to_float` is the only place that rounds, and
every operation is: deal with NaN and infinity, compute in ℚ, round. Each NaN result is the one canonical NaN; subnormal numbers are kept;
there are no flags. What IEEE leaves open is done as RISC-V does it.

*Source*: IEEE Std 754-2019, clauses 3.4, 4.3, 5.4, 6.2 and 6.3. RISC-V Unprivileged ISA, chapter "F".
"""

from collections.abc import Callable
from enum import Enum
from fractions import Fraction
from math import ceil, floor, isqrt

from opml_spec.words import bits, flag

FRACTION_BITS = 23
MIN_EXPONENT = -126  # of a normal number: 1.f · 2^exponent
MAX_EXPONENT = 127
SIGN = 1 << 31
"""The sign bit. (= 0x8000_0000)"""

INFINITY = (MAX_EXPONENT - MIN_EXPONENT + 2) << FRACTION_BITS
"""(= 0x7f80_0000)"""

LARGEST = INFINITY - 1
"""The largest finite number. (= 0x7f7f_ffff)"""

ONE = -(MIN_EXPONENT - 1) << FRACTION_BITS
"""(= 0x3f80_0000)"""

NAN = INFINITY | 1 << (FRACTION_BITS - 1)
"""The canonical NaN: quiet, sign 0, no payload. (= 0x7fc0_0000)"""


class Rounding(Enum):
    """IEEE's five rounding directions under RISC-V's names, as what each makes of a rational number: an integer."""

    RNE = (round,)  # to nearest, ties to even: Python's own
    RTZ = (int,)  # towards zero
    RDN = (floor,)  # down
    RUP = (ceil,)  # up
    RMM = (lambda x: floor(x + Fraction(1, 2)) if x > 0 else ceil(x - Fraction(1, 2)),)  # to nearest, ties away from zero

    @property
    def to_integer(self) -> Callable[[Fraction], int]:
        function: Callable[[Fraction], int] = self.value[0]
        return function

    @property
    def sign_of_cancellation(self) -> int:
        """The sign bit of x − x."""
        return SIGN if self is Rounding.RDN else 0

    def overflow(self, sign: int) -> int:
        """What a number too large for the format becomes."""
        inwards = self is Rounding.RTZ or self is (Rounding.RUP if sign else Rounding.RDN)
        return sign | (LARGEST if inwards else INFINITY)


RNE = Rounding.RNE


def sign_of(a: int) -> int:
    """The sign bit, in its place."""
    return a & SIGN


def is_nan(a: int) -> bool:
    return a & ~SIGN > INFINITY


def is_infinite(a: int) -> bool:
    return a & ~SIGN == INFINITY


def is_zero(a: int) -> bool:
    return a & ~SIGN == 0


def negate(a: int) -> int:
    """The sign bit flipped, of a NaN too."""
    return a ^ SIGN


def interpret(a: int) -> Fraction:
    """The number that a finite float stands for."""
    exponent, fraction = bits(a, 30, 23), bits(a, 22, 0)
    significand = fraction if exponent == 0 else fraction | 1 << FRACTION_BITS
    magnitude = significand * Fraction(2) ** (max(exponent, 1) - 1 + MIN_EXPONENT - FRACTION_BITS)
    return -magnitude if sign_of(a) else magnitude


def binary_exponent(magnitude: Fraction) -> int:
    """floor(log2(magnitude)), for a positive one."""
    estimate = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    return estimate if Fraction(2) ** estimate <= magnitude else estimate - 1


def round_to_float(exact: Fraction, zero: int, mode: Rounding = RNE) -> int:
    """The float for an exact result; `zero` is the one to give for 0, whose sign the rational does not show.

    With n units of `2^(e−23)` the encoding is `(e + 126)·2^23 + n`: the leading one of a normal significand adds 1 to the exponent field,
    and so does a significand that rounds up to 2^24.
    """
    if exact == 0:
        return zero
    e = max(binary_exponent(abs(exact)), MIN_EXPONENT)
    n = abs(mode.to_integer(exact / Fraction(2) ** (e - FRACTION_BITS)))
    sign = SIGN if exact < 0 else 0
    encoding = ((e - MIN_EXPONENT) << FRACTION_BITS) + n
    return sign | encoding if encoding < INFINITY else mode.overflow(sign)


def fma(a: int, b: int, c: int, mode: Rounding = RNE) -> int:
    """a·b + c, rounded once."""
    sign = sign_of(a ^ b)  # of the product
    if is_nan(a) or is_nan(b) or is_nan(c):
        return NAN
    if is_infinite(a) or is_infinite(b):
        undefined = is_zero(a) or is_zero(b) or (is_infinite(c) and sign_of(c) != sign)
        return NAN if undefined else sign | INFINITY
    if is_infinite(c):
        return c
    zero = sign if sign == sign_of(c) else mode.sign_of_cancellation
    return round_to_float(interpret(a) * interpret(b) + interpret(c), zero, mode)


def add(a: int, b: int, mode: Rounding = RNE) -> int:
    """a + b."""
    return fma(a, ONE, b, mode)


def sub(a: int, b: int, mode: Rounding = RNE) -> int:
    """a − b."""
    return add(a, negate(b), mode)


def mul(a: int, b: int, mode: Rounding = RNE) -> int:
    """a·b: what is added is a zero of the product's sign, so nothing."""
    return fma(a, b, sign_of(a ^ b), mode)


def div(a: int, b: int, mode: Rounding = RNE) -> int:
    """a / b."""
    sign = sign_of(a ^ b)
    if is_nan(a) or is_nan(b) or (is_infinite(a) and is_infinite(b)) or (is_zero(a) and is_zero(b)):
        return NAN
    if is_infinite(a) or is_zero(b):
        return sign | INFINITY
    if is_infinite(b):
        return sign
    return round_to_float(interpret(a) / interpret(b), sign, mode)


def sqrt(a: int, mode: Rounding = RNE) -> int:
    """√a.

    The root is cut to 2^-128, and 2^-129 is added if anything was cut: since that lies between two neighbours of far finer spacing than the
    floats', and never on a half, it rounds as the root does.
    """
    if is_nan(a) or (sign_of(a) and not is_zero(a)):
        return NAN
    if is_zero(a) or is_infinite(a):
        return a
    scaled = int(interpret(a) * (1 << 256))  # exact: a is a multiple of 2^-149
    root = isqrt(scaled)
    return round_to_float(Fraction(2 * root + flag(root * root != scaled), 1 << 129), 0, mode)


def eq(a: int, b: int) -> bool:
    """a = b; +0 = −0, and a NaN equals nothing."""
    return not is_nan(a) and not is_nan(b) and order(a) == order(b)


def lt(a: int, b: int) -> bool:
    """a < b; false with a NaN."""
    return not is_nan(a) and not is_nan(b) and order(a) < order(b)


def le(a: int, b: int) -> bool:
    """a ≤ b; false with a NaN."""
    return not is_nan(a) and not is_nan(b) and order(a) <= order(b)


def order(a: int) -> int:
    """An integer that grows with the number: the magnitude's bits, with the sign."""
    magnitude = a & ~SIGN
    return -magnitude if sign_of(a) else magnitude


def minimum(a: int, b: int) -> int:
    """The smaller one, −0 below +0; a NaN gives way to a number. RISC-V's FMIN.S, IEEE's minimumNumber."""
    if is_nan(a) or is_nan(b):
        return the_number(a, b)
    return min(a, b, key=lambda x: (order(x), -sign_of(x)))


def maximum(a: int, b: int) -> int:
    """The larger one, +0 above −0; a NaN gives way to a number. RISC-V's FMAX.S, IEEE's maximumNumber."""
    if is_nan(a) or is_nan(b):
        return the_number(a, b)
    return max(a, b, key=lambda x: (order(x), -sign_of(x)))


def the_number(a: int, b: int) -> int:
    """Of two floats, one or both NaN, the one that is not."""
    if is_nan(a):
        return NAN if is_nan(b) else b
    return a


def from_fixed(value: int, fraction_bits: int = 0, mode: Rounding = RNE) -> int:
    """`value · 2^-fraction_bits`; without fraction bits this is RISC-V's FCVT.S.W[U] and FCVT.S.L[U]."""
    return round_to_float(Fraction(value) / Fraction(2) ** fraction_bits, 0, mode)


def to_fixed(a: int, low: int, high: int, fraction_bits: int = 0, mode: Rounding = RNE) -> int:
    """The integer for `a · 2^fraction_bits`, clamped to `[low, high]`; a NaN gives `high`, as in RISC-V's FCVT."""
    if is_nan(a):
        return high
    if is_infinite(a):
        return low if sign_of(a) else high
    return max(low, min(high, mode.to_integer(interpret(a) * Fraction(2) ** fraction_bits)))
