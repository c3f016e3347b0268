"""The table of instructions: total, unambiguous and as in the manual; its assembly text is read back by an assembler."""

import random
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.machine.decode import INSTRUCTIONS, REGISTER_NAMES, decode, disassemble
from opml_spec.machine.formats import Operands, parse

BY_NAME = {row.name: row for row in INSTRUCTIONS}


def test_the_table_is_rv64im() -> None:
    """40 of RV32I, 12 that RV64I adds, 13 of M; each under its own name."""
    assert len(INSTRUCTIONS) == len(BY_NAME) == 40 + 12 + 13
    assert Counter(row.format for row in INSTRUCTIONS) == {"R": 28, "I": 24, "S": 4, "B": 6, "U": 2, "J": 1}


def test_no_word_is_two_instructions() -> None:
    """Two rows exclude each other iff they fix a common bit differently."""
    for a, b in combinations(INSTRUCTIONS, 2):
        assert a.mask & b.mask & (a.match ^ b.match), (a.name, b.name)
    for row in INSTRUCTIONS:
        assert row.match & ~row.mask == 0
        assert row.mask & 0x7F == 0x7F


@given(st.sampled_from(INSTRUCTIONS), st.integers(0, (1 << 32) - 1))
def test_every_word_of_a_row_decodes_to_it(row: object, rest: int) -> None:
    assert decode(rest & ~row.mask | row.match) is row  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "word",
    [
        0x00000000, 0xFFFFFFFF,  # defined to be illegal
        0x00000001, 0x00004505,  # compressed
        0x0000100F,  # fence.i
        0x0000200F,  # cbo.inval: funct3 of MISC-MEM other than 0
        0x02000073, 0x10500073, 0x30200073,  # sfence-like, wfi, mret
        0x00000173, 0x00008073,  # ecall with rd, with rs1
        0xC0002573,  # csrr (rdcycle)
        0x0200101B | 1 << 5,  # not an opcode of RV64IM
        0x0200101B, 0x0200501B, 0x4200501B,  # slliw, srliw, sraiw by 32: shamt bit 5
        0x04001013, 0x40001013, 0x80005013, 0x44005013,  # slli, srli, srai with bits above the shift amount
        0x40004033, 0x40001033,  # xor and sll with funct7 = 0100000
        0x40007033,  # andn (Zbb)
        0x02001033 | 1 << 28,  # funct7 of M with another bit
        0x0200103B, 0x0200203B, 0x0200303B,  # M on words has no mulhw, mulhsuw, mulhuw
        0x00001067, 0x00002063, 0x00003063,  # jalr with funct3 = 1, branches 2 and 3
        0x00007003, 0x00004023,  # loads 7, stores 4
        0x1000202F, 0x00000053, 0x00002007,  # atomic, float
    ],
)  # fmt: skip
def test_reserved_words_are_illegal(word: int) -> None:
    assert decode(word) is None
    assert disassemble(word) == f".word {word:#010x}"


@pytest.mark.parametrize("word", [0x0000000F, 0x0FF0000F, 0x8330000F, 0xFFFF8F8F])
def test_fence_is_fence_whatever_its_fields(word: int) -> None:
    assert disassemble(word) == "fence"


@pytest.mark.parametrize(
    ("word", "operands"),
    [
        (0xFFF10093, Operands(rd=1, rs1=2, imm=-1)),  # addi ra, sp, -1
        (0x43F15093, Operands(rd=1, rs1=2, imm=63)),  # srai ra, sp, 63
        (0xFE20AC23, Operands(rs1=1, rs2=2, imm=-8)),  # sw sp, -8(ra)
        (0x80208063, Operands(rs1=1, rs2=2, imm=-4096)),  # beq ra, sp, -4096
        (0x7E208FE3, Operands(rs1=1, rs2=2, imm=4094)),
        (0x800000B7, Operands(rd=1, imm=-(1 << 31))),  # lui ra, 0x80000
        (0x800000EF, Operands(rd=1, imm=-(1 << 20))),  # jal ra, -1048576
        (0x7FFFF0EF, Operands(rd=1, imm=(1 << 20) - 2)),
    ],
)
def test_operands_at_the_ends_of_their_ranges(word: int, operands: Operands) -> None:
    row = decode(word)
    assert row is not None
    assert row.operands(word) == operands


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="31 bits"):
        parse("000000 rs2 rs1 000 rd 0110011")


def test_register_names() -> None:
    assert [REGISTER_NAMES.index(name) for name in ("zero", "ra", "sp", "s0", "a0", "a7", "s2", "s11", "t3", "t6")] == [
        0,
        1,
        2,
        8,
        10,
        17,
        18,
        27,
        28,
        31,
    ]


def test_an_assembler_reads_the_disassembly_back(tmp_path: Path) -> None:
    """LLVM's assembler gives the same words for the text of 20 random words of each row."""
    pytest.importorskip("ziglang")
    draw = random.Random(1)
    words = [draw.getrandbits(32) & ~row.mask | row.match for row in INSTRUCTIONS for _ in range(20) if row.name != "fence"]
    (tmp_path / "all.s").write_text("\n".join(map(disassemble, words)) + "\n")
    target = ["-target", "riscv64-freestanding-none", "-mcpu=generic_rv64+m"]
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", *target, "-c", tmp_path / "all.s", "-o", tmp_path / "all.o"],
        check=True,
        capture_output=True,
    )
    assert b"".join(word.to_bytes(4, "little") for word in words) in (tmp_path / "all.o").read_bytes()
