"""Programs that go from one page of the text to the next, by each instruction, and those that go beyond its end.

Whoever keeps decoded instructions keeps them by pages, and may look only after a jump whether the pc is still in the text.

*Source*: spec §2.2 and §2.3.
"""

from collections.abc import Iterator
from functools import cache
from itertools import islice

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.numbers import ENTRY, TEXT_BYTES
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.sweep.accesses import HEAP
from opml_fuzz.sweep.in_a_row import ADDRESS, FIRST, RD, RS1, RS2, SMALL
from opml_fuzz.sweep.order import BATCHES
from opml_fuzz.sweep.point import PATTERN

PAGE = 4_096  # bytes, the smallest pages of most processors
END = ENTRY + TEXT_BYTES
BEFORE, STEPS = 2, 3
"""Instructions in front of the border, the second of which is the one that differs; and steps, of which the last is behind it."""


def about(name: str, border: int, content: dict[int, bytes]) -> Program:
    """Puts an instruction in front of a border, with one before it and, unless that is the end of the text, one behind it."""
    words = assemble("addi", RD, 0, imm=7), assemble(name, RD, RS1, RS2, 4), assemble("add", RD, RD, RS2), assemble("ebreak")
    leaves = content if border < END else dict(content)
    for place, word in enumerate(words if border < END else words[:BEFORE], -BEFORE):
        put_word(leaves, border + 4 * place, word)
    x = [0] * REGISTERS
    x[RS1], x[RS2] = border - 4 if name == "jalr" else ADDRESS, SMALL
    return Program(Start(border - 4 * BEFORE, tuple(x), Leaves(leaves)), (STEPS,))


@cache
def over_text_borders() -> tuple[Program, ...]:
    """Makes the programs; all that do not go beyond the end are entries into one text."""
    data = {HEAP: PATTERN, HEAP + 1: PATTERN[::-1]}
    together = dict(data)
    within = [about(name, ENTRY + PAGE * i, together) for i, name in enumerate(FIRST, 1)]
    return *within, *(about(name, END, data) for name in FIRST)


def at_text_borders(batch: int) -> Iterator[Program]:
    """Yields every 90th of them, beginning with that of the batch's number."""
    yield from islice(over_text_borders(), batch, None, BATCHES)
