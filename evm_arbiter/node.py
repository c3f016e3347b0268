"""What the project needs of an Ethereum node. The interface is small, so that another node can replace the embedded one."""

from typing import NamedTuple, Protocol


class RawLog(NamedTuple):
    """An event as the EVM emits it."""

    address: bytes  # 20 bytes
    topics: tuple[bytes, ...]  # 32 bytes each
    data: bytes


class Execution(NamedTuple):
    """The result of a transaction or call. `output` is what it returned, or the revert data; a failed one leaves no logs."""

    success: bool
    gas_used: int  # by a whole transaction, with floor and refund; by a call, the execution alone
    output: bytes
    logs: tuple[RawLog, ...]
    created: bytes | None  # the address of the new contract, if one was created


class Node(Protocol):
    """A chain whose blocks hold one transaction each. Addresses are 20 bytes; `to = None` creates a contract."""

    base_fee_wei: int
    """The base fee of the blocks to come, in wei per gas, as contracts read it. Gas is free all the same."""

    def transact(self, sender: bytes, to: bytes | None, data: bytes, value_wei: int, time: int) -> Execution:
        """Executes a transaction in a block with that timestamp. Raises `InvalidTransaction` if no block may hold it."""
        ...

    def call(self, sender: bytes, to: bytes, data: bytes, time: int) -> Execution:
        """Executes a call without lasting effect."""
        ...

    def balance_wei(self, address: bytes) -> int: ...

    def code(self, address: bytes) -> bytes: ...

    def snapshot(self) -> bytes:
        """Remembers the state for `restore`, which may use it any number of times."""
        ...

    def restore(self, snapshot: bytes) -> None: ...
