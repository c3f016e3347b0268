"""Every instruction between registers with pairs of edges, once more as a program, since one step is never translated.

All of them are entries into one text, so it is translated once.

*Source*: spec §2.3.
"""

from collections.abc import Iterator
from functools import cache
from itertools import islice, product

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.numbers import ENTRY, TOP
from opml_fuzz.machine.programs import GALLERY_STEPS
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.sweep.order import BATCHES
from opml_fuzz.sweep.registers import BY_FORMAT

RD, RS1, RS2 = 3, 1, 2
TEN = tuple(
    value % TOP for value in (0, 1, 2, -1, -(1 << 63), (1 << 63) - 1, -(1 << 31), (1 << 31) - 1, (1 << 32) - 1, 0x0123_4567_8000_0000)
)
"""Of a register: the edges at which divisions, products and words differ."""


@cache
def text() -> Leaves:
    """Each instruction of format R, followed by EBREAK."""
    leaves: dict[int, bytes] = {}
    for i, name in enumerate(BY_FORMAT["R"]):
        put_word(leaves, ENTRY + 8 * i, assemble(name, RD, RS1, RS2))
        put_word(leaves, ENTRY + 8 * i + 4, assemble("ebreak"))
    return Leaves(leaves)


def translated(batch: int) -> Iterator[Program]:
    """Yields every 90th of them, beginning with that of the batch's number."""
    for i, a, b in islice(product(range(len(BY_FORMAT["R"])), TEN, TEN), batch, None, BATCHES):
        x = [0] * REGISTERS
        x[RS1], x[RS2] = a, b
        yield Program(Start(ENTRY + 8 * i, tuple(x), text()), (GALLERY_STEPS,))
