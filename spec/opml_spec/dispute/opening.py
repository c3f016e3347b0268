"""The opening of a stage: two run states are exchanged for two machine states, and neither side is trusted for it.

The first machine state is built by the court, from the model and the agreed run state. The last one is the server's; it must give the
disputed run state. So whoever disputes the end of the stage disputes the end of these instructions.

*Source*: spec §5.4; spec §4.2 for what a stage hands over.
"""

from attrs import evolve

from opml_spec.dispute.narrowing import Phase, Segment
from opml_spec.errors import StepCount, StillRunning, WrongEnd, WrongStart
from opml_spec.hashing import hash_pair
from opml_spec.machine.memory import Memory
from opml_spec.machine.merkle import Pair
from opml_spec.machine.state import Kind, decode_state, state_hash
from opml_spec.runs.limits import STAGE_STEP_LIMIT
from opml_spec.runs.run import RunState, RunStatus, hand_over, stage_start


def start_of(segment: Segment, carry: bytes, status: int) -> RunState:
    """The run state in which the stage begins, if that is the agreed one."""
    if status not in tuple(RunStatus) or RunState(carry, RunStatus(status)).run_hash != segment.agreed:
        raise WrongStart
    return RunState(carry, RunStatus(status))


def open_stage(
    segment: Segment, start: RunState, model_root: bytes, steps: int, final_state: bytes, left_root: bytes, final_carry: bytes
) -> Segment:
    """The instructions of a stage that begins OK, if it may end in this machine state and that gives the disputed run state."""
    if not 1 <= steps <= STAGE_STEP_LIMIT:
        raise StepCount(f"{steps}")
    final = decode_state(final_state)
    if final.status.kind == Kind.RUNNING and steps != STAGE_STEP_LIMIT:
        raise StillRunning
    if hash_pair(left_root, final_carry) != final.memory.root:
        raise WrongEnd
    end = evolve(final, memory=Memory(Pair(left_root, final_carry)))
    if hand_over(start, end).run_hash != segment.disputed:
        raise WrongEnd
    first = stage_start(model_root, start.carry, segment.lo)
    return Segment(Phase.INSTRUCTIONS, 0, steps, state_hash(first), state_hash(final))
