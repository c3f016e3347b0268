"""Every instruction of the fast machine, translated and interpreted, against the manual's sentences in Python integers."""

from collections.abc import Callable, Iterator
from itertools import product

import pytest

from opml_min.machine import RUNNING, TRAPPED, Machine, Memory, execute_single
from opml_min.memory_map import ENTRY

M64 = 2**64
EDGE = [0, 1, 2, 31, 32, 63, 64, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, M64 - 2**31, M64 - 2, M64 - 1, 0x0123456789ABCDEF]


def signed(value: int, bits: int = 64) -> int:
    return int.from_bytes((value % 2**bits).to_bytes(bits // 8, "little"), "little", signed=True)


def truncated_quotient(a: int, b: int) -> int:
    """a / b towards zero, by magnitudes."""
    magnitude = abs(a) // abs(b)
    return magnitude if (a >= 0) == (b >= 0) else -magnitude


def divide(a: int, b: int) -> int:
    return -1 if b == 0 else truncated_quotient(a, b)


def remain(a: int, b: int) -> int:
    return a if b == 0 else a - b * truncated_quotient(a, b)


def low(value: int) -> int:
    return value % 2**32


def word(value: int) -> int:
    return signed(value, 32)


REGISTER_FORMS: dict[str, tuple[int, int, int, Callable[[int, int], int]]] = {  # opcode, funct3, funct7, meaning
    "add": (0x33, 0, 0x00, lambda a, b: a + b),
    "sub": (0x33, 0, 0x20, lambda a, b: a - b),
    "sll": (0x33, 1, 0x00, lambda a, b: a * 2 ** (b % 64)),
    "slt": (0x33, 2, 0x00, lambda a, b: signed(a) < signed(b)),
    "sltu": (0x33, 3, 0x00, lambda a, b: a < b),
    "xor": (0x33, 4, 0x00, lambda a, b: (a | b) - (a & b)),
    "srl": (0x33, 5, 0x00, lambda a, b: a // 2 ** (b % 64)),
    "sra": (0x33, 5, 0x20, lambda a, b: signed(a) // 2 ** (b % 64)),
    "or": (0x33, 6, 0x00, lambda a, b: a + b - (a & b)),
    "and": (0x33, 7, 0x00, lambda a, b: M64 - 1 - ((M64 - 1 - a) | (M64 - 1 - b))),
    "mul": (0x33, 0, 0x01, lambda a, b: a * b),
    "mulh": (0x33, 1, 0x01, lambda a, b: signed(a) * signed(b) // M64),
    "mulhsu": (0x33, 2, 0x01, lambda a, b: signed(a) * b // M64),
    "mulhu": (0x33, 3, 0x01, lambda a, b: a * b // M64),
    "div": (0x33, 4, 0x01, lambda a, b: divide(signed(a), signed(b))),
    "divu": (0x33, 5, 0x01, divide),
    "rem": (0x33, 6, 0x01, lambda a, b: remain(signed(a), signed(b))),
    "remu": (0x33, 7, 0x01, remain),
    "addw": (0x3B, 0, 0x00, lambda a, b: word(a + b)),
    "subw": (0x3B, 0, 0x20, lambda a, b: word(a - b)),
    "sllw": (0x3B, 1, 0x00, lambda a, b: word(a * 2 ** (b % 32))),
    "srlw": (0x3B, 5, 0x00, lambda a, b: word(low(a) // 2 ** (b % 32))),
    "sraw": (0x3B, 5, 0x20, lambda a, b: word(a) // 2 ** (b % 32)),
    "mulw": (0x3B, 0, 0x01, lambda a, b: word(a * b)),
    "divw": (0x3B, 4, 0x01, lambda a, b: word(divide(word(a), word(b)))),
    "divuw": (0x3B, 5, 0x01, lambda a, b: word(divide(low(a), low(b)))),
    "remw": (0x3B, 6, 0x01, lambda a, b: word(remain(word(a), word(b)))),
    "remuw": (0x3B, 7, 0x01, lambda a, b: word(remain(low(a), low(b)))),
}
IMMEDIATES = [-2048, -1, 0, 1, 2047]
IMMEDIATE_FORMS: dict[str, tuple[int, int, list[int], Callable[[int, int], int]]] = {  # opcode, funct3, immediates, meaning
    "addi": (0x13, 0, IMMEDIATES, lambda a, i: a + i),
    "slti": (0x13, 2, IMMEDIATES, lambda a, i: signed(a) < i),
    "sltiu": (0x13, 3, IMMEDIATES, lambda a, i: a < i % M64),
    "xori": (0x13, 4, IMMEDIATES, lambda a, i: a ^ i % M64),
    "ori": (0x13, 6, IMMEDIATES, lambda a, i: a | i % M64),
    "andi": (0x13, 7, IMMEDIATES, lambda a, i: a & i % M64),
    "slli": (0x13, 1, [0, 1, 31, 32, 63], lambda a, i: a * 2**i),
    "srli": (0x13, 5, [0, 1, 31, 32, 63], lambda a, i: a // 2**i),
    "srai": (0x13, 5, [1024, 1025, 1055, 1056, 1087], lambda a, i: signed(a) // 2 ** (i - 1024)),
    "addiw": (0x1B, 0, IMMEDIATES, lambda a, i: word(a + i)),
    "slliw": (0x1B, 1, [0, 1, 16, 31], lambda a, i: word(a * 2**i)),
    "srliw": (0x1B, 5, [0, 1, 16, 31], lambda a, i: word(low(a) // 2**i)),
    "sraiw": (0x1B, 5, [1024, 1025, 1040, 1055], lambda a, i: word(a) // 2 ** (i - 1024)),
}


def cases() -> Iterator[tuple[str, int, int, int, int]]:
    """Name, word (`op x3, x1, x2` or `op x3, x1, immediate`), x1, x2, expected x3."""
    for name, (opcode, funct3, funct7, meaning) in REGISTER_FORMS.items():
        code = funct7 << 25 | 2 << 20 | 1 << 15 | funct3 << 12 | 3 << 7 | opcode
        for a, b in product(EDGE, EDGE):
            yield name, code, a, b, meaning(a, b) % M64
    for name, (opcode, funct3, immediates, unary) in IMMEDIATE_FORMS.items():
        for immediate in immediates:
            code = (immediate % 4096) << 20 | 1 << 15 | funct3 << 12 | 3 << 7 | opcode
            for a in EDGE:
                yield name, code, a, 0, unary(a, immediate) % M64
    for upper in (0, 1, 0x7FFFF, 0x80000, 0xFFFFF):
        value = signed(upper * 4096, 32)
        yield "lui", upper << 12 | 3 << 7 | 0x37, 0, 0, value % M64


def registers(x1: int, x2: int) -> list[int]:
    return [0, x1, x2, *[0] * 29]


def test_interpreted_arithmetic() -> None:
    leaf = ENTRY // 32
    for name, code, a, b, expected in cases():
        after = execute_single(ENTRY, registers(a, b), (RUNNING, 0), {leaf: code.to_bytes(32, "little")})
        assert int.from_bytes(after[24:32], "big") == expected, (name, hex(a), hex(b))
        assert after[:8] == (ENTRY + 4).to_bytes(8, "big")


def test_translated_arithmetic() -> None:
    """The instruction and a jump to the next word are one basic block, so a budget of two runs exactly that block."""
    words = list(dict.fromkeys(code for _, code, *_ in cases()))
    place = {code: ENTRY + 8 * index for index, code in enumerate(words)}
    memory = Memory()
    memory.write(ENTRY, b"".join(code.to_bytes(4, "little") + (0x0040006F).to_bytes(4, "little") for code in words))
    machine = Machine(memory, translate_after_steps=0)
    for name, code, a, b, expected in cases():
        machine.pc = place[code]
        machine.registers[1], machine.registers[2] = a, b
        assert machine._text.can_be_entered(machine.pc)
        assert machine.run(2) == 2
        assert int(machine.registers[3]) == expected, (name, hex(a), hex(b))
        assert machine.pc == place[code] + 8


def test_auipc_and_links_are_relative_to_pc() -> None:
    for after_steps in (0, 10**9):
        memory = Memory()
        program = [0x80000197, 0x008000EF, 0x00000013, 0x00000217]  # auipc x3, 0x80000; jal x1, +8; nop; auipc x4, 0
        memory.write(ENTRY, b"".join(code.to_bytes(4, "little") for code in program))
        machine = Machine(memory, after_steps)
        machine.begin_stage(0)
        assert machine.run(3) == 3
        assert [int(machine.registers[i]) for i in (3, 1, 4)] == [ENTRY - 2**31, ENTRY + 8, ENTRY + 12]


@pytest.mark.parametrize("after_steps", [0, 10**9])
@pytest.mark.parametrize(("name", "funct3"), [("beq", 0), ("bne", 1), ("blt", 4), ("bge", 5), ("bltu", 6), ("bgeu", 7)])
def test_branches(name: str, funct3: int, after_steps: int) -> None:
    memory = Memory()
    code = 2 << 20 | 1 << 15 | funct3 << 12 | 8 << 8 | 0x63  # branch x1, x2, +16
    memory.write(ENTRY, code.to_bytes(4, "little") + bytes.fromhex("13000000") * 6)
    machine = Machine(memory, after_steps)
    for a, b in product(EDGE, EDGE):
        taken = {
            "beq": a == b,
            "bne": a != b,
            "blt": signed(a) < signed(b),
            "bge": signed(a) >= signed(b),
            "bltu": a < b,
            "bgeu": a >= b,
        }[name]
        machine.pc = ENTRY
        machine.registers[1], machine.registers[2] = a, b
        assert machine.run(1) == 1
        assert machine.pc == ENTRY + (16 if taken else 4)


@pytest.mark.parametrize("after_steps", [0, 10**9])
def test_loads_and_stores_extend_and_truncate(after_steps: int) -> None:
    data = bytes(range(0x79, 0x99))
    base = 0x8000000400 - 16  # so that accesses cross a leaf and a page
    for funct3, size, is_signed in [(0, 1, True), (1, 2, True), (2, 4, True), (3, 8, True), (4, 1, False), (5, 2, False), (6, 4, False)]:
        memory = Memory()
        memory.write(base, data)
        words = []
        for offset in range(24):  # lX x3, offset(x1); sY x3, 64 + offset(x1)
            words.append(offset << 20 | 1 << 15 | funct3 << 12 | 3 << 7 | 0x03)
            words.append((64 + offset) >> 5 << 25 | 3 << 20 | 1 << 15 | (funct3 % 4) << 12 | (64 + offset) % 32 << 7 | 0x23)
            words.append(0x0040006F)
        memory.write(ENTRY, b"".join(code.to_bytes(4, "little") for code in words))
        machine = Machine(memory, after_steps)
        machine.registers[1] = base
        for offset in range(24):
            memory.write(base + 64, bytes(40))
            assert machine.run(3) == 3
            number = int.from_bytes(data[offset : offset + size], "little", signed=is_signed)
            assert int(machine.registers[3]) == number % M64
            expected = bytes(offset) + data[offset : offset + size] + bytes(40 - offset - size)
            assert memory.read(base + 64, 40) == expected


ILLEGAL = [
    0x00000000,
    0xFFFFFFFF,
    0x02001013 | 0x04000000,  # SLLI with inst[31:26] = 000001
    0x0200101B,  # SLLIW with shamt bit 5
    0x4000101B,
    0x0000301B,
    0x40001033,  # SLL with funct7 of SUB
    0x0200103B,  # MULH as a word form
    0x00007003,  # funct3 = 7 in LOAD
    0x00004023,
    0x00002063,
    0x00001067,
    0x0000100F,  # FENCE.I
    0x10000073,
    0x00000077,
    0x00008002,  # compressed
]


@pytest.mark.parametrize("after_steps", [0, 10**9])
def test_illegal_words_trap(after_steps: int) -> None:
    for code in ILLEGAL:
        memory = Memory()
        memory.write(ENTRY, bytes.fromhex("13000000") + code.to_bytes(4, "little"))
        machine = Machine(memory, after_steps)
        assert machine.run(100) == 2
        assert (machine.status, machine.pc) == ((TRAPPED, 2), ENTRY + 4)
        assert machine.run(100) == 0


def test_fences_do_nothing_whatever_their_fields() -> None:
    for code in (0x0000000F, 0x0FF0000F, 0xFFFF8F8F):
        after = execute_single(ENTRY, registers(1, 2), (RUNNING, 0), {ENTRY // 32: code.to_bytes(32, "little")})
        assert after[:8] == (ENTRY + 4).to_bytes(8, "big")
        assert after[8:257] == b"".join(value.to_bytes(8, "big") for value in registers(1, 2)[1:]) + b"\0"
