"""An Ethereum node inside the process: py-evm under Prague rules, with one block per transaction.

This is the only file that imports py-evm; `node.py` states the interface. Transactions are not signed; the sender is an argument. Gas is
free, whatever base fee the contracts read, so that balances show only the contracts' money. It is metered as on the main net: intrinsic
gas, cold and warm accesses, refunds, the calldata floor of EIP-7623.

*Source*: the Prague fork of py-evm; EIP-2929, EIP-3529, EIP-7623.
"""

import os
from collections.abc import Sequence
from typing import cast

os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")  # ten times as fast as the default backend; read at the first import below

from eth.abc import ComputationAPI, SignedTransactionAPI, TransactionContextAPI
from eth.constants import BLANK_ROOT_HASH, CREATE_CONTRACT_ADDRESS, ZERO_ADDRESS, ZERO_HASH32
from eth.db.atomic import AtomicDB
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague.state import PragueState
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth.vm.message import Message
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address, BlockNumber, Hash32

from evm_arbiter.errors import InvalidTransaction
from evm_arbiter.node import Execution, RawLog

CHAIN_ID = 1337
BLOCK_GAS_LIMIT = 36_000_000  # gas. Source: main net in 2025, when Prague went live
TRANSACTION_GAS_LIMIT = 2**24  # gas (= 16,777,216). Source: the cap of EIP-7825, which later forks enforce
MAX_REFUND_QUOTIENT = 5  # Source: EIP-3529
TRANSACTION_GAS, FLOOR_GAS_PER_TOKEN, TOKENS_PER_NONZERO_BYTE = 21_000, 10, 4  # Source: EIP-7623


class FreeGasState(PragueState):
    """Charges nobody for gas: a transaction offers the base fee, and the price that it pays is zero."""

    def get_gas_price(self, transaction: SignedTransactionAPI) -> int:
        return 0

    def get_tip(self, transaction: SignedTransactionAPI) -> int:
        return 0

    def get_transaction_context(self, transaction: SignedTransactionAPI) -> TransactionContextAPI:
        return self.get_transaction_context_class()(gas_price=0, origin=transaction.sender)


class EmbeddedNode:
    """The state of one chain; see `Node` for what each method does."""

    def __init__(self, balances_wei: Sequence[tuple[bytes, int]], start_time: int) -> None:
        self.base_fee_wei = 0
        self._database = AtomicDB()
        self._block_number = 0
        self._state = FreeGasState(self._database, self._context(start_time), BLANK_ROOT_HASH)
        for address, wei in balances_wei:
            self._state.set_balance(Address(address), wei)

    def transact(self, sender: bytes, to: bytes | None, data: bytes, value_wei: int, time: int) -> Execution:
        if floor_gas(data) > TRANSACTION_GAS_LIMIT:
            raise InvalidTransaction(f"{len(data)} bytes of data cost at least {floor_gas(data)} gas")
        self._block_number += 1
        self._state.execution_context = self._context(time)
        self._state.lock_changes()
        unsigned = PragueTransactionBuilder.create_unsigned_transaction(
            nonce=self._state.get_nonce(Address(sender)),
            gas_price=self.base_fee_wei,
            gas=TRANSACTION_GAS_LIMIT,
            to=CREATE_CONTRACT_ADDRESS if to is None else Address(to),
            value=value_wei,
            data=data,
        )
        unsigned_from = SpoofTransaction(unsigned, from_=sender)  # has all attributes of a signed one, but not the type
        computation = self._state.apply_transaction(cast(SignedTransactionAPI, unsigned_from))
        burnt = TRANSACTION_GAS_LIMIT - computation.get_gas_remaining()
        refund = min(computation.get_gas_refund(), burnt // MAX_REFUND_QUOTIENT)
        return _execution(computation, burnt - refund + computation.data_floor_gas)

    def call(self, sender: bytes, to: bytes, data: bytes, time: int) -> Execution:
        self._state.execution_context = self._context(time)
        self._state.lock_changes()
        before = self._state.snapshot()
        message = Message(TRANSACTION_GAS_LIMIT, Address(to), Address(sender), 0, data, self._state.get_code(Address(to)))
        transaction = self._state.get_transaction_context_class()(gas_price=0, origin=Address(sender))
        computation = self._state.computation_class.apply_message(self._state, message, transaction)
        self._state.revert(before)
        self._state.clear_transient_storage()
        return _execution(computation, computation.get_gas_used())

    def balance_wei(self, address: bytes) -> int:
        return int(self._state.get_balance(Address(address)))

    def code(self, address: bytes) -> bytes:
        return bytes(self._state.get_code(Address(address)))

    def snapshot(self) -> bytes:
        self._state.lock_changes()
        self._state.persist()
        return bytes(self._state.state_root)

    def restore(self, snapshot: bytes) -> None:
        self._state = FreeGasState(self._database, self._state.execution_context, Hash32(snapshot))

    def _context(self, time: int) -> ExecutionContext:
        return ExecutionContext(
            coinbase=ZERO_ADDRESS,
            timestamp=time,
            block_number=BlockNumber(self._block_number),
            difficulty=0,
            mix_hash=ZERO_HASH32,
            gas_limit=BLOCK_GAS_LIMIT,
            prev_hashes=(),
            chain_id=CHAIN_ID,
            base_fee_per_gas=self.base_fee_wei,
            excess_blob_gas=0,
        )


def floor_gas(data: bytes) -> int:
    """What a transaction with this data costs at least, whatever it executes."""
    zeros = data.count(0)
    return TRANSACTION_GAS + FLOOR_GAS_PER_TOKEN * (zeros + TOKENS_PER_NONZERO_BYTE * (len(data) - zeros))


def _execution(computation: ComputationAPI, gas_used: int) -> Execution:
    logs = tuple(
        RawLog(bytes(address), tuple(topic.to_bytes(32, "big") for topic in topics), bytes(data))
        for address, topics, data in computation.get_log_entries()
    )
    created = computation.msg.storage_address if computation.msg.is_create else None
    return Execution(computation.is_success, gas_used, bytes(computation.output), logs, created)
