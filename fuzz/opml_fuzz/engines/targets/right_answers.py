"""What a target must answer, from the fastest of our implementations for each question.

Steps and witnesses are opml_min's, on a memory whose tree is kept for all cases that share it. A forged witness is executed by one of the
witness engines. Stages are executed by opml_min's guest program: for a model in one stage the specification may take seconds. All these
answers are compared with the specification's in a sample of the cases, and whenever a target differs.
Stages of training and acts at court are the specification's from the start.
"""

from collections.abc import Sequence

from opml_fuzz.engines.model_runs import GuestModels
from opml_fuzz.engines.opml_min import FullMachine
from opml_fuzz.engines.protocol import Courts, WitnessEngine
from opml_fuzz.engines.targets.proven_leaves import ProvenLeaves, Storing
from opml_fuzz.engines.training_runs import SpecTraining
from opml_fuzz.machine import target_question as ask
from opml_fuzz.machine.case import Acts, Case, Deployment, Program, Step, Witness
from opml_fuzz.machine.model_case import OneStage
from opml_fuzz.machine.start import Leaves, Start
from opml_fuzz.machine.target_question import COURT, EXECUTE, ROOT, RUN, STAGE, STATE_BYTES, STEP, TRAINING_STAGE, WITNESS, Question
from opml_fuzz.machine.training_case import TrainingStages
from opml_min.machine.hashing import keccak256
from opml_min.machine.interpret import step
from opml_min.machine.state import RUNNING, Status, encode_state
from opml_min.machine.witness import witness

FEW_STEPS = 8  # at most so many are executed one by one, which is quicker than to restore a machine
ALSO_RUN_EVERY = 4  # steps, chosen by their hash: so each time a run begins with another program than the one before


class RightAnswers:
    """Questions with their answers. of_witnesses, of_programs, courts: who answers about forged witnesses, about programs and about acts"""

    def __init__(self, of_witnesses: WitnessEngine, of_programs: FullMachine, courts: Courts) -> None:
        self._of_witnesses, self._of_programs, self._courts, self._of_stages = of_witnesses, of_programs, courts, GuestModels()
        self._leaves: Leaves | None = None
        self._memory: ProvenLeaves
        self._root_was_asked = False

    def questions(self, case: Case, knows: frozenset[str]) -> list[tuple[Question, list[str]]]:
        """Returns those of the questions about a case that a target knows, each with the right answer.

        The root of a memory that many cases share is asked for once."""
        match case:
            case Step(start):
                return self._about_step(start, knows)
            case Witness(forged) if EXECUTE in knows:
                return [(ask.execute(forged), [self._of_witnesses.execute(forged)])]
            case Program(start, stops) if RUN in knows:
                state = self.witness(start)[:STATE_BYTES]
                return [(ask.run(state, start.leaves.text, stops), self._hashes_after(start, stops))]
            case OneStage(memory, stage) if STAGE in knows:
                return [(ask.stage(ask.in_pieces(memory), stage), with_exit_code(self._of_stages.answer(case)))]
            case TrainingStages(memory, stage, 1) if TRAINING_STAGE in knows:
                right = with_exit_code(SpecTraining().answer(case))
                return [(ask.training_stage(ask.in_pieces(memory), stage), right)]
            case Acts() | Deployment() if COURT in knows:
                return [self._courts.question(case)]
        return []

    def witness(self, start: Start) -> bytes:
        """Makes the witness of the next step."""
        return witness(start.pc, list(start.x), (start.kind, start.value), self._memory_of(start.leaves))

    def _about_step(self, start: Start, knows: frozenset[str]) -> list[tuple[Question, list[str]]]:
        right, memory = self.witness(start), start.leaves.text if knows != {EXECUTE} else ""
        state, after = right[:STATE_BYTES], self._hashes_after(start, (1,))
        found = []
        if EXECUTE in knows:
            found.append((ask.execute(right), after))
        if STEP in knows:
            found.append((ask.step(state, memory), after))
        if WITNESS in knows:
            found.append((ask.make_witness(state, memory), [right.hex()]))
        if RUN in knows and int(after[0], 16) % ALSO_RUN_EVERY == 0:
            found.append((ask.run(state, memory, (1,)), after))
        if ROOT in knows and not self._root_was_asked:
            found.append((ask.root(start.leaves.text_in_pieces), [self._memory.root().hex()]))
            self._root_was_asked = True
        return found

    def _hashes_after(self, start: Start, stops: Sequence[int]) -> list[str]:
        """Executes a few steps one by one, and many in a machine."""
        if stops[-1] > FEW_STEPS:
            return self._of_programs.run(start, stops)[: len(stops)]
        pc, x, status, hashes = start.pc, list(start.x), Status(start.kind, start.value), list[str]()
        memory = Storing(self._memory_of(start.leaves))
        for count in range(1, stops[-1] + 1):
            if status.kind == RUNNING:
                pc, status = step(pc, x, memory)
            if count in stops:
                hashes.append(keccak256(encode_state(pc, x, status, self._memory.root_with(memory.leaves))).hex())
        return hashes

    def _memory_of(self, leaves: Leaves) -> ProvenLeaves:
        if self._leaves is not leaves:
            self._leaves, self._memory, self._root_was_asked = leaves, ProvenLeaves(leaves.by_index), False
        return self._memory


def with_exit_code(said: list[str] | None) -> list[str]:
    """Turns an answer about a stage into what a target must say."""
    answer = said or [""]
    return [answer[0].replace("exit", "exit code")] if answer[0].startswith("exit") else ["exit code 0", *answer]
