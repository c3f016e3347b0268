"""The arbiter's bytecode as an engine, in the embedded EVM (py-evm) and, where it is installed, in revm.

revm is about a hundred times as fast, so it takes every case, and the embedded EVM a sample.
"""

import re
from typing import Any

from evm_arbiter.chain import Artefact, Chain, Contract, Reverted, error_number, keccak256
from opml_fuzz.engines.protocol import WitnessEngine, describe
from opml_fuzz.machine.target_question import STATE_BYTES

SENDER = "0x" + "11" * 20
GAS = 1 << 24  # of a transaction, many times what a step takes: wrong bytecode may loop. Source: EIP-7825
WITNESS_BYTES = 3_769  # the arbiter takes no longer argument, so a longer witness is cut; evm_arbiter/README.md


class EmbeddedEvm:
    """The arbiter in py-evm. artefact: other bytecode than the committed arbiter"""

    name = "EVM bytecode, py-evm"

    def __init__(self, artefact: Artefact | None = None) -> None:
        chain = Chain()
        self.arbiter: Contract = chain.deploy(artefact or Artefact.load("arbiter"), sender=chain.accounts[0])

    def execute(self, witness: bytes) -> str:
        try:
            return answer_of(witness, *self.arbiter.call("step", witness[:WITNESS_BYTES]))
        except Reverted as error:
            return f"error {error.number}"
        except Exception as error:
            return describe(error)


class Revm:
    """The arbiter in revm, with the bytecode and the calldata of the embedded one."""

    name = "EVM bytecode, revm"

    def __init__(self, embedded: EmbeddedEvm) -> None:
        import pyrevm  # a developer extra, so imported only where it is used

        self._embedded = embedded
        self._evm: Any = pyrevm.EVM(spec_id="PRAGUE")
        self._address = self._evm.deploy(SENDER, embedded.arbiter.artefact.creation_bytecode)

    def execute(self, witness: bytes) -> str:
        data = self._embedded.arbiter.calldata("step", witness[:WITNESS_BYTES])
        try:
            output: bytes = self._evm.message_call(SENDER, self._address, calldata=data, gas=GAS)
            return answer_of(witness, bytes(output[:32]), bytes(output[32:]))
        except RuntimeError as revert:  # how pyrevm reports a revert; the data is in the text
            found = re.search("output: 0x([0-9a-f]*) ", str(revert))
            return f"error {error_number(bytes.fromhex(found[1]))}" if found else describe(revert)


def answer_of(witness: bytes, before: bytes, after: bytes) -> str:
    """Gives the hash after the step. The one before it must be that of the witness's own state."""
    right = keccak256(witness[:STATE_BYTES])
    return after.hex() if before == right else f"{after.hex()}, from the state {before.hex()}, which is {right.hex()}"


def fastest(embedded: EmbeddedEvm) -> WitnessEngine:
    """Chooses revm where it is installed, else the embedded EVM."""
    try:
        return Revm(embedded)
    except ImportError:
        return embedded
