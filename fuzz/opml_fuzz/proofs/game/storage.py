"""The contract's storage on symbols: words by place, where a place is a mapping, a key and a word of the object that lies there.

Whoever reads a place gets what was written to it last. If the key may be one of those written to, the word is a choice. What was never
written is as it is at first (`layout.py`). That different places never coincide, as hashes, is assumed.
"""

from collections.abc import Callable
from typing import Any

import z3
from attrs import field, frozen

from opml_fuzz.proofs.evm.hashes import HASH_BYTES, Hashes
from opml_fuzz.proofs.evm.pieces import cut, length, value
from opml_fuzz.proofs.evm.words import Word, choice, formula, vector
from opml_fuzz.proofs.game.layout import BITS, BOOKS, LAYOUT, MAPPINGS, first_word
from opml_fuzz.proofs.unsupported import Unsupported

NO_KEY = z3.BitVecVal(0, BITS)


@frozen(eq=False)
class WordPlace:
    """A word of an object. The books, which are one word each, have the key 0."""

    kind: str
    offset: int
    key: Any


def place_of(slot: Word, hashes: Hashes) -> WordPlace:
    """Reads a place from the number of its slot."""
    if isinstance(slot, int):
        if slot not in BOOKS:
            raise Unsupported(f"slot {slot:#x}")
        return WordPlace(BOOKS[slot], 0, NO_KEY)
    offset, base = 0, slot
    if z3.is_app_of(slot, z3.Z3_OP_BADD) and slot.num_args() == 2 and z3.is_bv_value(slot.arg(0)):
        offset, base = slot.arg(0).as_long(), slot.arg(1)
    preimage = hashes.preimage(base)
    if preimage is None or length(preimage) != 2 * HASH_BYTES:
        raise Unsupported(f"a slot that is no place of a mapping: {slot}")
    mapping, key = value(cut(preimage, 0, HASH_BYTES)), value(cut(preimage, HASH_BYTES, 2 * HASH_BYTES))
    if not isinstance(mapping, int) or mapping >= len(MAPPINGS) or offset >= len(LAYOUT[MAPPINGS[mapping]]):
        raise Unsupported(f"slot {mapping}, word {offset}")
    return WordPlace(MAPPINGS[mapping], offset, vector(key))


@frozen
class Storage:
    """A storage. It is a value: each change gives another one. touched: is told of each place that is read"""

    touched: Callable[[str, Any], None] = field(eq=False)
    written: dict[tuple[str, int, int], tuple[WordPlace, Word]] = field(factory=dict)

    def read(self, place: WordPlace) -> Word:
        exact = self.written.get((place.kind, place.offset, place.key.get_id()))
        if exact is not None:
            return exact[1]
        self.touched(place.kind, place.key)
        found: Word = first_word(place.kind, place.offset, place.key)
        for other, word in self.written.values():
            if (other.kind, other.offset) == (place.kind, place.offset):
                found = chosen(place.key == other.key, word, found)
        return found

    def write(self, place: WordPlace, word: Word) -> "Storage":
        written = {}
        for key, (other, old) in self.written.items():
            if (other.kind, other.offset) == (place.kind, place.offset):
                old = chosen(place.key == other.key, word, old)
            written[key] = other, old
        written[place.kind, place.offset, place.key.get_id()] = place, word
        return Storage(self.touched, written)

    def merged(self, condition: Any, other: "Storage") -> "Storage":
        """The storage that is this one where the condition holds, else the other."""
        places = {key: place for one in (self, other) for key, (place, _) in one.written.items()}
        return Storage(self.touched, {key: (at, choice(condition, self.read(at), other.read(at))) for key, at in places.items()})


def chosen(condition: Any, yes: Word, no: Word) -> Word:
    """A choice, if the condition is not known."""
    known = formula(condition)
    if isinstance(known, bool):
        return yes if known else no
    return choice(known, yes, no)
