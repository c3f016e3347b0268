"""The command lines of `opml-fuzz` and `opml-prove`: what cannot be meant is refused at once, in one line, with exit code 2."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from opml_fuzz.commands import bytecode_mutants, fuzz, prove, proving
from opml_fuzz.commands.bytecode_mutants import Judgement
from opml_fuzz.machine.case import Case, Disputes
from opml_fuzz.machine.model_case import FloatOperation
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.catalogue import EVERY


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


EMPTY = [("replay", ""), ("elf", ""), ("float", "f32_add", ""), ("vectors", "write", ""), ("run", "--replays", "")]


@pytest.mark.parametrize("line", EMPTY)
def test_an_empty_path(line: tuple[str, ...], refused: Callable[..., str]) -> None:
    assert "the path is empty" in refused(fuzz.main, *line)


@pytest.mark.parametrize("command", ["replay", "elf"])
def test_a_file_that_never_ends_is_not_opened(command: str, fifo: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    for path in (fifo, "/dev/zero", str(tmp_path)):
        assert "is not a regular file" in refused(fuzz.main, command, path)


def test_a_report_that_is_a_folder(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "report.xml").mkdir()
    assert "is a folder" in refused(fuzz.main, "run", "--report", str(tmp_path / "report.xml"))


UNDECIDED = [
    (FloatOperation("f32_add", (1, 2), "RMM"), (), "there are not two implementations here"),
    (FloatOperation("f32_add", (1, 2)), ("--target", f"python:{__name__}:Rooted"), "the target is not asked about this case"),
    (Disputes("long", 2_000), ("--seconds", "0.1"), "this takes longer than 0.1 seconds; --seconds gives it more"),
]


class Rooted:
    """A target that is asked about roots alone."""

    def root(self, memory: dict[int, bytes]) -> bytes:
        return bytes(32)


@pytest.mark.parametrize(("case", "options", "reason"), UNDECIDED)
def test_a_case_about_which_nothing_can_be_said(
    case: Case, options: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    path = tmp_path / "case.json"
    path.write_text(json.dumps(case.to_json()))
    assert reason in refused(fuzz.main, "replay", str(path), *options)


INCOMPLETE = [("{}", "case"), ('{"case": "step"}', "start"), ('{"case": "step", "start": {"x": {}}}', "status")]


@pytest.mark.parametrize(("text", "missing"), INCOMPLETE)
def test_a_replay_file_says_what_is_missing(text: str, missing: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "case.json"
    path.write_text(text)
    assert f"case.json: this is not a replay file: there is no '{missing}' in it" in refused(fuzz.main, "replay", str(path))


# opml-prove --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [("--jobs", "0"), ("--jobs", "-2"), ("--jobs", "257"), ("--mutants", "-1"), ("--mutants", "10001")])
def test_a_number_of_the_prover_out_of_range(line: tuple[str, str], refused: Callable[..., str]) -> None:
    assert "is not a whole number from" in refused(prove.main, *line)


@pytest.mark.parametrize("option", ["--smt", "--ledger"])
def test_an_empty_path_of_the_prover(option: str, refused: Callable[..., str]) -> None:
    assert "the path is empty" in refused(prove.main, option, "")


def test_an_empty_name(refused: Callable[..., str]) -> None:
    assert "is called ''" in refused(prove.main, "--explain", "")
    assert "is called ''" in refused(prove.main, "")


ASKED: dict[tuple[str, ...], set[str]] = {
    ("--list",): {"name"},
    ("--explain", "add"): set(),
    ("--mutants", "1"): {"--jobs"},
    ("--rule-mutants",): set(),
}
"""The options that ask for something other than proofs, and what else each takes."""
OTHERS: tuple[tuple[str, ...], ...] = (("money",), ("--jobs", "2"), ("--smt", "folder"), ("--recheck",), ("--ledger", "page"))


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("asked", ASKED)
def test_what_has_nothing_to_do_with_what_is_asked(asked: tuple[str, ...], other: tuple[str, ...], refused: Callable[..., str]) -> None:
    if ("name" if other == ("money",) else other[0]) not in ASKED[asked]:
        assert "has nothing to do with" in refused(prove.main, *other, *asked)


@pytest.mark.parametrize("asked", ASKED)
def test_only_one_thing_is_asked(asked: tuple[str, ...], refused: Callable[..., str]) -> None:
    for other in ASKED:
        if other != asked:
            assert "not allowed with argument" in refused(prove.main, *asked, *other)


def test_what_does_not_fit_proofs(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "name none" in refused(prove.main, "money", "--ledger", str(tmp_path / "page"))
    assert not list(tmp_path.iterdir())


def test_lists_and_explanations_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert prove.main(["--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"statements": [{"name": name, "says": one.says} for name, one in EVERY.items()]}
    assert prove.main(["--list", "money", "--json"]) == 0
    assert {one["name"].partition(".")[0] for one in json.loads(capsys.readouterr().out)["statements"]} == {"money"}
    assert prove.main(["--explain", "sraiw"]) == 0
    text = capsys.readouterr().out
    assert prove.main(["--explain", "sraiw", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "bytecode.sraiw", "says": EVERY["bytecode.sraiw"].says, "text": text[:-1]}


def test_mutants_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    judgements = [
        Judgement("spec: a", "refuted", "add", "a test"), Judgement("spec: b", "survived", ""),
        Judgement("bytecode: c", "failed", "two\nlines"), Judgement("bytecode: d", "equal", "proved"),
    ]  # fmt: skip
    monkeypatch.setattr(bytecode_mutants, "results_in_order", lambda *given: nullcontext(iter(judgements)))
    assert prove.main(["--mutants", "0", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [Judgement(**one) for one in printed["mutants"]] == judgements
    assert (printed["refuted"], printed["survivors"]) == (1, ["spec: b"])
    assert prove.main(["--mutants", "0"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[1] == "    a test"
    assert lines[-1].startswith("1 of 3 refuted (33.3 %), 1 survived, 1 not proved and not refuted, 1 equal for a known reason")
    assert "spec 1 of 2, bytecode 0 of 2" in lines[-1]


@pytest.mark.parametrize("option", ["--ledger", "--smt"])
def test_a_place_that_cannot_be_written_is_refused_before_any_proof(
    option: str, fifo: str, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "verdicts_of", None)
    file = tmp_path / "file"
    file.write_text("kept")
    places = ["/dev/null", "/dev/full", fifo, str(file / "below"), "n" * 300]
    for place in places + ([str(tmp_path), "/nowhere/page"] if option == "--ledger" else [str(file), "/proc/below"]):
        assert f"cannot {'write' if option == '--ledger' else ''}" in refused(prove.main, option, place), place
    assert file.read_text() == "kept"


def test_a_ledger_is_whole_or_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = [Verdict(name, "proved", 1.0) for name in EVERY]
    monkeypatch.setattr(proving, "verdicts_of", lambda *given: nullcontext(iter(verdicts)))
    path = tmp_path / "page"
    assert prove.main(["--ledger", str(path)]) == 0
    assert path.read_text().endswith("\n")
    before = path.read_bytes()

    def interrupted(given: list[Verdict]) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(proving, "page", interrupted)
    assert prove.main(["--ledger", str(path)]) == 130
    assert [one.name for one in tmp_path.iterdir()] == ["page"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", [["bytecode", "--jobs", "2"], ["--mutants", "0", "--jobs", "2"]], ids=" ".join)
@pytest.mark.parametrize("seconds", [2.0, 6.0])
def test_ctrl_c_ends_all_processes_in_one_line(line: list[str], seconds: float) -> None:
    """The signal reaches every process of the group, as on a terminal: while workers start, and while they prove."""
    command = [sys.executable, "-m", "opml_fuzz.commands.prove", *line]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)  # which ends when no process has these pipes open
    assert (process.returncode, err) == (130, b"opml-prove: interrupted\n")
