"""Where control flow can go in a stretch of text: its basic blocks, and the regions that are translated as a whole.

A *basic block* is straight-line code; it starts at a *leader*, which is a place that a jump can go to or that follows a branch. A *region*
is up to a few hundred instructions, cut between functions, at places that no jump crosses. Some leaders are *entries*, the only places
where a region's code can be entered or re-entered by a computed jump.

Which leaders are entries decides how well LLVM can optimise, because an entry into the middle of a loop hides the loop from it. Entries are
the targets of backward jumps (so every cycle has one), of calls and of jumps from other regions, and whatever follows an unconditional
jump, because calls return there and most cases of jump tables begin there.

*Source*: Aho, Lam, Sethi, Ullman, Compilers (2nd edition), "Basic Blocks and Flow Graphs", for leaders and basic blocks.
"""

from bisect import bisect_right
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from attrs import frozen

REGION_WORDS = 500  # LLVM's time grows faster than the length of the function
LONGEST_REGION_WORDS = 1000  # a function longer than this is cut in the middle
LONGEST_BASIC_BLOCK = 256  # words; bounds the steps that are left to the interpreter when the budget ends inside a basic block

Words = npt.NDArray[np.int64]


@frozen
class Region:
    """Text to translate: `words[i]` lies at `start + 4i`. `leaders` and `entries` (all of them leaders) are offsets in words."""

    start: int
    words: tuple[int, ...]
    leaders: frozenset[int]
    entries: frozenset[int]

    def pc(self, index: int) -> int:
        return self.start + 4 * index

    def contains(self, pc: int) -> bool:
        return self.start <= pc < self.pc(len(self.words)) and pc % 4 == 0


def _sign_extend(values: Words, bits: int) -> Words:
    return (values ^ (1 << (bits - 1))) - (1 << (bits - 1))


def _static_targets(words: Words) -> tuple[Words, Words, npt.NDArray[np.bool_]]:
    """Finds the branches and direct jumps that stay inside: their indices, their targets' indices, and which of them are calls."""
    opcode, index = words & 0x7F, np.arange(len(words))
    imm_b = ((words >> 31) << 12) | (((words >> 7) & 1) << 11) | (((words >> 25) & 0x3F) << 5) | (((words >> 8) & 0xF) << 1)
    imm_j = ((words >> 31) << 20) | (((words >> 12) & 0xFF) << 12) | (((words >> 20) & 1) << 11) | (((words >> 21) & 0x3FF) << 1)
    distance = np.where(opcode == 0x63, _sign_extend(imm_b, 13), _sign_extend(imm_j, 21))
    target = index + distance // 4
    good = ((opcode == 0x63) | (opcode == 0x6F)) & (distance % 4 == 0) & (target >= 0) & (target < len(words))
    is_call = (opcode == 0x6F) & ((words >> 7) & 31 != 0)
    return index[good], target[good], is_call[good]


def scan(start: int, words: Words) -> list[Region]:
    """Cuts a section of text, which begins at `start`, into regions."""
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
        leaders = {index for gap in gaps for index in range(*gap, LONGEST_BASIC_BLOCK)}
        entries = np.flatnonzero(is_entry[first:end]).tolist()
        regions.append(Region(start + 4 * first, tuple(words[first:end].tolist()), frozenset(leaders), frozenset(entries)))
    return regions


def _next_cut(first: int, candidates: list[int], end: int) -> int:
    """Where the region that begins at `first` ends: at one of the candidates if possible, and not too far away."""
    if end - first <= REGION_WORDS:
        return end
    place = bisect_right(candidates, first + REGION_WORDS)
    if place and candidates[place - 1] > first:
        return candidates[place - 1]
    if place < len(candidates) and candidates[place] <= first + LONGEST_REGION_WORDS:
        return candidates[place]
    return min(end, first + LONGEST_REGION_WORDS)
