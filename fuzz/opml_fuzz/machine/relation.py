"""Pairs of runs of which the second must end as the first one does, but for what was changed on purpose.

Comparing implementations says nothing where all of them are wrong alike. A *relation* needs no right answer: it says how two answers of
the same implementation hang together. So these cases hold for one implementation alone, and for a target, too.

| relation | the second run | its end |
|---|---|---|
| beside | has other content in leaves that the run does not touch | the same, with that content |
| moved | has its text, which knows no addresses, at another place | the same, with the text and the pc there |
| cut | begins in the state that the first one has in the middle | the same |

*Source*: Chen, Cheung, Yiu, "Metamorphic Testing" (1998); spec §2.1: the step depends on the state alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, frozen
from opml_spec.machine.state import MachineState, state_hash
from opml_spec.machine.step import step

from opml_fuzz.machine.instructions import LINKING, access_address, is_access
from opml_fuzz.machine.numbers import LEAF, TEXT_BYTES
from opml_fuzz.machine.simpler import is_fetchable
from opml_fuzz.machine.start import REGISTERS, Start, listed, whole

MOST_STEPS = 1 << 12  # in a replay file
WIDEST = 8  # bytes of an access


@frozen
class Related:
    """Two runs: `steps` from `start`, and `other_steps` from `other`, which end alike as the relation says."""

    relation: str
    start: Start
    other: Start
    steps: int
    other_steps: int
    by: int = 0
    """How far the second text is from the first, in bytes."""

    def other_end(self, end: MachineState) -> MachineState:
        """The end of the second run, from that of the first."""
        memory = end.memory
        if self.relation != "cut":
            mine, others = self.start.leaves.by_index, self.other.leaves.by_index
            for index in sorted(mine.keys() | others.keys()):
                if mine.get(index) != others.get(index):
                    memory = memory.set_leaf(index, others.get(index, bytes(LEAF)))
        return evolve(end, pc=end.pc + self.by, memory=memory)

    def holds(self) -> bool:
        """Tells whether the second run is what the relation says, going through the first one."""
        if self.relation == "cut":
            state = self.start.state()
            for _ in range(self.steps - self.other_steps):
                state = step(state)
            return self.other_steps < self.steps and not self.by and state_hash(state) == state_hash(self.other.state())
        apart = evolve(self.start, pc=self.other.pc, leaves=self.other.leaves)
        if apart != self.other or self.steps != self.other_steps or self.other.pc != self.start.pc + self.by:
            return False
        return self._goes_alike()

    def _goes_alike(self) -> bool:
        """Tells whether the second memory has the same at all places that the first run touches; the text that it executes may be moved."""
        state = self.start.state()
        for _ in range(self.steps):
            if state.status.kind:
                return True
            if is_fetchable(state.pc):
                if not self._step_goes_alike(state.memory.load(state.pc, 4), state.pc, [*state.x]):
                    return False
            elif self.by:
                return False
            state = step(state)
        return True

    def _step_goes_alike(self, word: int, pc: int, x: list[int]) -> bool:
        there = pc + self.by
        if not is_fetchable(there) or self.other.leaves.memory.load(there, 4) != word or (self.by and word & 0x7F in LINKING):
            return False
        first = access_address(word, x)
        return not is_access(word) or not any(map(self._differs, {first // LEAF, (first + WIDEST - 1) // LEAF}))

    def _differs(self, index: int) -> bool:
        mine, others = (each.leaves.by_index.get(index, bytes(LEAF)) for each in (self.start, self.other))
        return mine != others

    def simpler(self) -> Iterable["Related"]:
        """Yields the case with registers that are zero in both runs; a run that was cut has no simpler one."""
        if self.relation != "cut":
            for i in range(1, REGISTERS):
                if self.start.x[i]:
                    start, other = (evolve(each, x=(*each.x[:i], 0, *each.x[i + 1 :])) for each in (self.start, self.other))
                    yield evolve(self, start=start, other=other)

    def to_json(self) -> dict[str, Any]:
        starts = {"start": self.start.to_json(), "other": self.other.to_json()}
        return {"case": "related", "relation": self.relation, **starts, "steps": [self.steps, self.other_steps], "by": self.by}

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> "Related":
        steps, other_steps = (whole(each, 1, MOST_STEPS) for each in listed(text["steps"]))
        if text["relation"] not in ("beside", "moved", "cut"):
            raise ValueError(f"no relation {str(text['relation'])[:50]!r}")
        starts = Start.from_json(text["start"]), Start.from_json(text["other"])
        return cls(text["relation"], *starts, steps, other_steps, whole(text["by"], -TEXT_BYTES, TEXT_BYTES))
