"""Runs that are long or change much: more steps than 16 bits count, and more leaves and pages than a short list holds.

*Source*: spec §2.2 and §2.3.
"""

from collections.abc import Iterator
from functools import cache

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.sweep.order import BATCHES

POINTER, STRIDE, COUNTER = 1, 2, 5
DATA = 1 << 20  # bytes
STORES = 1_100
STRIDES = LEAF, LEAF + 8, 1_024, 1 << 20
STOPS = tuple(each + beside for each in (1 << 8, 1 << 15, 1 << 16) for beside in (-1, 0, 1))


def start(words: tuple[int, ...], registers: dict[int, int]) -> Start:
    """A state that is about to execute the words."""
    leaves: dict[int, bytes] = {}
    for i, word in enumerate(words):
        put_word(leaves, ENTRY + 4 * i, word)
    return Start(ENTRY, tuple(registers.get(i, 0) for i in range(REGISTERS)), Leaves(leaves))


def storing() -> Iterator[Program]:
    """Yields loops that store to a leaf or page after the other; one stop behind all of them, and some on the way."""
    loop = assemble("sd", 0, POINTER, COUNTER), assemble("add", POINTER, POINTER, STRIDE), assemble("addi", COUNTER, COUNTER, imm=-1)
    words = *loop, assemble("bne", 0, COUNTER, 0, -4 * len(loop)), assemble("ebreak")
    end = STORES * len(words[:-1])
    for stride in STRIDES:
        begin = start(words, {POINTER: DATA, STRIDE: stride, COUNTER: STORES})
        yield Program(begin, (end,))
        yield Program(begin, (end // 32, end // 4, end))


def counting() -> Iterator[Program]:
    """Yields a loop that ends behind the last stop: with many stops, and with one, which is more steps away than 16 bits count."""
    words = assemble("addi", COUNTER, COUNTER, imm=-1), assemble("bne", 0, COUNTER, 0, -4), assemble("ebreak")
    begin = start(words, {COUNTER: STOPS[-1]})
    yield Program(begin, STOPS)
    yield Program(begin, STOPS[-1:])


@cache
def every() -> tuple[Program, ...]:
    return (*storing(), *counting())


def long_runs(batch: int) -> tuple[Program, ...]:
    """Returns every 90th of them, beginning with that of the batch's number."""
    return every()[batch::BATCHES]
