"""IEEE-754 binary32: the exact rational, rounded once.

A float is its 32 bits, an int. `interpret` reads a finite one as a number of smallest units, `round_to_float` rounds a quotient of two
integers, and every operation is: deal with NaN and infinity, compute exactly, round. Each NaN result is the one canonical NaN; subnormal
numbers are kept; there are no flags. What IEEE leaves open is done as RISC-V does it.

*Source*: spec §1.3. IEEE Std 754-2019, clauses 3.4, 4.3, 5.4, 6.2 and 6.3. RISC-V Unprivileged ISA, chapter "F".
"""

from enum import Enum
from math import isqrt

from opml_spec.arithmetic.fixed import clamp
from opml_spec.words import flag

FRACTION_BITS = 23
MIN_EXPONENT = -126  # of a normal number: 1.f · 2^exponent
MAX_EXPONENT = 127
UNITS = 1 << (FRACTION_BITS - MIN_EXPONENT)
"""How many times the smallest subnormal number, 2^-149, goes into 1."""

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
    """IEEE's five rounding directions, under RISC-V's names."""

    RNE = "to nearest, ties to even"
    RTZ = "towards zero"
    RDN = "down"
    RUP = "up"
    RMM = "to nearest, ties away from zero"

    def to_integer(self, n: int, d: int) -> int:
        """n/d rounded, for d > 0."""
        below, rest = divmod(n, d)
        upwards = {
            Rounding.RNE: 2 * rest > d or (2 * rest == d and below % 2 == 1),
            Rounding.RTZ: rest > 0 and n < 0,
            Rounding.RDN: False,
            Rounding.RUP: rest > 0,
            Rounding.RMM: 2 * rest > d or (2 * rest == d and n > 0),
        }
        return below + flag(upwards[self])

    @property
    def sign_of_cancellation(self) -> int:
        """The sign bit of x − x."""
        return SIGN if self is Rounding.RDN else 0

    def overflow(self, sign: int) -> int:
        """The float that a number becomes if it is too large for the format."""
        inwards = self is Rounding.RTZ or self is (Rounding.RUP if sign else Rounding.RDN)
        return sign | (LARGEST if inwards else INFINITY)


RNE = Rounding.RNE


def sign_of(a: int) -> int:
    """The sign bit, in its place."""
    return a & SIGN


def is_nan(a: int) -> bool:
    """Whether a float is a NaN, of any payload."""
    return a & ~SIGN > INFINITY


def is_infinite(a: int) -> bool:
    """Whether a float is +∞ or −∞."""
    return a & ~SIGN == INFINITY


def is_zero(a: int) -> bool:
    """Whether a float is +0 or −0."""
    return a & ~SIGN == 0


def negate(a: int) -> int:
    """Flip the sign bit, of a NaN too."""
    return a ^ SIGN


def interpret(a: int) -> int:
    """The number that a finite float stands for, in units of 2^-149: always an integer."""
    exponent, fraction = divmod(a & ~SIGN, 1 << FRACTION_BITS)
    magnitude = fraction if exponent == 0 else (fraction | 1 << FRACTION_BITS) << (exponent - 1)
    return -magnitude if sign_of(a) else magnitude


def binary_exponent(n: int, d: int) -> int:
    """floor(log2(n/d)), for positive n and d."""
    estimate = n.bit_length() - d.bit_length()
    return estimate if n << max(-estimate, 0) >= d << max(estimate, 0) else estimate - 1


def round_to_float(n: int, d: int, zero: int, mode: Rounding = RNE) -> int:
    """The float for the exact result n/d, d > 0; `zero` is the one to give for 0, whose sign the quotient does not show.

    With m units of `2^(e−23)` the encoding is `(e + 126)·2^23 + m`: the leading one of a normal significand adds 1 to the exponent field,
    and so does a significand that rounds up to 2^24.
    """
    if n == 0:
        return zero
    e = max(binary_exponent(abs(n), d), MIN_EXPONENT)
    unit = e - FRACTION_BITS
    significand = abs(mode.to_integer(n << max(-unit, 0), d << max(unit, 0)))
    sign = SIGN if n < 0 else 0
    encoding = ((e - MIN_EXPONENT) << FRACTION_BITS) + significand
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
    return round_to_float(interpret(a) * interpret(b) + interpret(c) * UNITS, UNITS * UNITS, zero, mode)


def add(a: int, b: int, mode: Rounding = RNE) -> int:
    """a + b."""
    return fma(a, ONE, b, mode)


def sub(a: int, b: int, mode: Rounding = RNE) -> int:
    """a − b."""
    return add(a, negate(b), mode)


def mul(a: int, b: int, mode: Rounding = RNE) -> int:
    """a·b, by an fma that adds a zero of the product's sign and so changes nothing."""
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
    n, d = interpret(a), interpret(b)
    return round_to_float(n if d > 0 else -n, abs(d), sign, mode)


def sqrt(a: int, mode: Rounding = RNE) -> int:
    """√a.

    The root is cut to a multiple of 2^-128, and 2^-129 is added if anything was cut off. No float, and no number halfway between two
    floats, lies between the root and this sum, so both round alike.
    """
    if is_nan(a) or (sign_of(a) and not is_zero(a)):
        return NAN
    if is_zero(a) or is_infinite(a):
        return a
    scaled = interpret(a) * (1 << 256) // UNITS  # exact: 2^107 for each unit
    root = isqrt(scaled)
    return round_to_float(2 * root + flag(root * root != scaled), 1 << 129, 0, mode)


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
    """The one of two floats that is a number; NAN if neither is."""
    if is_nan(a):
        return NAN if is_nan(b) else b
    return a


def from_fixed(value: int, fraction_bits: int = 0, mode: Rounding = RNE) -> int:
    """`value · 2^-fraction_bits`; without fraction bits this is RISC-V's FCVT.S.W[U] and FCVT.S.L[U]."""
    return round_to_float(value << max(-fraction_bits, 0), 1 << max(fraction_bits, 0), 0, mode)


def to_fixed(a: int, low: int, high: int, fraction_bits: int = 0, mode: Rounding = RNE) -> int:
    """The integer for `a · 2^fraction_bits` (fraction_bits ≥ 0), clamped to `[low, high]`; a NaN gives `high`, as in RISC-V's FCVT."""
    if is_nan(a):
        return high
    if is_infinite(a):
        return low if sign_of(a) else high
    return clamp(mode.to_integer(interpret(a) << fraction_bits, UNITS), low, high)
