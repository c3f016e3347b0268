"""The arbiter as the game sees it: a contract that answers for a witness, in both worlds in the same way.

The statements `bytecode` prove that the arbiter's `step` is the specification's `execute_witness`, whatever the witness. So in a proof
about the game both are one unknown answer: whether the witness is valid, and either the hashes of the states before and after the
instruction, or the number of an error. What is proved is that the game sends the arbiter exactly the witness that it was given, and what it
makes of the answer. Behind the witness it sends what happens to lie there: a length says where the witness ends.

*Source*: spec §5.4 (arbitrate); EIP-214 (STATICCALL), EIP-211 (RETURNDATASIZE, RETURNDATACOPY).
"""

from collections.abc import Callable, Iterator
from typing import Any

import z3
from attrs import evolve, frozen
from opml_spec.hashing import keccak256

from evm_arbiter.chain import ERROR_SELECTOR
from opml_fuzz.proofs.evm.calldata import Argument
from opml_fuzz.proofs.evm.instructions import known
from opml_fuzz.proofs.evm.memory import Memory, Prove
from opml_fuzz.proofs.evm.path import End, Path
from opml_fuzz.proofs.evm.pieces import Pieces, cut, length, of_bytes, value
from opml_fuzz.proofs.evm.words import BITS, Word, vector
from opml_fuzz.proofs.game.numbers import unknown_error
from opml_fuzz.proofs.game.open_bytes import without_padding
from opml_fuzz.proofs.unsupported import Unsupported
from opml_fuzz.statements.game_bytecode import OF_WITNESS

WORD_BYTES = 32
STEP = keccak256(b"step(bytes)")[:4]
IS_VALID = z3.Bool("witness_is_valid")
BEFORE, AFTER, NUMBER = (z3.BitVec(f"witness_{name}", BITS) for name in ("before", "after", "error"))


def executed(witness: Any, judged: Any, holds: Callable[[Any], bool], octets: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Stands for `execute_witness`. judged: the witness of the call"""
    if witness is not judged:
        raise Unsupported("another witness than that of the call")
    if not holds(IS_VALID):
        raise unknown_error(OF_WITNESS, NUMBER)
    return octets(BEFORE), octets(AFTER)


@frozen
class Arbiter:
    """The contract at an address, asked about the witness of the call."""

    address: int
    witness: Any

    def call(self, path: Any, machine: Any) -> Iterator[Path | End]:
        """STATICCALL: goes on with the hashes, and with the error."""
        *rest, out_size, out, size, at, to, _ = path.stack
        if known(to) != self.address or known(out_size) != 2 * WORD_BYTES:
            raise Unsupported(f"a call of {to}")
        self.check_sent(path.memory, known(at), known(size), machine.prove(path))
        onward = evolve(path, at=machine.code.instructions[path.at].following)
        hashes = ((BEFORE, WORD_BYTES), (AFTER, WORD_BYTES))
        yield evolve(onward.assuming(IS_VALID), stack=(*rest, 1), memory=path.memory.store_pieces(known(out), hashes), answered=hashes)
        error = (*of_bytes(ERROR_SELECTOR), (NUMBER, WORD_BYTES))
        yield evolve(onward.assuming(z3.Not(IS_VALID)), stack=(*rest, 0), answered=error)

    def check_sent(self, memory: Memory, at: int, size: int, prove: Prove) -> None:
        """Raises Unsupported unless the data of the call is that of `step` with this witness."""
        head = len(STEP) + WORD_BYTES
        if value(memory.read(at, head, prove)) != int.from_bytes(STEP + WORD_BYTES.to_bytes(WORD_BYTES, "big"), "big"):
            raise Unsupported("a call that is not `step`, with an offset of one word")
        region = memory.region_at(at + head)
        sent, length = without_padding(region.source), vector(region.length)
        is_whole = z3.And(length == self.witness.length + WORD_BYTES, z3.ULE(length, size - head))
        if not isinstance(sent, Argument) or sent.content is not self.witness or not prove(is_whole):
            raise Unsupported("a call of the arbiter with something else than the witness")


def answer_size(path: Any) -> Word:
    """RETURNDATASIZE."""
    return length(path.answered)


def copy_answer(path: Any, to: Word, at: Word, size: Word) -> Memory:
    """RETURNDATACOPY. What it copies must be there."""
    answer: Pieces = path.answered
    if known(at) + known(size) > length(answer):
        raise Unsupported("a copy beyond the answer")
    copied: Memory = path.memory.store_pieces(known(to), cut(answer, known(at), known(at) + known(size)))
    return copied
