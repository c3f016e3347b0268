"""Random numbers and addresses that favour edge cases.

Numbers lie at powers of two and at the edges of words, leaves, quarters and memory. Everything is drawn from one `random.Random`, so a seed
determines the cases; in the tests, Hypothesis plays the part of that generator.

*Source*: spec §2.1 and §2.2.
"""

from random import Random

TOP = 1 << 64
QUARTER = 1 << 38
MEMORY = 1 << 40
ENTRY, TEXT_BYTES = QUARTER, 1 << 28
LEAF = 32
WORD_EDGES = (0, 1, 2, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, (1 << 32) - 1)
LARGEST, SMALLEST = (1 << 63) - 1, 1 << 63


def number(rng: Random) -> int:
    """Draws a register's value."""
    match rng.randrange(8):
        case 0 | 1:
            return rng.getrandbits(64)
        case 2 | 3:
            return ((1 << rng.randrange(65)) + rng.randrange(-1, 2)) % TOP
        case 4:
            return rng.randrange(-4, 68) % TOP
        case 5:
            return rng.choice((0, 0xFFFFFFFF, rng.getrandbits(32))) << 32 | rng.choice(WORD_EDGES)
        case 6:
            return rng.getrandbits(rng.randrange(1, 65))
        case _:
            return address(rng)


def operands(rng: Random) -> tuple[int, int]:
    """Draws the values of rs1 and rs2, often a related pair: equal, neighbours, a division that overflows or is by zero."""
    a, b = number(rng), number(rng)
    match rng.randrange(10):
        case 0:
            return a, a
        case 1:
            return a, (a + rng.choice((-1, 1, SMALLEST, 1 << 31, 1 << 32))) % TOP
        case 2:
            return a, rng.choice((0, rng.getrandbits(32) << 32))  # divisors that are 0 in all 64 bits, or in the lower 32
        case 3:
            return rng.choice((SMALLEST, 1 << 31, TOP - (1 << 31), LARGEST)), rng.choice((TOP - 1, (1 << 32) - 1, 1, LARGEST))
        case _:
            return a, b


def address(rng: Random) -> int:
    """Draws an address near an edge of a quarter, near an edge of a leaf, in the text, or anywhere in memory."""
    match rng.randrange(8):
        case 0 | 1 | 2:
            return (rng.choice((0, QUARTER, 2 * QUARTER, 3 * QUARTER, MEMORY, MEMORY)) + rng.randrange(-9, 9)) % TOP
        case 3 | 4 | 5:
            return (rng.randrange(4) * QUARTER + LEAF * rng.randrange(1, 1 << rng.randrange(1, 33)) + rng.randrange(-8, 8)) % TOP
        case 6:
            return ENTRY + rng.randrange(-9, TEXT_BYTES)
        case _:
            return rng.randrange(MEMORY)
