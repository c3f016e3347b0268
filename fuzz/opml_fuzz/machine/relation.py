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
from opml_spec.machine.state import MachineState

from opml_fuzz.machine.numbers import LEAF, TEXT_BYTES
from opml_fuzz.machine.start import REGISTERS, Start, whole

MOST_STEPS = 1 << 12  # in a replay file


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
        steps, other_steps = (whole(each, 1, MOST_STEPS) for each in text["steps"])
        if text["relation"] not in ("beside", "moved", "cut"):
            raise ValueError(f"no relation {str(text['relation'])[:50]!r}")
        starts = Start.from_json(text["start"]), Start.from_json(text["other"])
        return cls(text["relation"], *starts, steps, other_steps, whole(text["by"], -TEXT_BYTES, TEXT_BYTES))
