"""The true run that rules are about: nothing is known of it but what makes it a run.

Its hashes are unknown functions of where they stand: the run state after so many stages, the machine after so many instructions of a stage.
What one stage or one instruction makes of another is assumed for the places that a play looks at.

*Source*: spec §4.2 and §2.1.
"""

from typing import Any

from attrs import evolve
from opml_spec.dispute.narrowing import Phase
from opml_spec.hashing import hash_pair, keccak256
from opml_spec.machine.memory import Memory
from opml_spec.machine.merkle import Pair
from opml_spec.machine.state import Kind, MachineState, Status
from opml_spec.runs.limits import STAGE_STEP_LIMIT
from opml_spec.runs.run import RunState, RunStatus, stage_start

from opml_fuzz.statements.rules_court import Registers
from opml_fuzz.statements.world import World


class Run:
    """The true run of a request."""

    def __init__(self, world: World, model_root: Any, stage_count: Any) -> None:
        self.world, self.model_root, self.stage_count = world, model_root, stage_count

    def carry(self, at: Any) -> Any:
        return self.world.hash_of("carry", at)

    def status(self, at: Any) -> Any:
        status = self.world.value("status", at)
        self.world.assume((status == RunStatus.OK) | (status == RunStatus.FAILED))
        return status

    def run_hash_at(self, at: Any) -> Any:
        """The hash of the run state after so many stages."""
        return keccak256(self.carry(at) + self.status(at).to_bytes(1, "big"))

    @property
    def run_hash(self) -> Any:
        return self.run_hash_at(self.stage_count)

    def machine(self, stage: Any, at: Any, kind: Any = None) -> MachineState:
        """The machine after so many instructions of a stage; one that has ended stays as it is. Its kind may be known."""
        value, width = self.world.value, (1 << 64) - 1
        shown = value("kind", stage, at) if kind is None else kind
        status: Any = Status(shown, value("status_value", stage, at))
        registers: Any = Registers(value("registers", stage, at))
        self.world.assume((registers.all >= 0) & (registers.all < 1 << 2048) & (status.value >= 0) & (status.value <= width))
        self.world.assume((value("kind", stage, at) >= 0) & (value("kind", stage, at) <= 2))
        self.world.assume(value("kind", stage, at) == shown)
        return MachineState(0, registers, status, Memory(self.world.hash_of("memory_root", stage, at)))

    def machine_hash(self, stage: Any, at: Any) -> Any:
        return self.world.state_hash(self.machine(stage, at))

    def hash_at(self, phase: int, stage: Any, at: Any) -> Any:
        """The hash at a boundary between stages, or between the instructions of one stage."""
        return self.run_hash_at(at) if phase == Phase.STAGES else self.machine_hash(stage, at)

    # What makes it a run ------------------------------------------------------------------------------------------------------------

    def begins(self, stage: Any) -> None:
        """A stage begins with the machine that the rules build."""
        first = stage_start(self.model_root, self.carry(stage), stage)
        self.world.assume(self.machine_hash(stage, 0) == self.world.state_hash(first))

    def goes_on(self, stage: Any, at: Any) -> None:
        """The next machine is what one instruction makes of this one."""
        self.world.assume(self.machine_hash(stage, at + 1) == self.world.hash_of("step", self.machine_hash(stage, at)))

    def ended(self, stage: Any, at: Any) -> None:
        """A machine that has ended is the last one."""
        world, last = self.world, STAGE_STEP_LIMIT
        runs = world.value("kind", stage, at) == Kind.RUNNING
        for name in ("registers", "kind", "status_value"):
            world.assume(runs | (world.value(name, stage, at) == world.value(name, stage, last)))
        world.assume(runs | (world.hash_of("memory_root", stage, at) == world.hash_of("memory_root", stage, last)))

    def sides(self, stage: Any) -> tuple[Any, Any]:
        """The two halves of the memory of a stage's last machine; the second is its carry."""
        return self.world.hash_of("left", stage), self.world.hash_of("right", stage)

    def hands_over(self, stage: Any) -> None:
        """The run state after a stage comes from that before it and from the last machine."""
        world, last = self.world, STAGE_STEP_LIMIT
        left, right = self.sides(stage)
        world.assume(world.hash_of("memory_root", stage, last) == hash_pair(left, right))
        well = (world.value("kind", stage, last) == Kind.HALTED) & (world.value("status_value", stage, last) == 0)
        failed = self.status(stage) == RunStatus.FAILED
        if failed or not well:
            world.assume((self.carry(stage + 1) == self.carry(stage)) & (self.status(stage + 1) == RunStatus.FAILED))
        else:
            world.assume((self.carry(stage + 1) == right) & (self.status(stage + 1) == RunStatus.OK))

    # As honest players read it ------------------------------------------------------------------------------------------------------

    @property
    def runs(self) -> "Runs":
        return Runs(self)

    @property
    def stages(self) -> "Stages":
        return Stages(self)


class Runs:
    """The run states, by number of stages."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __getitem__(self, at: Any) -> RunState:
        return RunState(self.run.carry(at), RunStatus.FAILED if self.run.status(at) == RunStatus.FAILED else RunStatus.OK)


class Stages:
    """The machines of each stage; none if it begins FAILED."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __getitem__(self, stage: Any) -> Any:
        return () if self.run.status(stage) == RunStatus.FAILED else Machines(self.run, stage)


class Machines:
    """The machines of a stage that begins OK, up to the one that ended or the last that may be."""

    def __init__(self, run: Run, stage: Any) -> None:
        self.run, self.stage = run, stage
        self.steps = run.world.value("steps", stage)
        run.world.assume((self.steps >= 1) & (self.steps <= STAGE_STEP_LIMIT))
        run.ended(stage, self.steps)
        self.kind = run.world.choice(tuple(Kind))
        run.machine(stage, self.steps, self.kind)
        if self.kind == Kind.RUNNING:
            run.world.assume(self.steps == STAGE_STEP_LIMIT)

    @property
    def count(self) -> Any:
        return self.steps + 1

    def __getitem__(self, at: int) -> MachineState:
        """The first machine or the last."""
        if at == 0:
            return self.run.machine(self.stage, 0)
        last, sides = self.run.machine(self.stage, self.steps, self.kind), Pair(*self.run.sides(self.stage))
        self.run.world.assume(last.memory.root == sides.hash)
        return evolve(last, memory=Memory(sides))
