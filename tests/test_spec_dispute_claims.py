"""Models, requests and claims: their ids, their errors in order, and the line in which unchecked work waits."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.acts import Act, act, deploy
from opml_spec.dispute.claims import line_price
from opml_spec.dispute.objects import Model, claim_id, model_id, seal
from opml_spec.dispute.parameters import TIME_LIMIT, WEI_LIMIT, YEAR
from opml_spec.hashing import keccak256
from opml_spec.machine.merkle import hash_of
from opml_spec.runs.run import first_state, io_quarter
from spec_dispute import (
    BOND,
    DATA,
    FEE,
    NOBODY,
    PARAMETERS,
    PUPPET,
    REQUESTER,
    SERVER,
    STAGE_MICROSECONDS,
    START_TIME,
    UNKNOWN,
    Table,
)

ROOTS = bytes(31) + b"\1", bytes(31) + b"\2"
W = PARAMETERS.window
WORK = 8  # ceil(3 · 2.5) seconds
LATEST = (1 << 64) - 1


def big(number: int, size: int = 8) -> bytes:
    return number.to_bytes(size, "big")


def test_ids_are_the_hashes_of_the_page() -> None:
    table = Table().asked(server=SERVER).claimed(UNKNOWN).challenged()
    roots = b"".join(hash_of(table.memory.subtree(33, quarter)) for quarter in (1, 3))
    assert table.model_id == keccak256(roots + big(STAGE_MICROSECONDS))
    numbers = big(3) + big(START_TIME + 500) + big(FEE, 32) + big(BOND, 32)
    assert table.request_id == keccak256(REQUESTER + big(0) + table.model_id + numbers + SERVER + keccak256(DATA))
    sealed = keccak256(UNKNOWN + SERVER)
    assert table.claim_id == keccak256(table.request_id + SERVER + sealed)
    assert table.claim.sealed == sealed
    assert table.root == keccak256(table.claim_id)
    first = table.request_id
    assert table.asked(server=SERVER).request_id != first
    assert table.court.requests_made == {REQUESTER: 2}


def test_register() -> None:
    table = Table()
    for wrong in (0, 1 << 32):
        table.refused(234, "register", *ROOTS, wrong)
    for right in (1, (1 << 32) - 1):
        table.act("register", *ROOTS, right)
    assert table.court.models == {model_id(*ROOTS, time): Model(*ROOTS, time) for time in (1, (1 << 32) - 1)}


def test_registering_again_does_not_shorten_the_line() -> None:
    table = Table().asked().claimed(UNKNOWN)
    once = table.court
    table.act("register", *(hash_of(table.memory.subtree(33, quarter)) for quarter in (1, 3)), STAGE_MICROSECONDS, sender=SERVER)
    assert table.court == once
    assert table.court.models[table.model_id].busy_until == START_TIME + WORK


def test_request() -> None:
    table = Table()
    slow = (1 << 32) - 1
    table.act("register", *ROOTS, slow)
    model = model_id(*ROOTS, slow)
    long, past = bytes(16_385), START_TIME - 1
    most = YEAR * 1_000_000 // slow  # stages

    def call(model: bytes = model, stages: int = 1, data: bytes = b"", deadline: int = START_TIME, bond: int = BOND) -> tuple[Any, ...]:
        return "request", model, stages, data, deadline, bond, NOBODY

    table.refused(201, *call(UNKNOWN, 0, long, past, 0))
    for stages in (0, -1, (1 << 24) + 1):
        table.refused(206, *call(model, stages, long, past, 0))
    table.refused(207, *call(model, 1 << 24, long, past, 0))
    for deadline in (past, START_TIME + YEAR + 1):
        table.refused(208, *call(model, 1 << 24, long[:-1], deadline, 0))
    for bond in (0, PARAMETERS.min_bond - 1, WEI_LIMIT):
        table.refused(235, *call(model, 1 << 24, bond=bond))
    table.refused(237, *call(model, 1 << 24))
    table.refused(237, *call(model, most + 1))
    price = 7 * -(-slow // 1_000_000)
    for fee in (0, price - 1, WEI_LIMIT):
        table.refused(236, *call(), value=fee)
    table.act(*call(data=long[:-1], deadline=START_TIME + YEAR, bond=PARAMETERS.min_bond), value=price)
    table.act(*call(stages=most), value=WEI_LIMIT - 1)
    first, _ = table.court.requests.values()
    assert first.first_run_hash == first_state(io_quarter(1, long[:-1]), ROOTS[1]).run_hash
    assert (first.fee_left, first.claims, first.pending, first.checked_at, first.result) == (price, 0, 0, 0, None)


def test_claim() -> None:
    table = Table().asked(server=SERVER)
    request = table.request_id
    table.now = START_TIME + 501
    closes = table.now + WORK + W
    table.refused(202, "claim", UNKNOWN, UNKNOWN, 0)
    for value in (0, BOND, BOND + 7 * WORK - 1, BOND + 7 * WORK + 1):
        table.refused(205, "claim", request, UNKNOWN, 0, value=value)
    table.refused(208, "claim", request, UNKNOWN, 0, value=table.stake)
    table.now -= 1
    table.refused(209, "claim", request, UNKNOWN, 0, value=table.stake)
    table.refused(240, "claim", request, UNKNOWN, closes - 2, sender=SERVER, value=table.stake)
    table.act("claim", request, UNKNOWN, closes - 1, sender=SERVER, value=table.stake)
    table.claim_id = claim_id(request, SERVER, UNKNOWN)
    assert (table.claim.closes_at, table.claim.index, table.claim.settles_at) == (closes - 1, 0, 0)
    table.refused(239, "claim", request, UNKNOWN, 0, sender=SERVER, value=table.stake)


def test_nobody_claims_once_there_is_a_result() -> None:
    table = Table()
    told = table.trace()
    table.asked(deadline=START_TIME + 5_000, server=SERVER).claimed(told.run_hash).finalised(told)
    table.refused(209, "claim", table.request_id, table.claim.sealed, 0, sender=PUPPET, value=table.stake)
    table.refused(238, "claim", table.request_id, table.claim.sealed, 0, sender=SERVER, value=table.stake)


def test_a_request_joins_the_line_once() -> None:
    table = Table().asked(deadline=START_TIME + 5_000)
    assert table.court.models[table.model_id].busy_until == 0
    table.claimed(UNKNOWN)
    request = table.court.requests[table.request_id]
    assert (request.checked_at, request.fee_left) == (START_TIME + WORK, FEE)
    assert table.court.ledger.burned == 7 * WORK
    assert table.court.ledger.locked == FEE + BOND
    table.now += 3
    table.refused(205, "claim", table.request_id, UNKNOWN, LATEST, sender=PUPPET, value=BOND + 7 * WORK)
    table.claimed(UNKNOWN, PUPPET)
    assert table.court.models[table.model_id].busy_until == START_TIME + WORK
    assert table.court.ledger.burned == 7 * WORK
    assert (table.claim.closes_at, table.claim.index) == (START_TIME + WORK + W, 1)
    table.now += 1_000
    table.claimed(UNKNOWN, REQUESTER)
    assert table.claim.closes_at == table.now + W


def test_a_refused_claim_does_not_join_the_line() -> None:
    table = Table().asked()
    table.refused(240, "claim", table.request_id, UNKNOWN, START_TIME, sender=SERVER, value=table.stake)
    assert table.court.models[table.model_id].busy_until == 0


def test_a_claim_closes_before_the_end_of_time() -> None:
    """Times fit their fields in the contract, whatever a claim asks for."""
    table = Table(now=TIME_LIMIT - W - WORK - 1)
    table.asked(deadline=table.now + 1)
    table.claimed(UNKNOWN)
    assert table.claim.closes_at == TIME_LIMIT - 1
    table.now += WORK + 1
    table.asked(deadline=table.now + 1)
    table.refused(240, "claim", table.request_id, UNKNOWN, LATEST, sender=SERVER, value=table.stake)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 40)), min_size=1, max_size=12))
def test_one_machine_recomputes_every_request_before_its_claims_close(asked: list[tuple[int, int]]) -> None:
    """Whoever computes in the order of the line is done W before each claim closes, however many true claims stand before a false one."""
    court, now, free = deploy(PARAMETERS), START_TIME, 0
    court = act(court, Act("register", (*ROOTS, 9_700_000)), SERVER, now)
    model = model_id(*ROOTS, 9_700_000)
    for gap, stages in asked:
        now += gap
        court = act(court, Act("request", (model, stages, b"", now, BOND, NOBODY), 10_000), REQUESTER, now)
        request = [*court.requests][-1]
        stake = BOND + line_price(court, court.requests[request])
        court = act(court, Act("claim", (request, seal(UNKNOWN, SERVER), LATEST), stake), SERVER, now)
        free = max(free, now) + -(-stages * 97 // 10)
        assert court.claims[claim_id(request, SERVER, seal(UNKNOWN, SERVER))].closes_at == free + W


@pytest.mark.parametrize(("microseconds", "work"), [(1, 1), (333_333, 1), (333_334, 2), (1_000_000, 3), (1_000_001, 4)])
def test_work_is_rounded_up(microseconds: int, work: int) -> None:
    assert Model(*ROOTS, microseconds).work(3) == work
    assert evolve(Model(*ROOTS, microseconds), busy_until=9).work(3) == work
