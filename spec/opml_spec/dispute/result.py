"""The result: how the output of a run is read out of its final carry root.

Whoever finalises shows the output's leaves and the siblings that lead from their subtree to the carry root.

*Source*: spec §5.8.
"""

from enum import IntEnum

from opml_spec.errors import WitnessBitmap, WitnessRoot, WitnessTrailing, WrongOutput
from opml_spec.hashing import keccak256
from opml_spec.machine.memory import CARRY_HEIGHT, IO, Memory
from opml_spec.machine.merkle import LEAF_BYTES, graft, hash_of
from opml_spec.machine.witness import SENT_BYTES, WitnessReader
from opml_spec.model.layout import OUTPUT, TOKEN_BYTES, WORD_BYTES
from opml_spec.runs.run import RunState, RunStatus

MOST_LEAVES = 1024
MOST_TOKENS = 4096
TOKENS_PER_LEAF = LEAF_BYTES // TOKEN_BYTES
"""(= 8)"""


class Outcome(IntEnum):
    """How a request was answered."""

    OK = 0
    FAILED = 1
    UNREADABLE = 2  # it counts more tokens than a result may have


def read_result(state: RunState, output: bytes, proof: bytes) -> tuple[Outcome, bytes | None]:
    """The outcome of a run that ends in this state, and the hash of its output leaves if it is OK."""
    if state.status == RunStatus.FAILED:
        if output or proof:
            raise WrongOutput("a failed run has no output")
        return Outcome.FAILED, None
    leaves, rest = divmod(len(output), LEAF_BYTES)
    if rest or not 1 <= leaves <= MOST_LEAVES:
        raise WrongOutput(f"{len(output)} bytes")
    count = int.from_bytes(output[:WORD_BYTES], "little")
    needed = 1 if count > MOST_TOKENS else 1 - -count // TOKENS_PER_LEAF
    spare = output[needed * LEAF_BYTES :]
    if leaves < needed or (count > MOST_TOKENS and spare) or (spare and not any(spare[-LEAF_BYTES:])):
        raise WrongOutput(f"{leaves} leaves for {count} tokens")
    check_proof(hash_of(state.carry), output, leaves, proof)
    if count > MOST_TOKENS:
        return Outcome.UNREADABLE, None
    return Outcome.OK, keccak256(output[: needed * LEAF_BYTES])


def check_proof(carry: bytes, output: bytes, leaves: int, proof: bytes) -> None:
    """Refuses leaves unless the smallest subtree at OUTPUT with room for them holds them and zeros behind them."""
    height = (leaves - 1).bit_length()
    reader = WitnessReader(proof)
    sent = int.from_bytes(reader.take(SENT_BYTES), "big")
    if sent >> CARRY_HEIGHT or sent % (1 << height):
        raise WitnessBitmap(f"{sent:#x}")
    siblings = [reader.sibling(level, sent) for level in range(height, CARRY_HEIGHT)]
    index = (OUTPUT - IO) // LEAF_BYTES >> height
    node = Memory().store_bytes(0, output).subtree(height, 0)
    if hash_of(graft(node, index, siblings)) != carry:
        raise WitnessRoot("not the output of this run")
    if reader.rest:
        raise WitnessTrailing(f"{len(reader.rest)} bytes")
