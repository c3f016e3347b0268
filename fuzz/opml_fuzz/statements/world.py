"""A rule of the game: something that holds on every path of a play.

A play is plain Python. It asks a `World` for numbers, hashes and choices that may be anything, builds a court of them, lets the
specification's own acts happen to it, and shows what then holds. In a proof each of these things stands for all its values at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, TypeVar

from attrs import evolve, frozen
from opml_spec.machine.state import MachineState

Option = TypeVar("Option")


class World(ABC):
    """Where a play gets what may be anything, and says what it assumes and what it shows."""

    rest: Any
    """A key that stands for all entries of a table that the play does not name."""

    @abstractmethod
    def number(self, name: str, low: int = 0, high: int | None = None) -> Any:
        """Any number from `low` to `high`."""

    @abstractmethod
    def hash(self, name: str) -> Any:
        """Any 32 bytes."""

    @abstractmethod
    def choice(self, options: Sequence[Option]) -> Option:
        """Any of these."""

    @abstractmethod
    def value(self, name: str, *arguments: Any) -> Any:
        """The number that an unknown function has for these arguments."""

    @abstractmethod
    def hash_of(self, name: str, *arguments: Any) -> Any:
        """The hash that an unknown function has for these arguments."""

    @abstractmethod
    def state_hash(self, state: MachineState) -> Any:
        """The hash of a machine state."""

    @abstractmethod
    def assume(self, condition: Any) -> None:
        """Leaves out all cases in which this does not hold."""

    @abstractmethod
    def show(self, what: str, condition: Any) -> None:
        """Says that this holds in each case that is left."""

    @abstractmethod
    def reach(self, place: str) -> None:
        """Says that some case comes to this place of the play."""


@frozen
class Rule:
    """A claim that `play(world, *case)` shows nothing false, and that it comes to each of the places that belong to the case."""

    name: str
    says: str
    play: Callable[..., None]
    cases: Mapping[tuple[Any, ...], Set[str]]

    def only(self, case: tuple[Any, ...]) -> "Rule":
        """The rule in one of its cases."""
        return evolve(self, cases={case: self.cases[case]})
