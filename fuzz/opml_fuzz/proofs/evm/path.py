"""A path through bytecode, its end, and what the call brought along."""

from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve, field, frozen

from opml_fuzz.proofs.evm.memory import Memory
from opml_fuzz.proofs.evm.pieces import Pieces
from opml_fuzz.proofs.evm.words import Word

if TYPE_CHECKING:
    from opml_fuzz.proofs.evm.machine import Machine


@frozen
class Path:
    """A state of the EVM, and how it is reached.

    calls: where the functions that are being executed return to; split: the names that were given values, with these values"""

    at: int
    stack: tuple[Word, ...] = ()
    memory: Memory = field(factory=Memory)
    conditions: tuple[Any, ...] = ()
    calls: tuple[int, ...] = ()
    split: tuple[tuple[Any, int], ...] = ()

    def assuming(self, *conditions: Any) -> "Path":
        """The path under more conditions."""
        return evolve(self, conditions=(*self.conditions, *(one for one in conditions if one is not True)))

    @property
    def progress(self) -> tuple[float, ...]:
        """How far the path is, comparable: inside a call it is just before the place that the call returns to."""
        return (*(place - 0.5 for place in self.calls), float(self.at))

    @property
    def meeting(self) -> tuple[Any, ...]:
        """Where it meets others: paths that agree in this become one."""
        return self.at, self.calls, tuple((name.get_id(), number) for name, number in self.split), len(self.stack), self.memory.regions


@frozen
class End:
    """How a path ends. how: RETURN, REVERT, INVALID (after a jump to no JUMPDEST, too), or STOP at one of the places that were asked for"""

    how: str
    path: Path
    data: Pieces = ()


class Input(Protocol):
    """What a call brings along. Each kind in `calldata.py` has these."""

    @property
    def size(self) -> Word:
        """The length of the call's data."""
        ...

    @property
    def value(self) -> Word:
        """The money that the call sends."""
        ...

    def load(self, at: Word) -> Word:
        """The word at a place of the call's data; zeros beyond its end."""
        ...

    def copy(self, memory: Memory, to: int, at: Word, size: Word, path: Path, machine: "Machine") -> Memory:
        """The memory with a part of the call's data at `to`."""
        ...
