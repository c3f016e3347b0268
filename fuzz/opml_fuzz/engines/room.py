"""The engines of one process, and how a case is put to them.

Which engine is asked depends on the kind of case. An answer is a list of strings, state hashes in hex or `error N`, so answers can be
compared, printed and sent between processes as they are.
"""

from attrs import field, frozen
from opml_spec.machine.witness import make_witness

from opml_fuzz.engines.protocol import NO_ANSWER, Answering, Answers, CaseEngine, Courts, StateEngine, Target, WitnessEngine
from opml_fuzz.engines.specification import related_ends
from opml_fuzz.machine.case import Acts, Case, Deployment, Disputes, Program, Step, Witness
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.target_question import COURT

EMBEDDED_EVERY = 50  # cases: the embedded EVM then takes about a quarter of the time


@frozen
class Engines:
    """The engines that are asked, by the kind of question."""

    of_witnesses: tuple[WitnessEngine, ...]
    of_states: tuple[StateEngine, ...]
    of_programs: tuple[StateEngine, ...]
    courts: Courts
    target: Target | None = None
    of_models: tuple[CaseEngine, ...] = ()

    def ask(self, case: Case) -> Answers:
        """Puts a case to every engine that can answer it, and returns the answers by the engine's name."""
        ours = self._ask_ours(case)
        if self.target is None:
            return ours
        return ours | (self._at_court(case, ours) if isinstance(case, Acts | Deployment) else self.target.answers(case, ours))

    def _ask_ours(self, case: Case) -> Answers:
        match case:
            case Step(start):
                witness = make_witness(start.state())
                answers = {engine.name: engine.run(start, (1,)) for engine in self.of_states}
                return answers | {engine.name: [engine.execute(witness)] for engine in self.of_witnesses}
            case Witness(witness):
                return {engine.name: [engine.execute(witness)] for engine in self.of_witnesses}
            case Program(start, stops):
                return {engine.name: engine.run(start, stops) for engine in self.of_programs}
            case Related():
                return self._ask_both(case)
            case Disputes(seed, acts):
                return self.courts.play(seed, acts)
            case Deployment(parameters):
                return self.courts.deploy(parameters)
            case Acts(rules, written):
                return self.courts.replay(rules, written)
            case _:
                return {engine.name: answer for engine in self.of_models if (answer := engine.answer(case)) is not None}

    def _at_court(self, case: Acts | Deployment, ours: Answers) -> Answers:
        """Puts acts to the target, twice, since it may remember. What it answers rightly is what ours say."""
        if self.target is None or COURT not in self.target.knows:
            return {}
        question, right = self.courts.question(case)
        answer = self.target.ask([question, question])[-1]
        if answer == right:
            return {f"target, {COURT}": next(iter(ours.values()))}
        if answer[0].startswith(NO_ANSWER):
            return {f"target, {COURT}": answer}
        rightly, wrongly = self.courts.differing(case, right, answer)
        return {f"target, {COURT}": [f"{wrongly}. Right: {rightly.partition(': ')[2]}"]}

    def _ask_both(self, case: Related) -> Answers:
        """Puts both runs to every engine; the relation itself, applied to the first end, is an engine of its own."""
        runs = ((case.start, case.steps), (case.other, case.other_steps))
        states = self.of_states if case.steps == case.other_steps == 1 else self.of_programs
        answers = {engine.name: [engine.run(start, (steps,))[0] for start, steps in runs] for engine in states}
        if states is self.of_states:
            witnesses = [make_witness(start.state()) for start, _ in runs]
            answers |= {engine.name: [engine.execute(witness) for witness in witnesses] for engine in self.of_witnesses}
        return answers | {"spec, by the relation": related_ends(case)}


@frozen
class EngineRoom:
    """All engines of one process. `most` leaves out the slow one, which is asked about a sample of the cases only.

    Where there is a target, `answering` says what it must answer to most of the questions, so that few are put to all engines."""

    all: Engines
    most: Engines
    answering: Answering | None = field(default=None, kw_only=True)

    def for_case(self, number: int) -> Engines:
        """Chooses the engines for the case of this number."""
        return self.all if number % EMBEDDED_EVERY == 0 else self.most

    def limit_waiting(self, seconds: float, until: float) -> None:
        """Limits how long an engine that is somebody else's program may take for an answer."""
        if self.all.target is not None:
            self.all.target.limit_waiting(seconds, until)
