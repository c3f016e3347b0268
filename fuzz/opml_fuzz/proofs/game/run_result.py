"""What a run put out, as `finalise` reads it: one unknown answer in both worlds.

The contract's `_read_output` and the specification's `read_result` check leaves and siblings against the carry of a run that ended well. In
the proof about `finalise` both are the same unknown answer: the number of an error, or that the result is unreadable, or how many leaves it
is made of. What is proved is that each gets exactly the carry and the bytes of the call, and what becomes of the answer. A run that failed
has no output, which the specification's function checks itself, and the contract elsewhere.

*Source*: spec §5.8.
"""

from collections.abc import Callable, Iterator
from typing import Any

import z3
from attrs import define, evolve, field
from opml_spec.dispute.objects import seal
from opml_spec.dispute.parameters import Parameters
from opml_spec.dispute.result import MOST_LEAVES, MOST_TOKENS, TOKENS_PER_LEAF, Outcome, read_result
from opml_spec.errors import SpecError
from opml_spec.hashing import keccak256
from opml_spec.machine.memory import CARRY_HEIGHT
from opml_spec.machine.merkle import LEAF_BYTES
from opml_spec.machine.witness import SENT_BYTES
from opml_spec.model.layout import WORD_BYTES
from opml_spec.runs.run import RunState, RunStatus

from evm_arbiter.chain import ERROR_SELECTOR
from opml_fuzz.disputes.wire.abi import calldata
from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.hashes import Hashes
from opml_fuzz.proofs.evm.path import End, Path
from opml_fuzz.proofs.evm.pieces import of_bytes
from opml_fuzz.proofs.evm.words import BITS
from opml_fuzz.proofs.game.inner_function import InnerFunction, KnownCall, PaidCall, rooms_of
from opml_fuzz.proofs.game.invariants import OUTCOME
from opml_fuzz.proofs.game.layout import slots_of
from opml_fuzz.proofs.game.numbers import term_of, unknown_error
from opml_fuzz.proofs.game.open_bytes import OpenBytes
from opml_fuzz.proofs.unsupported import Unsupported
from opml_fuzz.statements.game_bytecode import OF_OUTPUT

OUTPUT_BYTES, PROOF_BYTES = LEAF_BYTES * MOST_LEAVES + 1, SENT_BYTES + LEAF_BYTES * CARRY_HEIGHT + 1  # the contract takes no more
IS_WRONG, IS_READABLE = z3.Bools("output_is_wrong output_is_readable")
NUMBER, NEEDED = z3.BitVec("output_error", BITS), z3.BitVec("output_leaves", MOST_LEAVES.bit_length())
MODEL, REQUEST, CLAIM, SERVER, NOW = 5, 6, 7, 3, 1 << 30
CARRY, OUTPUT, PROOF = keccak256(b"carry"), keccak256(b"output"), b"proof"
"""What is easily recognised."""


def read_output_of(code: Code, rules: Parameters) -> InnerFunction:
    """Finds `_read_output` in the bytecode."""
    sealed = seal(RunState(CARRY, RunStatus.OK).run_hash, SERVER.to_bytes(20, "big"))
    stored = {
        ("requests", REQUEST): {"model_id": MODEL, "stage_count": 1, "bond": rules.min_bond, "checked_at": 1, "claims": 1, "pending": 1},
        ("claims", CLAIM): {"request_id": REQUEST, "sealed": int.from_bytes(sealed, "big"), "server": SERVER, "closes_at": 1},
    }
    slots = {slot: word for place, fields in stored.items() for slot, word in slots_of(place, fields)}
    given = PaidCall(calldata("finalise", CLAIM.to_bytes(32, "big"), CARRY, RunStatus.OK, OUTPUT, PROOF), 0)
    call = KnownCall(given, slots, SERVER, NOW, (int.from_bytes(CARRY, "big"), OUTPUT, PROOF))
    function = call.find(code, rooms_of(0, OUTPUT_BYTES, PROOF_BYTES), 2)
    if function.answer(code, int.from_bytes(CARRY, "big"), OUTPUT, PROOF) != ERROR_SELECTOR + its_error().to_bytes(32, "big"):
        raise Unsupported("a function that answers something else")
    return function


def its_error() -> int:
    """The number of the error that the recognised output has."""
    try:
        raise AssertionError(read_result(RunState(CARRY, RunStatus.OK), OUTPUT, PROOF))
    except SpecError as error:
        return error.number


@define
class UnknownResult:
    """The answer that belongs to the carry and the bytes of the call. shown: the leaves that the result is made of, if it is readable"""

    function: InnerFunction
    carry: Any
    output: Any
    proof: Any
    holds: Callable[[Any], bool]
    shown: OpenBytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        """The result is a beginning of the output."""
        whole: OpenBytes = self.output.bytes
        self.shown = whole.beginning(LEAF_BYTES * self.needed)

    @property
    def needed(self) -> Any:
        return z3.ZeroExt(BITS - NEEDED.size(), NEEDED)

    def facts(self, hashes: Hashes) -> Iterator[Any]:
        """Yields what holds of an output: as many leaves count as its number of tokens needs, and they are there; and of the outcome."""
        ((word, _),) = self.output.bytes.read(0, LEAF_BYTES)
        tokens = z3.ZeroExt(BITS - 8 * WORD_BYTES, z3.Concat(*(z3.Extract(i + 7, i, word) for i in range(BITS - 8 * WORD_BYTES, BITS, 8))))
        leaves = 1 + z3.LShR(tokens + (TOKENS_PER_LEAF - 1), TOKENS_PER_LEAF.bit_length() - 1)
        is_there = z3.ULE(self.shown.length, self.output.length)
        yield z3.Implies(IS_READABLE, z3.And(z3.ULE(tokens, MOST_TOKENS), self.needed == leaves, is_there))
        failed, ended_well = (hashes.digest(((term_of(self.carry), 32), (int(status), 1))) for status in (RunStatus.FAILED, RunStatus.OK))
        yield OUTCOME(failed) == Outcome.FAILED
        yield z3.Implies(z3.Not(IS_WRONG), OUTCOME(ended_well) == z3.If(IS_READABLE, z3.BitVecVal(Outcome.OK, 8), Outcome.UNREADABLE))

    def read_result(self, state: RunState, output: Any, proof: Any) -> tuple[Outcome, Any]:
        """Stands for the function of the specification."""
        if state.status == RunStatus.FAILED:
            return read_result(state, output, proof)
        if state.carry is not self.carry or output is not self.output or proof is not self.proof:
            raise Unsupported("the result of another run")
        if self.holds(IS_WRONG):
            raise unknown_error(OF_OUTPUT, NUMBER)
        if not self.holds(IS_READABLE):
            return Outcome.UNREADABLE, None
        return Outcome.OK, keccak256(output.of(((self.shown, 0),)))

    def call(self, path: Path, machine: Any) -> Iterator[Path | End]:
        """Stands for the function of the contract. Its paths stay apart."""
        arguments = term_of(self.carry), self.output.bytes, self.proof.bytes
        wrong = path.assuming(IS_WRONG)
        if machine.possible(wrong):
            yield End("REVERT", wrong, (*of_bytes(ERROR_SELECTOR), (NUMBER, 32)))
        for condition, outcome, needed in ((IS_READABLE, Outcome.OK, self.needed), (z3.Not(IS_READABLE), Outcome.UNREADABLE, 0)):
            onward = path.assuming(z3.Not(IS_WRONG), condition)
            if machine.possible(onward):
                replaced = self.function.replaced(onward, machine, arguments, int(outcome), needed)
                yield evolve(replaced, split=(*replaced.split, (IS_READABLE, int(outcome == Outcome.OK))))
