"""Random programs, for the engines that run more than one step.

A *gallery* is a text with one instruction of each kind, each followed by EBREAK. It is entered at each of them with many register values,
so a single translation tests every instruction of translated code. A *loop* is a run of random instructions, with loads, stores, branches,
calls and returns, repeated a few times: it tests what the translator does with instructions that stand together.
"""

from collections.abc import Iterator
from random import Random

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import (
    A0,
    A7,
    BRANCHES,
    COUNTER,
    EXIT,
    FIRST_POINTER,
    NAMES,
    POINTERS,
    access_address,
    computing,
    instruction,
    is_access,
    put_word,
    register,
    word_of,
)
from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, QUARTER, TEXT_BYTES, TOP, address, number, operands
from opml_fuzz.machine.start import REGISTERS, Leaves, Start

ENTRIES = 3  # how often a gallery enters each instruction
GALLERY_STEPS = 2  # the instruction and the one after it: a single step would be left to the interpreter
MOST_STEPS = 400


def text_start(rng: Random) -> int:
    """Draws where a text begins: at ENTRY, or so late that it ends where fetching ends."""
    return ENTRY if rng.random() < 0.7 else ENTRY + TEXT_BYTES - 4096


def gallery(rng: Random) -> Iterator[Program]:
    """Yields one case per entry into a gallery; all of them share its leaves."""
    base, content = text_start(rng), data(rng)
    words = {name: word_of(rng, name) for name in NAMES}
    for i, word in enumerate(words.values()):
        put_word(content, base + 8 * i, word)
        put_word(content, base + 8 * i + 4, assemble("ebreak"))
    leaves = Leaves(content)
    for _ in range(ENTRIES):
        for i, (name, word) in enumerate(words.items()):
            x = [0, *(number(rng) for _ in range(REGISTERS - 1))]
            rs1 = word >> 15 & 31
            x[rs1], x[word >> 20 & 31] = operands(rng)
            if is_access(word):
                x[rs1] = 0
                near = rng.choice((address(rng), *(LEAF * index for index in content)))
                x[rs1] = (near + rng.randrange(LEAF) - access_address(word, x)) % TOP
            elif name == "jalr":
                x[rs1] = base + rng.randrange(8 * len(words))
            elif name == "ecall":
                x[A7] = rng.choice((EXIT, number(rng)))
            x[0] = 0
            yield Program(Start(base + 8 * i, tuple(x), leaves), (GALLERY_STEPS,))


def data(rng: Random) -> dict[int, bytes]:
    """Draws leaves on both sides of the edges of quarters and memory, and a few anywhere in the writable quarters."""
    first = {edge // LEAF + offset for edge in (QUARTER, 2 * QUARTER, 3 * QUARTER, MEMORY) for offset in (-1, 0)} - {MEMORY // LEAF}
    anywhere = {(rng.choice((0, 2, 3)) * QUARTER + 1024 * rng.randrange(1 << 20)) // LEAF + offset for _ in range(2) for offset in (-1, 0)}
    return {index: rng.randbytes(LEAF) for index in sorted(first | anywhere) if index >= 0}


def loop(rng: Random) -> Program:
    """Draws a program of a few dozen instructions around a counter, and a few steps at which to stop."""
    base, leaves = text_start(rng), data(rng)
    body: list[int] = []
    length = rng.randrange(8, 48)
    while len(body) < length:
        body += piece(rng, length - len(body))
    back = -4 * len(body) - 4
    words = [*body, assemble("addi", COUNTER, COUNTER, 0, -1), assemble("bne", 0, COUNTER, 0, back), assemble("ecall")]
    for i, word in enumerate(words):
        put_word(leaves, base + 4 * i, word)
    writable = [LEAF * index for index in leaves if not ENTRY <= LEAF * index < 2 * QUARTER]
    x = [0, *(number(rng) for _ in range(REGISTERS - 1))]
    x[A7], x[A0], x[COUNTER] = EXIT, rng.randrange(3), rng.randrange(1, 10)
    for i in range(POINTERS):
        x[FIRST_POINTER + i] = rng.choice(writable) + rng.randrange(LEAF)
    stops = sorted({rng.randrange(1, MOST_STEPS) for _ in range(rng.randrange(1, 5))})
    return Program(Start(base, tuple(x), Leaves(leaves)), tuple(stops))


def piece(rng: Random, room: int) -> list[int]:
    """Draws a few instructions that belong together, at most `room` of them."""
    kind = rng.randrange(16)
    if kind == 0 and room > 4:  # call and return: x1 ← pc + 8, then a jump over the function to what follows it
        inner = [computing(rng) for _ in range(rng.randrange(1, 3))]
        skip = 4 * (len(inner) + 2)
        return [assemble("jal", 1, imm=8), assemble("jal", 0, imm=skip), *inner, assemble("jalr", rng.choice((0, 1)), 1)]
    if kind <= 3 and room > 2:  # a branch over a few
        inner = [computing(rng) for _ in range(rng.randrange(1, room if room < 4 else 4))]
        return [assemble(rng.choice(BRANCHES), 0, register(rng), register(rng), 4 * len(inner) + 4), *inner]
    if kind == 4:  # rarely, one that may end the program
        return [instruction(rng)[1] if rng.random() < 0.05 else computing(rng)]
    return [computing(rng)]
