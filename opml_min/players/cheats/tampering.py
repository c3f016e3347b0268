"""Consistent lies: after one step of one stage something is changed, and everything after it is computed honestly.

Every hash before that step is true, and all hashes after it belong to one consistent run. So the dispute narrows down to this one
instruction, and only executing it shows who is right.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

from attrs import frozen

from opml_min.machine import RUNNING, Machine
from opml_min.machine.decode import Instruction, decode
from opml_min.machine.interpret import fetch_fault
from opml_min.memory_map import STAGE_STEP_LIMIT
from opml_min.model.errors import ModelError
from opml_min.players.cheats.cheat import Setup
from opml_min.players.computation import Computation, stage_result

MOST_TRIES = 300
LONGEST_WALK_STEPS = 2_000


class NoSuchLie(ModelError):
    """There is nothing of this kind to lie about in the stage, or no such lie changes the result."""


@frozen
class Tampering:
    """A change to the machine during a run."""

    stage: int
    step: int  # after so many steps
    change: Callable[[Machine], None]  # what happens then
    stands_still: bool = False  # from then on steps are counted, but the machine does not change


Plan = Callable[[Computation, Random, int | None], Iterator[Tampering | None]]
"""Yields lies to try, given the honest computation and the stage wanted; None is an attempt without success."""


class TamperedComputation(Computation):
    """A computation that is honest but for one tampering."""

    tampering: Tampering | None = None

    def tamper(self, tampering: Tampering) -> None:
        self.tampering = tampering
        self.forget()

    def _advance_stages(self, stages: int) -> None:
        if self.tampering is not None and self._run.stage <= self.tampering.stage < stages:
            self._run.run_to(self.tampering.stage)
            start = self._run.state()
            self._begin_stage(self.tampering.stage)
            self._advance_steps(STAGE_STEP_LIMIT)
            self._run.restore(stage_result(start, self._run.machine, self.tampering.stage + 1))
            self._entered = None
        super()._advance_stages(stages)

    def _advance_steps(self, step: int) -> None:
        machine, tampering = self._run.machine, self.tampering
        if tampering is not None and self._entered == tampering.stage and step >= tampering.step:
            if machine.steps < tampering.step:
                machine.run(tampering.step - machine.steps)
                tampering.change(machine)
            if tampering.stands_still:
                machine.steps = step
                return
        super()._advance_steps(step)

    def runs_away(self, steps: int) -> bool:
        """Whether the tampering makes the stage run for more than so many steps."""
        assert self.tampering is not None
        if self.tampering.stands_still or self.tampering.step > steps:
            return False
        return self.machine_at(self.tampering.stage, steps).status.kind == RUNNING


def lie(setup: Setup, plan: Plan, kind: type[TamperedComputation] = TamperedComputation) -> TamperedComputation:
    """The first lie of the plan that changes the run hash."""
    honest, tampered = setup.honest, kind(*setup.scene)
    for tampering in islice(plan(honest, setup.random, setup.stage), MOST_TRIES):
        if tampering is not None:
            tampered.tamper(tampering)
            if not tampered.runs_away(4 * steps_of(honest, tampering.stage) + 10_000) and tampered.run_hash() != honest.run_hash():
                return tampered
    raise NoSuchLie(f"there is no lie of this kind{'' if setup.stage is None else f' in stage {setup.stage}'}")


def steps_of(honest: Computation, stage: int) -> int:
    return honest.machine_at(stage, STAGE_STEP_LIMIT).steps


def step_that_writes(honest: Computation, stage: int, address: int, length: int) -> int | None:
    """The step after which the bytes first hold what they hold at the end; None if the stage does not change them."""

    def bytes_at(step: int) -> bytes:
        return honest.machine_at(stage, step).memory.read(address, length)

    low, high = 0, steps_of(honest, stage)
    last = bytes_at(high)
    if bytes_at(low) == last:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bytes_at(middle) == last else (middle, high)
    return high


@frozen
class Site:
    """An instruction that a stage executes, the number of steps before it, and its address."""

    step: int
    pc: int
    instruction: Instruction


def next_instruction(honest: Computation, stage: int, step: int, wanted: Callable[[Machine, Instruction], bool]) -> Site | None:
    """The first wanted instruction after so many steps; None if the next 2,000 have none."""
    machine = honest.machine_at(stage, step)
    for here in range(step, step + LONGEST_WALK_STEPS):
        if machine.status.kind != RUNNING or fetch_fault(machine.pc):
            return None
        instruction = decode(machine.memory.load(machine.pc, 4))
        if wanted(machine, instruction):
            return Site(here, machine.pc, instruction)
        machine.run(1)
    return None
