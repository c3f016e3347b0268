"""One access to the memory, as both worlds speak of it: four unknown functions of the witness.

Reading a leaf at some place of the witness, for a leaf index, under a root, has an error or none; there is a leaf, and a place where the
witness goes on. With another leaf in its place, the tree has another root. `lemma.py` proves, through all 35 levels, that the
specification's `WitnessReader.access` with `merkle.graft`, and the contract's `access`, compute the same of these; so everywhere else they
are just functions, and what is proved holds for the real ones.
"""

from typing import Any

import z3

from evm_arbiter.chain import ERROR_SELECTOR
from opml_fuzz.proofs.evm.pieces import Pieces, of_bytes
from opml_fuzz.proofs.evm.words import BITS, Word, reduced, vector

WORD_BYTES = 32
WORD = z3.BitVecSort(BITS)
PLACE_BITS = 12  # of a place in a witness, which has at most 3,769 bytes: small numbers are quick to compare
ERROR_BITS = 8
ERROR = z3.Function("access_error", WORD, WORD, WORD, z3.BitVecSort(ERROR_BITS))
"""The number of the error, 0 for none, by place, index and root."""

LEAF = z3.Function("access_leaf", WORD, WORD)
NEXT = z3.Function("access_next", WORD, z3.BitVecSort(PLACE_BITS))
"""The leaf at a place, and where the witness goes on behind its siblings."""

ROOT = z3.Function("access_root", WORD, WORD, WORD, WORD)
"""The root with another leaf, by place, index and that leaf."""

LEAST_BYTES = 37
"""Of an access: the leaf and 5 bytes that say which siblings are sent."""


def place(name: str) -> Any:
    """Any place in a witness, or its length."""
    return z3.ZeroExt(BITS - PLACE_BITS, z3.BitVec(name, PLACE_BITS))


def error(at: Word, index: Word, root: Word) -> Any:
    return z3.ZeroExt(BITS - ERROR_BITS, ERROR(vector(at), vector(index), vector(root)))


def leaf(at: Word) -> Any:
    return LEAF(vector(at))


def following(at: Word) -> Any:
    return z3.ZeroExt(BITS - PLACE_BITS, NEXT(vector(at)))


def root(at: Word, index: Word, new: Word) -> Any:
    return ROOT(vector(at), vector(index), vector(new))


def within(at: Word, length: Word) -> Any:
    """The witness goes on behind the access, and no later than it ends: proved with the lemma."""
    return z3.And(z3.UGE(following(at), vector(reduced(vector(at) + LEAST_BYTES))), z3.ULE(following(at), vector(length)))


def revert_data(number: Any) -> Pieces:
    """What the contract reverts with: `OpmlError(number)`."""
    return (*of_bytes(ERROR_SELECTOR), (number, WORD_BYTES))
