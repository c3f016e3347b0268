"""Random plays: whatever anybody does, in any order, the books balance, refusals change nothing, and at the end all money can leave."""

import random
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from opml_spec.dispute.acts import Act
from opml_spec.dispute.claims import line_price
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.objects import ClaimStatus, NodeState, seal
from opml_spec.errors import SpecError
from opml_spec.machine.merkle import hash_of
from opml_spec.runs.run import RunState, RunStatus, first_state, io_quarter
from spec_dispute import BOND, CHALLENGER, DATA, NOBODY, PARAMETERS, PUPPET, REQUESTER, SERVER, STAGE_MICROSECONDS, UNKNOWN, Table

PEOPLE = (REQUESTER, SERVER, CHALLENGER, PUPPET)
FAILED = RunState(bytes(32), RunStatus.FAILED)  # needs no output to be finalised
HASHES = (FAILED.run_hash, UNKNOWN)
SOME_SEGMENT = Segment(1, 0, 1, UNKNOWN, UNKNOWN)


def some_act(table: Table, source: random.Random) -> tuple[Act, bytes]:
    """Mostly something that could be legal."""

    def one(things: dict[bytes, Any]) -> bytes:
        return source.choice([*things, UNKNOWN]) if things else UNKNOWN

    court, sender = table.court, source.choice(PEOPLE)
    request, claim, node_id = (one(dict(things)) for things in (court.requests, court.claims, court.nodes))
    node, known = court.nodes.get(node_id), court.claims.get(claim)
    segment, posted, server = (node.segment, node.posted, court.claims[node.claim_id].server) if node else (SOME_SEGMENT, b"", sender)
    asked = court.requests.get(known.request_id if known else request)
    bond = asked.bond if asked else BOND
    root_bond = PARAMETERS.root_bond(bond)
    stake = court.requests[request].bond + line_price(court, court.requests[request]) if request in court.requests else BOND
    run_hash = source.choice(HASHES)
    inner = b"".join(source.choice(HASHES) for _ in range(max(0, min(4, segment.length) - 1)))
    seconds = source.choice([0, 3_000])
    choices: list[tuple[Act, bytes]] = [
        (Act("request", (table.model_id, source.choice([1, 2, 5, 20]), DATA, table.now + seconds, BOND, NOBODY), 500), sender),
        (Act("claim", (request, seal(run_hash, sender), table.now + 9_000), stake), sender),
        (Act("challenge", (claim,), root_bond), sender),
        (Act("post", (node_id, segment, inner, run_hash)), server),
        (Act("post", (node_id, segment, inner, run_hash)), server),
        (Act("open", (node_id, segment, bytes(32), 1, 0, b"", UNKNOWN, UNKNOWN, b"", run_hash)), server),
        (Act("choose", (node_id, segment, posted, source.randrange(4)), PARAMETERS.node_bond), sender),
        (Act("choose", (node_id, segment, posted, source.randrange(4)), PARAMETERS.node_bond), node.opener if node else sender),
        (Act("timeout", (node_id,)), sender),
        (Act("finalise", (claim, bytes(32), 1, b"", b"")), sender),
        (Act("expire", (claim,)), sender),
        (Act("collect", (node_id,)), sender),
        (Act("award", (claim,)), sender),
        (Act("reclaim", (request,)), sender),
        (Act("withdraw_to", (sender,)), sender),
    ]
    return source.choice(choices)


@settings(max_examples=60)
@given(st.integers(0, 1 << 64))
def test_any_sequence_of_acts(seed: int) -> None:
    """Balanced after each act (`Table.play`); a refused one changes nothing."""
    source, table = random.Random(seed), Table()
    roots = (hash_of(table.memory.subtree(33, quarter)) for quarter in (1, 3))
    table.act("register", *roots, STAGE_MICROSECONDS)
    for _ in range(80):
        table.now += source.choice([0, 0, 0, 1, 30, 300, 1_000])
        table.basefee = source.choice([0, 1, 2, 50])
        what, sender = some_act(table, source)
        before = table.court
        try:
            table.play(what, sender)
        except SpecError:
            assert table.court == before
    end(table)


def end(table: Table) -> None:
    """Time alone ends everything: then everybody takes what is theirs, and nothing stays locked."""
    table.now += 100_000
    for node_id, node in table.court.nodes.items():
        if node.state is NodeState.OPEN and table.court.claims[node.claim_id].status is ClaimStatus.PENDING:
            table.act("timeout", node_id)
    for claim_id, claim in table.court.claims.items():
        if claim.status is ClaimStatus.PENDING:
            table.act("expire", claim_id)
    for node_id, node in table.court.nodes.items():
        if table.court.claims[node.claim_id].status is ClaimStatus.REJECTED and not node.collected:
            table.act("collect", node_id)
    for claim_id, _ in sorted(table.court.claims.items(), key=lambda each: each[1].index):
        try:
            table.act("award", claim_id)
        except SpecError:
            continue
    for request_id, request in table.court.requests.items():
        if not request.fee_paid:
            table.act("reclaim", request_id)
    for who in list(table.court.ledger.credited):
        table.act("withdraw_to", who, sender=who)
    ledger = table.court.ledger
    assert (ledger.locked, ledger.credited) == (0, {})
    assert ledger.deposits == ledger.burned + ledger.paid_out


def test_the_plays_reach_every_act() -> None:
    """A test of random plays that are all refused would prove nothing."""
    accepted = set()
    for seed in range(60):
        source, table = random.Random(seed), Table()
        roots = (hash_of(table.memory.subtree(33, quarter)) for quarter in (1, 3))
        table.act("register", *roots, STAGE_MICROSECONDS)
        for _ in range(80):
            table.now += source.choice([0, 0, 0, 1, 30, 300, 1_000])
            what, sender = some_act(table, source)
            try:
                table.play(what, sender)
                accepted.add(what.name)
            except SpecError:
                pass
    assert accepted >= {
        *("request", "claim", "challenge", "post", "choose", "timeout"),
        *("finalise", "expire", "collect", "reclaim", "withdraw_to"),
    }


def test_first_states_are_not_failed() -> None:
    """What the random plays rely on: their made-up run hashes are never where a run begins."""
    table = Table()
    first = first_state(io_quarter(3, DATA), table.memory.subtree(33, 3))
    assert first.run_hash not in HASHES
    assert evolve(first, status=RunStatus.FAILED).run_hash not in HASHES
