"""How the court lies in the contract's storage: words, the fields in them, and what holds of these in every court.

Each field is an unknown function of the id (or address) that it belongs to. Both worlds use these functions: the contract reads words
that are put together of them, the specification's objects have them as attributes. So a court and a storage that belong together are
one thing, whatever is in them. This is the only place where the layout is stated; the proofs fail if the bytecode has another one.

*Source*: spec §5.11 for the fields; the storage section of `contracts/game.vy` for their places.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import z3
from opml_spec.hashing import keccak256

BITS = 256
Fields = tuple[tuple[str, int], ...]
GAP = ""

LAYOUT: Mapping[str, tuple[Fields, ...]] = {
    "models": ((("model_root", 256),), (("state_root", 256),), (("stage_microseconds", 64), ("busy_until", 64))),
    "requests": (
        (("model_id", 256),),
        (("first_run_hash", 256),),
        (("requester", 160), ("deadline", 64), ("stage_count", 32)),
        (("server", 160),),
        (("fee", 128), ("bond", 128)),
        (("checked_at", 64), ("claims", 32), ("pending", 32), ("next_award", 32), ("fee_paid", 8), ("outcome", 8)),  # 1 + outcome
        (("result", 256),),
        (("run_hash", 256),),
        (("output_hash", 256),),
    ),
    "claims": (
        (("request_id", 256),),
        (("sealed", 256),),
        (("server", 160), ("closes_at", 40), ("index", 32), ("end_depth", 8), ("status", 8)),
        (("settles_at", 40), ("open_nodes", 32), ("nodes", 32), ("end_path", 76), ("prices", 76)),
    ),
    "nodes": (
        (("claim_id", 256),),
        (("commitment", 256),),
        (("opener", 160), ("path", 76), (GAP, 12), ("depth", 8)),
        (("price", 64), ("due", 56), ("since", 56), ("server_left", 32), ("challengers_left", 32), ("state", 8), ("collected", 8)),
    ),
    "accounts": ((("requests", 32), ("credited", 128), ("due", 56), ("lost_at", 40)),),
    "held": ((("locked", 128), ("deposits", 128)),),
    "gone": ((("burned", 128), ("paid_out", 128)),),
}
"""The words of each object, and the fields of each word from bit 0 up."""

MAPPINGS = ("models", "requests", "claims", "nodes", "accounts")
"""The first slots are those of mappings: an object begins at the hash of its mapping's slot and its key."""

BOOKS = {5: "held", 6: "gone"}
WIDTHS = {kind: {name: width for word in words for name, width in word if name} for kind, words in LAYOUT.items()}


@cache
def function(kind: str, name: str) -> Any:
    return z3.Function(f"{kind}.{name}", z3.BitVecSort(BITS), z3.BitVecSort(WIDTHS[kind][name]))


def stored(kind: str, name: str, key: Any) -> Any:
    """A field as it is at first."""
    return function(kind, name)(key)


def word(kind: str, offset: int, values: Mapping[str, Any]) -> Any:
    """The word that has these values in its fields."""
    fields = LAYOUT[kind][offset]
    parts = [z3.BitVecVal(0, width) if not name else values[name] for name, width in reversed(fields)]
    missing = BITS - sum(width for _, width in fields)
    if missing:
        parts.insert(0, z3.BitVecVal(0, missing))
    return z3.simplify(parts[0] if len(parts) == 1 else z3.Concat(*parts), ctrl_c=False)


def first_word(kind: str, offset: int, key: Any) -> Any:
    """A word as it is at first."""
    return word(kind, offset, {name: stored(kind, name, key) for name, _ in LAYOUT[kind][offset] if name})


def slots_of(place: tuple[str, int], fields: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Yields the words of an object of which everything is known, with their slots."""
    kind, key = place
    for offset, names in enumerate(LAYOUT[kind]):
        it, at = 0, 0
        for name, width in names:
            it, at = it | fields.get(name, 0) << at, at + width
        yield first_slot(kind, key) + offset, it


def first_slot(kind: str, key: int) -> int:
    """Where an object begins."""
    if kind in MAPPINGS:
        words = (MAPPINGS.index(kind), key)
        return int.from_bytes(keccak256(b"".join(one.to_bytes(BITS // 8, "big") for one in words)), "big")
    return next(slot for slot, name in BOOKS.items() if name == kind)
