"""Which text gets translated, and when.

The text around a pc is scanned once, all words at the same time: where control flow can go tells the leaders, and stretches that no jump
crosses (functions) are grouped into regions. A region is translated when the interpreter has spent some steps in it. The code
is kept on disk by content, so the second run of a program translates nothing.

Which leaders are entries decides how well LLVM can do: every entry into the middle of a loop keeps it from seeing the loop. Entries
are targets of backward jumps (so no cycle is without one), of calls, of jumps from other regions, and whatever follows an
unconditional jump, which is where calls return to and where most cases of jump tables begin. Computed jumps to other places are taken
by the interpreter, and if that happens a lot, the region is translated again with these places as entries.
"""

import hashlib
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from opml_min.machine import native
from opml_min.machine.memory.address_space import reserve_table
from opml_min.machine.memory.keccak import BLOCK_BYTES
from opml_min.machine.memory.memory import Memory
from opml_min.machine.translator import region as dispatch
from opml_min.machine.translator.emit import Region
from opml_min.memory_map import ENTRY, PROGRAM_BYTES

REGION_WORDS = 500  # LLVM's time grows faster than the length of the function
LONGEST_REGION_WORDS = 1000  # a function longer than this is cut in the middle
LONGEST_BLOCK_WORDS = 256  # bounds the steps that are left to the interpreter when the budget ends inside a block
SECTION_BLOCKS = 1024  # how far from pc a section reaches, in blocks of the memory
MISSES_BEFORE_RETRANSLATION = 20_000  # steps; about what a translation costs

Words = npt.NDArray[np.int64]


@dataclass
class _Progress:
    """What is known of a region at run time."""

    region: Region
    code: native.Code | None = None
    is_looked_up: bool = False  # in the cache
    interpreted_steps: int = 0  # since it was translated, if it is
    missed: set[int] = field(default_factory=set)  # where computed jumps found no entry, in words
    retranslations: int = 0


def _sign_extend(values: Words, bits: int) -> Words:
    return (values ^ (1 << (bits - 1))) - (1 << (bits - 1))


def _static_targets(words: Words) -> tuple[Words, Words, npt.NDArray[np.bool_]]:
    """Sources and targets (as indices) of all branches and direct jumps that stay inside, and which of them are calls."""
    opcode, index = words & 0x7F, np.arange(len(words))
    imm_b = ((words >> 31) << 12) | (((words >> 7) & 1) << 11) | (((words >> 25) & 0x3F) << 5) | (((words >> 8) & 0xF) << 1)
    imm_j = ((words >> 31) << 20) | (((words >> 12) & 0xFF) << 12) | (((words >> 20) & 1) << 11) | (((words >> 21) & 0x3FF) << 1)
    distance = np.where(opcode == 0x63, _sign_extend(imm_b, 13), _sign_extend(imm_j, 21))
    target = index + distance // 4
    good = ((opcode == 0x63) | (opcode == 0x6F)) & (distance % 4 == 0) & (target >= 0) & (target < len(words))
    is_call = (opcode == 0x6F) & ((words >> 7) & 31 != 0)
    return index[good], target[good], is_call[good]


def scan(start: int, words: Words) -> list[Region]:
    """All regions of a section of text that begins at `start`."""
    sources, targets, calls = _static_targets(words)
    opcode = words & 0x7F
    unconditional = (opcode == 0x6F) | (opcode == 0x67) | (opcode == 0x73)
    after = np.zeros(len(words) + 1, dtype=np.bool_)
    after[1:] = unconditional
    crossing = np.zeros(len(words) + 1, dtype=np.int64)  # jumps over the gap before each word
    near = ~calls & (np.abs(targets - sources) < LONGEST_REGION_WORDS)
    np.add.at(crossing, np.minimum(sources, targets)[near] + 1, 1)
    np.add.at(crossing, np.maximum(sources, targets)[near] + 1, -1)
    candidates: list[int] = np.flatnonzero(after & (np.cumsum(crossing) == 0)).tolist()
    cuts = [0]
    while cuts[-1] < len(words):
        cuts.append(_next_cut(cuts[-1], candidates, len(words)))

    is_entry = after[:-1].copy()
    is_entry[cuts[:-1]] = True
    other_region = np.searchsorted(cuts, sources, side="right") != np.searchsorted(cuts, targets, side="right")
    is_entry[targets[calls | other_region | (targets <= sources)]] = True
    is_leader = is_entry.copy()
    is_leader[targets] = True
    is_leader[1:] |= (opcode == 0x63)[:-1]
    regions = []
    for first, end in pairwise(cuts):
        gaps = pairwise([*np.flatnonzero(is_leader[first:end]).tolist(), end - first])
        leaders = {index for gap in gaps for index in range(*gap, LONGEST_BLOCK_WORDS)}
        entries = np.flatnonzero(is_entry[first:end]).tolist()
        regions.append(Region(start + 4 * first, tuple(words[first:end].tolist()), frozenset(leaders), frozenset(entries)))
    return regions


def _next_cut(first: int, candidates: list[int], end: int) -> int:
    """The end of the region that begins at `first`: if possible a candidate, not too far away."""
    if end - first <= REGION_WORDS:
        return end
    place = bisect_right(candidates, first + REGION_WORDS)
    if place and candidates[place - 1] > first:
        return candidates[place - 1]
    if place < len(candidates) and candidates[place] <= first + LONGEST_REGION_WORDS:
        return candidates[place]
    return min(end, first + LONGEST_REGION_WORDS)


class TranslatedText:
    """The translated part of a memory's text window."""

    def __init__(self, memory: Memory, translate_after_steps: int) -> None:
        self._memory = memory
        self._translate_after_steps = translate_after_steps
        self._entry_points = np.frombuffer(reserve_table(PROGRAM_BYTES // 4 * 8), dtype=np.uint64)  # [(pc − ENTRY) / 4]: host code
        self.entry_points_address = int(self._entry_points.ctypes.data)
        self.entries: set[int] = set()
        """The pcs at which translated code can be entered."""
        self._starts: list[int] = []  # of the regions known, ascending
        self._regions: list[_Progress] = []
        self._version = memory.text_version

    def forget_if_changed(self) -> None:
        """Call before running: somebody may have loaded another program."""
        if self._version != self._memory.text_version:
            self._entry_points[[(pc - ENTRY) // 4 for pc in self.entries]] = 0
            self.entries.clear()
            self._starts, self._regions = [], []
            self._version = self._memory.text_version

    def can_be_entered(self, pc: int) -> bool:
        """Whether translated code can go on at `pc`; translates it now if that was done before, or seems worth while."""
        if pc in self.entries:
            return True
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
        """The interpreter made `steps` steps because at `pc` no translated code could be entered."""
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
        """Scans the blocks around pc up to the next that is all zero, or known already."""
        blocks = self._memory.view(ENTRY, PROGRAM_BYTES, np.uint8).reshape(-1, BLOCK_BYTES)

        def is_new(block: int) -> bool:
            return 0 <= block < len(blocks) and bool(blocks[block].any()) and self._find(ENTRY + block * BLOCK_BYTES) is None

        middle = (pc - ENTRY) // BLOCK_BYTES
        if not is_new(middle):
            return None
        first, end = middle, middle + 1
        while is_new(first - 1) and first > middle - SECTION_BLOCKS:
            first -= 1
        while is_new(end) and end < middle + SECTION_BLOCKS:
            end += 1
        start = ENTRY + first * BLOCK_BYTES
        words = blocks[first:end].reshape(-1).view(np.uint32).astype(np.int64)
        for region in scan(start, words):
            place = bisect_right(self._starts, region.start)
            self._starts.insert(place, region.start)
            self._regions.insert(place, _Progress(region))
        return self._find(pc)


@cache
def _source_hash() -> str:
    """The hash of what translates: other rules, other code."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py")))).hexdigest()


def _load(region: Region) -> native.Code:
    return native.load(_key(region), lambda: dispatch.region_ir(region), lambda: dispatch.loops_ir(region))


def _key(region: Region) -> str:
    """Determines the region's code."""
    return repr((_source_hash(), region.start, region.words, sorted(region.leaders), sorted(region.entries)))
