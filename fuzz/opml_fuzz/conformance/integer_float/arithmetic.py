"""Addition, multiplication, division, square root and fused multiply-add.

Each first handles NaN, infinity and zero. Then it computes enough bits exactly and collects all that follow in a sticky bit.

*Source*: IEEE 754-2019, 5.4.1 and 6.
"""

from opml_fuzz.conformance.integer_float.bit_pattern import (
    INFINITY,
    NAN,
    SIGN,
    is_infinite,
    is_nan,
    is_zero,
    round_and_pack,
    shift_right_sticky,
    sign_of,
    unpack,
)

GUARD_BITS = 3  # of a sum: where exponents differ by more than 1, a subtraction cancels at most one digit
QUOTIENT_BITS = 27  # 24, a guard bit, and one because the quotient may be below 1; the remainder is the sticky bit
ROOT_BITS = 26


def add(a: int, b: int) -> int:
    if is_nan(a) or is_nan(b):
        return NAN
    if is_infinite(a):
        return NAN if is_infinite(b) and a != b else a
    if is_infinite(b):
        return b
    if is_zero(a):
        return b if not is_zero(b) else a & b  # −0 only if both are
    if is_zero(b):
        return a
    x, y = unpack(a), unpack(b)
    return _sum(x.sign, x.significand << GUARD_BITS, x.exponent - GUARD_BITS, y.sign, y.significand << GUARD_BITS, y.exponent - GUARD_BITS)


def _sum(x_sign: int, x: int, x_exponent: int, y_sign: int, y: int, y_exponent: int) -> int:
    """Adds two numbers whose significands have equally many bits, the last GUARD_BITS of them zero."""
    if (x_exponent, x) < (y_exponent, y):
        x_sign, x, x_exponent, y_sign, y, y_exponent = y_sign, y, y_exponent, x_sign, x, x_exponent
    aligned = shift_right_sticky(y, x_exponent - y_exponent)
    total = x + aligned if x_sign == y_sign else x - aligned
    return round_and_pack(x_sign, total, x_exponent) if total else 0


def sub(a: int, b: int) -> int:
    return add(a, b ^ SIGN)


def mul(a: int, b: int) -> int:
    if is_nan(a) or is_nan(b):
        return NAN
    sign = (a ^ b) & SIGN
    if is_infinite(a) or is_infinite(b):
        return NAN if is_zero(a) or is_zero(b) else sign | INFINITY
    if is_zero(a) or is_zero(b):
        return sign
    x, y = unpack(a), unpack(b)
    return round_and_pack(sign >> 31, x.significand * y.significand, x.exponent + y.exponent)


def fma(a: int, b: int, c: int) -> int:
    """Computes a·b + c, rounded once."""
    if is_nan(a) or is_nan(b) or is_nan(c):
        return NAN
    sign = (a ^ b) & SIGN
    if is_infinite(a) or is_infinite(b):
        if is_zero(a) or is_zero(b):
            return NAN
        return add(sign | INFINITY, c)
    if is_infinite(c):
        return c
    if is_zero(a) or is_zero(b):
        return add(sign, c)
    if is_zero(c):
        return mul(a, b)
    x, y, z = unpack(a), unpack(b), unpack(c)
    product, exponent = x.significand * y.significand, x.exponent + y.exponent
    short = 48 - product.bit_length()  # a product of two significands has 47 or 48 bits
    product, exponent = product << short + GUARD_BITS, exponent - short - GUARD_BITS
    addend, places = z.significand << 24 + GUARD_BITS, 24 + GUARD_BITS
    return _sum(sign >> 31, product, exponent, z.sign, addend, z.exponent - places)


def div(a: int, b: int) -> int:
    if is_nan(a) or is_nan(b):
        return NAN
    sign = (a ^ b) & SIGN
    if is_infinite(a):
        return NAN if is_infinite(b) else sign | INFINITY
    if is_infinite(b):
        return sign
    if is_zero(b):
        return NAN if is_zero(a) else sign | INFINITY
    if is_zero(a):
        return sign
    x, y = unpack(a), unpack(b)
    quotient, remainder = 0, x.significand
    for _ in range(QUOTIENT_BITS):  # restoring division, one digit per pass
        quotient <<= 1
        if remainder >= y.significand:
            remainder -= y.significand
            quotient |= 1
        remainder <<= 1
    places = QUOTIENT_BITS - 1
    return round_and_pack(sign >> 31, quotient << 1 | (remainder != 0), x.exponent - y.exponent - places - 1)


def sqrt(a: int) -> int:
    if is_nan(a) or is_zero(a):
        return NAN if is_nan(a) else a
    if sign_of(a):
        return NAN
    if is_infinite(a):
        return a
    x = unpack(a)
    odd = x.exponent & 1
    radicand, exponent = x.significand << odd, (x.exponent - odd) // 2
    places = ROOT_BITS - (radicand.bit_length() + 1) // 2  # digits of the root that come from zeros behind the radicand
    root, remainder = 0, 0
    for place in range(ROOT_BITS - 1, -1, -1):  # digit by digit, two of the radicand for one of the root
        two = radicand >> 2 * (place - places) & 3 if place >= places else 0
        remainder = remainder << 2 | two
        trial = root << 2 | 1
        root <<= 1
        if remainder >= trial:
            remainder -= trial
            root |= 1
    return round_and_pack(0, root << 1 | (remainder != 0), exponent - places - 1)
