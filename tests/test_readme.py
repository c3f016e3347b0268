"""The READMEs are true: their programs run, their commands and make targets exist, and every test file is listed."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PATTERNS = ("*.md", "*/README.md", "opml_min/*/README.md", "fuzz/*/*/README.md", "spec/*/*/README.md")
PAGES = sorted(path for pattern in PATTERNS for path in REPOSITORY.glob(pattern))
SHOWN = re.compile(r"(opml|opml-fuzz|opml-prove|make)(?: +([a-z][a-z|_-]*))?(?= |$)")
MOST_LINES = 30


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of a page in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.M | re.S)


def shell_lines(path: Path) -> list[str]:
    found = []
    for block in blocks(path, "sh"):
        found += [line.split("#")[0].strip().removeprefix("$ ") for line in block.splitlines()]
    return [line for line in found if line]


def test_the_program_of_the_specification_page(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks(REPOSITORY / "spec" / "README.md", "python")
    assert len(program.splitlines()) <= MOST_LINES
    exec(compile(program, "spec/README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "addi a0, zero, 42" in shown
    assert "Status(kind=<Kind.HALTED: 1>, value=42)" in shown
    assert shown.endswith("rejected: 105 WITNESS_ROOT\n")


def shown_commands() -> list[tuple[str, str]]:
    """Each command with its subcommand, once: those of shell blocks, and of code spans that begin with one."""
    found = set()
    for path in PAGES:
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", path.read_text(), flags=re.S))
        for line in [*shell_lines(path), *spans]:
            if (match := SHOWN.match(line)) and (match[2] or " " not in line):
                found |= {(match[1], word) for word in (match[2] or "").split("|")}
    return sorted(found)


@cache
def help_of(command: str, *words: str) -> str:
    """Asks a command for its help, once."""
    done = subprocess.run([Path(sys.executable).with_name(command), *words, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("command", "word"), [pair for pair in shown_commands() if pair[0] != "make"])
def test_a_command_that_is_shown_exists(command: str, word: str) -> None:
    assert help_of(command, *([word] if word and command != "opml-prove" else []))


def test_options_that_are_shown_exist() -> None:
    """Commands in shell blocks of the first page have every option that they are shown with."""
    for line in shell_lines(REPOSITORY / "README.md"):
        name, *rest = shlex.split(line)
        if name.startswith("opml"):
            words = rest[: next((i for i, word in enumerate(rest) if word.startswith("-")), len(rest))]
            shown = help_of(name, *words[:2])
            assert all(option in shown for option in rest if option.startswith("--")), line


def test_make_targets_that_are_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    shown = {word for command, word in shown_commands() if command == "make" and word}
    assert {"demo", "test"} <= shown <= targets


def test_every_test_file_is_listed() -> None:
    listed = re.findall(r"^\| `(\w+\.py)` \| \S.* \|$", (REPOSITORY / "tests" / "README.md").read_text(), re.M)
    assert sorted(listed) == sorted(path.name for path in (REPOSITORY / "tests").glob("*.py"))
