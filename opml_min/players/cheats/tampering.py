"""Lies that hold together: at one step of one stage something is not as the instruction left it; from there on all is computed honestly.

Every hash before the step is true and every hash after it belongs to one consistent run, so the dispute comes down to this one
instruction, and only executing it can tell who is right.
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
from opml_min.players.cheats.cheat import Table
from opml_min.players.computation import Computation, stage_result

MOST_TRIES = 300
LONGEST_WALK_STEPS = 2_000


class NoSuchLie(ModelError):
    """Nothing of this kind can be lied about in the stage, or it would change nothing."""


@frozen
class Tampering:
    stage: int
    step: int  # after so many steps …
    change: Callable[[Machine], None]  # … this happens
    stands_still: bool = False  # from then on the machine is said to be running, but nothing moves


Plan = Callable[[Computation, Random, int | None], Iterator[Tampering | None]]
"""Tries to lie, given the honest computation and the stage wanted; None is a try that came to nothing."""


class TamperedComputation(Computation):
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
        """Whether the tampered stage would take longer than so many steps, for no better reason than the tampering."""
        assert self.tampering is not None
        if self.tampering.stands_still or self.tampering.step > steps:
            return False
        return self.machine_at(self.tampering.stage, steps).status.kind == RUNNING


def lie(table: Table, plan: Plan, kind: type[TamperedComputation] = TamperedComputation) -> TamperedComputation:
    """The first one by the plan that changes what comes out in the end."""
    honest, tampered = table.honest, kind(*table.scene)
    for tampering in islice(plan(honest, table.random, table.stage), MOST_TRIES):
        if tampering is not None:
            tampered.tamper(tampering)
            if not tampered.runs_away(4 * steps_of(honest, tampering.stage) + 10_000) and tampered.run_hash() != honest.run_hash():
                return tampered
    raise NoSuchLie(f"there is no lie of this kind{'' if table.stage is None else f' in stage {table.stage}'}")


def steps_of(honest: Computation, stage: int) -> int:
    return honest.machine_at(stage, STAGE_STEP_LIMIT).steps


def step_that_writes(honest: Computation, stage: int, address: int, length: int) -> int | None:
    """After so many steps the bytes hold for the first time what they hold at the end; None if the stage does not change them."""

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
    """An instruction in a run: the steps before it, where it stands, and what it is."""

    step: int
    pc: int
    instruction: Instruction


def next_instruction(honest: Computation, stage: int, step: int, wanted: Callable[[Machine, Instruction], bool]) -> Site | None:
    """The first one from a step on that is wanted; None if it is not near."""
    machine = honest.machine_at(stage, step)
    for here in range(step, step + LONGEST_WALK_STEPS):
        if machine.status.kind != RUNNING or fetch_fault(machine.pc):
            return None
        instruction = decode(machine.memory.load(machine.pc, 4))
        if wanted(machine, instruction):
            return Site(here, machine.pc, instruction)
        machine.run(1)
    return None
