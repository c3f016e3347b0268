"""Random machine states that favour edge cases, each made for the instruction that is executed on it.

*Source*: spec §2.1 to §2.4.
"""

from random import Random

from opml_fuzz.machine.instructions import A7, EXIT, access_address, instruction, is_access, put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, TEXT_BYTES, TOP, address, number, operands
from opml_fuzz.machine.start import REGISTERS, Leaves, Start

CAUSES = (0, 1, 2, 3, 5, 7, 8)


def program_counter(rng: Random) -> int:
    """Draws a pc, usually one that can be fetched: anywhere in the text, or at either end of it."""
    match rng.randrange(20):
        case 0:
            return (rng.choice((0, ENTRY, ENTRY + TEXT_BYTES, MEMORY, TOP)) + rng.randrange(-8, 9)) % TOP
        case 1:
            return number(rng)
        case 2 | 3:
            return ENTRY + 4 * rng.randrange(8)
        case 4 | 5:
            return ENTRY + TEXT_BYTES - 4 * rng.randrange(1, 9)
        case _:
            return ENTRY + 4 * rng.randrange(TEXT_BYTES // 4)


def status(rng: Random) -> tuple[int, int]:
    """Draws a status: nearly always RUNNING."""
    if rng.random() < 0.98:
        return 0, 0
    return rng.choice(((1, number(rng)), (2, rng.choice(CAUSES))))


def leaf_of(rng: Random) -> bytes:
    return rng.randbytes(LEAF) if rng.random() < 0.9 else bytes(LEAF)


def random_state(rng: Random) -> Start:
    """Draws an instruction and a state in which it does something: operands that matter, and leaves where it reads and writes."""
    name, word = instruction(rng)
    pc, (kind, value) = program_counter(rng), status(rng)
    x = [0, *(number(rng) for _ in range(REGISTERS - 1))]
    rs1, rs2 = word >> 15 & 31, word >> 20 & 31
    x[rs1], x[rs2] = operands(rng)
    if is_access(word) and rng.random() < 0.9:
        x[rs1] = 0
        x[rs1] = (address(rng) - access_address(word, x)) % TOP
    elif name == "jalr":
        x[rs1] = rng.choice((number(rng), ENTRY + 4 * rng.randrange(1 << 26)))
    elif name == "ecall":
        x[A7] = rng.choice((EXIT, EXIT, EXIT, number(rng), EXIT + (1 << 32)))
    x[0] = 0
    leaves: dict[int, bytes] = {address(rng) % MEMORY // LEAF: leaf_of(rng) for _ in range(rng.randrange(3))}
    if is_access(word) and (touched := access_address(word, x)) < MEMORY:
        for index in (touched // LEAF, (touched + 7) // LEAF):
            if index < MEMORY // LEAF and rng.random() < 0.9:
                leaves[index] = rng.randbytes(LEAF)
    if pc % 4 == 0 and ENTRY <= pc < ENTRY + TEXT_BYTES:
        if rng.random() < 0.5:
            leaves[pc // LEAF] = rng.randbytes(LEAF)
        put_word(leaves, pc, word)
    return Start(pc, tuple(x), Leaves(leaves), kind, value)
