"""Somebody else's implementation, asked over lines of JSON: the handshake, many questions at once, and cases.

When a program gives no answer it is killed and started again. It is then asked once more, one question at a time, from the first one that
has no answer: answers may have been on their way when it died.

*Source*: `engines/README.md`.
"""

import json
from collections.abc import Sequence
from math import inf
from pathlib import Path

import opml_spec
from opml_spec.hashing import keccak256
from opml_spec.machine.state import encode
from opml_spec.machine.witness import make_witness

from opml_fuzz.engines.protocol import NO_ANSWER, Answers, OutOfTime
from opml_fuzz.engines.specification import SpecWitness
from opml_fuzz.engines.targets.opening import command_of
from opml_fuzz.engines.targets.process import Process
from opml_fuzz.errors import InputError
from opml_fuzz.machine import target_question as ask
from opml_fuzz.machine.case import Case, Program, Step, Witness
from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.start import Start
from opml_fuzz.machine.target_question import HELLO, KINDS, PROTOCOL, ROOT_AT, STATE_BYTES, NoAnswer, Question
from opml_fuzz.machine.training_case import TrainingStages

ANSWER_SECONDS = 20.0
CHAPTERS = ("arithmetic", "machine", "model", "runs", "dispute", "training")


def hashes_of_the_text() -> dict[str, str]:
    """Hashes the chapters of the specification that are installed here: keccak256 of each chapter's page."""
    folder = Path(opml_spec.__file__).parent
    return {name: keccak256((folder / name / "README.md").read_bytes()).hex() for name in CHAPTERS}


class External:
    """A target; raises InputError if it does not start or speaks no version of the protocol that is known here."""

    def __init__(self, target: str) -> None:
        self._arguments = command_of(target)
        self._patience, self._until = ANSWER_SECONDS, inf
        self._asked = 0
        self.knows: frozenset[str] = frozenset()
        try:
            self._process: Process | None = self._start()
        except NoAnswer as error:
            raise InputError(f"the target does not shake hands: {NO_ANSWER}{error}") from error

    def limit_waiting(self, seconds: float, until: float) -> None:
        """Lets an answer take so many seconds, and no answer longer than the moment `until` of the monotonic clock."""
        self._patience, self._until = min(seconds, ANSWER_SECONDS), until

    def ask(self, questions: Sequence[Question]) -> list[list[str]]:
        """Returns the answers. If there is none to one of the questions, the last of them says why, and no later question is answered."""
        answers: list[list[str]] = []
        failure = self._ask(questions, answers)
        if not failure or (len(questions) == 1 and not answers):
            return answers + ([[failure]] if failure else [])
        again: list[list[str]] = []
        try:
            for question in questions[len(answers) :]:
                one: list[list[str]] = []
                if alone := self._ask([question], one):
                    return [*answers, *again, [alone]]
                again += one
        except OutOfTime:
            pass
        return [*answers, [failure]]

    def begin_anew(self) -> None:
        """Ends the program; the next question starts it again, so nothing that it was asked before can matter."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    close = begin_anew

    def answers(self, case: Case, ours: Answers) -> Answers:
        """Puts a case to the target in each way that it knows; `ours` are the answers that have been given.

        A witness that it makes is executed by the specification, and so is the right witness with the memory root that it computes. Each
        question is put twice, since a target may remember."""
        match case:
            case Step(start):
                state, memory = start.state(), start.leaves.text
                preimage, right = encode(state), make_witness(state)
                questions = [
                    *(ask.execute(right), ask.step(preimage, memory)),
                    *(ask.make_witness(preimage, memory), ask.root(start.leaves.text_in_pieces), ask.run(preimage, memory, (1,))),
                ]
            case Witness(witness):
                questions, right = [ask.execute(witness)], witness
            case Program(start, stops):
                questions, right = [ask.run(encode(start.state()), start.leaves.text, stops)], b""
            case OneStage(memory, stage):
                questions, right = [ask.stage(ask.in_pieces(memory), stage)], b""
            case TrainingStages(memory, stage, 1):
                questions, right = [ask.training_stage(ask.in_pieces(memory), stage)], b""
            case Related():
                return self._both_ends(((case.start, case.steps), (case.other, case.other_steps)))
            case _:
                return {}
        said = {}
        for question in questions:
            if question.kind in self.knows:
                said[f"target, {question.kind}"] = self._meaning(question.kind, self.ask([question, question])[-1], right, ours)
        return said

    def _both_ends(self, runs: Sequence[tuple[Start, int]]) -> Answers:
        """Says how each of two runs ends."""
        ways = {ask.RUN: [ask.run(encode(start.state()), start.leaves.text, (steps,)) for start, steps in runs]}
        if all(steps == 1 for _, steps in runs):
            ways[ask.EXECUTE] = [ask.execute(make_witness(start.state())) for start, _ in runs]
        return {f"target, {kind}": [self.ask([one])[0][0] for one in both] for kind, both in ways.items() if kind in self.knows}

    def _meaning(self, kind: str, answer: list[str], right: bytes, ours: Answers) -> list[str]:
        """Turns an answer into one that can be compared with ours."""
        if answer[0].startswith((NO_ANSWER, "error")):
            return answer
        if kind == ask.WITNESS:
            return [SpecWitness().execute(bytes.fromhex(answer[0]))]
        if kind == ask.ROOT:
            return [SpecWitness().execute(right[:ROOT_AT] + bytes.fromhex(answer[0]) + right[STATE_BYTES:])]
        if kind in (ask.STAGE, ask.TRAINING_STAGE):
            return [f"exit {answer[0].rpartition(' ')[2]}"] if len(answer) == 1 else answer[1:]
        if kind == ask.RUN:  # we also say what the next witness is
            return [*answer, *next(iter(ours.values()), [])[len(answer) :]]
        return answer

    def _ask(self, questions: Sequence[Question], answers: list[list[str]]) -> str:
        """Adds answers to the list; returns why there is no further one, or an empty text.

        While it answers, nobody else knows the program. So wherever the time ends, it is not asked again with answers on their way."""
        try:
            process, self._process = self._process or self._start(), None
            first, done = self._asked, len(answers)
            self._asked += len(questions)

            def take(line: bytes) -> None:
                number = len(answers) - done
                answers.append(ask.answer_in(line, first + number, questions[number].kind))

            lines = b"".join(question.line(first + i) for i, question in enumerate(questions))
            process.talk(lines, len(questions), take, self._patience, self._until)
            self._process = process
        except NoAnswer as failure:
            return f"{NO_ANSWER}{failure}"
        return ""

    def _start(self) -> Process:
        """Starts the program and shakes hands."""
        process = Process(self._arguments)
        hello = {"id": 0, "ask": HELLO, "protocol": PROTOCOL, "spec": hashes_of_the_text()}
        process.talk(json.dumps(hello, separators=(",", ":")).encode() + b"\n", 1, self._shake_hands, ANSWER_SECONDS, self._until)
        self._asked = 1
        return process

    def _shake_hands(self, line: bytes) -> None:
        said = ask.hello_in(line)
        if said.get("protocol") != PROTOCOL:
            raise InputError(f"the target speaks version {str(said.get('protocol'))[:20]} of the protocol; this is version {PROTOCOL}")
        knows, text = said.get("knows"), said.get("spec", {})
        if not isinstance(knows, list) or not isinstance(text, dict):
            raise NoAnswer(f", but {ask.shown(line)}")
        others = [name for name, mine in hashes_of_the_text().items() if text.get(name, mine) != mine]
        if others:
            raise InputError(f"the target follows another text of the specification's chapter on {others[0]}")
        self.knows = frozenset(kind for kind in KINDS if kind in knows)
        if not self.knows:
            raise InputError(f"the target knows none of the questions {', '.join(KINDS)}")
