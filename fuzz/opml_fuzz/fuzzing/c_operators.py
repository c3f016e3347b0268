"""Mutation operators for C: those of `operators.py`, on the tokens of C.

A place is a token or a statement in the body of a function. Signatures, declarations of types, tables, directives and comments are none.
A sign between two operands has spaces around it, which tells it from a pointer, a cast or a sign in front of a number.
"""

import re
from collections.abc import Iterator

from attrs import frozen

from opml_fuzz.fuzzing.operators import ARITHMETIC, COMPARISONS, OPERAND, Mutation

TOKEN = re.compile(
    r"""(?P<nothing>/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])+'|^[ \t]*\#[^\n]*)
    |(?P<number>(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>->|\+\+|--|<<=|>>=|&&|\|\||[-+*/%&|^=!<>]=|<<|>>|[-+*/%&|^=!<>~?:;,.(){}\[\]])""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
BINARY = {**ARITHMETIC, "/": "%", "%": "/"}
UPDATES = {"+=": "-=", "-=": "+=", "*=": "+=", "/=": "*=", "<<=": ">>=", ">>=": "<<=", "&=": "|=", "|=": "&=", "^=": "|=", "++": "--"}
LOGIC = {"&&": "||", "||": "&&", "!": "", "min": "max", "max": "min"}
DIFFERENCE = re.compile(rf"(?<![\w.\])>] )(?<![\w.\])>])({OPERAND})( (?:-|/|%|<<|>>) )({OPERAND})(?![\w.(\[-])")
SUFFIX = re.compile("[uUlL]*$")
DECLARES = re.compile(r"(?:\w+\s+)+\**\w")
NO_STATEMENTS = ("if ", "for ", "while ", "do ", "switch ", "case ", "default", "return", "else", "}", "{", "#", "/*", ";")


@frozen
class Token:
    """A token with its place; lines count from 1."""

    kind: str
    text: str
    line: int
    column: int
    is_spaced: bool


def mutations_of_c(text: str) -> list[Mutation]:
    """Lists every mutation of a file's text, from top to bottom."""
    lines, tokens = text.splitlines(), list(bodies(text))
    inside = {token.line for token in tokens}
    found = [*_of_tokens(tokens, lines), *_of_statements(lines, inside), *_of_order(lines, inside)]
    return sorted(found, key=lambda one: (one.line, one.column, one.operator))


def bodies(text: str) -> Iterator[Token]:
    """Yields the tokens in the bodies of functions."""
    depth, line, begin, at, before = 0, 1, 0, 0, ""
    for match in TOKEN.finditer(text):
        line += text.count("\n", at, match.start())
        begin, at = text.rfind("\n", 0, match.start()) + 1, match.start()
        shown = match[0]
        if match.lastgroup == "nothing":
            continue
        if shown == "{" and (depth or before == ")"):
            depth += 1
        elif shown == "}" and depth:
            depth -= 1
        elif depth:
            is_spaced = text[match.start() - 1] == " " and text[match.end() : match.end() + 1] == " "
            yield Token(str(match.lastgroup), shown, line, match.start() - begin, is_spaced)
        before = shown


def _of_tokens(tokens: list[Token], lines: list[str]) -> Iterator[Mutation]:
    for token in tokens:
        where = token.line, token.column, token.text
        context, shown = lines[token.line - 1], token.text
        if token.kind == "number":
            suffix = SUFFIX.search(shown)[0]  # type: ignore[index]  # which may be empty
            value, is_hex = int(shown.removesuffix(suffix), 0), shown.lower().startswith("0x")
            yield Mutation("constant", *where, (hex(value + 1) if is_hex else str(value + 1)) + suffix, context)
        elif shown in COMPARISONS and token.is_spaced:
            yield Mutation("comparison", *where, COMPARISONS[shown], context)
        elif (shown in BINARY and token.is_spaced) or shown in UPDATES:
            yield Mutation("arithmetic", *where, BINARY.get(shown) or UPDATES[shown], context)
        elif shown in LOGIC:
            yield Mutation("logic", *where, LOGIC[shown], context)


def _of_statements(lines: list[str], inside: set[int]) -> Iterator[Mutation]:
    """Yields the statements of one line, each replaced by an empty one."""
    depth = 0
    for number, line in enumerate(lines, 1):
        code = line.split("/*")[0].strip()
        begins_outside = depth == 0
        depth += sum(map(code.count, "([")) - sum(map(code.count, ")]"))
        is_whole = begins_outside and depth == 0 and code.endswith(";") and not code.startswith(NO_STATEMENTS)
        if number in inside and is_whole and not DECLARES.match(code):
            yield Mutation("statement", number, line.index(code), code, ";", line)


def _of_order(lines: list[str], inside: set[int]) -> Iterator[Mutation]:
    """Yields differences, quotients and shifts whose two operands change places."""
    for number in sorted(inside):
        line = lines[number - 1].split("/*")[0]
        for match in DIFFERENCE.finditer(line):
            if match[1] != match[3] and not line[: match.start()].rstrip().endswith(("-", "*", "/", "%", "+", "&")):
                yield Mutation("order", number, match.start(), match[0], match[3] + match[2] + match[1], lines[number - 1])
