"""The protocol of targets: lines as the page shows them, right answers to every question, and a target that is wrong in one of them."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.fuzz import main
from opml_fuzz.disputes.sequences import RandomDisputes, draw_acts
from opml_fuzz.engines.opml_min import interpreted
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.engines.specification import SpecProgram, SpecWitness
from opml_fuzz.engines.targets.external import External, hashes_of_the_text
from opml_fuzz.engines.targets.right_answers import RightAnswers
from opml_fuzz.fuzzing.asking import run_batch
from opml_fuzz.fuzzing.difference import Difference, compare
from opml_fuzz.fuzzing.kinds import ASKED_ABOUT
from opml_fuzz.fuzzing.target_batches import target_batch
from opml_fuzz.machine.case import Program, Step, Witness
from opml_fuzz.machine.programs import loop
from opml_fuzz.machine.related import related
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.target_question import KINDS, NoAnswer, answer_in
from opml_fuzz.machine.variants import variants
from opml_fuzz.machine.wrong_witnesses import spoil
from opml_spec.hashing import keccak256
from opml_spec.machine.state import encode, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import make_witness

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = (REPOSITORY / "fuzz" / "opml_fuzz" / "engines" / "README.md").read_text()
EVERYTHING = frozenset(KINDS)
randoms = st.randoms(use_true_random=False)

CLASS = """
import os
from attrs import evolve
from opml_fuzz.disputes.answers import TellingCourt, with_payment
from opml_fuzz.disputes.call import Call
from opml_spec.dispute.acts import Act, deploy
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import SpecError
from opml_spec.machine.memory import CARRY_HEIGHT, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.machine.state import decode_state, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import execute_witness, make_witness
from opml_spec.model.stage import run_stage
from opml_spec.training.training_stage import run_training_stage

def state_in(state, memory):
    return evolve(decode_state(state), memory=Memory.from_segments(memory))

class Mine:
    def execute(self, witness):
        try:
            return execute_witness(witness)[1]
        except SpecError as error:
            return error.number

    def step(self, state, memory):
        return state_hash(step(state_in(state, memory)))

    def witness(self, state, memory):
        return make_witness(state_in(state, memory))

    def root(self, memory):
        return Memory.from_segments(memory).root

    def run(self, state, memory, stops):
        state, steps, hashes = state_in(state, memory), 0, []
        for stop in stops:
            for steps in range(steps, stop):
                state = step(state)
            steps = stop
            hashes.append(state_hash(state))
        return hashes

    def stage(self, memory, stage):
        after, exit_code = run_stage(Memory.from_segments(memory), stage)
        return exit_code, hash_of(after.subtree(CARRY_HEIGHT, 1))

    def training_stage(self, memory, stage):
        after, exit_code = run_training_stage(Memory.from_segments(memory), stage)
        return exit_code, hash_of(after.subtree(CARRY_HEIGHT, 1))

    def court(self, parameters, acts):
        try:
            court = TellingCourt(deploy(Parameters(**parameters)))
        except SpecError as error:
            return error.number
        for act in acts:
            arguments = tuple(Segment(*each) if isinstance(each, list) else each for each in act["arguments"].values())
            court.call(Call(Act(act["move"], arguments, act["value"]), act["sender"], act["now"], act["basefee"]))
        return [answer.get("error") or with_payment(answer) for answer in court.answers]
"""
WRONG = {  # by the question: what a subclass does about it
    "execute": "def execute(self, witness): return 105 if super().execute(witness) == 106 else super().execute(witness)",
    "step": "def step(self, state, memory): return super().step(state[:8] + bytes(8) + state[16:], memory)",
    "witness": "def witness(self, state, memory): return super().witness(state, memory) + (b'' if state[256] else bytes(1))",
    "root": "def root(self, memory): return super().root({address: bytes(len(piece)) for address, piece in memory.items()})",
    "run": "def run(self, state, memory, stops): return super().run(state, memory, [stop + 1 for stop in stops])",
    "stage": "def stage(self, memory, stage): return super().stage(memory, 0)",
    "court": "def court(self, parameters, acts): return super().court(parameters, [{**act, 'basefee': 1} for act in acts])",
}
WRONG_ABOUT_VECTORS = WRONG | {
    "training_stage": "def training_stage(self, memory, stage): return super().training_stage(memory, 0)",
}


@pytest.fixture(scope="module")
def room() -> EngineRoom:
    return engine_room()


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """What `--target` is for a class in front of the specification, with a method in place of one of its own."""

    def argument(method: str = "pass") -> str:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.py").write_text(f"{CLASS}\nclass Other(Mine):\n    {method}\n")
        return "python:mine:Other"

    return argument


def with_target(room: EngineRoom, target: External) -> EngineRoom:
    answering = RightAnswers(SpecWitness(), interpreted(), RandomDisputes())
    return evolve(room, all=evolve(room.all, target=target), most=evolve(room.most, target=target), answering=answering)


# Lines -----------------------------------------------------------------------------------------------------------------------------


def test_questions_are_lines_as_the_page_shows_them() -> None:
    """They have the same fields in the same order, and no spaces."""
    shown = {match[1]: match[0] for match in re.finditer(r'^\{"id":\d,"ask":"(\w+)".*\}$', PAGE.split("## Questions")[1], re.M)}
    rng, asked = Random(1), RightAnswers(SpecWitness(), interpreted(), RandomDisputes())
    written = [asked.questions(case, EVERYTHING) for case in (Step(random_state(rng)), loop(rng))]
    lines = {question.kind: question.line(7).decode() for found in written for question, _ in found}
    lines |= {kind: f'{{"id":7,"ask":"{kind}","memory":{{}},"stage":0}}\n' for kind in ("stage", "training_stage")}
    lines["court"] = asked.questions(draw_acts(1, 4), EVERYTHING)[0][0].line(7).decode()
    assert shown.keys() == lines.keys() == EVERYTHING
    for kind, line in lines.items():
        assert list(json.loads(line)) == list(json.loads(shown[kind])), kind
        assert line.count("\n") == 1
        assert not set(line.strip()) & set(" \\\t")
        assert line.isascii()


def test_what_an_answer_is() -> None:
    hash_ = "0f" * 32
    for kind, text, answer in (
        ("execute", f'{{"id":3,"answer":"{hash_}"}}', [hash_]),
        ("execute", '{"error": 105, "id": 3, "why": "root"}', ["error 105"]),
        ("witness", '{"id":3,"answer":"00ff"}', ["00ff"]),
        ("run", f'{{"id":3,"answer":["{hash_}","{hash_}"]}}', [hash_, hash_]),
        ("stage", f'{{"id":3,"answer":{{"exit_code":0,"carry_root":"{hash_}"}}}}', ["exit code 0", hash_]),
        ("stage", f'{{"id":3,"answer":{{"exit_code":2,"carry_root":"{hash_}"}}}}', ["exit code 2"]),
        ("training_stage", f'{{"id":3,"answer":{{"exit_code":0,"carry_root":"{hash_}"}}}}', ["exit code 0", hash_]),
    ):
        assert answer_in(text.encode(), 3, kind) == answer


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("execute", text) for text in ("", "{}", "[]", "null", "3", "[" * 9_999)),
        *(("execute", text) for text in ('{"id":3}', '{"id":4,"error":105}', '{"id":true,"error":105}')),
        *(("execute", f'{{"id":3,"answer":{answer}}}') for answer in ("105", '"0F"', f'"{"0F" * 32}"', f'"0x{"0f" * 32}"')),
        *(("execute", f'{{"id":3,"error":{error}}}') for error in ("0", "-1", '"105"', "1000", "true", "1e2", "null")),
        *(("witness", f'{{"id":3,"answer":{answer}}}') for answer in ('"0"', '"xy"', "[]")),
        *(("run", f'{{"id":3,"answer":{answer}}}') for answer in (f'"{"0f" * 32}"', "[1]", '["00"]', "{}")),
        *((kind, f'{{"id":3,"answer":"{"0f" * 32}"}}') for kind in ("stage", "training_stage")),
        *(("stage", f'{{"id":3,"answer":{answer}}}') for answer in ('{"exit_code":0}', '{"exit_code":-1,"carry_root":""}', '"00"')),
    ],
)
def test_what_no_answer_is(kind: str, text: str) -> None:
    with pytest.raises(NoAnswer):
        answer_in(text.encode(), 3, kind)


def test_the_handshake_tells_the_text_of_the_specification() -> None:
    hashes = hashes_of_the_text()
    assert hashes["machine"] == keccak256((REPOSITORY / "spec/opml_spec/machine/README.md").read_bytes()).hex()
    assert list(hashes) == re.findall(r'"(\w+)":"\w{4}…"', PAGE)


# Right answers ---------------------------------------------------------------------------------------------------------------------


@given(randoms)
def test_right_answers_are_those_of_the_specification(rng: Random) -> None:
    """Also for variants, which share a memory with its tree."""
    right = RightAnswers(SpecWitness(), interpreted(), RandomDisputes())
    for start in variants(rng, random_state(rng), 4):
        state = start.state()
        found = {question.kind: answer for question, answer in right.questions(Step(start), EVERYTHING)}
        after = state_hash(step(state)).hex()
        assert (found["execute"], found["step"], found["witness"]) == ([after], [after], [make_witness(state).hex()])
        assert found.get("root", [state.memory.root.hex()]) == [state.memory.root.hex()]
        assert right.witness(start)[:297] == encode(state)
        forged = spoil(rng, right.witness(start))
        assert right.questions(Witness(forged), EVERYTHING)[0][1] == [SpecWitness().execute(forged)]


def test_right_answers_about_programs() -> None:
    case = loop(Random(5))
    ((question, answer),) = RightAnswers(SpecWitness(), interpreted(), RandomDisputes()).questions(case, EVERYTHING)
    assert answer == SpecProgram().run(case.start, case.stops)[: len(case.stops)]
    assert question.kind == "run"


def test_variants_reach_what_their_state_does_not() -> None:
    """Loads and stores in one leaf and in two, and those that trap, from the same memory."""
    rng, outcomes = Random(2), dict[str, set[tuple[int, int]]]()
    for _ in range(300):
        start = random_state(rng)
        for each in variants(rng, start, 10):
            assert each.leaves is start.leaves
            state = each.state()
            outcomes.setdefault(str(start.pc), set()).add((len(make_witness(state)) > 297 + 3 * 37, int(step(state).status.kind)))
    assert sum(len(each) > 1 for each in outcomes.values()) > 40


def test_a_seed_is_its_questions() -> None:
    right = RightAnswers(SpecWitness(), interpreted(), RandomDisputes())
    first, again, other = (list(target_batch(seed, 1, right, frozenset({"execute", "run"}))) for seed in (5, 5, 6))
    assert first == again != other
    assert {type(case) for case in first} == {Step, Witness, Program, Related}


def test_related_runs_are_put_to_a_target(target: Callable[[str], str], room: EngineRoom) -> None:
    """It says how both end, in each way that it knows, and one that says it wrongly is found by them alone."""
    asked = with_target(room, External(target()))
    assert run_batch(1, 0, asked, kinds={"related"}) == (2, [])
    answers = asked.most.ask(next(related(Random(1))))
    assert answers["target, execute"] == answers["target, run"] == answers["spec, by the relation"]
    asked.all.target.close()  # type: ignore[union-attr]
    asked = with_target(room, External(target(WRONG["run"])))
    (difference, *_) = next(found for number in range(9) if (found := run_batch(1, number, asked, kinds={"related"})[1]))
    assert isinstance(difference.case, Related)
    asked.all.target.close()  # type: ignore[union-attr]


def test_kinds_of_which_a_target_knows_no_question_are_refused(
    target: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing that is asked is answered wrongly, so a run would say that there is no difference."""
    argument = target()
    (tmp_path / "mine.py").write_text("class Other:\n    def root(self, memory): return bytes(32)\n")
    for kinds in ("witness", "program,related"):
        assert main(["run", "--only", kinds, "--target", argument]) == 2
        assert capsys.readouterr().err == f"opml-fuzz: the target knows root: nothing about {', '.join(kinds.split(','))}\n"


# A Python class --------------------------------------------------------------------------------------------------------------------


def test_a_class_that_knows_everything(target: Callable[[str], str], room: EngineRoom) -> None:
    external = External(target())
    assert external.knows == EVERYTHING
    asked = with_target(room, external)
    assert run_batch(1, 0, asked)[1] == run_batch(1, 1, asked)[1] == []
    rng = Random(3)
    for case in (Step(random_state(rng)), Witness(make_witness(random_state(rng).state())[:400]), loop(rng)):
        answers = asked.most.ask(case)
        asked_here = {name.partition(", ")[2] for name in answers if name.startswith("target")}
        assert asked_here <= EVERYTHING - {"stage", "training_stage", "court"}
        assert len({tuple(answer) for answer in answers.values()}) == 1
    external.close()


@pytest.mark.parametrize("kind", WRONG)
def test_one_wrong_question_is_found(kind: str, target: Callable[[str], str], room: EngineRoom) -> None:
    asked = with_target(room, External(target(WRONG[kind])))
    about = frozenset(each for each, questions in ASKED_ABOUT.items() if kind in questions)
    differences = next(found for number in (0, 1, 2) if (found := run_batch(1, number, asked, kinds=about)[1]))
    for difference in differences:
        camps = difference.title.rpartition(" | ")[2].split(", ")
        assert camps[0] == "target"
        assert kind in camps
        assert compare(difference.case, room.most) is None
        assert compare(difference.case, asked.most) == difference_without_the_slow(difference)
    asked.all.target.close()  # type: ignore[union-attr]


def difference_without_the_slow(difference: Difference) -> Difference:
    slow = ("py-evm", "EELS")
    return evolve(difference, answers={name: answer for name, answer in difference.answers.items() if not name.endswith(slow)})


METHODS = {
    "def execute(self, witness): raise KeyError('x' * 200)": "no answer, but it failed: KeyError: 'xxx",
    "def execute(self, witness): return None": "no answer, but",
    "def execute(self, witness): os._exit(7)": "no answer (exit code 7)",
    "def execute(self, witness): os.kill(os.getpid(), 11)": "no answer (exit code -11)",
}


@pytest.mark.parametrize("method", METHODS)
def test_a_class_that_fails(method: str, target: Callable[[str], str], room: EngineRoom) -> None:
    """It is still asked its other questions."""
    external = External(target(method))
    answers = evolve(room.most, target=external).ask(Step(random_state(Random(1))))
    assert answers["target, execute"][0].startswith(METHODS[method])
    assert answers["target, step"] == answers["target, witness"] == answers["spec"]
    external.close()


def test_a_class_that_prints(target: Callable[[str], str]) -> None:
    external = External(target("def root(self, memory): print('hello'); os.write(1, b'{}'); return super().root(memory)"))
    answering = RightAnswers(SpecWitness(), interpreted(), RandomDisputes())
    ((question, right),) = answering.questions(Step(random_state(Random(1))), frozenset({"root"}))
    assert external.ask([question]) == [right]
    external.close()


# Vectors ---------------------------------------------------------------------------------------------------------------------------


def vectors(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["vectors", "run", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_of_one_question(kind: str, target: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """A right target passes; one that is wrong about this question fails here, and only here."""
    code, right = vectors(capsys, "--target", target(), "--only", kind)
    assert (code, right["wrong"]) == (0, [])
    assert sum(one["questions"] for one in right["files"].values()) >= 12
    code, wrong = vectors(capsys, "--target", target(WRONG_ABOUT_VECTORS[kind]), "--only", kind, "--show", "2")
    assert code == 1
    assert len(wrong["wrong"]) == 2
    assert sum(one["wrong"] for one in wrong["files"].values()) > 2
    for one in wrong["wrong"]:
        assert json.loads(one["question"])["ask"] == kind
        assert one["right"] != one["answer"]
    other = "run" if kind == "root" else "root"  # of these there are few
    assert vectors(capsys, "--target", target(WRONG_ABOUT_VECTORS[kind]), "--only", other)[0] == 0


def test_vectors_for_people(target: Callable[[str], str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argument = target(WRONG["root"])
    assert main(["vectors", "run", "--target", argument, "--only", "root", "--show", "1"]) == 1
    *first, last = capsys.readouterr().out.splitlines()
    assert first[0].startswith("merkle/roots.json: ")
    assert first[1].startswith('  {"id":1,"ask":"root","memory":{"0x')
    assert [line[:9] for line in first[2:4]] == ["  right: ", "  answer:"]
    assert re.fullmatch(r"14 questions, \d+ wrong answers", last)
    assert f"{'operations/fixed.json':30}   131 cases, not asked" in first
    assert main(["vectors", "run", str(tmp_path), "--target", argument]) == 2
    assert main(["vectors", "run", "--target", f"{sys.executable} -c pass"]) == 2
    (tmp_path / "merkle").mkdir()
    for text in ("{}", "[]", "[3]", '[{"pre":{"memory":{}}}]', '[{"pre":{"memory":{}},"post":{"root":5}}]', "["):
        (tmp_path / "merkle" / "roots.json").write_text(text)
        capsys.readouterr()
        assert main(["vectors", "run", str(tmp_path), "--target", argument]) == 2, text
        assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "merkle" / "roots.json").unlink()
    os.mkfifo(tmp_path / "merkle" / "roots.json")
    assert main(["vectors", "run", str(tmp_path), "--target", argument]) == 2
    assert "is not a regular file" in capsys.readouterr().err


def test_vectors_end_after_three_missing_answers(target: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = vectors(capsys, "--target", target("def execute(self, witness): os._exit(7)"), "--only", "execute")
    assert code == 1
    assert sum(one["wrong"] for one in said["files"].values()) == sum(one["questions"] for one in said["files"].values()) == 3


def test_a_question_that_a_target_does_not_know(target: Callable[[str], str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argument = target()
    (tmp_path / "mine.py").write_text("class Other:\n    def root(self, memory): return bytes(32)\n")
    assert main(["vectors", "run", "--target", argument, "--only", "run"]) == 2
    assert "does not know run, but root" in capsys.readouterr().err
