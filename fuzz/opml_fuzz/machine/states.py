"""Random machine states with a liking for the borders, and one instruction to execute on each.

All instructions come up equally often; of the words, one in five is no instruction, or just beside one. Numbers lie at powers of two,
at the borders of words, leaves, quarters and of memory. Everything is drawn from one `random.Random`, so a seed is a case; the tests let
Hypothesis play the part of that generator.

*Source*: spec/README.md 1.1 to 1.4.
"""

from random import Random

from opml_fuzz.machine.case import REGISTERS, Start, Step
from opml_fuzz.machine.encodings import ENCODINGS, assemble

TOP = 1 << 64
QUARTER = 1 << 38
MEMORY = 1 << 40
ENTRY, TEXT_BYTES = QUARTER, 1 << 28
LEAF = 32
NAMES = tuple(ENCODINGS)
ACCESS_BYTES = {"b": 1, "h": 2, "w": 4, "d": 8}
NEIGHBOURS = tuple((name, 1 << bit) for name, encoding in ENCODINGS.items() for bit in range(7, 32) if encoding.mask >> bit & 1)
"""What is an instruction but for one bit beyond the opcode: most of these encodings are reserved."""

OPCODES = sorted({encoding.match & 0x7F for encoding in ENCODINGS.values()})
A0, A7, EXIT = 10, 17, 93
CAUSES = (0, 1, 2, 3, 5, 7, 8)
WORD_BORDERS = (0, 1, 2, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, (1 << 32) - 1)
LARGEST, SMALLEST = (1 << 63) - 1, 1 << 63


def number(rng: Random) -> int:
    """A register's value."""
    match rng.randrange(8):
        case 0 | 1:
            return rng.getrandbits(64)
        case 2 | 3:
            return ((1 << rng.randrange(65)) + rng.randrange(-1, 2)) % TOP
        case 4:
            return rng.randrange(-4, 68) % TOP
        case 5:
            return rng.choice((0, 0xFFFFFFFF, rng.getrandbits(32))) << 32 | rng.choice(WORD_BORDERS)
        case 6:
            return rng.getrandbits(rng.randrange(1, 65))
        case _:
            return address(rng)


def operands(rng: Random) -> tuple[int, int]:
    """The values of rs1 and rs2; often a pair that means something together."""
    a, b = number(rng), number(rng)
    match rng.randrange(10):
        case 0:
            return a, a
        case 1:
            return a, (a + rng.choice((-1, 1, SMALLEST, 1 << 31, 1 << 32))) % TOP
        case 2:
            return a, rng.choice((0, rng.getrandbits(32) << 32))  # divisors that are 0, of 64 bits and of 32
        case 3:
            return rng.choice((SMALLEST, 1 << 31, TOP - (1 << 31), LARGEST)), rng.choice((TOP - 1, (1 << 32) - 1, 1, LARGEST))
        case _:
            return a, b


def address(rng: Random) -> int:
    """An address: near a border between quarters, near one between leaves, or anywhere in memory."""
    match rng.randrange(8):
        case 0 | 1 | 2:
            return (rng.choice((0, QUARTER, 2 * QUARTER, 3 * QUARTER, MEMORY, MEMORY)) + rng.randrange(-9, 9)) % TOP
        case 3 | 4 | 5:
            return (rng.randrange(4) * QUARTER + LEAF * rng.randrange(1, 1 << rng.randrange(1, 33)) + rng.randrange(-8, 8)) % TOP
        case 6:
            return ENTRY + rng.randrange(-9, TEXT_BYTES)
        case _:
            return rng.randrange(MEMORY)


def program_counter(rng: Random) -> int:
    """Mostly where an instruction can be fetched: anywhere in the window, or at its ends."""
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


def immediate(rng: Random) -> int:
    """Of any format: what is too much is cut off."""
    power = 1 << rng.randrange(32)
    return rng.choice((rng.getrandbits(32), rng.randrange(-8, 8), power + rng.randrange(-2, 3), -power))


def word_of(rng: Random, name: str) -> int:
    """Any word of an instruction."""
    return assemble(name, rng.randrange(REGISTERS), rng.randrange(REGISTERS), rng.randrange(REGISTERS), immediate(rng))


def instruction(rng: Random) -> tuple[str, int]:
    """A name and a word of it; the name is empty if the word is just anything."""
    if rng.random() < 0.1:
        return "", rng.choice((rng.getrandbits(32), rng.getrandbits(25) << 7 | rng.choice(OPCODES), ENCODINGS[rng.choice(NAMES)].match))
    name = rng.choice(NAMES)
    word = word_of(rng, name)
    if rng.random() < 0.15:
        beside, bit = rng.choice(NEIGHBOURS)
        return "", word_of(rng, beside) ^ bit
    return name, word


def status(rng: Random) -> tuple[int, int]:
    """Rarely one that does not run."""
    if rng.random() < 0.98:
        return 0, 0
    return rng.choice(((1, number(rng)), (2, rng.choice(CAUSES))))


def leaf_of(rng: Random) -> bytes:
    return rng.randbytes(LEAF) if rng.random() < 0.9 else bytes(LEAF)


def put_word(leaves: dict[int, bytes], at: int, word: int) -> None:
    """An instruction into its leaf."""
    leaf, offset = leaves.get(at // LEAF, bytes(LEAF)), at % LEAF
    leaves[at // LEAF] = leaf[:offset] + word.to_bytes(4, "little") + leaf[offset + 4 :]


def access_address(word: int, x: list[int]) -> int:
    """Of a load or store."""
    imm = (word >> 20) if word & 0x20 == 0 else (word >> 25) << 5 | word >> 7 & 31
    return (x[word >> 15 & 31] + (imm ^ 0x800) - 0x800) % TOP


def random_step(rng: Random) -> Step:
    """One instruction on a state made for it."""
    name, word = instruction(rng)
    pc, (kind, value) = program_counter(rng), status(rng)
    x = [0, *(number(rng) for _ in range(REGISTERS - 1))]
    rs1, rs2 = word >> 15 & 31, word >> 20 & 31
    is_access = word & 0x5F == 0x03
    x[rs1], x[rs2] = operands(rng)
    if is_access and rng.random() < 0.9:
        x[rs1] = 0
        x[rs1] = (address(rng) - access_address(word, x)) % TOP
    elif name == "jalr":
        x[rs1] = rng.choice((number(rng), ENTRY + 4 * rng.randrange(1 << 26)))
    elif name == "ecall":
        x[A7] = rng.choice((EXIT, EXIT, EXIT, number(rng), EXIT + (1 << 32)))
    x[0] = 0
    leaves: dict[int, bytes] = {address(rng) % MEMORY // LEAF: leaf_of(rng) for _ in range(rng.randrange(3))}
    if is_access and (touched := access_address(word, x)) < MEMORY:
        for index in (touched // LEAF, (touched + 7) // LEAF):
            if index < MEMORY // LEAF and rng.random() < 0.9:
                leaves[index] = rng.randbytes(LEAF)
    if pc % 4 == 0 and ENTRY <= pc < ENTRY + TEXT_BYTES:
        if rng.random() < 0.5:
            leaves[pc // LEAF] = rng.randbytes(LEAF)
        put_word(leaves, pc, word)
    return Step(Start(pc, tuple(x), leaves, kind, value))
