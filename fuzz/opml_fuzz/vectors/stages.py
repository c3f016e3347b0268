"""Stages as the machine runs them: the definition of a run, on a small program that ends in each of the possible ways.

The program adds up what lies in the state, writes to state and output, and exits with what the first word of the request says; some lies
about it are told here too, for the games.

*Source*: spec/README.md 2.
"""

from collections.abc import Callable, Iterator
from random import Random

from attrs import evolve, frozen
from opml_spec.machine.memory import CARRY_HEIGHT, ENTRY, QUARTER_HEIGHT, STATE, Memory
from opml_spec.machine.merkle import Node, Pair, hash_of
from opml_spec.machine.state import RUNNING, MachineState, state_hash
from opml_spec.machine.step import step
from opml_spec.model.layout import OUTPUT, REQUEST, REQUEST_BYTES
from opml_spec.runs.run import RunState, RunStatus, first_state, hand_over, io_quarter, run_machine, stage_start

from opml_fuzz.machine.encodings import assemble
from opml_fuzz.vectors.case import Json, memory_text

ZERO_REG, T0, T1, T2, A0, A3, A7 = 0, 5, 6, 7, 10, 13, 17
EXIT = 93
COUNTED = T0  # the register that everything goes through

PROGRAM = (
    assemble("addi", T1, ZERO_REG, 0, 3),
    assemble("slli", T1, T1, 0, 38),  # the state quarter
    assemble("addi", T2, A0, 0, 1),  # once more than the stage's number
    assemble("ld", T0, T1, 0, 30),  # from two leaves
    assemble("mul", T0, T0, T2),
    assemble("addi", T0, T0, 0, 7),
    assemble("addi", T2, T2, 0, -1),
    assemble("bne", 0, T2, ZERO_REG, -12),
    assemble("sd", 0, T1, T0, 30),
    assemble("addi", T1, ZERO_REG, 0, 1),
    assemble("slli", T1, T1, 0, 39),  # the request
    assemble("ld", A3, T1, 0, 32),
    assemble("lui", T2, imm=0x10000000),
    assemble("add", T1, T1, T2),  # the output
    assemble("sd", 0, T1, A0, 0),  # as many tokens as the stage's number
    assemble("sw", 0, T1, T0, 32),
    assemble("addi", A7, ZERO_REG, 0, EXIT),
    assemble("addi", A0, A3, 0, 0),
    assemble("ecall"),
)
ENDS = {"exit 0": PROGRAM, "trap": (*PROGRAM[:-1], assemble("ebreak")), "another call": (*PROGRAM[:-3], *PROGRAM[-2:])}

Lie = Callable[[MachineState], MachineState]


def model_memory(rng: Random, words: tuple[int, ...] = PROGRAM) -> dict[int, bytes]:
    """The model: a program and 64 bytes of state."""
    return {ENTRY: b"".join(word.to_bytes(4, "little") for word in words), STATE: rng.randbytes(64)}


def quarters(segments: dict[int, bytes]) -> tuple[Node, Node]:
    """The model and the state quarter."""
    memory = Memory.from_segments(segments)
    return memory.subtree(QUARTER_HEIGHT, 1), memory.subtree(QUARTER_HEIGHT, 3)


@frozen
class Account:
    """What somebody says about a run: the run states between stages, and the machines of each stage (none if it began FAILED)."""

    runs: tuple[RunState, ...]
    machines: tuple[tuple[MachineState, ...], ...]

    def machine(self, stage: int, at: int) -> MachineState:
        """So many steps into a stage; one that ended stays as it is."""
        return self.machines[stage][min(at, len(self.machines[stage]) - 1)]


def account(segments: dict[int, bytes], stages: int, data: bytes, lie_at: tuple[int, int] | None = None) -> Account:
    """The truth, or what follows if one register was wrong so many steps into a stage."""
    model, state = quarters(segments)
    runs, traces = [first_state(io_quarter(stages, data), state)], list[tuple[MachineState, ...]]()
    for stage in range(stages):
        machines = [stage_start(model, runs[-1].carry, stage)] if runs[-1].status == RunStatus.OK else []
        while machines and machines[-1].status == RUNNING:
            after = step(machines[-1])
            machines.append(wrong_register(after) if (stage, len(machines)) == lie_at else after)
        runs.append(hand_over(runs[-1], machines[-1]) if machines else runs[-1])
        traces.append(tuple(machines))
    return Account(tuple(runs), tuple(traces))


def wrong_register(state: MachineState) -> MachineState:
    x = state.x
    return evolve(state, x=(*x[:COUNTED], x[COUNTED] ^ 1, *x[COUNTED + 1 :]))


def machine_stages(rng: Random) -> Iterator[Json]:
    """Each way to end, some stages one after another: after a failure the run stays failed."""
    for name, words in ENDS.items():
        for exit_code in (0, 1):
            segments, data, stages = model_memory(rng, words), bytes([exit_code]), 3
            told = account(segments, stages, data)
            model, _ = quarters(segments)
            for stage, (run, machines) in enumerate(zip(told.runs, told.machines, strict=False)):
                after = run_machine(model, run, stage, limit=1 << 10)
                end = {"steps": len(machines) - 1, "final_state_hash": state_hash(machines[-1]).hex()} if machines else {"steps": 0}
                post = {"run_hash": after.run_hash.hex(), "carry_root": hash_of(after.carry).hex(), "status": int(after.status), **end}
                pre = {"memory": memory_text(segments | carry_segments(run.carry)), "status": int(run.status), "stage": stage}
                yield {"name": f"{name}, request {exit_code}, stage {stage}", "pre": pre, "post": post}


def carry_segments(carry: Node) -> dict[int, bytes]:
    """What the program may have written, and the request."""
    memory = Memory(Pair(Memory().subtree(CARRY_HEIGHT, 0), carry))
    found = {REQUEST: memory.load_bytes(REQUEST, 32), REQUEST_BYTES: memory.load_bytes(REQUEST_BYTES, 32)}
    return found | {STATE: memory.load_bytes(STATE, 64), OUTPUT: memory.load_bytes(OUTPUT, 64)}
