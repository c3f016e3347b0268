"""The chain that the contracts run on: accounts, time, deployed contracts, and what each transaction cost.

Addresses are lower-case hex strings, as the ABI decoder returns them; hashes and bytes are `bytes`; money is in wei, time in seconds.
Time stands still until `set_time`, and every transaction is a block of its own at `now`.
A transaction that reverts returns a `Receipt` whose `status` is false. A call that reverts raises `Reverted`.

*Source*: the contract ABI specification; custom errors as in Solidity.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from attrs import field, frozen
from eth_abi.abi import decode, encode
from sha3 import keccak_256

from evm_arbiter.embedded import EmbeddedNode
from evm_arbiter.errors import ArbiterError as ArbiterError
from evm_arbiter.node import Node, RawLog

ARTEFACTS = Path(__file__).parent / "artefacts"
ACCOUNT_COUNT = 10
ACCOUNT_WEI = 10**24  # what each account starts with (= one million ether)
START_TIME = 1_750_000_000  # seconds since 1970 (= June 2025)


class UnknownName(ArbiterError):
    """The contract has no function of that name with that many arguments."""


class Reverted(ArbiterError):
    """A call reverted, or a transaction that had to succeed; `number` is that of its `OpmlError`, None for any other revert."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.number = error_number(data)
        super().__init__(f"reverted with {f'OpmlError({self.number})' if self.number is not None else '0x' + data.hex()}")


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash: Keccak-256 with its original padding."""
    return bytes(keccak_256(data).digest())


ERROR_SELECTOR = keccak256(b"OpmlError(uint256)")[:4]


def error_number(revert_data: bytes) -> int | None:
    """The number in `OpmlError(number)`; None if the data is anything else."""
    if len(revert_data) == 36 and revert_data.startswith(ERROR_SELECTOR):
        return int.from_bytes(revert_data[4:], "big")
    return None


class DecodedLog(NamedTuple):
    """A decoded log."""

    address: str
    name: str
    values: dict[str, Any]


@frozen
class Receipt:
    """The result of a transaction. `gas_used` counts the whole transaction under Prague rules."""

    status: bool
    gas_used: int
    logs: tuple[DecodedLog, ...]
    revert_data: bytes

    @property
    def error(self) -> int | None:
        """The number of the `OpmlError` that it reverted with; None for anything else."""
        return error_number(self.revert_data)

    def or_raise(self) -> "Receipt":
        """Returns the receipt, or raises `Reverted` if the transaction reverted."""
        if not self.status:
            raise Reverted(self.revert_data)
        return self


@frozen
class Artefact:
    """A compiled contract."""

    name: str
    abi: list[dict[str, Any]] = field(repr=False)
    creation_bytecode: bytes = field(repr=False)

    @classmethod
    def load(cls, name: str) -> "Artefact":
        """Loads the committed artefact of `contracts/<name>.vy`."""
        text = json.loads((ARTEFACTS / f"{name}.json").read_text(encoding="utf-8"))
        return cls(name, text["abi"], bytes.fromhex(text["creation_bytecode"].removeprefix("0x")))

    def types(self, kind: str, name: str, count: int) -> tuple[list[str], list[str]]:
        """Looks up the ABI types of a function's inputs and outputs. Vyper's default arguments make one entry per argument count."""
        for entry in self.abi:
            if entry["type"] == kind and entry.get("name", "") == name and len(entry["inputs"]) == count:
                return [_type(i) for i in entry["inputs"]], [_type(o) for o in entry.get("outputs", [])]
        raise UnknownName(f"{self.name} has no {kind} {name} with {count} arguments")

    def event(self, log: RawLog) -> DecodedLog:
        """Decodes a log by the ABI. Of indexed values with a dynamic type, the log has only the hash."""
        for entry in self.abi:
            if entry["type"] != "event":
                continue
            inputs = entry["inputs"]
            if log.topics[0] == keccak256(f"{entry['name']}({','.join(map(_type, inputs))})".encode()):
                topics = iter(log.topics[1:])
                data = iter(decode([_type(i) for i in inputs if not i["indexed"]], log.data))
                values = {i["name"]: _topic(_type(i), next(topics)) if i["indexed"] else next(data) for i in inputs}
                return DecodedLog("0x" + log.address.hex(), entry["name"], values)
        raise UnknownName(f"{self.name} has no event with topic 0x{log.topics[0].hex()}")


def _type(parameter: dict[str, Any]) -> str:
    """The canonical name of a type, with tuples spelled out."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_type, parameter['components']))}){kind.removeprefix('tuple')}"


def _topic(kind: str, topic: bytes) -> Any:
    dynamic = kind in ("bytes", "string") or kind.endswith("]") or kind.startswith("(")
    return topic if dynamic else decode([kind], topic)[0]


class Contract:
    """A deployed contract: `transact` to change it, `call` to ask it."""

    def __init__(self, chain: "Chain", artefact: Artefact, address: str, deployment: Receipt) -> None:
        self.chain, self.artefact, self.address, self.deployment = chain, artefact, address, deployment

    def calldata(self, name: str, *args: Any) -> bytes:
        """Encodes a call: selector and arguments."""
        inputs, _ = self.artefact.types("function", name, len(args))
        return keccak256(f"{name}({','.join(inputs)})".encode())[:4] + encode(inputs, args)

    def transact(self, name: str, *args: Any, sender: str, value: int = 0) -> Receipt:
        """Sends a transaction with `value` wei; one that reverts is reported, not raised."""
        chain = self.chain
        outcome = chain.node.transact(_bytes20(sender), _bytes20(self.address), self.calldata(name, *args), value, chain.now)
        logs = tuple(self.artefact.event(log) for log in outcome.logs if log.address == _bytes20(self.address))
        return Receipt(outcome.success, outcome.gas_used, logs, b"" if outcome.success else outcome.output)

    def call(self, name: str, *args: Any, sender: str | None = None) -> Any:
        """Returns what a view function returns: nothing, a value, or a tuple of values. Raises `Reverted`."""
        return self.measured_call(name, *args, sender=sender)[0]

    def measured_call(self, name: str, *args: Any, sender: str | None = None) -> tuple[Any, int]:
        """Does what `call` does, and also returns the gas of the execution alone."""
        chain = self.chain
        outcome = chain.node.call(_bytes20(sender or chain.accounts[0]), _bytes20(self.address), self.calldata(name, *args), chain.now)
        if not outcome.success:
            raise Reverted(outcome.output)
        values = decode(self.artefact.types("function", name, len(args))[1], outcome.output)
        return (None if not values else values[0] if len(values) == 1 else values), outcome.gas_used


class Chain:
    """A chain with ten funded accounts."""

    def __init__(self, start_time: int = START_TIME) -> None:
        self.accounts = tuple("0x" + keccak256(b"opml account %d" % i)[:20].hex() for i in range(ACCOUNT_COUNT))
        self.node: Node = EmbeddedNode([(_bytes20(account), ACCOUNT_WEI) for account in self.accounts], start_time)
        self._now = start_time

    @property
    def now(self) -> int:
        """The timestamp of the next block."""
        return self._now

    def set_time(self, time: int) -> None:
        """Moves time forward; only `restore` moves it back."""
        if time < self._now:
            raise ArbiterError(f"time cannot go back from {self._now} to {time}")
        self._now = time

    @property
    def base_fee(self) -> int:
        """The base fee of the next block, in wei per gas, as contracts read it. Nobody pays it."""
        return self.node.base_fee_wei

    def set_base_fee(self, wei: int) -> None:
        """Sets the base fee of all blocks to come, until it is set again."""
        self.node.base_fee_wei = wei

    def deploy(self, artefact: Artefact, *args: Any, sender: str, value: int = 0) -> Contract:
        """Creates a contract; raises `Reverted` if its constructor reverts."""
        constructor = any(entry["type"] == "constructor" for entry in artefact.abi)
        inputs = artefact.types("constructor", "", len(args))[0] if constructor or args else []
        code = artefact.creation_bytecode + encode(inputs, args)
        outcome = self.node.transact(_bytes20(sender), None, code, value, self.now)
        if not outcome.success or outcome.created is None:
            raise Reverted(outcome.output)
        receipt = Receipt(True, outcome.gas_used, tuple(map(artefact.event, outcome.logs)), b"")
        return Contract(self, artefact, "0x" + outcome.created.hex(), receipt)

    def balance(self, address: str) -> int:
        """What an address owns, in wei."""
        return self.node.balance_wei(_bytes20(address))

    def snapshot(self) -> tuple[bytes, int, int]:
        """Remembers the whole chain. Contracts deployed before stay usable after `restore`."""
        return self.node.snapshot(), self._now, self.base_fee

    def restore(self, snapshot: tuple[bytes, int, int]) -> None:
        """Goes back to a snapshot, with its time and base fee, as often as wanted."""
        state, self._now, base_fee = snapshot
        self.set_base_fee(base_fee)
        self.node.restore(state)


def _bytes20(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))
