"""Which regions get translated, and when.

The text around a pc is scanned once and cut into regions. A region is translated when the interpreter has spent some steps in it. The code
is kept on disk by content, so the second run of a program translates nothing. Computed jumps to places that are no entries are taken by
the interpreter; if that happens a lot, the region is translated again with these places as entries.
"""

import hashlib
from bisect import bisect_right
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attrs import Factory, define

from opml_min import memory_map
from opml_min.machine import native
from opml_min.machine.translator.control_flow import Region, scan
from opml_min.machine.translator.region import loops_ir, region_ir
from opml_min.memory_map import ENTRY, PAGE_BYTES, PROGRAM_BYTES

NEVER_TRANSLATE = 1 << 62
"""As the steps after which a region is translated: all steps are interpreted, even where translated code is in the cache."""
SECTION_PAGES = 1024  # how far a section reaches from pc
MISSES_BEFORE_RETRANSLATION = 20_000  # steps; they take about as long as a translation


@define
class _Progress:
    """What is known of a region at run time."""

    region: Region
    code: native.Code | None = None
    is_looked_up: bool = False  # in the cache
    interpreted_steps: int = 0  # since it was translated, if it is
    missed: set[int] = Factory(set)  # where computed jumps found no entry, in words
    retranslations: int = 0


class TranslatedText:
    """The translated part of a program's text."""

    def __init__(self, text: npt.NDArray[np.generic], entry_points: npt.NDArray[np.uint64], translate_after_steps: int) -> None:
        """text: all that can be fetched, from ENTRY on. entry_points: zeros; element (pc − ENTRY) / 4 will be where its code is."""
        self._pages = text.reshape(-1, PAGE_BYTES)
        self._entry_points = entry_points
        self._translate_after_steps = translate_after_steps
        self.entries: set[int] = set()
        """The pcs at which translated code can be entered."""
        self._starts: list[int] = []  # of the regions known, ascending
        self._regions: list[_Progress] = []
        self._version = 0

    def forget_unless(self, version: int) -> None:
        """Drops all translations unless they are of this version of the text; call it before running."""
        if self._version != version:
            self._entry_points[[(pc - ENTRY) // 4 for pc in self.entries]] = 0
            self.entries.clear()
            self._starts, self._regions = [], []
            self._version = version

    def can_be_entered(self, pc: int) -> bool:
        """Whether translated code can go on at `pc`. Translates the region first if it has become hot, or loads it from the cache."""
        if pc in self.entries:
            return True
        if self._translate_after_steps >= NEVER_TRANSLATE:
            return False
        progress = self._progress(pc)
        if progress is None or progress.code is not None:
            return False
        is_hot = progress.interpreted_steps >= self._translate_after_steps
        if is_hot or not progress.is_looked_up:
            progress.is_looked_up = True
            code = _load(progress.region) if is_hot else native.load_cached(_key(progress.region))
            if code is not None:
                self._enter(progress, code)
        return pc in self.entries

    def was_interpreted(self, pc: int, steps: int) -> None:
        """Counts steps that the interpreter executed because no translated code could be entered at `pc`."""
        progress = self._progress(pc)
        if progress is None:
            return
        progress.interpreted_steps += steps
        if progress.code is not None and pc not in self.entries:
            region = progress.region
            progress.missed.add((pc - region.start) // 4)
            if progress.interpreted_steps > MISSES_BEFORE_RETRANSLATION << progress.retranslations:
                region = Region(region.start, region.words, region.leaders | progress.missed, region.entries | progress.missed)
                progress.region, progress.retranslations = region, progress.retranslations + 1
                self._enter(progress, _load(region))

    def _enter(self, progress: _Progress, code: native.Code) -> None:
        pcs = [progress.region.pc(index) for index in progress.region.entries]
        self._entry_points[[(pc - ENTRY) // 4 for pc in pcs]] = code.address("region")
        self.entries.update(pcs)
        progress.code, progress.interpreted_steps = code, 0

    def _progress(self, pc: int) -> _Progress | None:
        """What is known of the region that holds `pc`; None if there is no text."""
        if pc % 4 or not ENTRY <= pc < ENTRY + PROGRAM_BYTES:
            return None
        return self._find(pc) or self._scan_around(pc)

    def _find(self, pc: int) -> _Progress | None:
        place = bisect_right(self._starts, pc) - 1
        return self._regions[place] if place >= 0 and self._regions[place].region.contains(pc) else None

    def _scan_around(self, pc: int) -> _Progress | None:
        """Scans the pages around pc, up to the next that is all zero or known already."""
        middle = (pc - ENTRY) // PAGE_BYTES
        if not self._is_new(middle):
            return None
        first, end = middle, middle + 1
        while self._is_new(first - 1) and first > middle - SECTION_PAGES:
            first -= 1
        while self._is_new(end) and end < middle + SECTION_PAGES:
            end += 1
        start = ENTRY + first * PAGE_BYTES
        words = self._pages[first:end].reshape(-1).view(np.uint32).astype(np.int64)
        for region in scan(start, words):
            place = bisect_right(self._starts, region.start)
            self._starts.insert(place, region.start)
            self._regions.insert(place, _Progress(region))
        return self._find(pc)

    def _is_new(self, page: int) -> bool:
        """Whether a page of the text holds something and was not scanned."""
        return 0 <= page < len(self._pages) and bool(self._pages[page].any()) and self._find(ENTRY + page * PAGE_BYTES) is None


@cache
def _source_hash() -> str:
    """The hash of everything that determines how text is translated."""
    files = [*sorted(Path(__file__).parents[1].rglob("*.py")), Path(memory_map.__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _load(region: Region) -> native.Code:
    return native.load(_key(region), lambda: region_ir(region), lambda: loops_ir(region))


def _key(region: Region) -> str:
    """Determines the region's code."""
    return repr((_source_hash(), region.start, region.words, sorted(region.leaders), sorted(region.entries)))
