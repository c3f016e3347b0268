"""The game contract on a chain of its own: in revm where it is installed, else in the embedded EVM.

pyrevm sets the base fee of every block to 0. So in the code that it runs, the instruction BASEFEE is replaced by PREVRANDAO, which costs
the same, and the base fee takes the place of that random number.

It is asked in bytes, so nothing of the contracts' package that a player uses stands between the bytecode and the comparison.

*Source*: spec §5.10, §5.11.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

from attrs import astuple
from opml_spec.dispute.parameters import Parameters

from evm_arbiter.chain import START_TIME, Artefact, error_number
from evm_arbiter.embedded import EmbeddedNode
from evm_arbiter.node import Node
from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.wire.abi import Log, calldata, word, words

PEOPLE = tuple(bytes([0xA0 + number]) * 20 for number in range(6))
LOST_ONCE = bytes([0xB0]) * 20  # the server of `lost_server.py`, who does nothing else
EVERYBODY = (*PEOPLE, LOST_ONCE)
WEI = 1 << 180  # what everybody has
MOST_CODE_BYTES = 1 << 16
GAS = 1 << 24  # of a transaction. Source: EIP-7825


MakeNode = Callable[[Sequence[tuple[bytes, int]]], Node]


class Failed(Exception):
    """A call that reverted; `number` is that of its `OpmlError`, None for any other revert."""

    def __init__(self, data: bytes) -> None:
        self.number = error_number(data)
        super().__init__(f"reverted with {self.number or '0x' + data.hex()}")


class Chain(Protocol):
    """What is asked of a chain: each transaction is a block of its own."""

    def deploy(self, code: bytes, arguments: bytes = b"") -> bytes:
        """Creates a contract and returns its address."""

    def transact(self, to: bytes, data: bytes, call: Call) -> list[Log]:
        """Makes a transaction at the call's time and base fee; returns its events, or raises `Failed`."""

    def view(self, to: bytes, data: bytes) -> bytes:
        """Asks without changing anything, or raises `Failed`."""

    def balance(self, address: bytes) -> int: ...


MakeChain = Callable[[Sequence[bytes]], Chain]

BASEFEE, PREVRANDAO, PUSH0, PUSH32 = 0x48, 0x44, 0x5F, 0x7F


def without_base_fee(code: bytes) -> bytes:
    """Replaces BASEFEE by PREVRANDAO; bytes that are pushed stay as they are."""
    changed, at = bytearray(code), 0
    while at < len(code):
        if code[at] == BASEFEE:
            changed[at] = PREVRANDAO
        at += 1 + (code[at] - PUSH0 if PUSH0 <= code[at] <= PUSH32 else 0)
    return bytes(changed)


class RevmChain:
    """A chain in revm. It accepts contracts that are larger than elsewhere, since those of mutants are not optimised."""

    def __init__(self, people: Sequence[bytes] = EVERYBODY) -> None:
        import pyrevm  # a developer extra, so imported only where it is used

        limits = pyrevm.CfgEnv(limit_contract_code_size=MOST_CODE_BYTES)
        self._block, self._evm = pyrevm.BlockEnv, cast(Any, pyrevm.EVM(env=pyrevm.Env(cfg=limits), spec_id="PRAGUE"))
        for person in people:
            self._evm.set_balance(hexadecimal(person), WEI)

    def deploy(self, code: bytes, arguments: bytes = b"") -> bytes:
        with refusals():
            return bytes.fromhex(self._evm.deploy(hexadecimal(PEOPLE[0]), without_base_fee(code) + arguments)[2:])

    def transact(self, to: bytes, data: bytes, call: Call) -> list[Log]:
        self._evm.set_block_env(self._block(timestamp=call.now, prevrandao=word(call.basefee), gas_limit=GAS))
        with refusals():
            self._evm.message_call(hexadecimal(call.sender), hexadecimal(to), calldata=data, value=call.act.value, gas=GAS)
        return [Log(tuple(map(bytes, topics)), bytes(data)) for topics, data in (log.data for log in self._evm.result.logs)]

    def view(self, to: bytes, data: bytes) -> bytes:
        with refusals():
            return bytes(self._evm.message_call(hexadecimal(PEOPLE[0]), hexadecimal(to), calldata=data, gas=GAS, is_static=True))

    def balance(self, address: bytes) -> int:
        return int(self._evm.get_balance(hexadecimal(address)))


@contextmanager
def refusals() -> Iterator[None]:
    """Turns pyrevm's report of a revert into `Failed`; the data is in its text."""
    try:
        yield
    except RuntimeError as revert:
        found = re.search("output: 0x([0-9a-f]*)", str(revert))
        raise Failed(bytes.fromhex(found[1]) if found else str(revert).encode()) from None


def hexadecimal(address: bytes) -> str:
    return "0x" + address.hex()


class NodeChain:
    """A chain in an Ethereum node behind `evm_arbiter.node.Node`. make_node: is given what everybody has"""

    def __init__(self, people: Sequence[bytes], make_node: MakeNode) -> None:
        self._node, self._now = make_node([(person, WEI) for person in people]), START_TIME

    def deploy(self, code: bytes, arguments: bytes = b"") -> bytes:
        result = self._node.transact(PEOPLE[0], None, code + arguments, 0, self._now)
        if not result.success or result.created is None:
            raise Failed(result.output)
        return result.created

    def transact(self, to: bytes, data: bytes, call: Call) -> list[Log]:
        self._now, self._node.base_fee_wei = call.now, call.basefee
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


class EmbeddedChain(NodeChain):
    """A chain in the embedded EVM."""

    def __init__(self, people: Sequence[bytes] = EVERYBODY) -> None:
        super().__init__(people, lambda balances_wei: EmbeddedNode(balances_wei, START_TIME))


def fastest_chain(people: Sequence[bytes] = EVERYBODY) -> Chain:
    """Chooses revm where it is installed."""
    try:
        return RevmChain(people)
    except ImportError:
        return EmbeddedChain(people)


class Contract:
    """The game and its arbiter, deployed."""

    def __init__(self, parameters: Parameters, game: Artefact | None = None, chain: Chain | None = None) -> None:
        """game: other bytecode than the committed game contract"""
        self.chain = chain or fastest_chain()
        arbiter = self.chain.deploy(Artefact.load("arbiter").creation_bytecode)
        code = (game or Artefact.load("game")).creation_bytecode
        self.address = self.chain.deploy(code, word(arbiter) + words(astuple(parameters)))

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
