"""The worst error of each elementary function over all its inputs, in ball arithmetic: every bound is rigorous, none is sampled.

*Source*: Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic" (2017).
"""

from collections.abc import Callable
from decimal import ROUND_CEILING, Context, Decimal
from functools import cache

import flint
import numpy as np
from flint import arb
from opml_spec.arithmetic import float_functions
from opml_spec.arithmetic.elementary import EXP2_Q30, exp2, sigmoid
from opml_spec.arithmetic.fixed import round_shift

PRECISION = 160  # bits
DIGITS = 12  # of what is returned, rounded up


def upper(ball: arb) -> Decimal:
    """A decimal that is no smaller than anything in the ball."""
    mantissa, exponent = ball.upper().man_exp()
    exact = Decimal(int(mantissa)) * Decimal(2) ** int(exponent)
    return Context(DIGITS, ROUND_CEILING).create_decimal(exact)


@cache
def worst_error(function: Callable[[int], int]) -> Decimal:
    return {exp2: worst_of_exp2, sigmoid: worst_of_sigmoid}[function]()


def sampled_error(function: Callable[[int], int]) -> Decimal:
    """The worst relative error of binary32's exp over a fixed sample of arguments with normal results: no proof, but equal everywhere."""
    assert function is float_functions.exp
    arguments = np.random.default_rng(1).uniform(-87.3, 88.7, 5000).astype(np.float32)
    with flint.ctx.workprec(PRECISION):
        worst = arb(0)
        for x in arguments:
            result = np.uint32(float_functions.exp(int(x.view(np.uint32)))).view(np.float32)
            worst = worst.max(abs(arb(float(result)) / arb(float(x)).exp() - 1))
        return upper(worst)


def worst_of_exp2() -> Decimal:
    """Over all exponents ≤ 0.

    Whole part −1: every one of the 2^16 fractions. Whole part i < −1: the result is the same polynomial, shifted further and rounded once,
    so its error is at most `2^i · (the polynomial's) + 2^-25` ≤ what it would be at i = −2, and that is no more than the worst so far.
    Exponent 0: exact.
    """
    with flint.ctx.workprec(PRECISION):
        worst = polynomial = arb(0)
        for fraction in range(1 << 16):
            power = arb(2) ** (arb(fraction) / (1 << 16))
            worst = worst.max(abs(arb(exp2(fraction - (1 << 16))) / (1 << 24) - power / 2))
            p = 0
            for coefficient in EXP2_Q30:
                p = round_shift(p * (fraction << 14), 30) + coefficient
            polynomial = polynomial.max(abs(arb(p) / (1 << 30) - power))
        assert polynomial / 4 + arb(1) / (1 << 25) < worst
        assert exp2(0) == 1 << 24
        return upper(worst)


def worst_of_sigmoid() -> Decimal:
    """Over all arguments: every one of the 2^18 in [0, 16); beyond, 1 is off by at most σ(−16); the negative ones mirror."""
    with flint.ctx.workprec(PRECISION):
        worst = arb(0)
        for argument in range(1 << 18):
            worst = worst.max(abs(arb(sigmoid(argument)) / (1 << 30) - 1 / (1 + (-arb(argument) / (1 << 14)).exp())))
        assert 1 / (1 + arb(16).exp()) < worst
        return upper(worst)
