"""The chain: money, time, events, errors, snapshots, and gas by the rules of Prague."""

from typing import Any

import pytest
import vyper

from evm_arbiter.chain import ACCOUNT_WEI, ArbiterError, Artefact, Chain, Contract, Reverted, UnknownName, keccak256
from evm_arbiter.errors import InvalidTransaction

SOURCE = """
#pragma version 0.4.3
#pragma evm-version prague

event Added:
    who: indexed(address)
    label: indexed(String[8])
    amount: uint256

struct Pair:
    a: uint64
    b: bytes32

START: immutable(uint256)
total: public(uint256)
slots: HashMap[uint256, uint256]

@deploy
@payable
def __init__(start: uint256):
    assert start != 13
    START = start

@external
@payable
def add(amount: uint256):
    if amount == 7:
        raw_revert(abi_encode(convert(207, uint256), method_id=method_id("OpmlError(uint256)")))
    assert amount != 8, "eight"
    self.total += amount
    log Added(who=msg.sender, label="more", amount=amount)

@external
def clear(count: uint256):
    for i: uint256 in range(count, bound=100):
        self.slots[i] = 0

@external
def fill(count: uint256):
    for i: uint256 in range(count, bound=100):
        self.slots[i] = 1

@external
@view
def look(pairs: DynArray[Pair, 3]) -> (uint64, address, uint256, uint256):
    return pairs[0].a + pairs[1].a, msg.sender, block.timestamp, START

@external
def swallow(data: Bytes[4096]):
    pass
"""


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    output = vyper.compile_code(SOURCE, output_formats=["abi", "bytecode"])
    return Artefact("counter", output["abi"], bytes.fromhex(output["bytecode"][2:]))


@pytest.fixture
def counter(artefact: Artefact) -> Contract:
    chain = Chain()
    return chain.deploy(artefact, 5, sender=chain.accounts[0], value=3)


def test_accounts_are_funded_and_distinct() -> None:
    chain = Chain()
    assert len(set(chain.accounts)) == 10
    assert all(chain.balance(account) == ACCOUNT_WEI for account in chain.accounts)


def test_money_moves_and_gas_costs_none(counter: Contract) -> None:
    chain, bob = counter.chain, counter.chain.accounts[1]
    assert chain.balance(counter.address) == 3
    assert counter.transact("add", 1, sender=bob, value=10).status
    assert chain.balance(counter.address) == 13
    assert chain.balance(bob) == ACCOUNT_WEI - 10
    assert not counter.transact("add", 7, sender=bob, value=10).status
    assert chain.balance(bob) == ACCOUNT_WEI - 10


def test_events_are_decoded(counter: Contract) -> None:
    bob = counter.chain.accounts[1]
    (event,) = counter.transact("add", 5, sender=bob).or_raise().logs
    assert event == (counter.address, "Added", {"who": bob, "label": keccak256(b"more"), "amount": 5})


def test_a_transaction_reports_its_revert_and_a_call_raises_it(counter: Contract) -> None:
    receipt = counter.transact("add", 7, sender=counter.chain.accounts[0])
    assert (receipt.status, receipt.error, receipt.logs) == (False, 207, ())
    with pytest.raises(Reverted) as caught:
        receipt.or_raise()
    assert caught.value.number == 207
    with pytest.raises(Reverted) as caught:
        counter.call("add", 8)
    assert caught.value.number is None
    assert b"eight" in caught.value.data


def test_a_call_changes_nothing(counter: Contract) -> None:
    counter.call("add", 5)
    assert counter.call("total") == 0


def test_tuples_senders_and_immutables(counter: Contract) -> None:
    chain = counter.chain
    got = counter.call("look", [(1, bytes(32)), (2, bytes(32))], sender=chain.accounts[4])
    assert got == (3, chain.accounts[4], chain.now, 5)


def test_time_moves_only_when_told_and_never_back(counter: Contract) -> None:
    chain = counter.chain
    start = chain.now
    counter.transact("add", 1, sender=chain.accounts[0])
    assert chain.now == start
    chain.set_time(start + 10)
    assert counter.call("look", [(0, bytes(32))] * 2)[2] == start + 10
    with pytest.raises(ArbiterError):
        chain.set_time(start)


def test_snapshots_can_be_restored_again_and_again(counter: Contract) -> None:
    chain, bob = counter.chain, counter.chain.accounts[1]
    counter.transact("add", 1, sender=bob, value=1)
    before, start = chain.snapshot(), chain.now
    for _ in range(3):
        chain.set_time(start + 100)
        counter.transact("add", 10, sender=bob, value=1)
        assert (counter.call("total"), chain.balance(bob)) == (11, ACCOUNT_WEI - 2)
        chain.restore(before)
        assert (counter.call("total"), chain.balance(bob), chain.now) == (1, ACCOUNT_WEI - 1, start)


def test_a_constructor_that_reverts_deploys_nothing(artefact: Artefact) -> None:
    chain = Chain()
    with pytest.raises(Reverted):
        chain.deploy(artefact, 13, sender=chain.accounts[0])


@pytest.mark.parametrize("call", [("nothing",), ("add",), ("add", 1, 2)])
def test_unknown_functions(counter: Contract, call: tuple[Any, ...]) -> None:
    with pytest.raises(UnknownName):
        counter.call(*call)


@pytest.mark.parametrize("data", [b"", bytes(4096), b"\xff" * 4096, b"\1\0" * 999])
def test_calldata_has_a_floor_price(counter: Contract, data: bytes) -> None:
    """EIP-7623: 10 gas a zero byte and 40 another, if execution does not cost more."""
    sent = counter.calldata("swallow", data)
    execution = counter.measured_call("swallow", data)[1]
    standard = 21_000 + 4 * sent.count(0) + 16 * (len(sent) - sent.count(0)) + execution
    floor = 21_000 + 10 * sent.count(0) + 40 * (len(sent) - sent.count(0))
    assert counter.transact("swallow", data, sender=counter.chain.accounts[0]).gas_used == max(standard, floor)


def test_a_transaction_whose_data_costs_more_than_its_limit_is_invalid() -> None:
    """EIP-7623: 40 gas per byte that is not zero, from 21,000 on; the limit is 2^24."""
    chain = Chain()
    one, other = (bytes.fromhex(account[2:]) for account in chain.accounts[:2])
    most = ((1 << 24) - 21_000) // 40
    assert chain.node.transact(one, other, b"\xff" * most, 0, chain.now).gas_used == 21_000 + 40 * most
    with pytest.raises(InvalidTransaction):
        chain.node.transact(one, other, b"\xff" * (most + 1), 0, chain.now)
    assert chain.node.transact(one, other, bytes(most + 1), 0, chain.now).success


def test_every_transaction_begins_with_cold_storage(counter: Contract) -> None:
    """EIP-2929: the second of two equal transactions pays 2,100 gas for its slot again, and 2,900 to write it."""
    bob = counter.chain.accounts[1]
    costs = [counter.transact("add", 1, sender=bob).gas_used for _ in range(3)]
    assert costs[0] - costs[1] == 17_100  # from zero, the slot costs 20,000 instead of 2,900
    assert costs[1] == costs[2]


def test_refunds_are_a_fifth_at_most(counter: Contract) -> None:
    """EIP-3529: clearing a slot gives 4,800 gas back, all together at most a fifth of what was used."""
    bob = counter.chain.accounts[1]
    for count in (1, 50):
        counter.transact("fill", count, sender=bob)
        data = counter.calldata("clear", count)
        used = 21_000 + 4 * data.count(0) + 16 * (len(data) - data.count(0)) + counter.measured_call("clear", count)[1]
        assert counter.transact("clear", count, sender=bob).gas_used == used - min(4_800 * count, used // 5)
