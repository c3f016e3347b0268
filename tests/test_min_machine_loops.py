"""Vectorised loops: exact at every step, at every trap, for every counter, and where source and destination overlap.

Each loop runs translated and one step at a time; both must be in the same state wherever they stop. A last test looks into the
machine code: these loops are vectorised indeed, or the others would show little.
"""

import random
import re
from collections.abc import Iterator

import numpy as np
import pytest

from opml_min.machine import NEVER_TRANSLATE, TRAPPED, Machine, Memory, native
from opml_min.machine.translator.control_flow import scan
from opml_min.machine.translator.region import loops_ir
from opml_min.memory_map import ENTRY

TO_THE_END = 10**12  # steps
M64 = 2**64
FROM, TO, END = 8, 9, 28  # registers: two pointers, the limit
IO = 2**39


def i_type(opcode: int, funct3: int, rd: int, rs1: int, immediate: int) -> int:
    return (immediate % 4096) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def r_type(opcode: int, funct3: int, funct7: int, rd: int, rs1: int, rs2: int) -> int:
    return funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def addi(rd: int, rs1: int, immediate: int) -> int:
    return i_type(0x13, 0, rd, rs1, immediate)


def addiw(rd: int, rs1: int, immediate: int) -> int:
    return i_type(0x1B, 0, rd, rs1, immediate)


def load(funct3: int, rd: int, rs1: int, immediate: int = 0) -> int:
    return i_type(0x03, funct3, rd, rs1, immediate)


def store(funct3: int, rs1: int, rs2: int, immediate: int = 0) -> int:
    immediate %= 4096
    return (immediate >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (immediate % 32) << 7 | 0x23


def branch(funct3: int, rs1: int, rs2: int, distance: int) -> int:
    bits = distance % 8192
    high = (bits >> 12) << 6 | (bits >> 5) % 64
    return high << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | ((bits >> 1) % 16) << 8 | ((bits >> 11) % 2) << 7 | 0x63


BNE, BLT, BGE, BLTU, BGEU = 1, 4, 5, 6, 7
HALT = [addi(17, 0, 93), 0x00000073]


def loop(*body: int, condition: int = BNE, left: int = FROM, right: int = END) -> list[int]:
    """The body, then a branch back to its beginning while the condition holds; then exit with a0."""
    return [*body, branch(condition, left, right, -4 * len(body)), *HALT]


DOT = loop(  # a0 += x[FROM] * x[TO], bytes, in 32 bits: the inner loop of an int8 product
    load(0, 5, FROM), load(0, 6, TO), r_type(0x33, 0, 1, 5, 5, 6), r_type(0x3B, 0, 0, 10, 10, 5), addi(FROM, FROM, 1), addi(TO, TO, 1)
)  # fmt: skip
SUM = loop(load(3, 5, FROM), r_type(0x33, 0, 0, 10, 10, 5), addi(FROM, FROM, 8))  # of 64-bit words


def copy(size_log: int, stride: int = 1) -> list[int]:
    """Adds 1 to every element on its way."""
    by = stride << size_log
    return loop(load(size_log, 5, FROM), addi(5, 5, 1), store(size_log, TO, 5), addi(FROM, FROM, by), addi(TO, TO, by))


class Pair:
    """One program, translated and one step at a time."""

    def __init__(self, words: list[int]) -> None:
        program = b"".join(word.to_bytes(4, "little") for word in words)
        self.fast, self.slow = (Machine(Memory(), after_steps) for after_steps in (0, NEVER_TRANSLATE))
        for machine in self:
            machine.memory.write(ENTRY, program)

    def __iter__(self) -> Iterator[Machine]:
        return iter((self.fast, self.slow))

    def begin(self, registers: dict[int, int], contents: dict[int, bytes] | None = None) -> None:
        for machine in self:
            machine.begin_stage(0)
            for address, data in (contents or {}).items():
                machine.memory.write(address, data)
            for number, value in registers.items():
                machine.registers[number] = value % M64

    def run(self, steps: int) -> None:
        assert self.fast.run(steps) == self.slow.run(steps)
        self.same()

    def same(self) -> None:
        assert (self.fast.pc, self.fast.status) == (self.slow.pc, self.slow.status)
        assert self.fast.registers.tolist() == self.slow.registers.tolist()
        assert self.fast.state_hash() == self.slow.state_hash()


def noise(length: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


@pytest.mark.parametrize(("words", "iterations", "stride"), [(DOT, 130, 1), (SUM, 70, 8), (copy(0), 70, 1), (copy(2), 70, 4)])
def test_stops_at_every_step(words: list[int], iterations: int, stride: int) -> None:
    pair = Pair(words)
    length = len(words) - 2
    start = {FROM: IO + 3, TO: IO + 2048 + 5, END: IO + 3 + iterations * stride}
    pair.begin(start, {IO: noise(4096)})
    before, slow = pair.fast.snapshot(), pair.slow
    for steps in range(iterations * length + 3):
        pair.fast.restore(before)
        assert pair.fast.run(steps) == min(steps, iterations * length + 2)
        pair.same()
        slow.run(1)
    assert slow.status[0] != 0


@pytest.mark.parametrize("iterations", [1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 129, 1000, 2500])
def test_every_number_of_iterations(iterations: int) -> None:
    for words, stride in ((DOT, 1), (SUM, 8), (copy(0), 1), (copy(1), 2), (copy(3), 8)):
        pair = Pair(words)
        pair.begin({FROM: IO, TO: IO + 2**16, END: IO + iterations * stride, 10: -5}, {IO: noise(iterations * stride)})
        pair.run(TO_THE_END)


@pytest.mark.parametrize("distance", [-64, -17, -8, -3, -2, -1, 0, 1, 2, 3, 8, 17, 64])
def test_overlapping_source_and_destination(distance: int) -> None:
    """A copy of n elements over itself is what one element after the other makes of it: a distance of 1 repeats the first."""
    for size_log in range(4):
        for stride in (1, -1):
            by = stride << size_log
            pair = Pair(copy(size_log, stride))
            start = IO + 4096
            pair.begin({FROM: start, TO: start + (distance << size_log), END: start + 200 * by}, {IO: noise(8192)})
            pair.run(TO_THE_END)


def test_overlap_by_bytes() -> None:
    """Distances that are no multiple of the size, in both directions."""
    for size_log in (1, 2, 3):
        pair = Pair(copy(size_log))
        for distance in (1 - 2**size_log, -1, 1, 2**size_log - 1, 2**size_log + 1, 33):
            pair.begin({FROM: IO + 512, TO: IO + 512 + distance, END: IO + 512 + (150 << size_log)}, {IO: noise(4096)})
            pair.run(TO_THE_END)


@pytest.mark.parametrize("edge", [0, 2**38, 2**39, 3 * 2**38, 2**40, M64])
def test_traps_in_the_middle(edge: int) -> None:
    """Both pointers come to an edge of the memory, or of the model quarter, after some iterations, upwards and downwards."""
    for size_log in (0, 3):
        for stride in (1, -1):
            by = stride << size_log
            pair = Pair(copy(size_log, stride))
            for away in (0, 1, 37, 64, 100):
                for first, second in ((edge, IO + 2**20), (IO + 2**20, edge), (edge, edge - 16 * by)):
                    registers = {FROM: first - away * by - 1, TO: second - away * by + 1, END: 12345}
                    pair.begin(registers)
                    pair.run(140 * 6)
                    pair.run(10)
    assert pair.slow.steps > 0


def test_the_trap_is_the_first_there_is() -> None:
    pair = Pair(DOT)
    pair.begin({FROM: 2**40 - 100, TO: 2**40 - 50, END: 0})
    pair.run(TO_THE_END)
    assert (pair.fast.status, pair.fast.steps, pair.fast.pc) == ((TRAPPED, 5), 50 * 7 + 2, ENTRY + 4)
    pair = Pair(copy(0))
    pair.begin({FROM: IO, TO: 2**38 - 77, END: 0})
    pair.run(TO_THE_END)
    assert (pair.fast.status, pair.fast.steps, pair.fast.pc) == ((TRAPPED, 7), 77 * 6 + 3, ENTRY + 8)


PLACES = [0, 1, 5, 2**31 - 2, 2**31, 2**32 - 3, 2**32 + 1, 2**63 - 4, 2**63, M64 - 2**31, M64 - 2**31 - 1, M64 - 3]


@pytest.mark.parametrize("condition", [0, BNE, BLT, BGE, BLTU, BGEU])
@pytest.mark.parametrize("narrow", [False, True])
def test_counters(condition: int, narrow: bool) -> None:
    """64-bit and 32-bit counters with every comparison, up and down, from and to everywhere: none, one, many, endlessly many iterations,
    and such as become so only by wrapping around. The counter is also summed, as 32 and as 64 bits."""
    rng = random.Random(condition + 100 * narrow)
    count = addiw if narrow else addi
    for stride in (1, -1, 3, -7, 2047):
        for left, right in ((5, END), (END, 5)):
            sums = (r_type(0x3B, 0, 0, 10, 10, 5), r_type(0x33, 0, 0, 11, 11, 5))
            body = (load(0, 6, FROM), *sums, count(5, 5, stride), addi(FROM, FROM, 1))
            pair = Pair(loop(*body, condition=condition, left=left, right=right))
            for _ in range(25):
                limit = rng.choice(PLACES) + rng.randrange(-2, 3)
                start = limit - stride * rng.choice([-40, -2, -1, 0, 1, 2, 3, 9, 50, 90]) + rng.choice([0, 0, 0, 1, -1, 2**32, 2**31])
                start = rng.choice([start, start, start, rng.choice(PLACES)])
                pair.begin({5: start, END: limit, FROM: IO, 10: rng.choice([0, 1, -1, 2**31, 2**40 + 7])}, {IO: noise(256)})
                pair.run(rng.choice([5, 61, 400, 700]))


def test_a_sum_that_does_not_begin_as_a_word() -> None:
    """addw drops what a register holds above 32 bits, but only if an iteration is executed."""
    pair = Pair(DOT)
    for iterations in (1, 2, 100):
        for steps in (3, 4, TO_THE_END):
            pair.begin({FROM: IO, TO: IO + 500, END: IO + iterations, 10: 2**40 + 2**31}, {IO: noise(1000)})
            pair.run(steps)


def test_sums_wrap_around() -> None:
    pair = Pair(DOT)
    pair.begin({FROM: IO, TO: IO + 2000, END: IO + 2000, 10: 2**31 - 1}, {IO: b"\x7f" * 4000})
    pair.run(TO_THE_END)
    assert int(pair.fast.registers[10]) == (2**31 - 1 + 2000 * 127**2 + 2**31) % 2**32 - 2**31 + M64


@pytest.mark.parametrize("words", [DOT, SUM, copy(0), copy(2)])
def test_loops_are_vectorised(words: list[int]) -> None:
    (region,) = scan(ENTRY, np.array(words))
    assert re.search(r"load <\d+ x i", str(native.optimised(loops_ir(region))))
