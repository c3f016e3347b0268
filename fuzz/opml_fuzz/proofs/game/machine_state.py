"""The machine state with which a stage ends, as a call of `open` brings it: as many bytes as a state has, and nothing is known of them.

Both worlds read its status and its root, and hash it as a whole. Whoever wants a register reads eight bytes of the first piece.

*Source*: spec §2.1; spec §5.4 (open).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import z3
from attrs import frozen
from opml_spec.hashing import HASH_BYTES
from opml_spec.machine.state import PREIMAGE_BYTES, Cause

from opml_fuzz.proofs.evm.pieces import Pieces
from opml_fuzz.proofs.game.numbers import GamePaths, amount
from opml_fuzz.proofs.step.machine_symbols import Octets, Value, pieces_of
from opml_fuzz.proofs.symbols import Truth

KIND_BYTES, VALUE_BYTES = 1, 8
WORDS_BYTES = PREIMAGE_BYTES - KIND_BYTES - VALUE_BYTES - HASH_BYTES


def any_state(name: str) -> Pieces:
    """The pieces of any state: its registers as one, its status as two, and its root."""
    parts = {"words": WORDS_BYTES, "kind": KIND_BYTES, "value": VALUE_BYTES, "root": HASH_BYTES}
    return tuple((z3.BitVec(f"{name}_{part}", 8 * size), size) for part, size in parts.items())


class Causes:
    """Stands for the Enum `Cause`: a number of a symbol is the cause of that number, whichever it is."""

    def __iter__(self) -> Iterator[int]:
        return iter(Cause)

    def __call__(self, number: Any) -> Any:
        return number


@frozen
class OneOf:
    """Stands for `tuple`: whether a symbol is one of the numbers is one question, where `in` would ask about each."""

    numbers: Iterable[int]

    def __contains__(self, symbol: Value) -> bool:
        return bool(Truth(z3.Or([symbol.term == int(one) for one in self.numbers]), symbol.paths))


def integers(paths: GamePaths) -> Any:
    """Stands for `int`, of which `from_bytes` takes bytes of either kind."""

    def from_bytes(data: Any, order: str) -> Any:
        octets = Octets(pieces_of(data), paths)
        return amount((octets if order == "big" else octets.reversed()).term, paths)

    return type("int", (), {"from_bytes": staticmethod(from_bytes)})


def join(paths: GamePaths) -> Callable[[Iterable[Any]], Octets]:
    return lambda parts: Octets(tuple(piece for one in parts for piece in pieces_of(one)), paths)
