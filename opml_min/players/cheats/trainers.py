"""Cheats of a trainer: whoever trains a model off chain and does it otherwise than requested.

All of them end in weights that the requested training does not lead to. Most are small, because a trainer would hide them: one gradient,
one step of an optimiser, one checkpoint. What follows from them is computed honestly.
"""

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

import numpy as np

from opml_min.machine import Machine
from opml_min.machine.decode import ACCESS_BYTES, LOAD, Instruction
from opml_min.machine.interpret import MASK
from opml_min.memory_map import MODEL, REQUEST, STATE
from opml_min.players.cheats.cheat import Cheat, Liar, Scene, Setup
from opml_min.players.cheats.tampering import NoSuchLie, Plan, Tampering, next_instruction, step_that_writes
from opml_min.players.cheats.training_ops import Wanted, drawn_op, ops_of, updates_of
from opml_min.players.cheats.values import bit_flipped, halted, liar, written
from opml_min.players.computation import Computation
from opml_min.training.layout import EACH_UPDATE
from opml_min.training.operations import TrainingOp, TrainingOpcode

SEED = REQUEST + 32  # the first of the settings
SPOILING_FACTOR = -16
OPTIMISERS = (TrainingOpcode.ADAM, TrainingOpcode.SGD, TrainingOpcode.MUON)
BATCHES = (TrainingOpcode.TOKENS, TrainingOpcode.PICTURES)
LARGEST = (1 << 31) - 1


def has(*names: str) -> Wanted:
    """Ops with one of these operands."""
    return lambda op: any(name in op.operands for name in names)


def is_one_of(*opcodes: TrainingOpcode) -> Wanted:
    return lambda op: op.opcode in opcodes


def adds_to_sums(op: TrainingOp) -> bool:
    """Whether an op computes a gradient of weights."""
    return "sums" in op.operands and op.opcode not in OPTIMISERS


def number_written(
    honest: Computation, random: Random, stage: int | None, wanted: Wanted, *names: str
) -> tuple[int, int, int] | None:
    """Draws an i32 of a tensor that an op writes: the stage, the address, and the step after which it has its new value."""
    found = drawn_op(honest, random, stage, wanted)
    if found is None:
        return None
    (tensor,) = [tensor for tensor in found.op.tensors() if tensor.written and tensor.name in names]
    address = tensor.address + 4 * random.randrange(tensor.size // 4)
    step = step_that_writes(honest, found.stage, address, 4)
    return None if step is None else (found.stage, address, step)


def poisoned_gradient(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    """Turns the gradient of one weight round and makes it larger."""
    while True:
        found = number_written(honest, random, stage, adds_to_sums, "sums")
        if found is None:
            yield None
            continue
        here, address, step = found
        gradient = int.from_bytes(honest.machine_at(here, step).memory.read(address, 4), "little", signed=True)
        poison = max(-LARGEST, min(SPOILING_FACTOR * gradient, LARGEST))
        yield Tampering(here, step, written(address, poison.to_bytes(4, "little", signed=True)))


def stale_moment(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    """Leaves a moment of one weight as it was before the update."""
    while True:
        found = number_written(honest, random, stage, has("m", "momentum"), "m", "momentum")
        if found is None:
            yield None
            continue
        here, address, step = found
        yield Tampering(here, step, written(address, honest.machine_at(here, 0).memory.read(address, 4)))


def skipped_step(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    """Ends a stage in which weights would move, before any does."""
    while True:
        found = drawn_op(honest, random, stage, is_one_of(*OPTIMISERS))
        yield Tampering(found.stage, 1, halted) if found else None


def other_label(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    """Teaches one wrong answer: the target of one token or picture of a batch is another one."""
    while True:
        found = drawn_op(honest, random, stage, is_one_of(*BATCHES))
        if found is None:
            yield None
            continue
        rows = found.op["rows"] if "rows" in found.op.operands else found.op["sequences"] * found.op["period"]
        yield bit_flipped(honest, random, found.stage, found.op["targets"] + 4 * random.randrange(rows), 1)


def wrong_checkpoint(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    """Begins an update with the weights of the one before."""
    ops = ops_of(honest)
    first = next((index for index, op in enumerate(ops) if op.condition == EACH_UPDATE), 0)
    steps = [index for index, op in enumerate(ops) if op.opcode in OPTIMISERS]
    while True:
        updates = range(1, updates_of(honest)) if steps else range(0)
        update = random.choice(updates) if stage is None and updates else (stage or 0) // max(len(ops), 1)
        if update not in updates or stage not in (None, update * len(ops) + first):
            yield None
            continue
        memory = honest.machine_at((update - 1) * len(ops) + steps[0], 0).memory
        masters = {tensor.address: tensor.size for index in steps for tensor in ops[index].tensors() if tensor.name == "master"}
        old = {address: memory.read(address, size) for address, size in masters.items()}
        yield Tampering(update * len(ops) + first, 1, partial(_write_all, old))


def _write_all(contents: dict[int, bytes], machine: Machine) -> None:
    for address, data in contents.items():
        machine.memory.write(address, data)


def loads_seed(machine: Machine, instruction: Instruction) -> bool:
    address = (int(machine.registers[instruction.rs1]) + instruction.imm) & MASK
    return instruction.kind == LOAD and address == SEED and ACCESS_BYTES[instruction.operation] == 8


def other_seed(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    """Draws weights or a batch with another seed than the requested one."""
    while True:
        found = drawn_op(honest, random, stage, has("stream"))
        site = next_instruction(honest, found.stage, 0, loads_seed) if found else None
        if found is None or site is None:
            yield None
            continue
        yield Tampering(found.stage, site.step + 1, partial(_set_register, site.instruction.rd, random.randrange(1 << 32)))


def _set_register(register: int, value: int, machine: Machine) -> None:
    machine.registers[register] = np.uint64(value)


class OtherData(Computation):
    """A computation that reads other data from some stage on, under the true root of the model.

    So its machine states are true up to the first instruction that loads from the data.
    """

    def __init__(self, scene: Scene, first_stage: int, honest: Computation, address: int, data: bytes) -> None:
        super().__init__(*scene)
        self._first_stage, self._honest, self._address = first_stage, honest, address
        self._data = {False: self._run.memory.read(address, len(data)), True: data}
        self._is_other = False

    def _use(self, *, other: bool) -> None:
        if other != self._is_other:
            self._is_other = other
            self._run.memory.write(self._address, self._data[other])
            self._run.memory.assume_model_root(self.model_root)

    def _advance_stages(self, stages: int) -> None:
        if self._run.stage < self._first_stage:
            self._use(other=False)
            super()._advance_stages(min(self._first_stage, stages))
        if self._run.stage < stages:
            self._use(other=True)
            super()._advance_stages(stages)

    def machine_at(self, stage: int, step: int) -> Machine:
        self._use(other=stage >= self._first_stage)
        return super().machine_at(stage, step)

    def _begin_stage(self, stage: int) -> None:
        self._use(other=stage >= self._first_stage)
        super()._begin_stage(stage)

    def witness(self, stage: int, step: int) -> bytes:
        """The true witness: the memory before the first false instruction is true, too."""
        return self._honest.witness(stage, step)


def with_other_data(setup: Setup) -> OtherData:
    """A training on the same text from its end to its begin, or on the same pictures with other labels."""
    honest = setup.honest
    for _ in range(100):
        found = drawn_op(honest, setup.random, setup.stage, is_one_of(*BATCHES))
        if found is None:
            break
        op = found.op
        name, item = ("text", op["token_bytes"]) if op.opcode == TrainingOpcode.TOKENS else ("labels", 1)
        if not MODEL <= op[name] < MODEL + (STATE - MODEL) // 2:
            break  # it comes with the request
        data = np.frombuffer(honest.machine_at(found.stage, 0).memory.read(op[name], item * op["count"]), f"<u{item}")
        computation = OtherData(setup.scene, found.stage, honest, op[name], data[::-1].tobytes())
        if computation.run_hash() != honest.run_hash():
            return computation
    raise NoSuchLie("no other data make a difference there")


def tampering(name: str, description: str, plan: Plan) -> Cheat:
    return Cheat(name, description, liar(plan))


def _seats(computation: Callable[[Setup], Computation]) -> Callable[[Setup], list[Any]]:
    return lambda setup: setup.with_challenger(setup.seat(Liar, "server", computation(setup)))


CHEATS = (
    tampering("poisoned-gradient", "the gradient of one weight is turned round and multiplied by 16", poisoned_gradient),
    tampering("stale-moment", "a moment of the optimiser keeps its value of the update before", stale_moment),
    tampering("skipped-step", "to save work, an optimiser step is skipped: one tensor keeps its weights", skipped_step),
    tampering("other-label", "a backdoor: one token or picture of a batch is taught another answer", other_label),
    tampering("wrong-checkpoint", "after a break, an update begins with the weights of the update before", wrong_checkpoint),
    tampering("other-seed", "weights or a batch are drawn with another seed than the requested one", other_seed),
    Cheat("other-data", "from some update on, the trainer learns from other data than the registered ones", _seats(with_other_data)),
)
