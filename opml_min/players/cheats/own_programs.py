"""Programs of our own in the place of the shipped one: stores over the borders of leaves and quarters, and a trap.

Such a model runs in the machine only. Its tape says nothing; the program decides.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from struct import pack

from opml_min.machine import Machine
from opml_min.machine.decode import ACCESS_BYTES, STORE, Instruction
from opml_min.machine.interpret import MASK
from opml_min.machine.state import STATUS_RUNNING
from opml_min.memory_map import HEADER
from opml_min.memory_map import STATE as STATE_QUARTER
from opml_min.model.build.build import write_model
from opml_min.model.image.header import BYTES, HEADER_WORDS, NO_TOKEN, Header
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Op, Opcode, align
from opml_min.players.cheats.cheat import Cheat, Scene
from opml_min.players.cheats.tampering import Tampering, next_instruction, steps_of
from opml_min.players.cheats.values import liar, written
from opml_min.players.computation import Computation

STAGES = 40
X0, T0, T1, T2, A0, A7 = 0, 5, 6, 7, 10, 17


def addi(rd: int, rs1: int, imm: int) -> int:
    return (imm & 0xFFF) << 20 | rs1 << 15 | rd << 7 | 0x13


def lui(rd: int, imm: int) -> int:
    return imm << 12 | rd << 7 | 0x37


def slli(rd: int, rs1: int, shift: int) -> int:
    return shift << 20 | rs1 << 15 | 1 << 12 | rd << 7 | 0x13


def add(rd: int, rs1: int, rs2: int) -> int:
    return rs2 << 20 | rs1 << 15 | rd << 7 | 0x33


def ld(rd: int, offset: int, rs1: int) -> int:
    return (offset & 0xFFF) << 20 | rs1 << 15 | 3 << 12 | rd << 7 | 0x03


def sd(rs2: int, offset: int, rs1: int) -> int:
    return (offset >> 5 & 0x7F) << 25 | rs2 << 20 | rs1 << 15 | 3 << 12 | (offset & 31) << 7 | 0x23


ECALL = 0x73
EXIT_WELL = [addi(A0, X0, 0), addi(A7, X0, 93), ECALL]
STAGE_TWICE = [addi(T1, A0, 1), slli(T2, T1, 32), add(T1, T1, T2)]  # t1 = stage + 1 in either half


def adding_at(quarter: int, offset: int) -> list[int]:
    """Adds to the eight bytes at an offset from a quarter's first byte, so that what a stage gets wrong stays wrong."""
    return [addi(T0, X0, quarter), slli(T0, T0, 38), *STAGE_TWICE, ld(T2, offset, T0), add(T1, T1, T2), sd(T1, offset, T0), *EXIT_WELL]


OVER_LEAVES = adding_at(3, 28)
OVER_QUARTERS = adding_at(3, -4)
INTO_THE_MODEL = adding_at(1, 64)


def model_of(program: list[int]) -> Image:
    """An image with this program and a tape that is only there because there has to be one."""
    header = Header(
        flags=0, request_kind=BYTES, op_count=1, tape_address=align(HEADER + 8 * HEADER_WORDS), context=1, vocabulary=0, stop_tokens=(),
        tokenizer_address=0, tokenizer_length=0, tokenizer_kind=0, bos_token=NO_TOKEN,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.opml"
        write_model(path, pack(f"<{len(program)}I", *program), header, [Op(Opcode.INPUT, 0, {"out": STATE_QUARTER, "length": 1})], [])
        return Image(path)


def crosses_leaves(machine: Machine, instruction: Instruction) -> bool:
    address = (int(machine.registers[instruction.rs1]) + instruction.imm) & MASK
    return instruction.kind == STORE and address % 32 + ACCESS_BYTES[instruction.operation] > 32


def torn_store(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    """Only the part of a store that is below the border arrives."""
    here = random.randrange(honest.stage_count) if stage is None else stage
    site = next_instruction(honest, here, 0, crosses_leaves)
    if site is None:
        yield None
        return
    machine = honest.machine_at(here, site.step)
    address = (int(machine.registers[site.instruction.rs1]) + site.instruction.imm) & MASK
    end = address + ACCESS_BYTES[site.instruction.operation]
    border = end - end % 32
    yield Tampering(here, site.step + 1, written(border, machine.memory.read(border, end - border)))


def trap_overlooked(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering]:
    """A store that must not be done is passed over."""

    def change(machine: Machine) -> None:
        machine.status, machine.pc = STATUS_RUNNING, machine.pc + 4

    yield Tampering(0, steps_of(honest, 0), change)


def _runs(program: list[int], stages: int = STAGES) -> Callable[[Scene, Random], Scene]:
    return lambda scene, random: Scene(model_of(program), b"!", stages)


CHEATS = (
    Cheat("torn-over-leaves", "half of a store over the border of two leaves gets lost", liar(torn_store), scene=_runs(OVER_LEAVES)),
    Cheat("torn-over-quarters", "half of a store over the border of io and state gets lost", liar(torn_store), scene=_runs(OVER_QUARTERS)),
    Cheat("hidden-trap", "a program that stores into the model, which traps, is said to have ended well",
          liar(trap_overlooked), scene=_runs(INTO_THE_MODEL, 1)),
)  # fmt: skip
