"""Random instruction words: any instruction, any word, or an instruction that a program survives.

All instructions come up equally often. One word in five is no instruction, and most of these differ from one in a single bit.

*Source*: spec §2.3.
"""

from random import Random

from opml_fuzz.machine.encodings import ENCODINGS, assemble
from opml_fuzz.machine.numbers import LEAF, TOP
from opml_fuzz.machine.start import REGISTERS

A0, A7, EXIT = 10, 17, 93
NAMES = tuple(ENCODINGS)
OPCODES = sorted({encoding.match & 0x7F for encoding in ENCODINGS.values()})
NEIGHBOURS = tuple((name, 1 << bit) for name, encoding in ENCODINGS.items() for bit in range(7, 32) if encoding.mask >> bit & 1)
"""Bits beyond the opcode that make an instruction what it is: with one of them flipped, most encodings are reserved."""

LINKING = {0x17, 0x67, 0x6F}  # opcodes of AUIPC, JALR and JAL, which put a place of the text into a register
BRANCHES = ("beq", "bne", "blt", "bge", "bltu", "bgeu")
COMPUTING = tuple(name for name in NAMES if name not in ("jal", "jalr", "ecall", "ebreak", *BRANCHES))
COUNTER, FIRST_POINTER, POINTERS = 31, 5, 4
"""Registers that a random program keeps: the counter of its loop, and pointers to memory that it may access."""


def immediate(rng: Random) -> int:
    """Draws an immediate for any format; `assemble` cuts off the bits that do not fit."""
    power = 1 << rng.randrange(32)
    return rng.choice((rng.getrandbits(32), rng.randrange(-8, 8), power + rng.randrange(-2, 3), -power))


def word_of(rng: Random, name: str) -> int:
    """Draws a word of the named instruction."""
    return assemble(name, rng.randrange(REGISTERS), rng.randrange(REGISTERS), rng.randrange(REGISTERS), immediate(rng))


def instruction(rng: Random) -> tuple[str, int]:
    """Draws a word, with its name; the name is empty if the word is arbitrary."""
    if rng.random() < 0.1:
        return "", rng.choice((rng.getrandbits(32), rng.getrandbits(25) << 7 | rng.choice(OPCODES), ENCODINGS[rng.choice(NAMES)].match))
    name = rng.choice(NAMES)
    word = word_of(rng, name)
    if rng.random() < 0.15:
        neighbour, bit = rng.choice(NEIGHBOURS)
        return "", word_of(rng, neighbour) ^ bit
    return name, word


def register(rng: Random) -> int:
    return rng.randrange(REGISTERS)


def target(rng: Random) -> int:
    """Draws a register that a program may overwrite; x0 in place of one that it keeps."""
    rd = rng.randrange(REGISTERS)
    return rd if rd not in (1, A7, COUNTER) and not FIRST_POINTER <= rd < FIRST_POINTER + POINTERS else 0


def computing(rng: Random) -> int:
    """Draws an instruction after which the program goes on: no jump, counter and pointers kept, accesses near a pointer."""
    name = rng.choice(COMPUTING)
    word = assemble(name, target(rng), register(rng), register(rng), immediate(rng))
    if not is_access(word):
        return word
    return assemble(name, target(rng), FIRST_POINTER + rng.randrange(POINTERS), register(rng), rng.randrange(-40, 40))


def is_access(word: int) -> bool:
    """Tells whether the opcode is that of the loads or that of the stores."""
    return word & 0x5F == 0x03


def access_address(word: int, x: list[int]) -> int:
    """Computes the address that a load or store accesses."""
    imm = (word >> 20) if word & 0x20 == 0 else (word >> 25) << 5 | word >> 7 & 31
    return (x[word >> 15 & 31] + (imm ^ 0x800) - 0x800) % TOP


def put_word(leaves: dict[int, bytes], at: int, word: int) -> None:
    """Writes an instruction into its leaf."""
    leaf, offset = leaves.get(at // LEAF, bytes(LEAF)), at % LEAF
    leaves[at // LEAF] = leaf[:offset] + word.to_bytes(4, "little") + leaf[offset + 4 :]
