"""All programs of the sweep, cut into the same batches; the short ones once more with a stop after each step.

Whoever executes two instructions as one must not do so where a stop lies between them, and what was kept for later must be there by then.

*Source*: spec §2.3.
"""

from collections.abc import Iterable, Iterator

from opml_fuzz.machine.case import Program
from opml_fuzz.sweep.in_a_row import in_a_row
from opml_fuzz.sweep.long_runs import long_runs
from opml_fuzz.sweep.pairs import paired
from opml_fuzz.sweep.remembered import remembered
from opml_fuzz.sweep.text_borders import at_text_borders
from opml_fuzz.sweep.translated import translated

SHORT_STEPS = 3
REMEMBERED_IN = 1
"""The batch with the runs that begin alike, one after the other."""


def programs(batch: int) -> Iterator[Program]:
    """Yields the programs of this batch."""
    yield from with_stops(paired(batch))
    yield from with_stops(in_a_row(batch))
    yield from with_stops(at_text_borders(batch))
    yield from translated(batch)
    yield from long_runs(batch)
    if batch == REMEMBERED_IN:
        yield from remembered()


def with_stops(short: Iterable[Program]) -> Iterator[Program]:
    """Yields each program, and after it the same with all stops."""
    for program in short:
        yield program
        if program.stops[-1] <= SHORT_STEPS:
            yield Program(program.start, tuple(range(1, program.stops[-1] + 1)))
