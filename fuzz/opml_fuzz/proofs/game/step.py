"""The arbiter in the proofs about the game: one step, of which nothing is known but that both worlds see the same.

The statements about the arbiter's bytecode show that its `step` is the specification's `execute_witness`. Here it is either an error or
two unknown hashes. The game calls it with the witness as it got it, else the proof ends.

*Source*: spec §3.2 and §5.4.
"""

from typing import Any

import z3
from opml_spec.errors import SpecError

from evm_arbiter.chain import ERROR_SELECTOR
from opml_fuzz.proofs.evm.hashes import HASH_BYTES
from opml_fuzz.proofs.evm.pieces import Pieces, of_bytes
from opml_fuzz.proofs.game.facts import Facts
from opml_fuzz.proofs.step.machine_symbols import Octets
from opml_fuzz.proofs.symbols import Paths, Truth

ERRORS = tuple(one for one in SpecError.__subclasses__() if 101 <= one.number <= 106)
"""Those of witnesses."""


class Step:
    """What executing the witness of a call gives. error: a number, 0 if there is none"""

    def __init__(self, paths: Paths, facts: Facts) -> None:
        self.paths, self.facts = paths, facts
        self.error = z3.BitVec("step.error", 8)
        self.before, self.after = (z3.BitVec(name, 8 * HASH_BYTES) for name in ("step.before", "step.after"))

    def execute(self, witness: Any) -> tuple[Octets, Octets]:
        """Does what `execute_witness` does."""
        self.facts.learn(z3.Or(self.error == 0, *(self.error == one.number for one in ERRORS)))
        for one in ERRORS:
            if Truth(self.error == one.number, self.paths):
                raise one
        before, after = (Octets(((term, HASH_BYTES),), self.paths) for term in (self.before, self.after))
        return before, after

    @property
    def returned(self) -> Pieces:
        """What the arbiter returns."""
        return (self.before, HASH_BYTES), (self.after, HASH_BYTES)

    @property
    def reverted(self) -> Pieces:
        """What it reverts with."""
        return *of_bytes(ERROR_SELECTOR), (z3.ZeroExt(248, self.error), HASH_BYTES)
