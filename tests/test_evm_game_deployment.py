"""What is deployed: its size, its parameters, and what its moves cost."""

import random

import pytest
from attrs import astuple, evolve, fields_dict
from evm_dispute import Dispute
from evm_machine import ENTRY, Machine, Memory, i_type, machine, s_type, witness

from evm_arbiter.chain import Artefact, Chain, Reverted
from evm_arbiter.court import ERRORS, Court, Refused
from evm_arbiter.objects import Decided
from evm_arbiter.parameters import DAY, Parameters

CODE_LIMIT = 24_576  # bytes. Source: EIP-170
INITCODE_LIMIT = 49_152  # bytes. Source: EIP-3860
FIXED = Parameters()
ROUNDS = 5 + 7 + 2  # R for k = 32


def test_it_can_be_deployed_anywhere() -> None:
    """With its immutables and the arguments of its constructor, which the artefact does not count."""
    court = Court()
    assert len(court.chain.node.code(bytes.fromhex(court.game.address[2:]))) <= CODE_LIMIT
    assert len(Artefact.load("game").creation_bytecode) + 32 * (1 + len(fields_dict(Parameters))) <= INITCODE_LIMIT


def test_parameters_can_be_read() -> None:
    court = Court()
    assert court.game.call("parameters") == astuple(court.parameters)


def smallest() -> Parameters:
    """Every bound holds with equality."""
    per_game = 2 + 225  # ceil(1,500,000 gas / 1,000,000 gas a second) + ceil(3,600 s / 16)
    waiting = DAY + ROUNDS * (60 + 600)
    gas_wei = FIXED.side_gas * FIXED.gas_price_cap_wei
    return evolve(
        FIXED,
        server_seconds=waiting + 64 * per_game,
        challenger_seconds=waiting + per_game,
        window_seconds=DAY + 60 + 3_600 + DAY,
        challenger_bond_wei=2 * gas_wei,
        server_bond_wei=64 * 2 * gas_wei,
    )


def test_bounds_that_hold_with_equality() -> None:
    Court(parameters=smallest())
    Court(parameters=evolve(smallest(), server_bond_wei=smallest().challenger_bond_wei))


@pytest.mark.parametrize("change", [
    {"k": 1}, {"k": 0}, {"k": 65}, {"share_numerator": 2, "share_denominator": 3}, {"share_numerator": 1, "share_denominator": 3},
    {"share_denominator": 0}, {"server_seconds": smallest().server_seconds - 1}, {"challenger_seconds": smallest().challenger_seconds - 1},
    {"window_seconds": smallest().window_seconds - 1}, {"server_bond_wei": smallest().server_bond_wei + 1},
    {"challenger_bond_wei": smallest().challenger_bond_wei - 1}, {"censorship_seconds": DAY + 1}, {"inclusion_seconds": 61},
    {"effort_seconds": 601}, {"games_at_once": 65}, {"games_at_once": 63}, {"side_gas": FIXED.side_gas + 1}, {"gas_per_second": 499_999},
    {"gas_per_second": 0}, {"game_effort_seconds": 3_601}, {"machines": 15}, {"machines": 0}, {"detect_seconds": 3_601},
    {"recompute_seconds": DAY + 1}, {"gas_price_cap_wei": FIXED.gas_price_cap_wei + 1}, {"k": 27},
    {"server_bond_wei": 2 * FIXED.side_gas * FIXED.gas_price_cap_wei - 1},
], ids=str)  # fmt: skip
def test_the_constructor_refuses_what_breaks_a_bound(change: dict[str, int]) -> None:
    with pytest.raises(Refused, match="PARAMETERS"):
        Court(parameters=evolve(smallest(), **change))


def test_an_arbiter_without_code_is_refused() -> None:
    chain = Chain()
    with pytest.raises(Reverted) as refused:
        chain.deploy(Artefact.load("game"), chain.accounts[1], astuple(FIXED), sender=chain.accounts[0])
    assert ERRORS[refused.value.number or 0] == "PARAMETERS"


# Gas. Witnesses as on a model of some megabytes: every path has siblings at all heights below 2^18 leaves, and the other quarters.

PATH = [*range(18), 33, 34]  # heights with a sibling that is not zero
LIMITS = {"register": 90_000, "load": 125_000, "store": 130_000}  # gas of a whole transaction


def crowded(memory: Memory, address: int, chance: random.Random) -> Memory:
    for height in PATH:
        memory = memory.write((address // 32 ^ 1 << height) * 32, chance.randbytes(32))
    return memory


def step_of(kind: str) -> tuple[Machine, bytes, bytes]:
    """A machine with busy registers, what the step leads to, and the witness."""
    chance, data, pc = random.Random(kind), 0xC0_0001_0008, ENTRY + 0x800
    memory = crowded(crowded(Memory(), data, chance).write(data, chance.randbytes(8)), pc, chance)
    x = {i: chance.getrandbits(chance.choice((0, 16, 32, 40))) for i in range(1, 32)} | {1: data, 2: chance.getrandbits(64)}
    word = {"register": i_type(0x13, 0, 5), "load": i_type(0x03, 3, 0), "store": s_type(0x23, 3, 0)}[kind]
    before = machine(word, x, pc=pc, memory=memory)
    if kind == "register":
        return before, before.then(3, data + 5).hash(), witness(before)
    if kind == "load":
        return before, before.then(3, int.from_bytes(memory.read(data, 8), "little")).hash(), witness(before, [data])
    after = before.memory.write(data, x[2].to_bytes(8, "little"))
    return before, before.then(memory=after).hash(), witness(before, [data], after)


@pytest.mark.parametrize("lie", [False, True])
@pytest.mark.parametrize("kind", LIMITS)
def test_gas_of_arbitration(kind: str, lie: bool) -> None:
    """The whole transaction, which decides and settles, under Prague's rules."""
    before, after_hash, evidence = step_of(kind)
    dispute = Dispute(Court(), steps=1000, before=before, after_hash=b"\7" * 32 if lie else after_hash)
    dispute.started().narrow().open().narrow().arbitrate(evidence)
    assert dispute.court.events()[-1] == Decided(dispute.game_id, dispute.claim_id, not lie)
    assert dispute.court.transactions[-1].gas_used <= LIMITS[kind]


def test_a_side_of_the_longest_game_uses_no_more_gas_than_assumed() -> None:
    """From the claim and the challenge to the verdict, every move included; the arbitration is the server's."""
    before, after_hash, evidence = step_of("store")
    dispute = Dispute(Court(), stage_count=2**24, stage=2**24 - 1, steps=2**32, step=2**31 + 7, before=before, after_hash=after_hash)
    dispute.started().narrow().open().narrow().arbitrate(evidence)
    court = dispute.court
    gas = {"server": 0, "challenger": 0}
    for transaction in court.transactions:
        gas["challenger" if transaction.sender == dispute.challenger else "server"] += transaction.gas_used
    assert max(gas.values()) <= FIXED.side_gas


def test_views_of_what_is_not_there() -> None:
    court = Court()
    for view, name in ((court.request_of, "UNKNOWN_REQUEST"), (court.claim_of, "UNKNOWN_CLAIM"), (court.game_of, "UNKNOWN_GAME")):
        with pytest.raises(Refused, match=name):
            view(b"\1" * 32)
