"""The executable Ethereum specification (EELS) as a third EVM: the Prague fork in the words of those who define it.

py-evm and revm are clients; this is the text that clients follow. It is slow, a few dozen calls per second, so it gets a sample of the
cases. It is a developer extra and imported only where it is used; without it the other two are asked.

*Source*: `ethereum.forks.prague` of the package `ethereum-execution`; EIP-7623.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any, cast

from evm_arbiter.chain import START_TIME, Artefact, error_number
from evm_arbiter.embedded import BLOCK_GAS_LIMIT, CHAIN_ID, MAX_REFUND_QUOTIENT, TRANSACTION_GAS_LIMIT
from evm_arbiter.node import Execution, RawLog
from opml_fuzz.engines.bytecode import SENDER, WITNESS_BYTES, EmbeddedEvm, answer_of
from opml_fuzz.engines.protocol import describe

DEPLOYER = bytes.fromhex(SENDER[2:])
ZERO_HASH = bytes(32)


class SpecifiedNode:
    """A chain whose blocks the specification executes: the interface of `evm_arbiter.node.Node`. Gas is metered, and free."""

    def __init__(self, balances_wei: Sequence[tuple[bytes, int]]) -> None:
        from ethereum.forks.prague import fork_types, state, transactions, trie, vm
        from ethereum.forks.prague.utils import message
        from ethereum_types.bytes import Bytes0, Bytes20, Bytes32
        from ethereum_types.numeric import U64, U256, Uint

        interpreter: Any = import_module("ethereum.forks.prague.vm.interpreter")
        if not hasattr(interpreter.get_valid_jump_destinations, "cache_info"):  # it takes most of the time, and depends on the code alone
            interpreter.get_valid_jump_destinations = cache(interpreter.get_valid_jump_destinations)
        self.base_fee_wei = 0
        self._rules, self._vm, self._prepare, self._interpreter, self._transactions = state, vm, message, interpreter, transactions
        self._address, self._nobody, self._hash, self._u64, self._u256, self._uint = Bytes20, Bytes0(b""), Bytes32, U64, U256, Uint
        self._state, self._trie, self._kept = cast(Any, state.State()), trie, list[Any]()
        self._number = 0
        for address, wei in balances_wei:
            state.set_account(self._state, Bytes20(address), fork_types.Account(Uint(0), U256(wei), b""))

    def transact(self, sender: bytes, to: bytes | None, data: bytes, value_wei: int, time: int) -> Execution:
        target = self._nobody if to is None else self._address(to)
        zero = self._u256(0)
        transaction = self._transactions.LegacyTransaction(
            self._u256(self._rules.get_account(self._state, self._address(sender)).nonce),
            self._uint(self.base_fee_wei), self._uint(TRANSACTION_GAS_LIMIT), target, self._u256(value_wei), data, zero, zero, zero,
        )  # fmt: skip
        intrinsic, floor = self._transactions.calculate_intrinsic_cost(transaction)
        self._number += 1
        self._rules.increment_nonce(self._state, self._address(sender))
        output, created = self._process(sender, target, data, value_wei, time, int(intrinsic))
        used = TRANSACTION_GAS_LIMIT - int(output.gas_left)
        used -= min(used // MAX_REFUND_QUOTIENT, int(output.refund_counter))
        return self._execution(output, max(used, int(floor)), created if to is None else None)

    def call(self, sender: bytes, to: bytes, data: bytes, time: int) -> Execution:
        nothing = self._rules.TransientStorage()
        self._rules.begin_transaction(self._state, nothing)
        output, _ = self._process(sender, self._address(to), data, 0, time, 0)
        self._rules.rollback_transaction(self._state, nothing)
        return self._execution(output, TRANSACTION_GAS_LIMIT - int(output.gas_left), None)

    def balance_wei(self, address: bytes) -> int:
        return int(self._rules.get_account(self._state, self._address(address)).balance)

    def code(self, address: bytes) -> bytes:
        return bytes(self._rules.get_account(self._state, self._address(address)).code)

    def snapshot(self) -> bytes:
        self._kept.append(self._copy_of(self._state))
        return (len(self._kept) - 1).to_bytes(8, "big")

    def restore(self, snapshot: bytes) -> None:
        self._state = self._copy_of(self._kept[int.from_bytes(snapshot, "big")])

    def _copy_of(self, state: Any) -> Any:
        copied = self._rules.State()
        copied._main_trie = self._trie.copy_trie(state._main_trie)
        copied._storage_tries = {address: self._trie.copy_trie(storage) for address, storage in state._storage_tries.items()}
        return copied

    def _process(self, sender: bytes, target: Any, data: bytes, value_wei: int, time: int, intrinsic_gas: int) -> tuple[Any, bytes]:
        """Executes a message as the specification's `process_transaction` does between its charges for gas."""
        environment = self._vm.BlockEnvironment(
            chain_id=self._u64(CHAIN_ID),
            state=self._state,
            block_gas_limit=self._uint(BLOCK_GAS_LIMIT),
            block_hashes=[],
            coinbase=self._address(bytes(20)),
            number=self._uint(self._number),
            base_fee_per_gas=self._uint(self.base_fee_wei),
            time=self._u256(time),
            prev_randao=self._hash(ZERO_HASH),
            excess_blob_gas=self._u64(0),
            parent_beacon_block_root=self._hash(ZERO_HASH),
        )
        gas = self._uint(TRANSACTION_GAS_LIMIT - intrinsic_gas)
        inside = self._vm.TransactionEnvironment(
            origin=self._address(sender),
            gas_price=self._uint(0),
            gas=gas,
            access_list_addresses={self._address(bytes(20))},
            access_list_storage_keys=set(),
            transient_storage=self._rules.TransientStorage(),
            blob_versioned_hashes=(),
            authorizations=(),
            index_in_block=self._uint(0),
            tx_hash=None,
        )
        zero = self._u256(0)
        transaction = self._transactions.LegacyTransaction(
            zero, self._uint(0), gas, target, self._u256(value_wei), data, zero, zero, zero
        )  # fmt: skip
        message = self._prepare.prepare_message(environment, inside, transaction)
        return self._interpreter.process_message_call(message), bytes(message.current_target)

    @staticmethod
    def _execution(output: Any, gas_used: int, created: bytes | None) -> Execution:
        logs = tuple(RawLog(bytes(log.address), tuple(map(bytes, log.topics)), bytes(log.data)) for log in output.logs)
        success = output.error is None
        return Execution(success, gas_used, bytes(output.return_data), logs, created if success else None)


class SpecifiedEvm:
    """The arbiter in the executable specification, with the bytecode and the calldata of the embedded one."""

    name = "EVM bytecode, EELS"

    def __init__(self, embedded: EmbeddedEvm) -> None:
        self._embedded = embedded
        self._node = SpecifiedNode([(DEPLOYER, 0)])
        artefact: Artefact = embedded.arbiter.artefact
        created = self._node.transact(DEPLOYER, None, artefact.creation_bytecode, 0, START_TIME).created
        assert created is not None
        self._address = created

    def execute(self, witness: bytes) -> str:
        data = self._embedded.arbiter.calldata("step", witness[:WITNESS_BYTES])
        try:
            result = self._node.call(DEPLOYER, self._address, data, START_TIME)
        except Exception as error:
            return describe(error)
        if not result.success:
            return f"error {error_number(result.output)}"
        return answer_of(witness, result.output[:32], result.output[32:])
