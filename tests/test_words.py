"""One word, one meaning; one name, one thing: class names and file names that stand twice in a part, and words that were given up."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from prose_rules import REPOSITORY
from test_prose import tracked

PARTS = ("spec/opml_spec", "opml_min", "evm_arbiter", "fuzz/opml_fuzz")

GIVEN_UP = {  # identifiers (whole words between underscores or capitals), where they may not stand, and what took their place
    "judge": (PARTS, "arbiter (one step), game (the dispute), court (both)"),
    "blockset": (("opml_min/machine",), "PageSet"),
    "retext": (PARTS, "replace_program"),
    "pasteable": (PARTS, "reproducer"),
}


def python_files(part: str) -> list[Path]:
    return [path for path in tracked(".py") if path.is_relative_to(REPOSITORY / part)]


def standing_twice(sources: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The class names that stand in more than one place. sources: (name, text) of each file"""
    places = defaultdict(list)
    for name, text in sources:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    return {name: where for name, where in places.items() if len(where) > 1}


def differing_by_an_s(stems: Iterable[str]) -> list[str]:
    """The names that are there with and without a plural s."""
    every = set(stems)
    return sorted(stem for stem in every if f"{stem}s" in every)


def words(identifier: str) -> list[str]:
    """The words of an identifier, lower case: those between underscores or capitals, and each neighbouring two as one."""
    single = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", identifier)]
    return single + [first + second for first, second in pairwise(single)]


def given_up(text: str, part: str) -> list[str]:
    """The identifiers of a source that use a word that was given up in that part."""
    identifiers = set(re.findall(r"\b[A-Za-z_]\w*", text))
    return sorted(i for i in identifiers for word, (where, _) in GIVEN_UP.items() if part.startswith(where) and word in words(i))


@pytest.mark.parametrize("part", PARTS)
def test_a_class_name_stands_once_in_a_part(part: str) -> None:
    assert not standing_twice((str(path.relative_to(REPOSITORY)), path.read_text()) for path in python_files(part))


@pytest.mark.parametrize("part", PARTS)
def test_no_two_files_of_a_part_differ_by_a_plural_s(part: str) -> None:
    assert not differing_by_an_s(path.stem for path in python_files(part))


@pytest.mark.parametrize("part", PARTS)
def test_words_that_were_given_up_do_not_come_back(part: str) -> None:
    for path in [*python_files(part), *(p for p in tracked(".vy") if p.is_relative_to(REPOSITORY / part))]:
        assert not given_up(path.read_text(), str(path.relative_to(REPOSITORY))), path


def test_offences_are_seen() -> None:
    assert standing_twice([("a.py", "class Case: ..."), ("b.py", "class Case: ...")]) == {"Case": ["a.py", "b.py"]}
    assert differing_by_an_s(["model", "models", "case"]) == ["model"]
    assert given_up("def read_judge(): ...", "fuzz/opml_fuzz/statements/x.py") == ["read_judge"]
    assert given_up("class BlockSet: ...", "opml_min/machine/x.py") == ["BlockSet"]
    assert not given_up("class BlockSet: ...", "opml_min/model/x.py")
