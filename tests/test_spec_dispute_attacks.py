"""Attacks that worked against one game for each challenger, or would without one rule of this edition: each is a regression here."""

from attrs import evolve
from opml_spec.dispute.honest import answer, finalising, next_answer, next_move
from opml_spec.dispute.narrowing import Phase
from opml_spec.dispute.objects import ClaimStatus, NodeState, child_id, claim_id, seal
from spec_dispute import (
    BOND,
    CHALLENGER,
    FEE,
    PARAMETERS,
    PUPPET,
    REQUESTER,
    ROOT_BOND,
    SERVER,
    START_TIME,
    STRANGER,
    UNKNOWN,
    Table,
    wrong_register,
)

LINE = 8 * 7
NODE_BOND = PARAMETERS.node_bond


def before_the_verdict(basefee: int = 0) -> Table:
    """A false claim whose last instruction is open: the next transaction decides."""
    table = Table(basefee=basefee)
    truth, told = table.trace(), table.trace(wrong_register, (1, 6))
    table.asked().claimed(told.run_hash)
    while True:
        move = next_move(table.court, table.claim_id, truth, CHALLENGER, table.now)
        if move is not None and move.name == "arbitrate":
            table.now += PARAMETERS.priority
            return table
        table.play(*((move, CHALLENGER) if move else (next_answer(table.court, table.claim_id, told), SERVER)))


def test_bonds_flashed_in_the_deciding_block_take_nothing_from_the_honest_path() -> None:
    """Somebody who borrows for one transaction opens every free node before the verdict, and collects in the same transaction."""
    table = before_the_verdict(basefee=2)
    quiet = evolve(table)
    truth = table.trace()
    flashed = 0
    for node_id, node in list(table.court.nodes.items()):
        for part in range(len(node.posted) // 32 + 1 if node.posted else 0):
            if child_id(node_id, part) not in table.court.nodes:
                table.chosen(part, node_id, PUPPET)
                flashed += 1
    assert flashed == 8
    for each in (table, quiet):
        each.play(next_move(each.court, each.claim_id, truth, CHALLENGER, each.now), CHALLENGER)
        assert each.claim.status is ClaimStatus.REJECTED
        each.collected()
    assert table.credit(CHALLENGER) == quiet.credit(CHALLENGER) > ROOT_BOND + BOND // 3
    assert table.credit(PUPPET) == flashed * (NODE_BOND + 2 * PARAMETERS.gas_choose)  # no more than the gas that it burned


def test_a_copied_seal_earns_nothing() -> None:
    """It fits no other server: the copy cannot be answered for, nor finalised, and loses its bond."""
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash)
    original, sealed = table.claim_id, table.claim.sealed
    table.act("claim", table.request_id, sealed, 1 << 60, sender=PUPPET, value=table.stake)
    copy = claim_id(table.request_id, PUPPET, sealed)
    table.now = table.claim.closes_at
    final = finalising(copy, told)
    table.refused(227, final.name, *final.arguments, sender=PUPPET)
    table.play(finalising(original, told), STRANGER)
    assert table.credit(SERVER) == BOND + FEE
    table.now += PARAMETERS.grace + 1
    table.act("expire", copy)
    table.act("withdraw_to", SERVER, sender=SERVER)
    assert table.court.ledger.credited == {REQUESTER: BOND // 3}
    challenged = Table().asked()
    challenged.act("claim", challenged.request_id, sealed, 1 << 60, sender=PUPPET, value=challenged.stake)
    challenged.claim_id = claim_id(challenged.request_id, PUPPET, sealed)
    challenged.challenged()
    move = answer(challenged.court, challenged.root, told)
    challenged.refused(244, move.name, *move.arguments, sender=PUPPET)


def test_a_run_hash_copied_from_a_dispute_does_not_take_the_fee() -> None:
    """The first answer publishes it; a copy of it is a later claim."""
    table = Table()
    told = table.trace()
    table.asked().claimed(told.run_hash)
    original = table.claim_id
    table.challenged().answered(told)
    table.claimed(table.node().segment.disputed, PUPPET)
    copy, table.claim_id = table.claim_id, original
    table.now = table.court.claims[copy].closes_at
    table.play(finalising(copy, told), PUPPET)
    assert table.credit(PUPPET) == BOND
    table.finalised(told)
    assert table.credit(SERVER) == BOND + FEE + ROOT_BOND // 3


def test_breadth_does_not_exhaust_an_honest_server() -> None:
    """Everything that can be opened is opened at once, in five claims of one server, and it answers one node every E seconds."""
    table, claims = Table(), []
    told = table.trace()
    for _ in range(5):
        table.asked().claimed(told.run_hash).challenged(PUPPET)
        claims.append(table.claim_id)
    answered = 0
    while any(table.court.claims[each].open_nodes for each in claims):
        for node_id, node in list(table.court.nodes.items()):
            if node.state is NodeState.POSTED and node.segment.phase == Phase.STAGES:
                for part in range(len(node.posted) // 32 + 1):
                    if child_id(node_id, part) not in table.court.nodes:
                        table.chosen(part, node_id, PUPPET)
        table.now += PARAMETERS.effort
        due = [(table.node(n).clock.due, n) for n in table.court.nodes if table.node(n).state is NodeState.OPEN]
        first, node_id = min(due)
        assert table.now <= first
        table.play(answer(table.court, node_id, told), SERVER)
        answered += 1
    assert answered == len(table.court.nodes) == 5 * 4
    for table.claim_id in claims:
        table.finalised(told)
    assert table.credit(SERVER) > 5 * (BOND + FEE)


def test_sixty_false_claims_at_once() -> None:
    """A validator that needs E for every choice fights m claims under the least T_challenger that the bounds allow."""
    m = 60
    needed = 100 + (PARAMETERS.most_nodes - 1) * (30 + 10 + m * 20)
    parameters = evolve(PARAMETERS, claims_at_once=m, challenger_time=needed)
    parameters.check()
    table = Table(parameters=parameters)
    truth, told = table.trace(), table.trace(wrong_register, (1, 6))
    servers = [bytes([9, number]) * 10 for number in range(m)]
    claims = [table.asked(deadline=START_TIME + 1_000).claimed(told.run_hash, server).claim_id for server in servers]
    while any(table.court.claims[each].status is ClaimStatus.PENDING for each in claims):
        moved = False
        for each in claims:
            for answering in iter(lambda each=each: next_answer(table.court, each, told), None):  # type: ignore[misc]
                if answering.name == "arbitrate" or next_move(table.court, each, truth, CHALLENGER, table.now) is not None:
                    break
                table.play(answering, table.court.claims[each].server)
        for each in claims:
            move = next_move(table.court, each, truth, CHALLENGER, table.now)
            if move is not None:
                table.now += parameters.effort
                table.play(move, CHALLENGER)
                moved = True
        assert moved
    assert {table.court.claims[each].status for each in claims} == {ClaimStatus.REJECTED}


def test_an_unopenable_claim_expires_and_holds_nothing_back() -> None:
    """Nobody can challenge what nobody can know to be false before it is shown; nor can anybody finalise it."""
    table = Table().asked(deadline=START_TIME + 10).claimed(UNKNOWN)
    table.now = table.claim.closes_at + PARAMETERS.grace
    table.refused(230, "reclaim", table.request_id)
    table.now += 1
    table.act("expire", table.claim_id)
    table.act("reclaim", table.request_id)
    assert table.court.ledger.locked == 0
    assert table.credit(REQUESTER) == FEE + BOND // 3


def test_conceding_to_a_puppet_pays_the_honest_path_too() -> None:
    """The liar lets its claim fall at a puppet's node: the nodes above it are the validator's, and get their shares."""
    table = Table()
    told = table.trace(wrong_register, (1, 6))
    table.asked().claimed(told.run_hash).challenged().answered(told)
    table.now += PARAMETERS.priority
    table.chosen(1).chosen(0, sender=PUPPET)
    table.answered(told, child_id(table.root, 1))
    table.now = table.node(child_id(table.root, 0)).clock.due + PARAMETERS.server_time + 1
    table.act("timeout", child_id(table.root, 0))
    table.collected()
    share = BOND // 3 // 2
    assert table.credit(CHALLENGER) == ROOT_BOND + NODE_BOND + share
    assert table.credit(PUPPET) == NODE_BOND + share
    assert table.court.ledger.burned >= BOND // 2  # so the liar lost more than its puppet got


def test_puppets_that_open_the_tree_first_do_not_shut_the_validator_out() -> None:
    """The puppet has the root and waits; after P anybody goes on, and the claim falls."""
    table = Table()
    truth, told = table.trace(), table.trace(wrong_register, (1, 6))
    table.asked().claimed(told.run_hash).challenged(PUPPET).answered(told)
    assert next_move(table.court, table.claim_id, truth, CHALLENGER, table.now) is None
    table.now += PARAMETERS.priority
    table.fight(told, truth)
    assert table.node(table.claim.fell_at).opener == CHALLENGER


def test_a_challenge_in_the_last_second_holds_the_claim_up() -> None:
    table = Table()
    truth, told = table.trace(), table.trace(wrong_register, (1, 6))
    table.asked().claimed(told.run_hash)
    table.now = table.claim.closes_at - 1
    table.challenged()
    table.now += 1
    table.refused(213, finalising(table.claim_id, told).name, *finalising(table.claim_id, told).arguments)
    table.fight(told, truth)
    assert table.claim.status is ClaimStatus.REJECTED


def test_a_seal_binds_run_and_server() -> None:
    assert len({seal(run, server) for run in (UNKNOWN, b"\1" * 32) for server in (SERVER, PUPPET)}) == 4
