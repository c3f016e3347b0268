"""Changes that can be taken back: what an index needs to follow a chain that is reorganised.

Every change to the index goes through a journal, which notes how to undo it. The changes of one event are undone together, the last event
first. Only the most recent events can be undone; whoever must go further back begins anew.
"""

from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

from attrs import define, field

DEPTH = 4_096  # events

K = TypeVar("K")
V = TypeVar("V")
Undo = Callable[[], None]


@define
class Journal:
    """The changes made by the latest events."""

    _events: deque[list[Undo]] = field(factory=lambda: deque(maxlen=DEPTH))

    def begin(self) -> None:
        """What follows belongs to the next event."""
        self._events.append([])

    def undo(self) -> None:
        """Takes back all changes of the last event."""
        for undo in reversed(self._events.pop()):
            undo()

    def put(self, table: MutableMapping[K, V], key: K, value: V) -> None:
        """Sets an entry."""
        if key in table:
            before = table[key]
            self._note(lambda: table.__setitem__(key, before))
        else:
            self._note(lambda: table.__delitem__(key))
        table[key] = value

    def drop(self, table: MutableMapping[K, V], key: K) -> None:
        """Removes an entry, if there is one."""
        if key in table:
            value = table.pop(key)
            self._note(lambda: table.__setitem__(key, value))

    def set(self, thing: Any, name: str, value: Any) -> None:
        """Changes an attribute."""
        before = getattr(thing, name)
        self._note(lambda: setattr(thing, name, before))
        setattr(thing, name, value)

    def append(self, items: list[V], item: V) -> None:
        items.append(item)
        self._note(lambda: items.__delitem__(-1))

    def _note(self, undo: Undo) -> None:
        self._events[-1].append(undo)
