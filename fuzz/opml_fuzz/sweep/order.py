"""All cases of the sweep, cut into batches of which each touches every part.

*Source*: spec §2.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import cache

from opml_fuzz.machine.case import Case, Step, Witness
from opml_fuzz.sweep import accesses, jumps, registers, words
from opml_fuzz.sweep.coinciding import coinciding
from opml_fuzz.sweep.forgeries import forgeries
from opml_fuzz.sweep.long_memories import long_memories
from opml_fuzz.sweep.point import Point

GROUPS = (
    *(words.flipped, words.fields, words.system, words.not_running, jumps.places, jumps.jumps, jumps.branches),
    *(accesses.alignments, accesses.borders, accesses.operands, accesses.own_leaf, accesses.dense, long_memories),
    *(registers.upper, registers.shifts, registers.one_source, registers.two_sources),
    *(registers.quotients, coinciding),
)
BATCHES = 90


def points() -> Iterator[Point]:
    """Yields all states, group after group."""
    for group in GROUPS:
        yield from group()


@cache
def _listed() -> tuple[tuple[Point, ...], tuple[Witness, ...]]:
    return tuple(points()), tuple(Witness(each.witness, each.start, each.edits) for each in forgeries())


def sweep(batch: int) -> Iterator[Case]:
    """Yields a batch: every 90th state, and some of the forged witnesses in a row, since a witness may be about the one before it."""
    states, witnesses = _listed()
    for each in states[batch::BATCHES]:
        yield Step(each.start)
    size = -(-len(witnesses) // BATCHES)
    yield from witnesses[size * batch : size * (batch + 1)]


def share(batch: int, cases: int) -> Fraction:
    """Tells which part of the whole sweep the first cases of a batch are."""
    states, witnesses = _listed()
    size = -(-len(witnesses) // BATCHES)
    of_sweep = len(states[batch::BATCHES]) + len(witnesses[size * batch : size * (batch + 1)])
    return Fraction(min(cases, of_sweep), len(states) + len(witnesses))
