"""Variants of a state: the same memory and the same instruction with other values in its registers.

What is dear about a state is its memory: its tree is hashed once for all variants.

*Source*: spec §2.1 to §2.4.
"""

from collections.abc import Iterator
from random import Random

from attrs import evolve

from opml_fuzz.machine.instructions import A0, A7, EXIT, access_address, is_access
from opml_fuzz.machine.numbers import ENTRY, LEAF, TEXT_BYTES, TOP, address, number, operands
from opml_fuzz.machine.start import REGISTERS, Start

OTHERS = 2  # registers beside the operands that change, too


def variants(rng: Random, start: Start, count: int) -> Iterator[Start]:
    """Yields the state and variants of it, `count` in all; only itself if no instruction would be executed."""
    yield start
    if start.kind or start.pc % 4 or not ENTRY <= start.pc < ENTRY + TEXT_BYTES:
        return
    leaf, at = start.leaves.by_index.get(start.pc // LEAF, bytes(LEAF)), start.pc % LEAF
    word = int.from_bytes(leaf[at : at + 4], "little")
    for _ in range(count - 1):
        yield evolve(start, x=registers(rng, start, word))


def registers(rng: Random, start: Start, word: int) -> tuple[int, ...]:
    """Draws operands, two other registers, and for most loads and stores an address in or near one of the leaves."""
    x = list(start.x)
    rs1 = word >> 15 & 31
    for _ in range(OTHERS):
        x[rng.randrange(REGISTERS)] = number(rng)
    x[rs1], x[word >> 20 & 31] = operands(rng)
    if is_access(word) and rng.random() < 0.9:
        x[rs1] = 0
        near = address(rng) if rng.random() < 0.3 else LEAF * rng.choice(tuple(start.leaves.by_index) or (0,))
        x[rs1] = (near + rng.randrange(LEAF) - access_address(word, x)) % TOP
    elif word == 0x73:
        x[A0], x[A7] = number(rng), rng.choice((EXIT, EXIT, number(rng), EXIT + (1 << 32)))
    x[0] = 0
    return tuple(x)
