"""Traces: a run in full, from the first run state down to every machine state, true or with one lie in it.

The programs are a few random instructions and a little output, so a dispute may end at any instruction; some trap or exit with an error.

*Source*: spec §4.
"""

from random import Random

from attrs import evolve, frozen
from opml_spec.machine.memory import CARRY_HEIGHT, ENTRY, QUARTER_HEIGHT, STATE, Memory
from opml_spec.machine.merkle import ZERO, Pair, siblings
from opml_spec.machine.state import RUNNING, MachineState, state_hash
from opml_spec.machine.step import step
from opml_spec.model.layout import OUTPUT
from opml_spec.runs.run import RunState, RunStatus, first_state, hand_over, io_quarter, stage_start

from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import A0, A7, EXIT, FIRST_POINTER, computing

POINTERS = ((3, 38), (2, 38), (0x801, 28), (1, 12))  # state, io, output, scratch: each address as a number and how far it is shifted
COUNT = 30  # the register with the number of tokens
SENT_BYTES = 5


@frozen
class Trace:
    """A run as somebody claims it: the run states around the stages, and the machine states of each stage (none if it began FAILED)."""

    runs: tuple[RunState, ...]
    stages: tuple[tuple[MachineState, ...], ...]

    @property
    def run_hash(self) -> bytes:
        return self.runs[-1].run_hash

    def machine(self, stage: int, at: int) -> MachineState:
        """Returns the machine after `at` steps of a stage; one that has ended stays as it is."""
        machines = self.stages[stage]
        return machines[min(at, len(machines) - 1)]

    def hash_at(self, stage: int | None, at: int) -> bytes:
        """Returns the run hash before stage `at`, or the state hash after `at` steps of a stage; zeros for a stage without machines."""
        if stage is None:
            return self.runs[at].run_hash
        return state_hash(self.machine(stage, at)) if self.stages[stage] else bytes(32)


def random_model(rng: Random) -> Memory:
    """Draws a model: a small program and 64 bytes of state."""
    words = []
    for register, (value, shift) in enumerate(POINTERS, FIRST_POINTER):
        words += [assemble("lui", register, imm=value << 12), assemble("slli", register, register, 0, shift - 12)]
    words += [computing(rng) for _ in range(rng.randrange(8))]
    count = rng.choice((0, 1, 1, 9, 2_000))
    words += [assemble("addi", COUNT, 0, 0, count), assemble("sd", 0, FIRST_POINTER + 2, COUNT)]
    words += [assemble("addi", A7, 0, 0, EXIT), assemble("addi", A0, 0, 0, rng.random() < 0.15), assemble("ecall")]
    text = b"".join(word.to_bytes(4, "little") for word in words)
    return Memory.from_segments({ENTRY: text, STATE: rng.randbytes(64)})


def random_trace(model: Memory, stages: int, data: bytes, rng: Random, lies: bool) -> Trace:
    """Runs a model and records the true trace, or what follows if one step went wrong."""
    model_quarter, state = (model.subtree(QUARTER_HEIGHT, quarter) for quarter in (1, 3))
    runs, machines_by_stage = [first_state(io_quarter(stages, data), state)], list[tuple[MachineState, ...]]()
    lie_at = (rng.randrange(stages), rng.randrange(1, 16)) if lies else None
    for stage in range(stages):
        machines = [stage_start(model_quarter, runs[-1].carry, stage)] if runs[-1].status == RunStatus.OK else []
        while machines and machines[-1].status == RUNNING:
            after = step(machines[-1])
            machines.append(lie(after, rng) if (stage, len(machines)) == lie_at else after)
        runs.append(hand_over(runs[-1], machines[-1]) if machines else runs[-1])
        machines_by_stage.append(tuple(machines))
    return Trace(tuple(runs), tuple(machines_by_stage))


def lie(state: MachineState, rng: Random) -> MachineState:
    """Changes a machine state so that the machine still ends."""
    match rng.randrange(3):
        case 0:
            return state.halt(rng.randrange(2))
        case 1:
            return evolve(state, memory=state.memory.store(STATE + rng.randrange(64), 8, rng.getrandbits(64)))
        case _:
            register = rng.choice((FIRST_POINTER, FIRST_POINTER + 1, COUNT))
            return evolve(state, x=(*state.x[:register], state.x[register] ^ 1, *state.x[register + 1 :]))


def shown_output(trace: Trace, more: int) -> tuple[bytes, bytes]:
    """Returns the output's leaves that `finalise` needs, `more` leaves behind them, and the proof of all."""
    memory = Memory(Pair(ZERO[CARRY_HEIGHT], trace.runs[-1].carry))
    count = memory.load(OUTPUT, 8)
    leaves = min(1 + (0 if count > 4096 else -(-count // 8)) + more, 1024)
    height, index = (leaves - 1).bit_length(), OUTPUT // 32
    beside = siblings(memory.tree, height, index >> height)[: CARRY_HEIGHT - height]
    sent = {level: sibling for level, sibling in enumerate(beside, height) if sibling != ZERO[level]}
    bitmap = sum(1 << level for level in sent)
    return memory.load_bytes(OUTPUT, 32 * leaves), bitmap.to_bytes(SENT_BYTES, "big") + b"".join(sent.values())
