"""Random pairs of related runs, for each relation.

*Source*: spec §2.1 to §2.3.
"""

from collections.abc import Iterator
from random import Random

from attrs import evolve
from opml_spec.machine.step import step

from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import (
    A0,
    A7,
    BRANCHES,
    COUNTER,
    EXIT,
    FIRST_POINTER,
    LINKING,
    POINTERS,
    access_address,
    computing,
    is_access,
    put_word,
    register,
)
from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, QUARTER, TEXT_BYTES, number
from opml_fuzz.machine.programs import data, loop
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.machine.states import random_state

MOST_STEPS = 200
FAR = 3  # leaves from one that is touched


def related(rng: Random) -> Iterator[Related]:
    """Yields a single step, which can also be asked from its witness, and a run; of each a relation that applies to it."""
    start = random_state(rng)
    word = start.leaves.memory.load(start.pc, 4) if _can_be_moved(start) else 0
    yield beside(rng, start, 1) if not word or word & 0x7F in LINKING or is_access(word) else moved(rng, start, [word], 1)
    match rng.randrange(3):
        case 0:
            program = loop(rng)
            yield beside(rng, program.start, program.stops[-1])
        case 1:
            yield moved(rng, *unplaced(rng))
        case _:
            yield cut(rng, loop(rng).start)


def _can_be_moved(start: Start) -> bool:
    return start.pc % 4 == 0 and ENTRY <= start.pc < ENTRY + TEXT_BYTES


def beside(rng: Random, start: Start, steps: int) -> Related:
    """Changes leaves far from all that are listed; all that a run touches is listed or near it."""
    word = start.leaves.memory.load(start.pc, 4) if _can_be_moved(start) else 0
    touched = {start.pc // LEAF, access_address(word, [*start.x]) // LEAF, *start.leaves.by_index}
    changed = dict(start.leaves.by_index)
    while len(changed) < len(start.leaves.by_index) + 3:
        near = rng.choice([*touched]) % (MEMORY // LEAF)
        index = near ^ 1 << rng.randrange(2, 35) if rng.random() < 0.7 else rng.randrange(MEMORY // LEAF)
        if all(abs(index - each) > FAR for each in touched):
            changed[index] = rng.randbytes(LEAF)
    return Related("beside", start, evolve(start, leaves=Leaves(changed)), steps, steps)


def unplaced(rng: Random) -> tuple[Start, list[int], int]:
    """Draws a loop that knows no addresses of the text, placed somewhere, its words, and a number of steps."""
    body: list[int] = []
    while len(body) < 24:
        inner = [word for word in (computing(rng) for _ in range(rng.randrange(1, 4))) if word & 0x7F not in LINKING]
        branch = [assemble(rng.choice(BRANCHES), 0, register(rng), register(rng), 4 * len(inner) + 4)] if rng.random() < 0.3 else []
        body += branch + inner
    words = [*body, assemble("addi", COUNTER, COUNTER, 0, -1), assemble("bne", 0, COUNTER, 0, -4 * len(body) - 4), assemble("ecall")]
    leaves, pc = data(rng), place(rng, words)
    writable = [LEAF * index for index in leaves if not ENTRY <= LEAF * index < 2 * QUARTER]
    for i, word in enumerate(words):
        put_word(leaves, pc + 4 * i, word)
    x = [0, *(number(rng) for _ in range(REGISTERS - 1))]
    x[A7], x[A0], x[COUNTER] = EXIT, rng.randrange(3), rng.randrange(1, 10)
    x[FIRST_POINTER : FIRST_POINTER + POINTERS] = [rng.choice(writable) + rng.randrange(LEAF) for _ in range(POINTERS)]
    return Start(pc, tuple(x), Leaves(leaves)), words, rng.randrange(1, MOST_STEPS)


def place(rng: Random, words: list[int]) -> int:
    """Draws where a text begins, so far inside that no other content is there."""
    return ENTRY + 4 * rng.randrange(1024, TEXT_BYTES // 4 - len(words) - 1024)


def moved(rng: Random, start: Start, words: list[int], steps: int) -> Related:
    """Moves the text, the rest of its leaves included, by whole leaves or by any number of words."""
    pc = place(rng, words)
    leaves = {i: leaf for i, leaf in start.leaves.by_index.items() if not start.pc // LEAF <= i <= (start.pc + 4 * len(words) - 1) // LEAF}
    for i, word in enumerate(words):
        put_word(leaves, pc + 4 * i, word)
    return Related("moved", start, evolve(start, pc=pc, leaves=Leaves(leaves)), steps, steps, pc - start.pc)


def cut(rng: Random, start: Start) -> Related:
    """Cuts a run somewhere; the state there is the specification's."""
    steps = rng.randrange(2, MOST_STEPS)
    first = rng.randrange(1, steps)
    state, indices = start.state(), set(start.leaves.by_index)
    for _ in range(first):
        if (pc := state.pc) % 4 == 0 and ENTRY <= pc < ENTRY + TEXT_BYTES and is_access(word := state.memory.load(pc, 4)):
            low = access_address(word, [*state.x])
            indices |= {index for index in (low // LEAF, (low + 7) // LEAF) if index < MEMORY // LEAF}
        state = step(state)
    leaves = {index: state.memory.leaf(index) for index in sorted(indices)}
    there = Start(state.pc, tuple(state.x), Leaves(leaves), int(state.status.kind), int(state.status.value))
    return Related("cut", start, there, steps, steps - first)
