"""Random loops of one basic block that count: a counter and most pointers move by constants, and a branch compares it with a limit.

A translator that knows this may execute many iterations at once, without checks. What can go wrong there is at the ends: a counter that
misses its limit, wraps, or is compared the other way round; a pointer that leaves its page, its quarter or the memory; a store to what is
loaded next; a budget that ends in between.

*Source*: spec §2.2 and §2.3.
"""

from random import Random

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import A7, BRANCHES, COMPUTING, COUNTER, EXIT, immediate, is_access, put_word
from opml_fuzz.machine.numbers import LEAF, MEMORY, QUARTER, TOP, number
from opml_fuzz.machine.programs import text_start
from opml_fuzz.machine.start import REGISTERS, Leaves, Start

POINTER, POINTERS, STEP, LIMIT = 5, 3, 8, 30
DATA = (10, 16)
"""Registers that the body computes with."""

LOADS, STORES = ("lb", "lh", "lw", "lbu", "lhu", "lwu", "ld"), ("sb", "sh", "sw", "sd")
STRIDES = (0, 1, -1, 2, 4, 4, -4, 8, 8, -8, 12, 32, 1_024, -1_024)
PAGE = 1_024
MOST_STEPS, MOST_ITERATIONS = 400, 80


def counted_loop(rng: Random) -> Program:
    """Draws a loop and a few steps at which to stop."""
    counts = rng.choice((1, 1, 1, -1, -1, 2, 4, -8, 3))
    body = [part(rng) for _ in range(rng.randrange(1, 7))]
    body += [moved(rng, POINTER + i) for i in range(POINTERS)]
    body.append(assemble(rng.choice(("addi", "addi", "addiw")), COUNTER, COUNTER, imm=counts))
    rng.shuffle(body)
    sides = rng.choice(((COUNTER, LIMIT), (LIMIT, COUNTER)))
    words = [*body, assemble(rng.choice(("bne", *BRANCHES)), 0, *sides, -4 * len(body)), assemble("ecall")]
    base, leaves, x = text_start(rng), dict[int, bytes](), [0, *(number(rng) for _ in range(REGISTERS - 1))]
    for i in range(POINTERS):
        x[POINTER + i] = place(rng)
        for index in range((x[POINTER + i] - 64) // LEAF, (x[POINTER + i] + 256) // LEAF):
            if 0 <= index < MEMORY // LEAF and rng.random() < 0.8:
                leaves[index] = rng.randbytes(LEAF)
    for i, word in enumerate(words):
        put_word(leaves, base + 4 * i, word)
    x[STEP] = rng.choice((*STRIDES, PAGE, -PAGE, QUARTER, -QUARTER)) % TOP
    x[LIMIT] = rng.choice((0, 1, 100, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 63, TOP - 1, number(rng)))
    x[COUNTER] = (x[LIMIT] - counts * rng.randrange(MOST_ITERATIONS) + (rng.random() < 0.1)) % TOP
    x[A7] = EXIT
    stops = sorted({rng.randrange(1, MOST_STEPS) for _ in range(rng.randrange(1, 4))})
    return Program(Start(base, tuple(x), Leaves(leaves)), tuple(stops))


def moved(rng: Random, pointer: int) -> int:
    """Draws an instruction that moves a pointer: by a constant, or by a register, so that no check may be left out."""
    if rng.randrange(9) == 0:
        return assemble("add", pointer, pointer, STEP)
    return assemble("addi", pointer, pointer, imm=rng.choice(STRIDES))


def part(rng: Random) -> int:
    """Draws an instruction of the body: a load, a store or a computation."""
    a, b, c = (rng.randrange(*DATA) for _ in range(3))
    pointer, offset = POINTER + rng.randrange(POINTERS), rng.choice((0, 0, 1, 4, 8, -8, 40, 1_000, -1_000))
    match rng.randrange(4):
        case 0:
            return assemble(rng.choice(LOADS), a, pointer, imm=offset)
        case 1:
            return assemble(rng.choice(STORES), 0, pointer, b, offset)
    word = assemble(rng.choice(COMPUTING), a, b, c, immediate(rng))
    return assemble("add", a, b, c) if is_access(word) else word


def place(rng: Random) -> int:
    """Draws where a pointer begins: in a writable quarter, near the end of a page, or near an edge of a quarter or of the memory."""
    page = rng.choice((0, 2, 3)) * QUARTER + PAGE * rng.randrange(1, 1 << 20)
    return rng.choice((page, page + PAGE - 32, page + rng.randrange(PAGE), rng.choice((1, 2, 3, 4)) * QUARTER - rng.randrange(1, 300)))
