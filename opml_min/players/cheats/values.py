"""A wrong value: written by an op, left in a register, taken from another model, put into the output. Each is decided by an instruction."""

from collections.abc import Callable, Iterator
from random import Random

import numpy as np

from opml_min.machine import HALTED, Machine
from opml_min.machine.decode import BRANCH, IMMEDIATE, LOAD, REGISTER, Instruction
from opml_min.machine.state import Status
from opml_min.memory_map import OUTPUT, REQUEST, STATE
from opml_min.model.image.ops import OPERANDS, Op, Opcode, writes
from opml_min.model.image.request import position_count, prompt_length
from opml_min.model.image.weights import BLOCK_BYTES, F32, SCALE_OFFSET, matrix_bytes
from opml_min.players.cheats.cheat import Cheat, Liar, Scene, Table
from opml_min.players.cheats.tampering import NoSuchLie, Plan, Tampering, lie, next_instruction, step_that_writes, steps_of
from opml_min.players.computation import Computation
from opml_min.players.player import Player

WEIGHT_BITS_KEPT = 0xF0  # of each byte of integer weights, and of the lower two bytes of a float
BEYOND = STATE + (1 << 37)
"""No op writes there, so what is there stays there."""
TRIES_BEFORE_ANYWHERE = 100


def written(address: int, data: bytes) -> Callable[[Machine], None]:
    return lambda machine: machine.memory.write(address, data)


def stage_and_op(honest: Computation, random: Random, stage: int | None, *kinds: Opcode) -> tuple[int, Op, int] | None:
    """A stage, an op that it computes and the position; None if no such stage computes an op of these kinds."""
    header, tape = honest.image.header, honest.image.tape.tolist()
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
    """In bytes that the stage writes, at the moment at which it writes them."""
    step = step_that_writes(honest, stage, address, length)
    if step is None:
        return None
    value = int.from_bytes(honest.machine_at(stage, step).memory.read(address, length), "little")
    return Tampering(stage, step, written(address, (value ^ 1 << random.randrange(8 * length)).to_bytes(length, "little")))


def output_values(honest: Computation, random: Random, stage: int | None, *kinds: Opcode) -> Iterator[Tampering | None]:
    """Also what nobody reads afterwards: then something that stays is changed in its place."""
    for _ in range(TRIES_BEFORE_ANYWHERE):
        found = stage_and_op(honest, random, stage, *kinds)
        places = found and writes(found[1], found[2])
        if not found or not places:
            yield None
            continue
        address, length = random.choice(places)
        item = 1 if length % 2 else 2
        yield bit_flipped(honest, random, found[0], address + item * random.randrange(length // item), item)
    if stage is not None and not kinds:
        yield Tampering(stage, 1 + random.randrange(steps_of(honest, stage)), written(BEYOND, random.randbytes(4)))


def cached_values(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    return output_values(honest, random, stage, Opcode.CACHE)


def tokens(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    count = len(honest.tokens())
    positions_before = prompt_length(honest.image.header.request_kind, honest.request) - 1
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
    """Lies about what an instruction of some form does. change: given its pc, what is wrong afterwards."""

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
    """From some stage on, with one matrix rounded to half its bits."""

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
        self._use(self._rounded)
        super()._advance_stages(stages)

    def _begin_stage(self, stage: int) -> None:
        self._use(self._true if stage < self._first_stage else self._rounded)
        super()._begin_stage(stage)


def with_other_weights(table: Table) -> OtherWeights:
    for _ in range(100):
        found = stage_and_op(table.honest, table.random, table.stage, Opcode.MATMUL)
        if found:
            computation = OtherWeights(table.scene, found[0], found[1])
            at_once = computation.run_state(found[0] + 1) != table.honest.run_state(found[0] + 1)
            if at_once and computation.run_hash() != table.honest.run_hash():
                return computation
    raise NoSuchLie("other weights make no difference there")


def liar(plan: Plan) -> Callable[[Table], list[Player]]:
    return lambda table: table.with_challenger(table.seat(Liar, "server", lie(table, plan)))


registers = instructions(lambda it: it.form in (REGISTER, IMMEDIATE) and it.rd != 0, wrong_register)

CHEATS = (
    Cheat("output-value", "one value that an op wrote is changed by one bit", liar(output_values)),
    Cheat("kv-cache", "one value in the KV cache is changed by one bit", liar(cached_values)),
    Cheat("token", "another token is sampled", liar(tokens)),
    Cheat("register", "the result of an arithmetic instruction is wrong by one bit", liar(registers)),
    Cheat("load", "a value is loaded wrong by one bit", liar(instructions(lambda it: it.form == LOAD and it.rd != 0, wrong_register))),
    Cheat("branch", "a branch goes the wrong way", liar(instructions(lambda it: it.form == BRANCH and it.imm != 4, wrong_way))),
    Cheat("early-exit", "the stage stops before it is done: the step count is too small", liar(early_exit)),
    Cheat("final-state", "the final machine state of a stage holds something that the stage never wrote", liar(final_states)),
    Cheat("read-out", "the output is replaced at the very end", liar(read_out)),
    Cheat("other-prompt", "the server answers another prompt than the one it was asked", liar(other_prompt)),
    Cheat("other-weights", "the server saves work: from some stage on it uses a matrix rounded to half its bits",
          lambda table: table.with_challenger(table.seat(Liar, "server", with_other_weights(table)))),
)  # fmt: skip
