"""Where the generator reads Markdown otherwise than a Git host, the text is evened out, or refused if its meaning would be lost."""

import re

from docs.errors import TextError
from docs.links import outside_fences

LIST_ITEM = re.compile(r"(?:[-*+]|\d+\.) ")
NESTED_TOO_LITTLE = re.compile(r"^ {1,3}(?:[-*+]|\d+\.) .*", re.M)
CODE = re.compile(r"`[^`\n]+`")


def as_generator_reads(name: str, text: str) -> str:
    """Rewrites a text outside its blocks of code; refuses nested lists that the generator would flatten."""

    def change(part: str) -> str:
        if flat := NESTED_TOO_LITTLE.search(part):
            raise TextError(f"{name}: a nested list is indented by four spaces: {flat[0]!r}")
        return with_plain_bars(with_lists_apart(part))

    return outside_fences(text, change)


def with_lists_apart(text: str) -> str:
    """Puts an empty line before each list; a Git host needs none."""
    lines: list[str] = []
    in_list = False
    for line in text.splitlines(keepends=True):
        before = lines[-1] if lines else "\n"
        item = LIST_ITEM.match(line) is not None
        if item and not in_list and before.strip():
            lines.append("\n")
        in_list = item or (in_list and (before.strip() != "" or not line.strip()))
        lines.append(line)
    return "".join(lines)


def with_plain_bars(text: str) -> str:
    """Takes the backslash from a bar in code in a table; a Git host needs one, the generator shows it."""
    return re.sub(r"^\|.*", lambda row: CODE.sub(lambda code: code[0].replace(r"\|", "|"), row[0]), text, flags=re.M)
