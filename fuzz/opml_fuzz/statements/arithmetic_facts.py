"""Facts about products and quotients of the EVM's words, which the proofs about the game tell z3 instead of the definitions.

In those proofs a product and a quotient are unknown functions (`proofs/game/arithmetic.py`). Here they are what they are: on integers,
MUL is the product modulo 2^256, and DIV by a divisor other than 0 is the quotient rounded down.

*Source*: Ethereum Yellow Paper, appendix H.2.
"""

from typing import Any

from opml_fuzz.statements.statement import Integer, Statement

MODULUS = 1 << 256
HALF = 1 << 128
WORD, FACTOR, DIVISOR = Integer(0, MODULUS - 1), Integer(1, HALF - 1), Integer(1, MODULUS - 1)


def product(a: Any, b: Any) -> Any:
    """What MUL gives."""
    return a * b % MODULUS


def by_zero_and_one(a: Any) -> Any:
    return (product(a, 0) == 0) & (product(a, 1) == a) & (a // 1 == a)


def divided_by_a_factor(a: Any, b: Any) -> Any:
    return (product(a, b) // a == b) & (b <= product(a, b))


def below_both_bounds(a: Any, b: Any, below_a: Any, below_b: Any) -> Any:
    return product(a, b) < below_a * below_b


def fit_a_word(a: Any, b: Any, below_a: Any, below_b: Any) -> Any:
    return (a < below_a) & (b < below_b) & (below_a * below_b <= MODULUS)


def of_a_part(divisor: Any, x: Any, part: Any) -> Any:
    return product(part, divisor) <= x


def is_part(divisor: Any, x: Any, part: Any) -> Any:
    return part <= x // divisor


STATEMENTS = (
    Statement(
        "facts.zero_one", "0 times a word is 0; once a word is that word, and so is a word divided by 1",
        {"a": WORD}, by_zero_and_one,
    ),
    Statement(
        "facts.factor", "a product of numbers below 2^128, divided by one that is not 0, is the other, which is no larger than the product",
        {"a": FACTOR, "b": Integer(0, HALF - 1)}, divided_by_a_factor,
    ),
    Statement(
        "facts.size", "a product of numbers below A and B is below AB, if that is at most 2^256",
        {"a": WORD, "b": WORD, "below_a": Integer(1), "below_b": Integer(1)}, below_both_bounds, fit_a_word,
    ),
    Statement("facts.quotient", "a quotient is not larger than what is divided", {"x": WORD, "d": DIVISOR}, lambda x, d: x // d <= x),
    Statement("facts.part", "g · d ≤ x if g ≤ x // d", {"divisor": DIVISOR, "x": WORD, "part": WORD}, of_a_part, is_part),
)  # fmt: skip
