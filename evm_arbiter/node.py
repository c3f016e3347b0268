"""What the project asks of an Ethereum node: few words, so that another one can take the place of the embedded one."""

from typing import NamedTuple, Protocol


class RawLog(NamedTuple):
    """An event as the machine emits it."""

    address: bytes  # 20 bytes
    topics: tuple[bytes, ...]  # 32 bytes each
    data: bytes


class Execution(NamedTuple):
    """The effect of a transaction or call. `output` is what it returned, or the revert data; a failed one leaves no logs."""

    success: bool
    gas_used: int  # of a whole transaction, floor and refund included; of a call: the execution alone
    output: bytes
    logs: tuple[RawLog, ...]
    created: bytes | None  # address of the new contract


class Node(Protocol):
    """A chain whose blocks hold one transaction each. Addresses are 20 bytes; `to = None` creates a contract."""

    base_fee_wei: int
    """Of the blocks to come, per gas, as contracts read it; gas is free all the same."""

    def transact(self, sender: bytes, to: bytes | None, data: bytes, value_wei: int, time: int) -> Execution:
        """Mines a transaction in a block with that timestamp."""
        ...

    def call(self, sender: bytes, to: bytes, data: bytes, time: int) -> Execution:
        """Executes without lasting effect."""
        ...

    def balance_wei(self, address: bytes) -> int: ...

    def code(self, address: bytes) -> bytes: ...

    def snapshot(self) -> bytes:
        """A name for the present state, for `restore`; it stays good however often it is used."""
        ...

    def restore(self, snapshot: bytes) -> None: ...
