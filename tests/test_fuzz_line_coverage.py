"""Lines and branches under fuzzing: one step instead of a campaign, and how what is missing is written."""

import json
from itertools import islice
from typing import Any

import pytest
from opml_fuzz.commands import coverage as command
from opml_fuzz.commands.fuzz import main
from opml_fuzz.engines.specification import SpecState
from opml_fuzz.fuzzing import line_coverage
from opml_fuzz.fuzzing.batches import SWEEP_ENDS, theme
from opml_fuzz.fuzzing.kinds import KINDS
from opml_fuzz.fuzzing.line_coverage import Missing, numbers_of_batches, ranges
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.numbers import ENTRY
from opml_fuzz.machine.start import Leaves, Start


def test_what_one_step_executes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An addition executes the row of additions, and nothing of a division, of opml_min or of a dispute."""
    leaves: dict[int, bytes] = {}
    put_word(leaves, ENTRY, assemble("add", 3, 1, 2))
    start = Start(ENTRY, (0,) * 32, Leaves(leaves))

    def batch(*_: Any) -> tuple[int, list[Any]]:
        SpecState().run(start, (1,))
        return 7, []

    monkeypatch.setattr(line_coverage, "run_batch", batch)
    monkeypatch.setattr(line_coverage, "numbers_of_batches", lambda: iter((1, 2)))
    monkeypatch.setattr(command, "engine_room", lambda: None)
    monkeypatch.setattr(command, "compile_kernels", lambda: None)
    monkeypatch.setattr(command, "compile_training_kernels", lambda: None)
    assert main(["coverage", "--lines", "--seconds", "60", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cases"], told["differences"]) == (14, 0)
    modules = {each["module"]: each for each in told["modules"]}
    assert modules["opml_spec.machine.step"]["hit"] > 0
    assert 0 < modules["opml_spec.machine.instructions.integer"]["hit"] < modules["opml_spec.machine.instructions.integer"]["lines"]
    assert modules["opml_spec.machine.decode"]["branches_hit"] > 0
    for name in ("opml_spec.machine.instructions.multiply", "opml_spec.dispute.money", "opml_min.machine.interpret"):
        assert modules[name]["hit"] == 0 < modules[name]["lines"]
    assert not any("kernels." in name for name in modules)


def test_what_is_missing_is_written_shortly() -> None:
    assert ranges((1, 2, 3, 7, 9, 10)) == "1-3, 7, 9-10"
    missing = Missing("f", (4, 5), ((3, 4), (8, 11), (9, -1)))
    assert command.missing_of(missing) == "4-5, 8→11, 9→end"


def test_batches_are_spread() -> None:
    """In each turn one is of the sweep, one goes to court, one is about models, one about training, and one is left to chance."""
    some = list(islice(numbers_of_batches(), 40))
    assert {theme(number, KINDS) for number in some[1::5]} == {"court"}
    assert {theme(number, KINDS) for number in some[2::5]} == {"models"}
    assert {theme(number, KINDS) for number in some[3::5]} == {"training"}
    assert {theme(number, KINDS) for number in some[4::5]} == {"machine"}
    assert max(some[::5]) < SWEEP_ENDS <= min(some[2::5] + some[3::5] + some[4::5])


def test_options_that_have_nothing_to_do_with_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coverage", "--seconds", "3"]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["coverage", "--lines", "--random", "3"])
    assert "not allowed" in capsys.readouterr().err
