"""One instruction at a time: everything that translated code leaves to it.

The translator is fast and knows no exceptions; this is slow and knows them all. It runs code not yet worth translating, the last steps of
a budget that ends inside a basic block, and every step that traps or halts. It works on any memory that can load, store and fetch.

*Source*: RISC-V Unprivileged ISA, chapters RV32I, RV64I and M; causes: Privileged ISA, mcause; spec §2.1 to §2.4
for the rest.
"""

from collections.abc import Callable, Container
from typing import Protocol

from opml_min.machine import decode
from opml_min.machine.decode import ACCESS_BYTES, LOAD_IS_SIGNED, signed
from opml_min.machine.state import HALTED, STATUS_RUNNING, TRAPPED, Status
from opml_min.memory_map import ENTRY, MEMORY_BYTES, PROGRAM_BYTES, QUARTER_BYTES

MASK = (1 << 64) - 1
EXIT_CALL = 93  # a7 of the only environment call: exit, as in Linux

MISALIGNED_FETCH = Status(TRAPPED, 0)
FETCH_FAULT = Status(TRAPPED, 1)
ILLEGAL_INSTRUCTION = Status(TRAPPED, 2)
BREAKPOINT = Status(TRAPPED, 3)
LOAD_FAULT = Status(TRAPPED, 5)
STORE_FAULT = Status(TRAPPED, 7)
ENVIRONMENT_CALL = Status(TRAPPED, 8)


class Accessible(Protocol):
    """A memory that can execute a step; ranges are checked before."""

    def load(self, address: int, size: int) -> int: ...
    def store(self, address: int, data: bytes) -> None: ...


def quotient(a: int, b: int) -> int:
    """Divides, rounding towards zero; by zero all ones. The overflow, −2^63 ÷ −1, needs no case of its own, as the result is masked."""
    if b == 0:
        return -1
    return -(-a // b) if (a < 0) != (b < 0) else a // b


def remainder(a: int, b: int) -> int:
    return a if b == 0 else a - b * quotient(a, b)


def s64(a: int) -> int:
    return a - (1 << 64) if a >> 63 else a


def s32(a: int) -> int:
    a &= 0xFFFFFFFF
    return a - (1 << 32) if a >> 31 else a


def u32(a: int) -> int:
    return a & 0xFFFFFFFF


ARITHMETIC: dict[str, Callable[[int, int], int]] = {  # operands 0 … 2^64 − 1; the result is taken mod 2^64
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "sll": lambda a, b: a << (b & 63),
    "slt": lambda a, b: int(s64(a) < s64(b)),
    "sltu": lambda a, b: int(a < b),
    "xor": lambda a, b: a ^ b,
    "srl": lambda a, b: a >> (b & 63),
    "sra": lambda a, b: s64(a) >> (b & 63),
    "or": lambda a, b: a | b,
    "and": lambda a, b: a & b,
    "addw": lambda a, b: s32(a + b),
    "subw": lambda a, b: s32(a - b),
    "sllw": lambda a, b: s32(a << (b & 31)),
    "srlw": lambda a, b: s32(u32(a) >> (b & 31)),
    "sraw": lambda a, b: s32(a) >> (b & 31),
    "mul": lambda a, b: a * b,
    "mulh": lambda a, b: s64(a) * s64(b) >> 64,
    "mulhsu": lambda a, b: s64(a) * b >> 64,
    "mulhu": lambda a, b: a * b >> 64,
    "div": lambda a, b: quotient(s64(a), s64(b)),
    "divu": quotient,
    "rem": lambda a, b: remainder(s64(a), s64(b)),
    "remu": remainder,
    "mulw": lambda a, b: s32(a * b),
    "divw": lambda a, b: s32(quotient(s32(a), s32(b))),
    "divuw": lambda a, b: s32(quotient(u32(a), u32(b))),
    "remw": lambda a, b: s32(remainder(s32(a), s32(b))),
    "remuw": lambda a, b: s32(remainder(u32(a), u32(b))),
}
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "beq": lambda a, b: a == b,
    "bne": lambda a, b: a != b,
    "blt": lambda a, b: s64(a) < s64(b),
    "bge": lambda a, b: s64(a) >= s64(b),
    "bltu": lambda a, b: a < b,
    "bgeu": lambda a, b: a >= b,
}


def fetch_fault(pc: int) -> Status | None:
    """Why nothing can be fetched at `pc`; None if it can."""
    if pc % 4:
        return MISALIGNED_FETCH
    return None if ENTRY <= pc <= ENTRY + PROGRAM_BYTES - 4 else FETCH_FAULT


def access_fault(address: int, size: int, is_store: bool) -> Status | None:
    """Why `size` bytes at `address` cannot be loaded or stored; None if they can."""
    last = address + size - 1
    if not is_store:
        return LOAD_FAULT if last >= MEMORY_BYTES else None
    meets_model = last >= QUARTER_BYTES and address < 2 * QUARTER_BYTES
    return STORE_FAULT if last >= MEMORY_BYTES or meets_model else None


def step(pc: int, x: list[int], memory: Accessible) -> tuple[int, Status]:
    """Executes the instruction at `pc` on the registers and the memory; returns the next pc and status."""
    if fault := fetch_fault(pc):
        return pc, fault
    kind, operation, rd, rs1, rs2, imm = decode.decode(memory.load(pc, 4))
    next_pc = (pc + 4) & MASK
    if kind == decode.IMMEDIATE:
        result = ARITHMETIC[operation](x[rs1], imm & MASK)
    elif kind == decode.REGISTER:
        result = ARITHMETIC[operation](x[rs1], x[rs2])
    elif kind == decode.LOAD:
        address, size = (x[rs1] + imm) & MASK, ACCESS_BYTES[operation]
        if fault := access_fault(address, size, is_store=False):
            return pc, fault
        result = memory.load(address, size)
        if operation in LOAD_IS_SIGNED:
            result = signed(result, 8 * size)
    elif kind == decode.STORE:
        address, size = (x[rs1] + imm) & MASK, ACCESS_BYTES[operation]
        if fault := access_fault(address, size, is_store=True):
            return pc, fault
        memory.store(address, (x[rs2] & ((1 << 8 * size) - 1)).to_bytes(size, "little"))
        return next_pc, STATUS_RUNNING
    elif kind == decode.BRANCH:
        target = (pc + imm) & MASK if COMPARISONS[operation](x[rs1], x[rs2]) else next_pc
        return (pc, MISALIGNED_FETCH) if target % 4 else (target, STATUS_RUNNING)
    elif kind in (decode.JAL, decode.JALR):
        target = (pc + imm) & MASK if kind == decode.JAL else (x[rs1] + imm) & MASK & ~1
        if target % 4:
            return pc, MISALIGNED_FETCH
        result, next_pc = next_pc, target
    elif kind == decode.AUIPC:
        result = pc + imm
    elif kind == decode.FENCE:
        return next_pc, STATUS_RUNNING
    elif kind == decode.ECALL:
        return pc, Status(HALTED, x[10]) if x[17] == EXIT_CALL else ENVIRONMENT_CALL
    else:
        return pc, BREAKPOINT if kind == decode.EBREAK else ILLEGAL_INSTRUCTION
    if rd:
        x[rd] = result & MASK
    return next_pc, STATUS_RUNNING


def interpret(pc: int, x: list[int], memory: Accessible, most_steps: int, stop_at: Container[int]) -> tuple[int, Status, int]:
    """Executes steps until `most_steps` are done, the machine stops, or pc is in `stop_at` (after at least one step).

    Returns pc, the status and the number of steps executed.
    """
    status, steps = STATUS_RUNNING, 0
    while steps < most_steps:
        pc, status = step(pc, x, memory)
        steps += 1
        if status is not STATUS_RUNNING or pc in stop_at:
            break
    return pc, status, steps
