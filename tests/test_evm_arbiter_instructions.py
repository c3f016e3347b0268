"""Every instruction that touches no data: results against formulas over the integers, and every encoding that is not an instruction."""

import random
from collections.abc import Callable

import pytest
from evm_machine import (
    BREAKPOINT,
    ECALL_TRAP,
    ENTRY,
    FETCH_FAULT,
    ILLEGAL,
    M64,
    MISALIGNED,
    TEXT_BYTES,
    Machine,
    b_type,
    deploy_arbiter,
    i_type,
    j_type,
    machine,
    r_type,
    u_type,
    witness,
)

from evm_arbiter.chain import Contract


@pytest.fixture(scope="module")
def arbiter() -> Contract:
    return deploy_arbiter()


def check(arbiter: Contract, before: Machine, after: Machine) -> None:
    assert arbiter.call("step", witness(before)) == (before.hash(), after.hash())


def signed(number: int, bits: int) -> int:
    number %= 1 << bits
    return number - (1 << bits) if number >> (bits - 1) else number


def quotient(a: int, b: int, bits: int) -> int:
    """Towards zero; by zero: all ones."""
    return -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def remainder(a: int, b: int, bits: int) -> int:
    return a if b == 0 else a - b * quotient(a, b, bits)


def on_signed(formula: Callable[[int, int, int], int]) -> Callable[[int, int, int], int]:
    return lambda a, b, bits: formula(signed(a, bits), signed(b, bits), bits)


FORMULAS: dict[str, Callable[[int, int, int], int]] = {  # of two unsigned numbers and the width; the result counts mod 2^width
    "add": lambda a, b, _: a + b,
    "sub": lambda a, b, _: a - b,
    "sll": lambda a, b, bits: a << b % bits,
    "slt": on_signed(lambda a, b, _: int(a < b)),
    "sltu": lambda a, b, _: int(a < b),
    "xor": lambda a, b, _: a ^ b,
    "srl": lambda a, b, bits: a >> b % bits,
    "sra": on_signed(lambda a, b, bits: a >> b % bits),
    "or": lambda a, b, _: a | b,
    "and": lambda a, b, _: a & b,
    "mul": lambda a, b, _: a * b,
    "mulh": on_signed(lambda a, b, _: a * b >> 64),
    "mulhsu": lambda a, b, _: signed(a, 64) * b >> 64,
    "mulhu": lambda a, b, _: a * b >> 64,
    "div": on_signed(quotient),
    "divu": quotient,
    "rem": on_signed(remainder),
    "remu": remainder,
}
OP, OP_32, OP_IMM, OP_IMM_32 = 0x33, 0x3B, 0x13, 0x1B
REGISTER = {  # name: (opcode, funct3, funct7)
    **{name: (OP, f, 0) for f, name in enumerate(("add", "sll", "slt", "sltu", "xor", "srl", "or", "and"))},
    "sub": (OP, 0, 32),
    "sra": (OP, 5, 32),
    **{name: (OP, f, 1) for f, name in enumerate(("mul", "mulh", "mulhsu", "mulhu", "div", "divu", "rem", "remu"))},
    **{name + "w": (OP_32, f, 0) for f, name in ((0, "add"), (1, "sll"), (5, "srl"))},
    **{name + "w": (OP_32, f, 32) for f, name in ((0, "sub"), (5, "sra"))},
    **{name + "w": (OP_32, f, 1) for f, name in ((0, "mul"), (4, "div"), (5, "divu"), (6, "rem"), (7, "remu"))},
}
IMMEDIATE = {"addi": 0, "slti": 2, "sltiu": 3, "xori": 4, "ori": 6, "andi": 7}
EDGES = (0, 1, 2, 63, 64, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, M64 - 1, M64)


def operands(name: str, count: int) -> list[tuple[int, int]]:
    """Half from the edges, half of random length."""
    rng = random.Random(name)
    pairs = [(rng.choice(EDGES), rng.choice(EDGES)) for _ in range(count // 2)]
    pairs += [(rng.getrandbits(rng.randint(1, 64)), rng.getrandbits(rng.randint(1, 64))) for _ in range(count // 2)]
    return [*pairs, (1 << 63, M64), (1 << 31, (1 << 32) - 1), (M64, 0)]  # overflow and zero divisor always


@pytest.mark.parametrize("name", REGISTER)
def test_register_instruction(arbiter: Contract, name: str) -> None:
    opcode, funct3, funct7 = REGISTER[name]
    bits = 32 if opcode == OP_32 else 64
    formula = FORMULAS[name.removesuffix("w") if bits == 32 else name]
    for a, b in operands(name, 12):
        before = machine(r_type(opcode, funct3, funct7), {1: a, 2: b, 31: 7})
        result = signed(formula(a % (1 << bits), b % (1 << bits), bits), bits)
        check(arbiter, before, before.then(3, result))


@pytest.mark.parametrize("name", [*IMMEDIATE, "addiw"])
def test_immediate_instruction(arbiter: Contract, name: str) -> None:
    bits, opcode, funct3 = (32, OP_IMM_32, 0) if name == "addiw" else (64, OP_IMM, IMMEDIATE[name])
    formula = FORMULAS[{"sltiu": "sltu", "addiw": "add"}.get(name, name.removesuffix("i"))]
    for (a, _), immediate in zip(operands(name, 8), (0, 1, -1, 2047, -2048, 32, 1024, -1024, 5, 6, 7), strict=True):
        before = machine(i_type(opcode, funct3, immediate), {1: a})
        check(arbiter, before, before.then(3, signed(formula(a % (1 << bits), immediate % (1 << bits), bits), bits)))


@pytest.mark.parametrize(("name", "funct3", "high"), [("sll", 1, 0), ("srl", 5, 0), ("sra", 5, 1 << 10)])
@pytest.mark.parametrize(("opcode", "bits"), [(OP_IMM, 64), (OP_IMM_32, 32)])
def test_shift_by_immediate(arbiter: Contract, name: str, funct3: int, high: int, opcode: int, bits: int) -> None:
    for amount in (0, 1, 31, bits - 1):
        for a in (0x8765_4321_8765_4321, 0x1234_5678_1234_5678):
            before = machine(i_type(opcode, funct3, high | amount), {1: a})
            check(arbiter, before, before.then(3, signed(FORMULAS[name](a % (1 << bits), amount, bits), bits)))


@pytest.mark.parametrize("immediate", [0, 1, 0x7FFFF, 0x80000, 0xFFFFF])
@pytest.mark.parametrize("pc", [ENTRY, ENTRY + 0x1000])
def test_upper_immediate(arbiter: Contract, immediate: int, pc: int) -> None:
    value = signed(immediate << 12, 32)
    lui, auipc = machine(u_type(0x37, immediate), pc=pc), machine(u_type(0x17, immediate), pc=pc)
    check(arbiter, lui, lui.then(3, value))
    check(arbiter, auipc, auipc.then(3, pc + value))


BRANCHES: dict[int, Callable[[int, int], bool]] = {
    0: lambda a, b: a == b,
    1: lambda a, b: a != b,
    4: lambda a, b: signed(a, 64) < signed(b, 64),
    5: lambda a, b: signed(a, 64) >= signed(b, 64),
    6: lambda a, b: a < b,
    7: lambda a, b: a >= b,
}


@pytest.mark.parametrize("funct3", BRANCHES)
def test_branch(arbiter: Contract, funct3: int) -> None:
    offsets = (8, -4096, 4092, 1024, -2048)
    for offset, (a, b) in zip(offsets, ((1, 1), (1, 2), (M64, 1), (1 << 63, (1 << 63) - 1), (5, M64)), strict=True):
        before = machine(b_type(funct3, offset), {1: a, 2: b}, pc=ENTRY + 0x2000)
        check(arbiter, before, before.then(pc=before.pc + offset) if BRANCHES[funct3](a, b) else before.then())


def test_branch_to_a_misaligned_target_traps_only_when_taken(arbiter: Contract) -> None:
    taken, passed = machine(b_type(0, 6)), machine(b_type(1, 6))
    check(arbiter, taken, taken.trap(MISALIGNED))
    check(arbiter, passed, passed.then())


@pytest.mark.parametrize("offset", [4, -4, 2048, -2048, 0xFFFFC, -0x100000, 0x55554])
def test_jal(arbiter: Contract, offset: int) -> None:
    before = machine(j_type(offset), pc=ENTRY + 0x200000)
    check(arbiter, before, before.then(3, before.pc + 4, pc=before.pc + offset))


def test_jumps_to_misaligned_targets_trap_and_write_nothing(arbiter: Contract) -> None:
    for before in (machine(j_type(2)), machine(i_type(0x67, 0, 2), {1: ENTRY}), machine(i_type(0x67, 0, 3), {1: ENTRY})):
        check(arbiter, before, before.trap(MISALIGNED))


@pytest.mark.parametrize(("base", "immediate"), [(ENTRY, 8), (ENTRY, 9), (M64, 5), (0, -4), (M64 - 3, 4), (ENTRY + 4096, -2048)])
def test_jalr_clears_bit_0_and_wraps(arbiter: Contract, base: int, immediate: int) -> None:
    before = machine(i_type(0x67, 0, immediate), {1: base})
    check(arbiter, before, before.then(3, before.pc + 4, pc=(base + immediate) & ~1 & M64))


def test_jalr_reads_its_base_before_it_writes_the_link(arbiter: Contract) -> None:
    before = machine(i_type(0x67, 0, 0, rd=1), {1: ENTRY + 64})
    check(arbiter, before, before.then(1, before.pc + 4, pc=ENTRY + 64))


@pytest.mark.parametrize("rd", [0, 1, 2, 3, 4, 7, 8, 30, 31])
def test_every_register_can_be_read_and_written(arbiter: Contract, rd: int) -> None:
    x = {i: (i + 1) * 0x0101_0101_0101_0101 for i in range(1, 32)}
    before = machine(r_type(OP, 0, 0, rd, rs1=rd, rs2=31 - rd), x)
    check(arbiter, before, before.then(rd, x.get(rd, 0) + x.get(31 - rd, 0)))


def test_the_last_instruction_that_can_be_fetched_falls_off_the_text_one_step_later(arbiter: Contract) -> None:
    before = machine(i_type(OP_IMM, 0, 1), pc=ENTRY + TEXT_BYTES - 4)
    check(arbiter, before, before.then(3, 1))
    over = before.then(3, 1)
    assert arbiter.call("step", over.encode()) == (over.hash(), over.trap(FETCH_FAULT).hash())


@pytest.mark.parametrize(
    ("pc", "cause"),
    [
        *((pc, FETCH_FAULT) for pc in (0, ENTRY - 4, ENTRY + TEXT_BYTES, 1 << 40, (1 << 64) - 4, ENTRY + (1 << 40), 1 << 63)),
        *((pc, MISALIGNED) for pc in (1, 2, 3, ENTRY + 2, ENTRY - 1, M64)),
    ],
)
def test_fetch_outside_the_text(arbiter: Contract, pc: int, cause: int) -> None:
    before = Machine(pc, {5: 6})
    assert arbiter.call("step", before.encode()) == (before.hash(), before.trap(cause).hash())


def test_environment_calls(arbiter: Contract) -> None:
    for x in ({17: 93}, {17: 93, 10: M64}, {17: 93, 10: 5}):
        before = machine(0x73, x)
        check(arbiter, before, before.halt())
    for a7 in (0, 94, 92, 93 | 1 << 32, 93 | 1 << 63):
        before = machine(0x73, {17: a7})
        check(arbiter, before, before.trap(ECALL_TRAP))
    before = machine(0x00100073)
    check(arbiter, before, before.trap(BREAKPOINT))


@pytest.mark.parametrize("fields", [0, 0xFFF, 0x8330, 0x0FF])
def test_fence_is_a_no_op_whatever_its_fields(arbiter: Contract, fields: int) -> None:
    before = machine((fields & 0xFFF) << 20 | 5 << 15 | 6 << 7 | 0x0F, {5: 1, 6: 2})
    check(arbiter, before, before.then())


def illegal_words() -> list[int]:
    """One field off, everywhere; every opcode that is none."""
    known = {0x03, 0x0F, 0x13, 0x17, 0x1B, 0x23, 0x33, 0x37, 0x3B, 0x63, 0x67, 0x6F, 0x73}
    words = [0x0020_81B0 & ~0x7F | opcode for opcode in range(128) if opcode not in known]
    words += [r_type(0x0F, f, 0) for f in range(1, 8)] + [i_type(0x67, f, 0) for f in range(1, 8)]
    words += [b_type(f, 8) for f in (2, 3)] + [i_type(0x03, 7, 0)] + [i_type(0x23, f, 0) for f in range(4, 8)]
    words += [0x73 | 1 << 7, 0x73 | 1 << 15, 0x73 | 1 << 12, 0x0020_0073, 0x0010_00F3, 0x1050_0073, 0x3020_0073, 0xC000_2573]
    legal = set(REGISTER.values())
    rng = random.Random("funct7")
    for opcode in (OP, OP_32):
        for f in range(8):
            funct7s = {0, 1, 2, 16, 31, 32, 33, 64, 127, rng.randrange(128)}
            words += [r_type(opcode, f, f7) for f7 in sorted(funct7s) if (opcode, f, f7) not in legal]
    words += [i_type(OP_IMM_32, f, 0) for f in (2, 3, 4, 6, 7)]
    for f, good in ((1, {0}), (5, {0, 16})):
        words += [i_type(OP_IMM, f, top << 6 | 3) for top in (0, 1, 2, 8, 15, 16, 17, 32, 63) if top not in good]
        words += [i_type(OP_IMM_32, f, top << 5 | 3) for top in (0, 1, 2, 16, 31, 32, 33, 64) if top not in {2 * g for g in good}]
    return words


def test_everything_else_is_illegal(arbiter: Contract) -> None:
    for word in illegal_words():
        before = machine(word, {1: 4, 2: 9})
        assert arbiter.call("step", witness(before)) == (before.hash(), before.trap(ILLEGAL).hash()), hex(word)
