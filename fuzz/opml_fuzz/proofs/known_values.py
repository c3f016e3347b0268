"""A counterexample to a statement as a test that can be pasted: the predicate, on the numbers that z3 found.

z3 takes division, and at first products, for unknown functions. So the numbers need not break the statement, and then nothing is refuted.
"""

from collections.abc import Sequence
from typing import Any

from opml_fuzz.proofs.ieee import IeeeFloat
from opml_fuzz.statements.catalogue import STATEMENTS
from opml_fuzz.statements.statement import Float, NotAdmitted, Statement, Variable, Word

NO_TEST = "\nThere is no test: with real products and quotients, the statement holds for these."
TEST = """
from opml_fuzz.proofs.known_values import holds


def test_a_statement_that_does_not_hold() -> None:
    assert holds("{name}", {case}, {numbers})  # case {case}, then {variables}
"""


def holds(name: str, case: int, numbers: Sequence[int]) -> bool:
    """Tells whether a statement is true of these numbers, or claims nothing about them. case: which of its cases, from 0"""
    statement = STATEMENTS[name]
    said = result_if_admitted(statement, statement.cases[case], given_as(statement, numbers))
    return said is None or bool(said)


def reproducer(statement: Statement, case: tuple[Any, ...], numbers: Sequence[int]) -> str:
    """Writes the test, or says that there is none. Empty for what is not in the catalogue."""
    place = next((place for place, one in enumerate(statement.cases) if one is case), None)
    if STATEMENTS.get(statement.name) is not statement or place is None:
        return ""
    try:
        if holds(statement.name, place, numbers):
            return NO_TEST
    except Exception:  # code that is wrong may raise: so does the test
        pass
    return TEST.format(name=statement.name, case=place, numbers=[*numbers], variables=", ".join(statement.variables))


def result_if_admitted(statement: Statement, case: tuple[Any, ...], values: Sequence[Any]) -> Any:
    """What the predicate says of these values; None if they are not admitted."""
    try:
        return statement.holds(*case, *values) if statement.assuming(*case, *values) else None
    except NotAdmitted:
        return None


def as_given(variable: Variable, number: int) -> Any:
    """The value of a variable that z3 means by a number: it knows words and floats by their bits."""
    if isinstance(variable, Float):
        return IeeeFloat.of_bits(number, variable, None)
    return number - (1 << variable.bits) if isinstance(variable, Word) and number > variable.range[1] else number


def given_as(statement: Statement, numbers: Sequence[int]) -> list[Any]:
    """The values of all variables that z3 means by these numbers."""
    return list(map(as_given, statement.variables.values(), numbers))
