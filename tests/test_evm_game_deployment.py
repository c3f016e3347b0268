"""What is deployed: its size, its parameters, what the constructor refuses."""

import pytest
from attrs import astuple, evolve, fields_dict

from evm_arbiter.chain import ARTEFACTS, Artefact, Chain, Reverted
from evm_arbiter.court import ERRORS, Court, Refused
from evm_arbiter.objects import Account, NodeState
from evm_arbiter.parameters import DAY, ETHER, GWEI, Parameters

CODE_LIMIT = 24_576  # bytes. Source: EIP-170
INITCODE_LIMIT = 49_152  # bytes. Source: EIP-3860
YEAR = 31_536_000  # seconds
R = 13  # nodes of a path at most, for k = 32


def test_it_can_be_deployed_anywhere() -> None:
    """With its immutables and the arguments of its constructor, which the artefact does not count."""
    court = Court()
    assert len(court.chain.node.code(bytes.fromhex(court.game.address[2:]))) <= CODE_LIMIT
    assert len(Artefact.load("game").creation_bytecode) + 32 * (1 + len(fields_dict(Parameters))) <= INITCODE_LIMIT


def test_parameters_can_be_read() -> None:
    court = Court()
    assert court.game.call("parameters") == astuple(court.parameters)


def test_every_external_function_says_what_it_does() -> None:
    """In a notice, for wallets and explorers."""
    source = (ARTEFACTS.parent / "contracts" / "game.vy").read_text()
    external = [entry["name"] for entry in Artefact.load("game").abi if entry["type"] == "function"]
    assert len(external) == 23
    for name in external:
        assert "@notice" in source.split(f"\ndef {name}(")[1].split('"""')[1], name


SMALLEST = Parameters(
    window=DAY + 60 + 3_600,
    server_time=DAY + R * 60,
    challenger_time=DAY + (R - 1) * (660 + 60 + 10 * 600),
    priority=660,
    grace=DAY + 660,
    min_bond=2 * R * (80_000 + 300_000) * 200 * GWEI,
    node_bond=2 * 300_000 * 200 * GWEI,
)  # every bound holds with equality


def test_bounds_that_hold_with_equality() -> None:
    Court(parameters=SMALLEST)
    least = Parameters(
        k=64, share_numerator=2**31 - 1, share_denominator=2**32 - 2, window=1, server_time=11, challenger_time=10 * 4, priority=2, grace=2,
        effort=1, censorship=0, inclusion=1, detect=0, claims_at_once=1, min_bond=2 * 11 * 120_000, node_bond=2 * 100_000, second_price=1,
        gas_post=50_000, gas_open=50_000, gas_choose=20_000, gas_arbitrate=100_000, gas_price_cap=1,
    )  # fmt: skip
    Court(parameters=least)
    most = Parameters(
        k=2, window=YEAR - 1, server_time=YEAR - 1, challenger_time=YEAR - 1, priority=660, grace=YEAR - 1, min_bond=2**128 - 1,
        node_bond=2**128 - 1, second_price=2**64 - 1, gas_post=2**32 - 1, gas_open=2**32 - 1, gas_arbitrate=2**32 - 1,
        gas_price_cap=2**64 - 1, censorship=DAY, inclusion=60, effort=600, claims_at_once=100,
    )  # fmt: skip
    Court(parameters=most)


@pytest.mark.parametrize("change", [
    {"k": 0}, {"k": 1}, {"k": 65}, {"k": 2**64 - 1}, {"k": 27}, {"share_numerator": 0}, {"share_denominator": 0},
    {"share_numerator": 0, "share_denominator": 0}, {"share_denominator": 1}, {"share_numerator": 500_000_001, "share_denominator": 10**9},
    {"share_numerator": 2**31, "share_denominator": 2**32}, {"share_numerator": 499_999_999, "share_denominator": 10**9},
    {"share_numerator": 2**63, "share_denominator": 2**64 - 1}, {"window": SMALLEST.window - 1}, {"window": YEAR}, {"window": 2**64 - 1},
    {"window": 0, "censorship": 0, "inclusion": 0, "detect": 0}, {"server_time": SMALLEST.server_time - 1}, {"server_time": YEAR},
    {"challenger_time": SMALLEST.challenger_time - 1}, {"challenger_time": YEAR}, {"priority": 659}, {"priority": 661},
    {"priority": YEAR}, {"grace": SMALLEST.grace - 1}, {"grace": YEAR}, {"effort": 601}, {"effort": 0}, {"effort": YEAR},
    {"effort": 2**64 - 1}, {"censorship": DAY + 1}, {"censorship": YEAR}, {"censorship": 2**64 - 1}, {"inclusion": 61}, {"inclusion": 0},
    {"inclusion": YEAR}, {"inclusion": 2**64 - 1}, {"detect": 3_601}, {"detect": YEAR}, {"detect": 2**64 - 1}, {"claims_at_once": 11},
    {"claims_at_once": 0}, {"claims_at_once": 2**32}, {"claims_at_once": 2**64 - 1}, {"min_bond": SMALLEST.min_bond - 1}, {"min_bond": 0},
    {"node_bond": SMALLEST.node_bond - 1}, {"node_bond": 0}, {"second_price": 0}, {"gas_post": 49_999}, {"gas_post": 300_001},
    {"gas_post": 2**32}, {"gas_open": 49_999}, {"gas_open": 300_001}, {"gas_open": 2**32}, {"gas_choose": 19_999}, {"gas_choose": 80_001},
    {"gas_arbitrate": 99_999}, {"gas_arbitrate": 300_001}, {"gas_arbitrate": 2**32}, {"gas_price_cap": 0},
    {"gas_price_cap": 200 * GWEI + 1}, {"gas_price_cap": 2**64 - 1},
], ids=str)  # fmt: skip
def test_the_constructor_refuses_what_breaks_a_bound(change: dict[str, int]) -> None:
    with pytest.raises(Refused, match="PARAMETERS"):
        Court(parameters=evolve(SMALLEST, **change))


@pytest.mark.parametrize("change", [
    {"window": YEAR}, {"server_time": YEAR}, {"challenger_time": YEAR}, {"priority": YEAR}, {"grace": YEAR}, {"second_price": 0},
    {"gas_post": 49_999}, {"gas_open": 49_999}, {"gas_choose": 19_999}, {"gas_choose": 80_001}, {"gas_arbitrate": 99_999},
    {"gas_price_cap": 0}, {"claims_at_once": 0}, {"inclusion": 0}, {"effort": 0}, {"share_numerator": 0},
], ids=str)  # fmt: skip
def test_limits_hold_by_themselves(change: dict[str, int]) -> None:
    """Here no other bound is near."""
    roomy = Parameters(
        window=10 * DAY, server_time=10 * DAY, challenger_time=10 * DAY, priority=5_000, grace=10 * DAY, min_bond=100 * ETHER,
        node_bond=100 * ETHER,
    )  # fmt: skip
    Court(parameters=roomy)
    with pytest.raises(Refused, match="PARAMETERS"):
        Court(parameters=evolve(roomy, **change))


def test_bonds_are_numbers_of_128_bits() -> None:
    """The ABI refuses larger ones, without a number."""
    court = Court()
    artefact = Artefact.load("game")
    for name in ("min_bond", "node_bond"):
        place = list(fields_dict(Parameters)).index(name)
        words = [int(value) for value in astuple(SMALLEST)]
        words[place] = 2**128
        code = artefact.creation_bytecode + b"".join(word.to_bytes(32, "big") for word in (int(court.arbiter.address, 16), *words))
        outcome = court.chain.node.transact(bytes.fromhex(court.accounts[0][2:]), None, code, 0, court.now)
        assert (outcome.success, outcome.output) == (False, b"")


def test_an_arbiter_without_code_is_refused() -> None:
    chain = Chain()
    with pytest.raises(Reverted) as refused:
        chain.deploy(Artefact.load("game"), chain.accounts[1], astuple(SMALLEST), sender=chain.accounts[0])
    assert ERRORS[refused.value.number or 0] == "PARAMETERS"


def test_views_of_what_is_not_there_are_zero() -> None:
    court = Court()
    unknown = b"\1" * 32
    for view in (court.model_of, court.request_of, court.claim_of, court.node_of):
        assert not any(value for value in astuple(view(unknown)) if value not in (bytes(32), "0x" + 40 * "0"))
    assert court.node_of(unknown).state is NodeState.NONE
    assert court.account_of(court.accounts[0]) == Account(0, 0, 0, 0)
