"""Docstrings and pages keep the rules of prose; each rule is also seen to catch a planted offence."""

import subprocess
from pathlib import Path

import pytest
from prose_rules import REPOSITORY, docstring_offences, offences, page_offences


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    return [REPOSITORY / name for name in listed if name.endswith(suffixes) and (REPOSITORY / name).is_file()]


@pytest.mark.parametrize("path", list(tracked(".md")), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_pages(path: Path) -> None:
    assert not offences(path)


def test_docstrings() -> None:
    found = {str(path.relative_to(REPOSITORY)): list(docstring_offences(path.read_text())) for path in tracked(".py")}
    assert not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize(
    "planted",
    [
        '"""What came of a move."""',
        '"""Of a rejected claim: wei for each move."""',
        'def f():\n    """The same for tables."""',
        'class C:\n    """One flag byte a page."""'.replace("One", "Holds one"),
        'def f():\n    """Gives how many rounds all is certainly in order."""',
        '"""Says what the judge decides."""',
        '"""Counts 30 tokens a second."""',
    ],
)
def test_an_offence_in_a_docstring_is_seen(planted: str) -> None:
    assert list(docstring_offences(planted))


@pytest.mark.parametrize(
    "planted",
    [
        "One " + "very " * 24 + "long sentence.",
        "- An item with " + "many, " * 24 + "many words.",
        "The judge decides.",
        "It runs at 4.2 GIPS here.",
        "The machine takes 3 steps a byte.",
    ],
)
def test_an_offence_on_a_page_is_seen(planted: str) -> None:
    assert list(page_offences("# Title\n\n" + planted))


def test_code_tables_and_spans_are_left_alone() -> None:
    long = "word " * 40
    page = f"# {long}\n\n```\n{long}\n```\n\n| {long} |\n|---|\n\nA span `{long}` is one word. [A link]({'x' * 80})."
    assert not list(page_offences(page))
