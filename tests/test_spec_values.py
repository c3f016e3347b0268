"""Every `(= value)` in the spec is what it says.

The convention: where a number follows from something else, its value stands beside it as `(= value)`.
- In the text beneath an assignment, or in the comment behind one, it is the value of what is assigned.
- Elsewhere an expression in backticks precedes it: `expression` (= value). Names are those of the module, and those in `MEASURED`.
An integer must be equal; a decimal must be the value rounded up to as many digits as it has, since all of them are bounds.
"""

import ast
import importlib
import pkgutil
import re
import tokenize
from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, Context, Decimal
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import opml_spec
import pytest
from spec_worst_error import sampled_error, worst_error

MEASURED: dict[str, Callable[..., Decimal]] = {"worst_error": worst_error, "sampled_error": sampled_error}
STATED = re.compile(r"(?:`([^`]+)` )?\(= ([^)]+)\)")


def modules() -> list[ModuleType]:
    return [importlib.import_module(found.name) for found in pkgutil.walk_packages(opml_spec.__path__, "opml_spec.")]


def statements(module: ModuleType) -> Iterator[tuple[str, str]]:
    """(expression, stated value) for each `(= value)` of a module."""
    assert module.__file__ is not None
    source = Path(module.__file__).read_text()
    tree = ast.parse(source)
    names: dict[int, str] = {}  # the name that is assigned, by line
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for before, text in pairwise(body) if isinstance(body, list) else ():
            if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(text, ast.Expr):
                names |= dict.fromkeys(lines(text), assigned(before))
        if isinstance(node, ast.Assign | ast.AnnAssign):
            names |= dict.fromkeys(lines(node), assigned(node))
    for token in tokenize.tokenize(BytesIO(source.encode()).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for found in STATED.finditer(token.string):
                expression, value = found.groups()
                if value == "…" or value == "value":
                    continue
                line = token.start[0] + token.string[: found.start()].count("\n")
                assert expression or line in names, f"{module.__name__}:{line}: (= {value}) stands beside nothing that has a value"
                yield expression or names[line], value


def lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def assigned(node: ast.Assign | ast.AnnAssign) -> str:
    return ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])


ALL = [(module, expression, value) for module in modules() for expression, value in statements(module)]


@pytest.mark.parametrize(("module", "expression", "value"), ALL, ids=[f"{m.__name__}-{e}" for m, e, _ in ALL])
def test_a_stated_value_is_the_value(module: ModuleType, expression: str, value: str) -> None:
    actual = eval(expression, {**vars(module), **MEASURED})
    if re.fullmatch(r"-?\d+(\.\d+)?e-?\d+|-?\d+\.\d+", value):
        digits = len(Decimal(value).as_tuple().digits)
        assert Context(digits, ROUND_CEILING).create_decimal(actual) == Decimal(value)
    else:
        assert actual == ast.literal_eval(value)


def test_there_are_such_values() -> None:
    assert len(ALL) >= 15
    assert {"LOG2_E_Q32", "worst_error(exp2)", "worst_error(sigmoid)"} <= {expression for _, expression, _ in ALL}
