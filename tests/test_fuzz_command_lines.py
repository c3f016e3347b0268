"""The command lines of `opml-fuzz` and `opml-prove`: what cannot be meant is refused at once, in one line, with exit code 2."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from opml_fuzz.commands import fuzz


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line that a command says before it has done anything."""

    def line(main: Callable[[list[str]], int], *arguments: str) -> str:
        try:
            code = main(list(arguments))
        except SystemExit as exit:
            code = int(str(exit.code))
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n")) == (2, "", 1), err
        return err

    return line


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    """A pipe that nobody writes into or reads from: whoever opens it waits forever."""
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


# opml-fuzz ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["-1", "0", "4294967296", "9" * 5000, "x", "", "1.5"])
@pytest.mark.parametrize("option", [("coverage", "--random"), ("coverage", "--show"), ("elf", "file", "--steps")])
def test_a_number_out_of_range(option: tuple[str, ...], number: str, refused: Callable[..., str]) -> None:
    if (option[-1], number) != ("--show", "0"):
        assert "is not a whole number from" in refused(fuzz.main, *option, number)


@pytest.mark.parametrize("line", [("replay", ""), ("elf", ""), ("float", "f32_add", ""), ("vectors", ""), ("run", "--replays", "")])
def test_an_empty_path(line: tuple[str, ...], refused: Callable[..., str]) -> None:
    assert "the path is empty" in refused(fuzz.main, *line)


@pytest.mark.parametrize("command", ["replay", "elf"])
def test_a_file_that_never_ends_is_not_opened(command: str, fifo: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    for path in (fifo, "/dev/zero", str(tmp_path)):
        assert "is not a regular file" in refused(fuzz.main, command, path)


INCOMPLETE = [("{}", "case"), ('{"case": "step"}', "start"), ('{"case": "step", "start": {"x": {}}}', "status")]


@pytest.mark.parametrize(("text", "missing"), INCOMPLETE)
def test_a_replay_file_says_what_is_missing(text: str, missing: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "case.json"
    path.write_text(text)
    assert f"case.json: this is not a replay file: there is no '{missing}' in it" in refused(fuzz.main, "replay", str(path))
