"""The tables of the specification's court when nothing is known of them: an entry is made when somebody looks for it.

A table has the entries that acts put there, over those that it has at first. Looking something up compares ids; where it is not known
whether two are equal, the exploration goes both ways. An act makes a new table by writing `{**table, key: thing}`. Python makes a dict of
that, in which a `Marker` stands for all that was in the table; `tabled` makes a table of it again.
"""

from collections.abc import Callable, Iterator
from typing import Any

from opml_fuzz.proofs.evm.words import formula
from opml_fuzz.proofs.game.numbers import term_of
from opml_fuzz.proofs.symbols import Paths, Truth


class Marker:
    """All entries of a table, but for those under some keys."""

    def __init__(self, table: "OpenTable", without: tuple[Any, ...] = ()) -> None:
        self.table, self.without = table, without

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)


class OpenTable:
    """A table. first: what it has under a key at first, None if there is nothing; absent: what stands for nothing in a table of numbers"""

    def __init__(self, paths: Paths, first: Callable[[Any], Any], absent: Any = None, entries: tuple[tuple[Any, Any], ...] = ()) -> None:
        self.paths, self.first, self.absent, self.entries = paths, first, absent, entries
        self.found: list[tuple[Any, Any]] = []

    def find(self, key: Any) -> Any:
        for other, thing in reversed(self.entries):
            if self.same(other, key):
                return thing
        return self.first(key)

    def same(self, one: Any, other: Any) -> bool:
        known = formula(term_of(one) == term_of(other))
        return known if isinstance(known, bool) else bool(Truth(known, self.paths))

    def __contains__(self, key: Any) -> bool:
        return self.is_there(self.find(key))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, Marker):
            return key
        found = self.find(key)
        if not self.is_there(found):
            raise KeyError(key)
        return found

    def is_there(self, found: Any) -> bool:
        """Whether something was found: a number that is 0 has no entry."""
        return found is not None if self.absent is None else bool(found != self.absent)

    def get(self, key: Any, default: Any) -> Any:
        found = self.find(key)
        self.found.append((key, found))
        return default if found is None else found

    def keys(self) -> Iterator[Any]:
        return iter((Marker(self),))

    def items(self) -> Iterator[tuple[Any, Any]]:
        """What was looked up, one by one, and the rest."""
        rest = Marker(self, tuple(key for key, _ in self.found))
        return iter(((rest, rest), *self.found))

    def put(self, key: Any, thing: Any) -> "OpenTable":
        return OpenTable(self.paths, self.first, self.absent, (*self.entries, (key, thing)))


def tabled(value: Any) -> Any:
    """The table that a dict stands for, if it has a marker; else what it is."""
    if not isinstance(value, dict):
        return value
    markers = [one for one in value if isinstance(one, Marker)]
    if not markers:
        return value
    (marker,) = markers
    table, before = marker.table, True
    for key in marker.without:
        table = table.put(key, table.absent)
    for key, thing in value.items():
        if isinstance(key, Marker):
            before = False
        elif not before or not bool(marker.table.find(key) != 0):  # what stands before the marker is overwritten by what the table has
            table = table.put(key, thing)
    return table
