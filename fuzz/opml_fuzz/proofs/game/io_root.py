"""The root of the io quarter with which a request begins: one unknown word in both worlds.

The contract's `_io_root` hashes up to 513 leaves, the specification's `io_quarter` makes a memory of them. In the proof about `request`
both are the same unknown word. What is proved is that each gets exactly the number of stages and the bytes of the call, and what becomes of
the word. That both compute the same root is assumed.

*Source*: spec §5.3 (request), §3.2.
"""

from typing import Any

import z3
from attrs import frozen
from opml_spec.dispute.parameters import Parameters
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import MAX_REQUEST_BYTES
from opml_spec.runs.run import io_quarter

from opml_fuzz.disputes.wire.abi import calldata
from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.path import Path
from opml_fuzz.proofs.evm.words import BITS
from opml_fuzz.proofs.game.inner_function import InnerFunction, KnownCall, PaidCall, rooms_of
from opml_fuzz.proofs.game.layout import slots_of
from opml_fuzz.proofs.game.numbers import term_of
from opml_fuzz.proofs.unsupported import Unsupported

DATA_BYTES = MAX_REQUEST_BYTES + 1  # the contract takes no longer argument
ROOT = z3.BitVec("io_root", BITS)
MODEL, SENDER, NOW, FEE = 5, 3, 1 << 30, 1 << 100
STAGES, DATA = 0xABCDEF, b"bytes that are easily recognised"[:29]
"""What is easily recognised."""


def io_root_of(code: Code, rules: Parameters) -> InnerFunction:
    """Finds `_io_root` in the bytecode."""
    arguments = (MODEL.to_bytes(32, "big"), STAGES, DATA, NOW + 1000, rules.min_bond + 1, bytes(20))
    stored = dict(slots_of(("models", MODEL), {"stage_microseconds": 1}))
    call = KnownCall(PaidCall(calldata("request", *arguments), FEE), stored, SENDER, NOW, (STAGES, DATA))
    function = call.find(code, rooms_of(0, DATA_BYTES), 1)
    if function.answer(code, STAGES, DATA) != hash_of(io_quarter(STAGES, DATA)):
        raise Unsupported("a function that computes another root")
    return function


@frozen
class UnknownRoot:
    """The root that belongs to the number of stages and the bytes of the call."""

    function: InnerFunction
    stage_count: Any
    data: Any

    def io_quarter(self, stage_count: Any, data: Any) -> Any:
        """Stands for the function of the specification: of a quarter only the root is asked."""
        if data is not self.data or not term_of(stage_count).eq(term_of(self.stage_count)):
            raise Unsupported("the io quarter of another request")
        return data.of(((ROOT, 32),))

    def call(self, path: Path, machine: Any) -> Any:
        """Stands for the function of the contract."""
        yield self.function.replaced(path, machine, (term_of(self.stage_count), self.data.bytes), ROOT)
