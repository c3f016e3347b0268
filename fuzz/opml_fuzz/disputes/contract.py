"""The game contract on a chain of its own: in revm where it is installed, else in the embedded EVM, which knows no base fee.

It is asked in bytes, so nothing of the contracts' package that a player uses stands between the bytecode and the comparison.

*Source*: spec §5.10, §5.11.
"""

import re
from typing import Any, Protocol

from attrs import astuple
from opml_spec.dispute.parameters import Parameters

from evm_arbiter.chain import START_TIME, Artefact, error_number
from evm_arbiter.embedded import EmbeddedNode
from opml_fuzz.disputes.abi import calldata, word, words
from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.logs import Log

PEOPLE = tuple(bytes([0xA0 + number]) * 20 for number in range(6))
WEI = 1 << 180  # what each of them has
GAS = 1 << 24  # of a transaction. Source: EIP-7825


class Failed(Exception):
    """A call that reverted; `number` is that of its `OpmlError`, None for any other revert."""

    def __init__(self, data: bytes) -> None:
        self.number = error_number(data)
        super().__init__(f"reverted with {self.number or '0x' + data.hex()}")


class Chain(Protocol):
    """What is asked of a chain: each transaction is a block of its own."""

    def deploy(self, code: bytes) -> bytes:
        """Creates a contract and returns its address."""

    def transact(self, to: bytes, data: bytes, call: Call) -> list[Log]:
        """Makes a transaction at the call's time and base fee; returns its events, or raises `Failed`."""

    def view(self, to: bytes, data: bytes) -> bytes:
        """Asks without changing anything, or raises `Failed`."""

    def balance(self, address: bytes) -> int: ...


class RevmChain:
    """A chain in revm."""

    def __init__(self) -> None:
        import pyrevm  # a developer extra, so imported only where it is used

        self._block, self._evm = pyrevm.BlockEnv, pyrevm.EVM(spec_id="PRAGUE")
        for person in PEOPLE:
            self._evm.set_balance("0x" + person.hex(), WEI)
        self._number, self._basefee = 0, 0

    def _ask(self, *given: Any, **named: Any) -> bytes:
        try:
            return bytes(self._evm.message_call(*given, gas=GAS, gas_price=self._basefee, **named))
        except RuntimeError as revert:  # how pyrevm reports a revert; the data is in the text
            found = re.search("output: 0x([0-9a-f]*)", str(revert))
            raise Failed(bytes.fromhex(found[1]) if found else str(revert).encode()) from None

    def deploy(self, code: bytes) -> bytes:
        try:
            return bytes.fromhex(self._evm.deploy("0x" + PEOPLE[0].hex(), code)[2:])
        except RuntimeError as revert:
            found = re.search("output: 0x([0-9a-f]*)", str(revert))
            raise Failed(bytes.fromhex(found[1]) if found else str(revert).encode()) from None

    def transact(self, to: bytes, data: bytes, call: Call) -> list[Log]:
        self._number, self._basefee = self._number + 1, call.basefee
        self._evm.set_block_env(self._block(number=self._number, timestamp=call.now, basefee=call.basefee, gas_limit=GAS))
        self._ask("0x" + call.sender.hex(), "0x" + to.hex(), calldata=data, value=call.act.value)
        return [Log(tuple(map(bytes, topics)), bytes(data)) for topics, data in (log.data for log in self._evm.result.logs)]

    def view(self, to: bytes, data: bytes) -> bytes:
        return self._ask("0x" + PEOPLE[0].hex(), "0x" + to.hex(), calldata=data, is_static=True)

    def balance(self, address: bytes) -> int:
        return int(self._evm.get_balance("0x" + address.hex()))


class EmbeddedChain:
    """A chain in the embedded EVM."""

    def __init__(self) -> None:
        self._node, self._now = EmbeddedNode([(person, WEI) for person in PEOPLE], START_TIME), START_TIME

    def deploy(self, code: bytes) -> bytes:
        result = self._node.transact(PEOPLE[0], None, code, 0, self._now)
        if not result.success or result.created is None:
            raise Failed(result.output)
        return result.created

    def transact(self, to: bytes, data: bytes, call: Call) -> list[Log]:
        self._now = call.now
        result = self._node.transact(call.sender, to, data, call.act.value, call.now)
        if not result.success:
            raise Failed(result.output)
        return [Log(log.topics, log.data) for log in result.logs]

    def view(self, to: bytes, data: bytes) -> bytes:
        result = self._node.call(PEOPLE[0], to, data, self._now)
        if not result.success:
            raise Failed(result.output)
        return result.output

    def balance(self, address: bytes) -> int:
        return self._node.balance_wei(address)


def fastest_chain() -> Chain:
    """Chooses revm where it is installed."""
    try:
        return RevmChain()
    except ImportError:
        return EmbeddedChain()


class Contract:
    """The game and its arbiter, deployed."""

    def __init__(self, parameters: Parameters, game: Artefact | None = None, chain: Chain | None = None) -> None:
        """game: other bytecode than the committed game contract"""
        self.chain = chain or fastest_chain()
        arbiter = self.chain.deploy(Artefact.load("arbiter").creation_bytecode)
        code = (game or Artefact.load("game")).creation_bytecode
        self.address = self.chain.deploy(code + word(arbiter) + words(astuple(parameters)))

    def make(self, call: Call) -> list[Log]:
        """Makes a call; returns its events, or raises `Failed`."""
        return self.chain.transact(self.address, calldata(call.move, *call.act.arguments), call)

    def view(self, name: str, *arguments: bytes) -> bytes | int | None:
        """What a view returns, or the number with which it reverts."""
        try:
            return self.chain.view(self.address, calldata(name, *arguments))
        except Failed as failed:
            return failed.number

    @property
    def balance(self) -> int:
        """The wei that the contract has."""
        return self.chain.balance(self.address)
