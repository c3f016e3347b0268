"""Wrong values: in what an op writes, in a register, in the weights, in the output. Executing one instruction exposes each of them."""

from collections.abc import Callable, Iterator
from random import Random

import numpy as np

from opml_min.machine import HALTED, Machine
from opml_min.machine.decode import BRANCH, IMMEDIATE, REGISTER, Instruction
from opml_min.machine.state import Status
from opml_min.memory_map import OUTPUT, REQUEST, STATE
from opml_min.model.image.image import Image
from opml_min.model.image.ops import OPERANDS, Op, Opcode, writes
from opml_min.model.image.request import position_count, prompt_length
from opml_min.model.image.weights import BLOCK_BYTES, F32, SCALE_OFFSET, matrix_bytes
from opml_min.players.cheats.cheat import Cheat, Liar, Scene, Setup
from opml_min.players.cheats.tampering import NoSuchLie, Plan, Tampering, lie, next_instruction, step_that_writes, steps_of
from opml_min.players.cheats.training_ops import place_written
from opml_min.players.computation import Computation
from opml_min.players.player import Player
from opml_min.training.image import TrainingImage

WEIGHT_BITS_KEPT = 0xF0  # in each byte of integer weights, and in the lower two bytes of a float
BEYOND = STATE + (1 << 37)
"""An address that no op writes, so that a change there lasts."""
TRIES_BEFORE_ANYWHERE = 100


def written(address: int, data: bytes) -> Callable[[Machine], None]:
    return lambda machine: machine.memory.write(address, data)


def stage_and_op(honest: Computation, random: Random, stage: int | None, *kinds: Opcode) -> tuple[int, Op, int] | None:
    """Draws a stage, an op of these kinds that it computes, and the position; None if there is no such stage."""
    image = honest.image
    assert isinstance(image, Image)
    header, tape = image.header, image.tape.tolist()
    fitting = [index for index, words in enumerate(tape) if words[0] in OPERANDS and (not kinds or Opcode(words[0]).kind in kinds)]
    if stage is not None and not header.single_phase:
        fitting = [index for index in fitting if index == stage % len(tape)]
    if not fitting:
        return None
    index = random.choice(fitting)
    if header.single_phase:
        position = random.randrange(position_count(header.request_kind, honest.request))
        return 0, Op.from_words(tape[index]), position
    position = random.randrange(-(-honest.stage_count // len(tape))) if stage is None else stage // len(tape)
    return position * len(tape) + index, Op.from_words(tape[index]), position


def bit_flipped(honest: Computation, random: Random, stage: int, address: int, length: int) -> Tampering | None:
    """Flips a bit of bytes that the stage writes, right after it has written them; None if it does not change them."""
    step = step_that_writes(honest, stage, address, length)
    if step is None:
        return None
    value = int.from_bytes(honest.machine_at(stage, step).memory.read(address, length), "little")
    return Tampering(stage, step, written(address, (value ^ 1 << random.randrange(8 * length)).to_bytes(length, "little")))


def output_values(honest: Computation, random: Random, stage: int | None, *kinds: Opcode) -> Iterator[Tampering | None]:
    """Changes a value that an op writes. Most such lies matter; if none does, a byte that lasts is changed instead."""
    for _ in range(TRIES_BEFORE_ANYWHERE):
        place = _place_written(honest, random, stage, *kinds)
        if place is None:
            yield None
            continue
        here, address, length = place
        item = 1 if length % 2 else 2
        yield bit_flipped(honest, random, here, address + item * random.randrange(length // item), item)
    if stage is not None and not kinds:
        yield Tampering(stage, 1 + random.randrange(steps_of(honest, stage)), written(BEYOND, random.randbytes(4)))


def _place_written(honest: Computation, random: Random, stage: int | None, *kinds: Opcode) -> tuple[int, int, int] | None:
    """Draws a stage, and the address and length of something that its op writes."""
    if isinstance(honest.image, TrainingImage):
        return place_written(honest, random, stage)
    found = stage_and_op(honest, random, stage, *kinds)
    places = found and writes(found[1], found[2])
    return (found[0], *random.choice(places)) if found and places else None


def cached_values(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    return output_values(honest, random, stage, Opcode.CACHE)


def tokens(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    count, image = len(honest.tokens()), honest.image
    assert isinstance(image, Image)
    positions_before = prompt_length(image.header.request_kind, honest.request) - 1
    while True:
        found = stage_and_op(honest, random, stage, Opcode.SAMPLE)
        if not found or not positions_before <= found[2] < positions_before + count:
            yield None
            continue
        place = OUTPUT + 32 + 4 * (found[2] - positions_before)
        step = step_that_writes(honest, found[0], place, 4)
        token = random.randrange(found[1].operands["length"]).to_bytes(4, "little")
        yield Tampering(found[0], step, written(place, token)) if step else None


def instructions(
    wanted: Callable[[Instruction], bool], change: Callable[[int, Instruction, Random], Callable[[Machine], None]]
) -> Plan:
    """Lies about what a wanted instruction does. change: makes, from its pc, what is wrong after it"""

    def plan(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
        while True:
            here = random.randrange(honest.stage_count) if stage is None else stage
            site = next_instruction(honest, here, random.randrange(steps_of(honest, here)), lambda _, instruction: wanted(instruction))
            yield Tampering(here, site.step + 1, change(site.pc, site.instruction, random)) if site else None

    return plan


def wrong_register(pc: int, instruction: Instruction, random: Random) -> Callable[[Machine], None]:
    bit = np.uint64(1 << random.randrange(24))

    def change(machine: Machine) -> None:
        machine.registers[instruction.rd] ^= bit

    return change


def wrong_way(pc: int, instruction: Instruction, random: Random) -> Callable[[Machine], None]:
    def change(machine: Machine) -> None:
        machine.pc = pc + instruction.imm if machine.pc == pc + 4 else pc + 4

    return change


def halted(machine: Machine) -> None:
    machine.status = Status(HALTED, 0)


def early_exit(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    while True:
        here = random.randrange(honest.stage_count) if stage is None else stage
        yield Tampering(here, 1 + random.randrange(steps_of(honest, here) - 1), halted)


def final_states(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    while True:
        here = random.randrange(honest.stage_count) if stage is None else stage
        yield Tampering(here, steps_of(honest, here), written(BEYOND, random.randbytes(32)))


def read_out(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    here = honest.stage_count - 1 if stage is None else stage
    count = max(len(honest.tokens()), 1)
    forged = count.to_bytes(8, "little") + bytes(24) + random.randbytes(4 * count)
    yield Tampering(here, steps_of(honest, here), written(OUTPUT, forged))


def other_prompt(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    place = REQUEST + 32 + len(honest.request) - 4  # the last token, or the last bytes
    yield Tampering(stage or 0, 1, written(place, bytes([honest.request[-4] ^ 1])))


class OtherWeights(Computation):
    """A computation that rounds one matrix to half its bits from some stage on."""

    def __init__(self, scene: Scene, first_stage: int, op: Op) -> None:
        super().__init__(*scene)
        self._first_stage = first_stage
        o = op.operands
        quantisation = o.get("quantisation", F32)
        self._address, length = o["matrix"], matrix_bytes(quantisation, o["rows"], o["columns"])
        self._true = self._run.memory.read(self._address, length)
        size, weights = (4, 2) if quantisation == F32 else (BLOCK_BYTES[quantisation], SCALE_OFFSET[quantisation])
        blocks = np.frombuffer(self._true, np.uint8).reshape(-1, size).copy()
        blocks[:, :weights] &= WEIGHT_BITS_KEPT
        self._rounded = blocks.tobytes()

    def _use(self, weights: bytes) -> None:
        self._run.memory.write(self._address, weights)

    def _advance_stages(self, stages: int) -> None:
        if self._run.stage < self._first_stage:
            self._use(self._true)
            super()._advance_stages(min(self._first_stage, stages))
        if self._first_stage < stages:  # weights in the state quarter are part of the run state
            self._use(self._rounded)
            super()._advance_stages(stages)

    def _begin_stage(self, stage: int) -> None:
        self._use(self._true if stage < self._first_stage else self._rounded)
        super()._begin_stage(stage)


def with_other_weights(setup: Setup) -> OtherWeights:
    for _ in range(100):
        found = stage_and_op(setup.honest, setup.random, setup.stage, Opcode.MATMUL)
        if found:
            computation = OtherWeights(setup.scene, found[0], found[1])
            at_once = computation.run_state(found[0] + 1) != setup.honest.run_state(found[0] + 1)
            if at_once and computation.run_hash() != setup.honest.run_hash():
                return computation
    raise NoSuchLie("the rounded weights make no difference there")


def liar(plan: Plan) -> Callable[[Setup], list[Player]]:
    return lambda setup: setup.with_challenger(setup.seat(Liar, "server", lie(setup, plan)))


registers = instructions(lambda it: it.kind in (REGISTER, IMMEDIATE) and it.rd != 0, wrong_register)

CHEATS = (
    Cheat("output-value", "one value that an op wrote is changed by one bit", liar(output_values)),
    Cheat("kv-cache", "one value in the KV cache is changed by one bit", liar(cached_values)),
    Cheat("token", "another token is sampled", liar(tokens)),
    Cheat("register", "the result of an arithmetic instruction is wrong by one bit", liar(registers)),
    Cheat("branch", "a branch goes the wrong way", liar(instructions(lambda it: it.kind == BRANCH and it.imm != 4, wrong_way))),
    Cheat("early-exit", "the stage ends before it is done, so its step count is too small", liar(early_exit)),
    Cheat("final-state", "the final state of a stage has bytes in memory that the stage never wrote", liar(final_states)),
    Cheat("read-out", "the output is replaced at the end of the run", liar(read_out)),
    Cheat("other-prompt", "the server answers another prompt than the requested one", liar(other_prompt)),
    Cheat("other-weights", "to save work, the server rounds a matrix to half its bits from some stage on",
          lambda setup: setup.with_challenger(setup.seat(Liar, "server", with_other_weights(setup)))),
)  # fmt: skip
