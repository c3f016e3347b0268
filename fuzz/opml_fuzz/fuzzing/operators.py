"""Mutation operators: every way in which a text of Python or Vyper is made wrong in one place.

Both languages have the same tokens, so one list of operators serves both. A *place* is a token or a statement inside a function, or inside
a table of functions. Annotations, signatures, decorators, docstrings and messages are no places, because they have no effect.

| operator | what it does |
|---|---|
| comparison | `<` becomes `<=`, `==` becomes `!=`, … |
| arithmetic | `+` becomes `-`, `&` becomes `|`, `<<` becomes `>>`, … |
| logic | `and` becomes `or`, `not` is left out, `True` becomes `False`, `min` becomes `max` |
| constant | a number n becomes n + 1 |
| order | the operands of `-`, `//`, `%`, `<<`, `>>` change places, or the arguments of a function of two that is not symmetric |
| statement | a statement of one line is left out |
| mnemonic | in a text of LLVM IR, one instruction becomes another |

*Source*: DeMillo, Lipton, Sayward, "Hints on Test Data Selection" (1978); the names of the operators as in Offutt's Mothra.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping

from attrs import evolve, frozen

COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
ARITHMETIC = {"+": "-", "-": "+", "*": "+", "//": "*", "%": "//", "<<": ">>", ">>": "<<", "&": "|", "|": "&", "^": "|", "**": "*"}
LOGIC = {"and": "or", "or": "and", "not": "", "True": "False", "False": "True", "min": "max", "max": "min"}
OPERAND = r"\w[\w.]*(?:\[\w+\])?"
DIFFERENCE = rf"(?<![\w.\])] )(?<![\w.\])])({OPERAND})( (?:-|//|%|<<|>>) )({OPERAND})(?![\w.(\[])"
CALL = rf"\b(unsafe_sub|unsafe_div)\(({OPERAND}), ({OPERAND})\)"  # of Vyper
MNEMONICS = {
    **{"add": "sub", "sub": "add", "mul": "add", "and": "or", "or": "and", "xor": "or", "shl": "lshr", "lshr": "ashr", "ashr": "lshr"},
    **{"sext": "zext", "zext": "sext", "sdiv": "udiv", "udiv": "sdiv", "srem": "urem", "urem": "srem"},
    **{"eq": "ne", "ne": "eq", "slt": "sle", "ult": "ule", "ule": "ult", "sge": "sgt", "uge": "ugt"},
}
COMPOUND = ("if ", "elif ", "else", "for ", "while ", "with ", "try", "except", "finally", "def ", "class ", "match ", "case ", "@")
NO_STATEMENTS = (*COMPOUND, "return", "pass", "#", '"', ")", "]", "}")
KEYWORDS = ("return", "in", "and", "or", "else")  # after which a sign is no operation between two numbers
ANNOTATED = re.compile(r"\s*(?:for )?[\w.]+: [^=]*?(?:=(?!=)| in )")


@frozen
class Mutation:
    """One wrong text: `right` at a line and column is replaced by `wrong`."""

    operator: str
    line: int  # from 1
    column: int
    right: str
    wrong: str
    context: str
    """The line, without what stands around it."""
    function: str = ""
    """The innermost function of Python that it is in."""

    def applied(self, text: str) -> str:
        """Returns the wrong text; it has as many lines as the right one."""
        lines = text.splitlines(keepends=True)
        line = lines[self.line - 1]
        assert line.startswith(self.right, self.column)
        lines[self.line - 1] = line[: self.column] + self.wrong + line[self.column + len(self.right) :]
        return "".join(lines)

    @property
    def name(self) -> str:
        """Says what is replaced by what, and where."""
        before, after = self.context[: self.column].lstrip(), self.context[self.column + len(self.right) :].rstrip()
        return f"{before}⟦{self.right} → {self.wrong}⟧{after}" if self.operator != "statement" else f"without {self.right}"


def mutations(text: str, is_llvm: bool = False) -> list[Mutation]:
    """Lists every mutation of a module's text, from top to bottom. is_llvm: whether its strings are LLVM IR"""
    lines, inside, is_python = text.splitlines(), places(text), _is_python(text)
    found = [*of_tokens(text, lines, inside, is_llvm), *of_statements(lines, inside), *of_order(lines, inside)]
    whole = [evolve(one, function=inside.get(one.line, "")) for one in found if not is_python or _is_python(one.applied(text))]
    return sorted(whole, key=lambda one: (one.line, one.column, one.operator))


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def places(text: str) -> dict[int, str]:
    """The lines that hold the bodies of functions, and tables of functions in Python, each with the name of its function in Python."""
    if not _is_python(text):
        return dict.fromkeys(_bodies_of_vyper(text.splitlines()), "")
    tree = ast.parse(text)
    lines: dict[int, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            docstring = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant) and len(node.body) > 1
            first = node.body[1 if docstring else 0]
            lines |= dict.fromkeys(range(first.lineno, (node.end_lineno or 0) + 1), node.name)
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and any(isinstance(n, ast.Lambda) for n in ast.walk(node.value)):
            lines |= dict.fromkeys(range(node.lineno + 1, node.end_lineno or 0), "")
    nested = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    signatures = {n for node in nested for n in range(node.lineno, node.body[0].lineno)} if nested else set()
    messages = {n for node in ast.walk(tree) if isinstance(node, ast.Raise) for n in range(node.lineno + 1, (node.end_lineno or 0) + 1)}
    return {line: name for line, name in lines.items() if line not in signatures | messages}


def _bodies_of_vyper(lines: list[str]) -> set[int]:
    inside, found, is_text = False, set[int](), False
    for number, line in enumerate(lines, 1):
        quotes = line.count('"""')
        if inside and not is_text and not quotes and line.startswith("    "):
            found.add(number)
        is_text ^= quotes == 1
        if line and not line.startswith((" ", ")")):
            inside = False
        if line.startswith(("def ", ")")) or (found and line.startswith("    ") and not is_text):
            inside = inside or line.rstrip().endswith(":")
    return found


def of_tokens(text: str, lines: list[str], inside: Mapping[int, str], is_llvm: bool) -> Iterator[Mutation]:
    """Yields the mutations of single tokens."""
    before = tokenize.TokenInfo(0, "", (0, 0), (0, 0), "")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (line, column), shown = token.start, token.string
        previous, before = before, token
        if token.type == tokenize.STRING and is_llvm:
            yield from _of_llvm(token, lines)
        if line not in inside or column < _annotation_ends(lines[line - 1]) or line != token.end[0]:
            continue
        is_binary = previous.type in (tokenize.NAME, tokenize.NUMBER) or previous.string in (")", "]")
        if shown in COMPARISONS:
            yield Mutation("comparison", line, column, shown, COMPARISONS[shown], lines[line - 1])
        elif shown in ARITHMETIC and token.type == tokenize.OP and is_binary and previous.string not in KEYWORDS:
            yield Mutation("arithmetic", line, column, shown, ARITHMETIC[shown], lines[line - 1])
        elif shown in LOGIC and previous.string not in (".", "is") and not lines[line - 1][:column].endswith("strict="):
            yield Mutation("logic", line, column, shown, LOGIC[shown], lines[line - 1])
        elif token.type == tokenize.NUMBER and shown.replace("_", "").isdigit():
            yield Mutation("constant", line, column, shown, str(int(shown.replace("_", "")) + 1), lines[line - 1])


def _annotation_ends(line: str) -> int:
    match = ANNOTATED.match(line)
    return match.end() if match else 0


def _of_llvm(token: tokenize.TokenInfo, lines: list[str]) -> Iterator[Mutation]:
    """Yields each mnemonic in a string of LLVM IR, which follows `=` or `icmp` or stands alone before the result is known."""
    if token.string.lstrip("rf").startswith('"""') and token.line.strip().startswith('"""'):
        return  # a docstring
    for number, line in enumerate(token.string.split("\n")):
        at = token.start[1] if number == 0 else 0
        for match in re.finditer(r'(?:(?<== )|(?<=icmp )|(?<="))([a-z]+)(?= i\d| %| \{|")', line):
            if match[1] in MNEMONICS:
                where = token.start[0] + number
                yield Mutation("mnemonic", where, at + match.start(), match[1], MNEMONICS[match[1]], lines[where - 1])


def of_statements(lines: list[str], inside: Mapping[int, str]) -> Iterator[Mutation]:
    """Yields the statements of one line, each replaced by `pass`."""
    depth = 0
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        begins_outside = depth == 0
        depth += sum(map(stripped.count, "([{")) - sum(map(stripped.count, ")]}"))
        is_whole = begins_outside and depth == 0 and stripped and not stripped.endswith(("\\", ",")) and '"""' not in stripped
        declares = re.match(r"\w+: ", stripped)  # in Vyper a name that is never declared does not compile
        if number in inside and is_whole and not stripped.startswith(NO_STATEMENTS) and not declares:
            code = stripped.split("  #")[0]
            yield Mutation("statement", number, line.index(stripped), code, "pass", line)


def of_order(lines: list[str], inside: Mapping[int, str]) -> Iterator[Mutation]:
    """Yields calls and differences whose two operands change places; only those of names, attributes and numbers."""
    for number in sorted(inside):
        line = lines[number - 1].split("  #")[0]
        for match in re.finditer(DIFFERENCE, line):
            is_alone = not line[: match.start()].rstrip().endswith(("-", "*", "/", "%", "+"))
            if match[1] != match[3] and match.start() >= _annotation_ends(line) and is_alone:
                yield Mutation("order", number, match.start(), match[0], match[3] + match[2] + match[1], lines[number - 1])
        for match in re.finditer(CALL, line):
            yield Mutation("order", number, match.start(), match[0], f"{match[1]}({match[3]}, {match[2]})", lines[number - 1])
