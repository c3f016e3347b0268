"""Lies about programs other than the shipped one: stores that cross leaves or quarters, and a trap.

Such a model runs only in the machine. Its tape is a formality; only the program decides what is computed.
"""

from collections.abc import Callable, Iterator
from random import Random
from struct import pack

from opml_min.machine import Machine
from opml_min.machine.decode import ACCESS_BYTES, STORE, Instruction
from opml_min.machine.interpret import MASK
from opml_min.machine.state import STATUS_RUNNING
from opml_min.memory_map import HEADER
from opml_min.memory_map import STATE as STATE_QUARTER
from opml_min.model.build.build import write_model
from opml_min.model.files.temporary import temporary_folder
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
    """A program that adds stage + 1 to both halves of eight bytes in a quarter, so that a wrong sum stays wrong in later stages."""
    return [addi(T0, X0, quarter), slli(T0, T0, 38), *STAGE_TWICE, ld(T2, offset, T0), add(T1, T1, T2), sd(T1, offset, T0), *EXIT_WELL]


ACROSS_LEAVES = adding_at(3, 28)
ACROSS_QUARTERS = adding_at(3, -4)
INTO_THE_MODEL = adding_at(1, 64)


def model_of(program: list[int]) -> Image:
    """An image with this program, and a tape only because every image needs one."""
    header = Header(
        flags=0, request_kind=BYTES, op_count=1, tape_address=align(HEADER + 8 * HEADER_WORDS), context=1, vocabulary=0, stop_tokens=(),
        tokenizer_address=0, tokenizer_length=0, tokenizer_kind=0, bos_token=NO_TOKEN,
    )  # fmt: skip
    with temporary_folder() as folder:
        path = folder / "own.opml"
        write_model(path, pack(f"<{len(program)}I", *program), header, [Op(Opcode.INPUT, 0, {"out": STATE_QUARTER, "length": 1})], [])
        return Image(path)


def crosses_leaves(machine: Machine, instruction: Instruction) -> bool:
    address = (int(machine.registers[instruction.rs1]) + instruction.imm) & MASK
    return instruction.kind == STORE and address % 32 + ACCESS_BYTES[instruction.operation] > 32


def torn_store(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering | None]:
    """Loses the part of a store that lies above the boundary between two leaves."""
    here = random.randrange(honest.stage_count) if stage is None else stage
    site = next_instruction(honest, here, 0, crosses_leaves)
    if site is None:
        yield None
        return
    machine = honest.machine_at(here, site.step)
    address = (int(machine.registers[site.instruction.rs1]) + site.instruction.imm) & MASK
    end = address + ACCESS_BYTES[site.instruction.operation]
    boundary = end - end % 32
    yield Tampering(here, site.step + 1, written(boundary, machine.memory.read(boundary, end - boundary)))


def trap_overlooked(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering]:
    """Ignores a store that traps and goes on behind it."""

    def change(machine: Machine) -> None:
        machine.status, machine.pc = STATUS_RUNNING, machine.pc + 4

    yield Tampering(0, steps_of(honest, 0), change)


def _runs(program: list[int], stages: int = STAGES) -> Callable[[Scene, Random], Scene]:
    return lambda scene, random: Scene(model_of(program), b"!", stages)


CHEATS = (
    Cheat("torn-over-leaves", "half of a store across two leaves is lost", liar(torn_store), scene=_runs(ACROSS_LEAVES)),
    Cheat("torn-over-quarters", "half of a store across the quarters io and state is lost", liar(torn_store), scene=_runs(ACROSS_QUARTERS)),
    Cheat("hidden-trap", "a program traps because it stores into the model, and the server claims that it ended well",
          liar(trap_overlooked), scene=_runs(INTO_THE_MODEL, 1)),
)  # fmt: skip
