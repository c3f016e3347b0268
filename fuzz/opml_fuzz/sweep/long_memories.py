"""Accesses in memories with kilobytes in a row: whoever reads them by pages meets several in a piece, and some that are zero.

*Source*: spec §2.2.
"""

from collections.abc import Iterator
from itertools import product

from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.numbers import LEAF, QUARTER
from opml_fuzz.sweep.accesses import DATA, HEAP
from opml_fuzz.sweep.point import Point, point

LENGTHS = 300, 2_200
"""Leaves in a row: some pages of most processors, and more bytes than 16 bits count."""

BORDER = 3 * QUARTER // LEAF
PAGE = 128  # leaves
ZERO_EVERY, ZERO = 5, 2  # of five pages, the third


def row(first: int, count: int, listed: bool) -> dict[int, bytes]:
    """Fills leaves in a row. No two are alike, but for whole pages of zeros. listed: whether these are in one piece with the others"""
    leaves = {first + i: (7 + i).to_bytes(3, "big") * 10 + b"\1\2" for i in range(count)}
    for index in list(leaves):
        if index // PAGE % ZERO_EVERY == ZERO:
            leaves[index] = bytes(LEAF)
    return {index: leaf for index, leaf in leaves.items() if listed or any(leaf)}


def long_memories() -> Iterator[Point]:
    """Yields a load and a store in each memory, one of which lies on both sides of a border of quarters."""
    for count, (first, place), listed in product(LENGTHS, ((HEAP + 5, HEAP + 40), (BORDER - 140, BORDER)), (True, False)):
        leaves = row(first, count, listed)
        for name in ("ld", "sd"):
            yield point(f"{name}.cp_long_memory", assemble(name, 3, 1, 2), {1: LEAF * place - 4, 2: DATA}, leaves)
