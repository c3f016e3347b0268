"""The fuzzer: all implementations agree; a defect put in by hand is found, its case shrunk, written to a file and found again."""

import contextlib
import io
import json
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_fuzz.commands import campaign
from opml_fuzz.commands import fuzz as cli
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.disputes.sequences import RandomDisputes
from opml_fuzz.engines.bytecode import EmbeddedEvm
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.asking import run_batch
from opml_fuzz.fuzzing.batches import ACTS, SWEEP_ENDS, batch
from opml_fuzz.fuzzing.compiled_mutants import compiled
from opml_fuzz.fuzzing.corpus import Kept
from opml_fuzz.fuzzing.difference import Difference, compare, read
from opml_fuzz.fuzzing.kinds import KINDS
from opml_fuzz.fuzzing.loop import RunReport
from opml_fuzz.fuzzing.reproducer import program_text
from opml_fuzz.machine.case import Acts, Case, Deployment, Disputes, Program, Step, Witness, from_json
from opml_fuzz.machine.encodings import ENCODINGS
from opml_fuzz.machine.programs import gallery, loop
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import wrong_witness
from opml_fuzz.sweep import words
from opml_spec.machine import decode
from opml_spec.machine.instructions import INSTRUCTIONS
from opml_spec.machine.step import step

from opml_min.machine import interpret
from opml_min.machine.translator import operations

MOST_BATCHES = SWEEP_ENDS  # each of these defects shows in the sweep or earlier
randoms = st.randoms(use_true_random=False)


@pytest.fixture(scope="module")
def room() -> EngineRoom:
    return engine_room()


def found(room: EngineRoom, kinds: Collection[str] = KINDS) -> Difference:
    """The first difference; fails if there is none."""
    for number in range(MOST_BATCHES):
        _, differences = run_batch(1, number, room, kinds=kinds)
        if differences:
            return differences[0]
    pytest.fail("not found")


# Nobody is broken ----------------------------------------------------------------------------------------------------------------


@given(randoms)
def test_a_step(room: EngineRoom, rng: Random) -> None:
    assert compare(Step(random_state(rng)), room.most) is None


@given(randoms)
def test_a_wrong_witness(room: EngineRoom, rng: Random) -> None:
    assert compare(Witness(wrong_witness(rng, random_state(rng))), room.most) is None


def test_batches(room: EngineRoom) -> None:
    cases = 0
    for number in range(3):
        more, differences = run_batch(20_241, number, room)
        assert not differences, differences[0].program
        cases += more
    assert cases > 700


# What is tried -------------------------------------------------------------------------------------------------------------------


def test_a_seed_is_its_cases() -> None:
    first, again, other = (list(batch(seed, 0)) for seed in (5, 5, 6))
    assert first == again != other


def test_every_instruction_and_every_outcome_comes_up() -> None:
    rng, names, outcomes = Random(3), set[str](), set[tuple[int, int]]()
    for _ in range(1_500):
        start = random_state(rng)
        after = step(start.state())
        if start.kind == 0:
            outcomes.add((after.status.kind, after.status.value if after.status.kind == 2 else 0))
            if start.pc % 4 == 0 and 1 << 38 <= start.pc < (1 << 38) + (1 << 28):
                row = decode.decode(start.state().memory.load(start.pc, 4))
                names.add(row.name if row else "")
    assert names == {*ENCODINGS, ""}
    assert outcomes == {(0, 0), (1, 0), *((2, cause) for cause in (0, 1, 2, 3, 5, 7, 8))}


def test_every_error_comes_up(room: EngineRoom) -> None:
    rng, spec = Random(4), room.most.of_witnesses[0]
    answers = {spec.execute(wrong_witness(rng, random_state(rng))) for _ in range(300)}
    assert {f"error {number}" for number in range(101, 107)} <= answers


def test_programs_run_translated(room: EngineRoom) -> None:
    """A gallery's instruction really is translated: the machine has an entry where the case begins."""
    engine = room.most.of_programs[2]
    for case in list(gallery(Random(8)))[:5]:
        engine.run(case.start, case.stops)
        assert case.start.pc in engine._machine._text.entries  # type: ignore[attr-defined]  # only to know that this tests what it says


# Somebody is broken --------------------------------------------------------------------------------------------------------------


def test_a_wrong_row_of_the_specification(room: EngineRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row.name: row for row in INSTRUCTIONS}
    broken = evolve(rows["sraw"], execute=rows["sra"].execute)
    monkeypatch.setattr(decode, "INSTRUCTIONS", tuple(broken if row.name == "sraw" else row for row in INSTRUCTIONS))
    assert "sraw" in found(room).title


def test_a_reserved_encoding_that_executes(room: EngineRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLLIW with bit 5 of the shift amount set is illegal."""
    lax = tuple(evolve(row, mask=row.mask & ~(1 << 25)) if row.name == "slliw" else row for row in INSTRUCTIONS)
    monkeypatch.setattr(decode, "INSTRUCTIONS", lax)
    assert "slliw" in next(filter(None, (compare(Step(each.start), room.most) for each in words.flipped()))).title


def test_a_wrong_opcode_of_the_interpreter(room: EngineRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(interpret.ARITHMETIC, "mulhsu", interpret.ARITHMETIC["mulhu"])
    difference = found(room)
    assert "mulhsu" in difference.title
    assert "opml_min, one step" in difference.title or "opml_min, interpreted" in difference.title


def test_a_wrong_opcode_of_the_translator(room: EngineRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operations.ARITHMETIC, "divuw", operations.ARITHMETIC["divw"])
    difference = found(room)
    assert isinstance(difference.case, Program)
    assert difference.title.endswith("opml_min, translated")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(ua if funct7 == BASE else sa) >> amount", "ua >> amount"),
        ("amount: uint256 = b & unsafe_sub(width, 1)", "amount: uint256 = b & 63"),
        ("if sibling == zero:", "if sibling == zero and sent == 0:"),
        ("return pre_hash, self._write_back(", "return root, self._write_back("),
    ],
)
def test_a_wrong_contract(right: str, wrong: str) -> None:
    difference = found(engine_room(embedded=EmbeddedEvm(compiled("arbiter", right, wrong))))
    answers = {name: answer for name, answer in difference.answers.items() if "EVM" in name}
    assert len(answers) == 3
    assert difference.answers["spec, from the witness"] not in answers.values()


def test_a_wrong_game(tmp_path: Path) -> None:
    room = engine_room(courts=RandomDisputes(compiled("game", "if wide_part >= self._part_count(", "if wide_part > self._part_count(")))
    difference = found(room, {"court"})
    case = difference.case
    assert isinstance(case, Acts)
    assert len(case.acts) < ACTS // 4
    assert {answer.partition(":")[0] for (answer,) in difference.answers.values()} == {"choose"}
    assert compare(evolve(case, acts=case.acts[:-1]), room.all) is None
    path = difference.write(tmp_path)
    assert read(path) == case
    assert cli.main(["replay", str(path)]) == 0  # with the right one
    assert printed(case).splitlines()[-1] == "all agree"


# Shrinking, writing down, finding again ------------------------------------------------------------------------------------------


def printed(case: Case) -> str:
    """What the pasteable program prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(program_text(case), {})
    return output.getvalue()


def test_a_pasteable_program_agrees_where_all_agree() -> None:
    rng = Random(9)
    case = Step(random_state(rng))
    spec, fast, evm = printed(case).splitlines()
    assert spec.split()[1] == evm.split()[1]
    assert fast.endswith("True")
    spec, evm = printed(Witness(wrong_witness(rng, case.start))).splitlines()
    assert spec.split()[1] == evm.split()[-1]
    assert "False" not in printed(loop(rng))


def test_a_shrunk_case_is_written_down_and_found_again(room: EngineRoom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(interpret.ARITHMETIC, "sub", interpret.ARITHMETIC["add"])
        difference = found(room)
        assert sum(map(bool, difference.case.start.x)) <= 2  # type: ignore[union-attr]  # a step or a program, not a witness
        assert any(len(set(line.split()[-1:])) for line in printed(difference.case).splitlines())
        path = difference.write(tmp_path)
        assert cli.main(["replay", str(path)]) == 1
    assert read(path) == difference.case
    assert cli.main(["replay", str(path)]) == 0


AT_COURT = (Disputes("1/9", 7), Acts(1, ({"move": "timeout"},)), Deployment((*range(1, 21), 1 << 60)))


@given(randoms)
def test_cases_survive_json(rng: Random) -> None:
    for case in (Step(random_state(rng)), Witness(wrong_witness(rng, random_state(rng))), loop(rng), *AT_COURT):
        assert from_json(json.loads(json.dumps(case.to_json()))) == case


NO_CASES = ("", "{}", "[]", '{"case": "step", "start": {}}', '{"case": "poem"}', '{"case": "witness", "witness": "xy"}')


@pytest.mark.parametrize("text", NO_CASES)
def test_a_file_that_is_no_case(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "case.json"
    path.write_text(text)
    with pytest.raises(InputError):
        read(path)
    assert cli.main(["replay", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# The command ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["run", "--target", "/nonexistent/program"], ["run", "--replays", "/nonexistent"], ["mutants", "--only", "no such"]]
)
def test_what_is_not_there(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["run", "--seconds", "10", "--seed", "11", "--json", "--replays", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["cases"] > 0
    assert printed["seconds"] >= 10
    assert 0 < printed["sweep"] < 1
    assert printed["differences"] == []


def test_a_run_at_court_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--only", "court", "--jobs", "1", "--seconds", "3", "--seed", "11", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["court_acts"] > 0
    assert printed["sweep"] == 0


@pytest.mark.parametrize(
    ("part", "words", "number"),
    [
        (Fraction(1), ", the whole sweep", 1),
        (Fraction(99_999, 100_000), ", 99 % of the sweep (all of it takes about 2 s)", 0.999),
        (Fraction(0), "", 0),
    ],
)
def test_a_run_says_how_much_of_the_sweep_was_tried(
    part: Fraction, words: str, number: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = RunReport(5, 10, 20, 1.0, part)
    monkeypatch.setattr(campaign, "fuzz_on_all", lambda *given: report)
    monkeypatch.setattr(campaign, "cases_in", lambda *given: Kept({}))
    assert cli.main(["run", "--seed", "5"]) == 0
    assert f" s{words}, seed 5: no differences" in capsys.readouterr().out
    assert cli.main(["run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sweep"] == number


@pytest.mark.parametrize("arguments", [[], ["run", "--seconds", "x"], ["run", "--seconds", "-1"], ["dance"]])
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments)
    assert exit.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
