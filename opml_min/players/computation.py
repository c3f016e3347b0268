"""What a player can find out about a request by itself: the run state after any number of stages, and within one stage the machine's
state after any number of steps.

Everything follows from image and request, so nothing here outlives its player. While the player lives, the points that one round asked
about are checkpoints for the next round. All hashes that a round posts come from one pass that starts at the lower end of the segment;
they are computed in the background while the pass goes on. Who only compares hashes needs 5 of 31.

Within a stage, checkpoints may take `CHECKPOINT_BYTES`, and the one at the segment's lower end whatever it needs. So a player that runs a
stage of n steps in the machine executes n steps to learn the result, up to n in the first round, n/k in the second, and so on. If the stage
writes much, the second round first needs up to n more steps to reach its lower end.

Stages run natively if the image carries a shipped program, and in the machine otherwise. A short run may use the machine, too, because
compiling native code would take longer.

*Source*: spec §2.5, §4, §5.2, §5.4 and §5.8.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from opml_min.machine import HALTED, Machine, Snapshot
from opml_min.machine.hashing import HEIGHT, ZERO, keccak256
from opml_min.machine.witness import encode_access
from opml_min.memory_map import OUTPUT, STAGE_STEP_LIMIT, Quarter
from opml_min.model.devices import Device
from opml_min.model.staged_run import FAILED, OK, RunSnapshot, RunState
from opml_min.players.image_kinds import ModelImage, begin_run

CARRY_HEIGHT = HEIGHT - 1
MOST_READABLE = 4096  # tokens; the output of a run with a larger count is UNREADABLE
LEAF_TOKENS = 8
NO_HASH = bytes(32)
CHECKPOINT_BYTES = 256 << 20
MOST_CHECKPOINTS = 1_024  # between stages
MOST_STATES = 1 << 16
AHEAD_STEPS = 1 << 25  # how many steps of a long run pass, at first, between two starts of hashing pages that are probably final


class Opening(NamedTuple):
    """The arguments of `open` that describe the stage, in their order."""

    start_carry: bytes
    start_status: int
    steps: int = 0
    final_state: bytes = b""
    left_root: bytes = NO_HASH
    final_carry: bytes = NO_HASH


class Result(NamedTuple):
    """The arguments of `finalise` that show the output, in their order."""

    carry: bytes
    status: int
    output: bytes = b""
    proof: bytes = b""


class Computation:
    """The run of one request on one model, with what the dispute may ask about it."""

    def __init__(self, image: ModelImage, request: bytes, stage_count: int, device: Device | None = None) -> None:
        self.image, self.request, self.stage_count = image, request, stage_count
        self._run = begin_run(image, request, stage_count, device)
        self.model_root, self.state_root = self._run.model_root, self._run.state_root
        self._only_stage_in_machine = stage_count == 1 and self._run.device == "vm"
        self._checkpoints = {0: self._run.snapshot()}
        self.forget()

    def forget(self) -> None:
        """Forgets everything but how the run begins."""
        self._checkpoints = {0: self._checkpoints[0]}
        self._states: dict[int, RunState] = {}  # by number of stages
        self._openings: dict[int, Opening] = {}
        self._result: Result | None = None
        self._is_between_stages = False  # whether the memory is that after `_run.stage` stages
        self._entered: int | None = None  # the stage whose steps the checkpoints are
        self._step_checkpoints: dict[int, Snapshot] = {}

    # Stages ------------------------------------------------------------------------------------------------------------------

    def run_state(self, stages: int) -> RunState:
        """The run state after so many stages."""
        if stages not in self._states:
            if stages == 1 and self._only_stage_in_machine:
                self._states[stages] = self._end_of_only_stage()
            else:
                self._go_to(stages)
                self._checkpoint_stages()
        return self._states[stages]

    def _end_of_only_stage(self) -> RunState:
        """Runs the only stage once and keeps all that a player needs to know about its end; the memory itself is not kept."""
        opening = self._openings[0] = self._opened(0)
        if tuple(self._run.machine.status) != (HALTED, 0):
            return RunState(opening.start_carry, FAILED)
        self._result = self._result_here(opening.final_carry)
        return RunState(opening.final_carry, OK)

    def run_hash(self) -> bytes:
        """The hash that an honest server claims."""
        return self.run_state(self.stage_count).hash()

    def _go_to(self, stages: int) -> None:
        """Goes to the end of so many stages, from the nearest point before it."""
        nearest = max(done for done in self._checkpoints if done <= stages)
        if not self._is_between_stages or not nearest <= self._run.stage <= stages:
            self._run.restore(self._checkpoints[nearest])
            self._is_between_stages = True
        self._advance_stages(stages)
        if stages not in self._states:
            if len(self._states) >= MOST_STATES:
                self._states = {}
            self._states[stages] = self._run.state()

    def _checkpoint_stages(self) -> None:
        """Makes a checkpoint between stages. If they have become too many or too large, only this one and the first one remain."""
        if self._run.stage in self._checkpoints:
            return
        bytes_left = CHECKPOINT_BYTES - self._stage_checkpoint_bytes()
        if len(self._checkpoints) >= MOST_CHECKPOINTS or self._run.memory.snapshot_bytes() > bytes_left:
            self._checkpoints = {0: self._checkpoints[0]}
            self._run.memory.forget_snapshots_after(self._checkpoints[0].machine.memory)
        self._checkpoints[self._run.stage] = self._run.snapshot()

    def _advance_stages(self, stages: int) -> None:
        self._run.run_to(stages)

    def held_bytes(self) -> int:
        """The bytes that all checkpoints hold."""
        return self._stage_checkpoint_bytes() + self._checkpoint_bytes()

    def _stage_checkpoint_bytes(self) -> int:
        return sum(snapshot.machine.memory.contents.nbytes for snapshot in self._checkpoints.values())

    # Steps of one stage ------------------------------------------------------------------------------------------------------

    def machine_at(self, stage: int, step: int) -> Machine:
        """The machine after so many steps of a stage that begins OK. Once halted, it no longer changes."""
        if self._entered != stage:
            self._go_to(stage)
            self._checkpoint_stages()
            self._begin_stage(stage)
            self._step_checkpoints = {0: self._run.machine.snapshot()}
        self._is_between_stages = False
        machine = self._run.machine
        machine.restore(self._step_checkpoints[max(done for done in self._step_checkpoints if done <= step)])
        self._advance_steps(step)
        return machine

    def _begin_stage(self, stage: int) -> None:
        self._run.machine.begin_stage(stage)
        self._entered = stage

    def _advance_steps(self, step: int) -> None:
        machine, ahead = self._run.machine, AHEAD_STEPS
        while step - machine.steps > ahead and machine.run(ahead) == ahead:
            if not machine.memory.hash_ahead():
                ahead *= 2
        machine.run(step - machine.steps)

    def step_hash(self, stage: int, step: int) -> bytes:
        return self.machine_at(stage, step).state_hash()

    def witness(self, stage: int, step: int) -> bytes:
        """The witness of the instruction that follows so many steps."""
        return self.machine_at(stage, step).witness()

    def hashes(self, phase_stage: int | None, begin: int, points: Sequence[int]) -> list[bytes]:
        """The hashes at ascending points of a segment that begins at `begin`, in the named stage or, without one, in the run."""
        if phase_stage is None:
            return self._stage_hashes(begin, points)
        machine, found = self._segment_begun(phase_stage, begin), []
        purse = _Purse(CHECKPOINT_BYTES - self._checkpoint_bytes(), len(points))
        for point in points:
            self._advance_steps(point)
            if purse.pays(machine.memory.snapshot_bytes()):
                self._step_checkpoints[point] = machine.snapshot()
            found.append(machine.state_hash_later())
        return [state_hash() for state_hash in found]

    def _stage_hashes(self, begin: int, points: Sequence[int]) -> list[bytes]:
        """The run hashes at ascending points, with as many checkpoints among them as there is room for, one at the begin included."""
        if any(point not in self._states for point in points):
            self._go_to(begin)
            if self._stage_checkpoint_bytes() > CHECKPOINT_BYTES // 2:
                self._checkpoints = {0: self._checkpoints[0]}
                self._run.memory.forget_snapshots_after(self._checkpoints[0].machine.memory)
            self._checkpoint_stages()
            purse = _Purse(CHECKPOINT_BYTES - self._stage_checkpoint_bytes(), len(points))
            for point in points:
                self._go_to(point)
                if point not in self._checkpoints and purse.pays(self._run.memory.snapshot_bytes()):
                    self._checkpoint_stages()
        return [self.run_state(point).hash() for point in points]

    def hash_at(self, phase_stage: int | None, point: int) -> bytes:
        """The hash at one point, in the named stage or, without one, in the run."""
        return self.run_state(point).hash() if phase_stage is None else self._segment_begun(phase_stage, point).state_hash()

    def false_part(self, phase_stage: int | None, begin: int, points: Sequence[int], posted: Sequence[bytes]) -> int:
        """The part of a segment with a true lower and a false upper end that bisection finds.

        points, posted: the inner boundaries (ascending) and the hashes that somebody posted for them. The segment's lower end is true and
        its upper end false, so 5 of 31 hashes are enough. Whoever computes the same run finds the same part.
        """
        if phase_stage is not None:
            self._segment_begun(phase_stage, begin)
        true, false = 0, len(points) + 1  # boundaries, of which number 0 is the begin
        while false - true > 1:
            middle = (true + false) // 2
            if self._is_true(phase_stage, points[middle - 1], posted[middle - 1]):
                true = middle
            else:
                false = middle
        return true

    def _is_true(self, phase_stage: int | None, point: int, posted: bytes) -> bool:
        """Whether a posted hash is that of this run. If so, the point becomes a checkpoint, because nothing before it will be asked for."""
        if phase_stage is None:
            return self.run_state(point).hash() == posted
        machine = self.machine_at(phase_stage, point)
        machine.memory.begin_hashing()
        if self._has_room():  # meanwhile
            self._checkpoint_here(point)
        is_true = machine.state_hash() == posted
        if is_true:
            self._checkpoint_here(point)
        else:
            self._step_checkpoints.pop(point, None)
        return is_true

    def _segment_begun(self, stage: int, step: int) -> Machine:
        """The machine at the lower end of a segment, with a checkpoint there and none after it."""
        machine = self.machine_at(stage, step)
        self._step_checkpoints = {done: snapshot for done, snapshot in self._step_checkpoints.items() if done <= step}
        self._checkpoint_here(step)
        return machine

    def _checkpoint_here(self, step: int) -> None:
        """Makes a checkpoint of the machine. If there is no room for all checkpoints, only this one and the one at step 0 remain."""
        if step not in self._step_checkpoints:
            if not self._has_room():
                self._step_checkpoints = {0: self._step_checkpoints[0]}
                self._run.memory.forget_snapshots_after(self._step_checkpoints[0].memory)
            self._step_checkpoints[step] = self._run.machine.snapshot()

    def _has_room(self) -> bool:
        """Whether one more checkpoint fits beside the others."""
        return self._checkpoint_bytes() + self._run.memory.snapshot_bytes() <= CHECKPOINT_BYTES

    def _checkpoint_bytes(self) -> int:
        """The bytes that the checkpoints after step 0 hold."""
        return sum(snapshot.memory.contents.nbytes for step, snapshot in self._step_checkpoints.items() if step)

    # What the contract checks --------------------------------------------------------------------------------------------

    def opening(self, stage: int) -> Opening:
        """How a stage begins, how many steps it takes, and how it ends."""
        if stage not in self._openings:
            self._openings[stage] = self._opened(stage)
        return self._openings[stage]

    def _opened(self, stage: int) -> Opening:
        start = self.run_state(stage)
        if start.status == FAILED:
            return Opening(start.carry_root, FAILED)
        machine = self.machine_at(stage, STAGE_STEP_LIMIT)
        memory = machine.memory
        left_root = keccak256(memory.quarter_root(Quarter.SCRATCH) + memory.quarter_root(Quarter.MODEL))
        return Opening(start.carry_root, OK, machine.steps, machine.state_bytes(), left_root, memory.carry_root())

    def result(self) -> Result:
        """The output of the run, with its proof."""
        state = self.run_state(self.stage_count)
        if state.status == FAILED:
            return Result(state.carry_root, FAILED)
        if self._result is None:
            self._go_to(self.stage_count)
            self._result = self._result_here(state.carry_root)
        return self._result

    def _result_here(self, carry_root: bytes) -> Result:
        memory = self._run.memory
        count = int(memory.view(OUTPUT, 1, np.uint64)[0])
        leaves = 1 + -(-count // LEAF_TOKENS) if count <= MOST_READABLE else 1
        height = (leaves - 1).bit_length()
        siblings = memory.proof(OUTPUT // 32)[:CARRY_HEIGHT]
        subtree = memory.read(OUTPUT, 32 << height)  # what stands behind the output must be shown too, up to the last byte that is not zero
        shown = max(32 * leaves, -(-len(subtree.rstrip(b"\0")) // 32) * 32)
        return Result(carry_root, OK, subtree[:shown], encode_access(b"", ZERO[:height] + siblings[height:]))

    def final_state_root(self) -> bytes:
        """The root of the state quarter at the end of the run: of the weights, if it is a training."""
        self._go_to(self.stage_count)
        return self._run.state_root

    def tokens(self) -> list[int]:
        """The output tokens of the run."""
        self._go_to(self.stage_count)
        return self._run.tokens()


class _Purse:
    """Room for checkpoints, spent evenly over the points of a round."""

    def __init__(self, bytes_left: int, points: int) -> None:
        self._bytes_left, self._points_left, self._passed = bytes_left, points, 0

    def pays(self, needed: int) -> bool:
        """Whether to make a checkpoint of this size at the next point: if it is small, or no more than the share of the points passed."""
        self._passed += 1
        share = min(self._bytes_left, self._passed * self._bytes_left // self._points_left)
        self._points_left -= 1
        if needed > max(self._bytes_left // 8, share):
            return False
        self._bytes_left, self._passed = self._bytes_left - needed, 0
        return True


def stage_result(start: RunState, machine: Machine, stages: int) -> RunSnapshot:
    """The point of a run right after the stage that this machine has executed. stages: how many are then done"""
    failed = tuple(machine.status) != (HALTED, 0)
    return RunSnapshot(machine.snapshot(), stages, start.carry_root if failed else None)
