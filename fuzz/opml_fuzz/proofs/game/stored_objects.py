"""The specification's objects as the contract stores them: the fields of each, by name.

Both worlds of a proof use it, and so does a court of which everything is known (`known_court.py`).

*Source*: spec §5.1, §5.2 and §5.11.
"""

from collections.abc import Callable
from typing import Any

import attrs
from attrs import field, frozen
from opml_spec.dispute.objects import Claim, Court, Node, Request

from opml_fuzz.proofs.game.layout import WIDTHS
from opml_fuzz.proofs.game.segments import HiddenSegment

HASH_BYTES = 32


class Later:
    """What an attribute of an object is, found out when somebody looks: that may split the path. stored: the fields as they are stored"""

    def __init__(self, find: Callable[[], Any], **stored: Any) -> None:
        self.find, self.stored, self.found = find, stored, list[Any]()

    def value(self) -> Any:
        if not self.found:
            self.found.append(self.find())
        return self.found[0]


class Stored:
    """What was there at first, of which some attributes are found out later."""

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        return value.value() if isinstance(value, Later) else value


@frozen
class StoredRequest(Stored, Request):
    """A request that was there; `fee` is what it was, also when it is paid."""

    fee: Any = field(default=0, kw_only=True)


@frozen
class StoredClaim(Stored, Claim):
    """A claim that was there."""


@frozen
class StoredNode(Stored, Node):
    """A node that was there."""

    @property
    def commitment(self) -> Any:
        """The one that is stored, as long as nothing that it names was replaced."""
        segment = raw(self, "segment")
        return segment.hash if isinstance(segment, HiddenSegment) and isinstance(raw(self, "posted"), Later) else super().commitment


def later(find: Callable[[], Any], **stored: Any) -> Any:
    return Later(find, **stored)


def raw(thing: Any, name: str) -> Any:
    """An attribute, without finding out what it is."""
    return object.__getattribute__(thing, name)


@frozen
class NumberedPath:
    """All parts of a node's path, as one number, and how many there are."""

    parts: Any
    bits: Any

    def __ror__(self, before: int) -> Any:
        """The number of a path that begins with these parts: none stands before them."""
        assert before == 0
        return self.bits


@frozen
class Hidden:
    """A segment and what is posted in it, of which only the commitment is known."""

    hash: Any

    def commitment(self, posted: Any) -> Any:
        return self.hash


def hidden(commitment: Any) -> Any:
    return Hidden(commitment)


def path_number(path: tuple[Any, ...], k: int) -> tuple[Any, Any]:
    """The depth of a node and its path, as they are stored."""
    bits, number, depth = (k - 1).bit_length(), 0, 1
    for part in path:
        if isinstance(part, NumberedPath):
            number, depth = part.bits, depth + part.parts
        else:
            number, depth = (number << bits) + part, depth + 1
    return depth, number


def place_of(node: Node, k: int) -> tuple[Any, Any]:
    """The depth and the path of a node, as they are stored; what is found out later is not looked at."""
    path = raw(node, "path")
    return (path.stored["depth"], path.stored["path"]) if isinstance(path, Later) else path_number(path, k)


def fields_of(kind: str, thing: Any, court: Court) -> dict[str, Any]:
    """The fields of an object of the specification, as they are stored."""
    found: dict[str, Any] = {}
    for one in attrs.fields(type(thing)):
        value = raw(thing, one.name)
        if isinstance(value, Later):
            found |= value.stored
        elif one.name == "outcome":
            found["outcome"] = 0 if value is None else 1 + value
        elif one.name == "fell_at":
            found["end_depth"], found["end_path"] = (0, 0) if value is None else place_of(court.nodes[value], court.parameters.k)
        elif one.name == "path":
            found["depth"], found["path"] = path_number(value, court.parameters.k)
        elif one.name == "clock":
            found |= {name: getattr(value, name) for name in ("due", "since", "server_left", "challengers_left")}
        else:
            found[one.name] = bytes(HASH_BYTES) if value is None else value
    if kind == "requests":
        found.setdefault("fee", found["fee_left"])
    if kind == "nodes":
        found["commitment"] = thing.commitment
    return {name: found[name] for name in WIDTHS[kind]}
