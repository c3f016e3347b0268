"""Keccak-256 as an unknown function that remembers what was hashed.

A hash is a vector of 256 bits about which nothing is known, one for each preimage. Whether two hashes are equal is asked of their
preimages, field by field, and of the hashes inside them likewise, so no question to z3 mentions the function. Equal preimages have equal
hashes whatever the function is; that different ones differ is nowhere needed for a proof.
"""

from collections.abc import Callable
from typing import Any

import z3
from opml_spec.hashing import keccak256

from opml_fuzz.proofs.evm.pieces import Pieces, known, length, pairs

HASH_BYTES = 32


class Hashes:
    """All hashes of one proof, by what was hashed."""

    def __init__(self) -> None:
        self.by_preimage: dict[tuple[Any, ...], Any] = {}
        self.preimages: dict[int, Pieces] = {}

    def digest(self, preimage: Pieces) -> Any:
        """Returns the hash: the true one if all bytes are known, else its name."""
        data = known(preimage)
        if data is not None:
            return int.from_bytes(keccak256(data), "big")
        key = tuple((one if isinstance(one, int) else (one.get_id(),), size) for one, size in preimage)
        if key not in self.by_preimage:
            name = z3.BitVec(f"hash{len(self.by_preimage)}", 8 * HASH_BYTES)
            self.by_preimage[key] = name
            self.preimages[name.get_id()] = preimage
        return self.by_preimage[key]

    def preimage(self, term: Any) -> Pieces | None:
        """Returns what was hashed to this, if it is the name of a hash."""
        return None if isinstance(term, int) else self.preimages.get(term.get_id())

    def equal(self, left: Any, right: Any, size: int = HASH_BYTES) -> z3.BoolRef:
        """A condition that implies that two values of some bytes are equal."""
        if isinstance(left, int) and isinstance(right, int):
            return z3.BoolVal(left == right)
        if not isinstance(left, int) and not isinstance(right, int) and left.eq(right):
            return z3.BoolVal(True)
        for one, other in ((left, right), (right, left)):
            if self.chooses_a_hash(one):
                condition, yes, no = one.children()
                return z3.And(z3.Implies(condition, self.equal(yes, other, size)), z3.Or(condition, self.equal(no, other, size)))
        first, second = self.preimage(left), self.preimage(right)
        if first is not None and second is not None:
            return self.equal_bytes(first, second)
        if first is not None or second is not None:
            return z3.BoolVal(False)
        return vector(left, size) == vector(right, size)

    def chooses_a_hash(self, term: Any) -> bool:
        """Tells whether a value is one of several, with a hash among them."""
        if isinstance(term, int) or not z3.is_app_of(term, z3.Z3_OP_ITE):
            return False
        return any(self.preimage(one) is not None or self.chooses_a_hash(one) for one in term.children()[1:])

    def equal_bytes(self, left: Pieces, right: Pieces) -> z3.BoolRef:
        """A condition that implies that two sequences of bytes are equal."""
        if length(left) != length(right):
            return z3.BoolVal(False)
        return z3.And([self.equal(one, other, size) for one, other, size in pairs(left, right)])

    def substituted(self, term: Any, substitute: Callable[[Any], Any]) -> Any:
        """Returns the term with names replaced, inside of hashes too."""
        preimage = self.preimage(term)
        if preimage is not None:
            return self.digest(tuple((self.substituted(one, substitute), size) for one, size in preimage))
        return term if isinstance(term, int) else substitute(term)


def vector(term: Any, size: int) -> z3.BitVecRef:
    return z3.BitVecVal(term, 8 * size) if isinstance(term, int) else term
