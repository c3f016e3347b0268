"""The rules of prose that a machine can check, for docstrings and for Markdown pages.

`python tests/prose_rules.py [PATH …]` lists the offences in those files and folders.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MOST_WORDS = 25  # of a sentence in a README

OPENINGS = re.compile(r"(What came of|Of|As|Those|The same|Whether it may|And|But|Then)\b(?!-)")
UNITS = (
    r"(second|minute|hour|token|page|leaf|block|byte|row|stage|step|thread|"
    r"position|parameter|process|case|claim|dispute|node|file|instruction|line)"
)
RATE = re.compile(rf"\b(tokens|bytes|steps|cases|lines|pairs|hashes|words|moves|calls|cycles|seconds|gas|once|twice|\d+) an? {UNITS}\b")
SINGLE_RATE = re.compile(rf"\bone [\w-]+( (?!of\b|in\b|at\b|from\b|to\b|for\b|on\b|by\b|is\b|as\b)[\w-]+)? an? {UNITS}\b")
TURNS = {  # what reads as translated or means two things, and what to write
    RATE: "per, not a, for rates",
    SINGLE_RATE: "per, not a, for rates",
    re.compile(r"\b(is|are|was|were|be|all|certainly|not) in order\b(?! (to|of|in|that))"): "valid",
    re.compile(r"\binstructions? (is|are|was|were) made\b"): "executed",
    re.compile(r"\b[Jj]udges?\b"): "arbiter (one step), game (the dispute) or court (both)",
    re.compile(r"\bre-?text\b|\bborders? cases?\b"): "replace the program; edge case",
}
SPEEDS = re.compile(r"\d[\d ,.]*(GIPS|MIPS|tokens/s|tokens per second|GB/s|MB/s|M pairs|M/s)\b")
SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z0-9`*_\[(\u201c])|(?<=[:;])\s+")


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Each docstring of a module, with the line where its owner begins."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def docstring_offences(source: str) -> Iterator[str]:
    for line, text in docstrings(source):
        first = text.split("\n\n")[0]
        if OPENINGS.match(first):
            yield f"{line}: begins with {OPENINGS.match(first)[0]!r}: {first[:60]!r}"  # type: ignore[index]
        for pattern, instead in TURNS.items():
            for found in pattern.finditer(text):
                yield f"{line}: {found[0]!r}: {instead}"


def paragraphs(page: str) -> Iterator[tuple[int, str]]:
    """The running text of a Markdown page, a paragraph or list item at a time; no code, tables or headings."""
    number, start, lines, fenced = 0, 0, [], False
    for number, line in enumerate([*page.split("\n"), ""], 1):
        if line.lstrip().startswith("```"):
            fenced, line = not fenced, ""
        starts_item = re.match(r"\s*([-*]|\d+\.)\s", line)
        skipped = fenced or not line.strip() or line.lstrip().startswith(("|", "#", "<!--", "![", ">"))
        if (skipped or starts_item) and lines:
            yield start, " ".join(lines)
            lines = []
        if not skipped:
            start = start if lines else number
            lines.append(re.sub(r"^\s*([-*]|\d+\.)\s+", "", line).strip())


def sentences(paragraph: str) -> list[str]:
    """Sentences; a code span, a formula or a link counts as one word. A colon or semicolon ends one too."""
    plain = re.sub(r"`[^`]*`", "CODE", paragraph)
    plain = re.sub(r"\$[^$]*\$", "CODE", plain)
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    return [sentence for sentence in SENTENCE_END.split(plain) if sentence.strip()]


def page_offences(page: str, measurements: bool = False) -> Iterator[str]:
    for line, paragraph in paragraphs(page):
        for sentence in sentences(paragraph):
            words = re.findall(r"[^\s–—·|]*\w[^\s–—·|]*", sentence)
            if len(words) > MOST_WORDS:
                yield f"{line}: {len(words)} words: {sentence[:70]!r}"
        for pattern, instead in TURNS.items():
            for found in pattern.finditer(re.sub(r"`[^`]*`", "", paragraph)):
                yield f"{line}: {found[0]!r}: {instead}"
        if not measurements and (found := SPEEDS.search(paragraph)):
            yield f"{line}: {found[0]!r}: measurements stand in MEASUREMENTS.md"


def offences(path: Path) -> list[str]:
    text = path.read_text()
    return list(docstring_offences(text) if path.suffix == ".py" else page_offences(text, path.name in {"MEASUREMENTS.md", "CHANGELOG.md"}))


if __name__ == "__main__":
    asked = [Path(name).resolve() for name in sys.argv[1:]] or [REPOSITORY]
    everything = [file for path in asked for file in ([path] if path.is_file() else sorted([*path.rglob("*.py"), *path.rglob("*.md")]))]
    for file in everything:
        if ".venv" not in file.parts:
            for offence in offences(file):
                print(f"{file}:{offence}")
