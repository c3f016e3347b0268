"""Players and the rules of money and time: who pays for the line, who has lost, which fight comes first, how long a fee is waited for."""

from typing import Any

import pytest
from min_simulated_chain import ACCOUNTS, BLOCK_SECONDS, ETHER, MODEL_ROOT, STATE_ROOT, HashRun
from min_simulated_table import (
    ATTACKER,
    BOND,
    DAY,
    LIAR,
    MICROSECONDS,
    REQUESTER,
    SERVER,
    VALIDATOR,
    Table,
    lying,
    next_after_computing,
    player,
    segment_in,
    status,
)

from opml_min.machine.hashing import keccak256
from opml_min.players.chain import FINAL, PENDING, REJECTED, Move, Wait, child_id, hold, model_id, most_nodes, root_bond, root_id, seal
from opml_min.players.policy import Policy
from opml_min.players.requester import Requester
from opml_min.players.server import LostBefore, Server
from opml_min.players.validator import Validator

STAGES = 100_000  # a second of work


def true_hash(data: bytes, stages: int = 100) -> bytes:
    return HashRun(None, data, stages).run_hash()


def price(table: Table, stages: int) -> int:
    return -(-stages * MICROSECONDS // 10**6) * table.chain.parameters.second_price


# The line ------------------------------------------------------------------------------------------------------------------------


def test_only_the_first_claim_pays_for_the_line() -> None:
    table = Table(validator=False)
    first, second = table.request(b"first", STAGES), table.request(b"second", STAGES)
    table.claim(second, keccak256(b"false"))
    (server,) = table.players
    moves = {move.arguments[0]: move for move in every_move(server)}
    assert moves[first].value == BOND + price(table, STAGES) > BOND
    assert moves[second].value == BOND
    table.head()
    assert {claim.request_id for claim in table.chain.court.claims.values() if claim.server == address(SERVER)} == {first, second}


def every_move(honest: Any) -> list[Move]:
    """What a player wants at this head, with all runs computed."""
    next_after_computing(honest)
    return [decision for _ in range(3) for decision in honest.decisions() if isinstance(decision, Move)]


def address(account: str) -> bytes:
    return bytes.fromhex(account[2:])


def test_a_claim_that_comes_second_is_refused_and_made_again() -> None:
    """Somebody's claim arrives first, so that the price of the line is too much; at the next head only the bond is sent."""
    table = Table(validator=False)
    (server,) = table.players
    request_id = table.request(b"contested", STAGES)
    move = next_after_computing(server)
    table.claim(request_id, keccak256(b"junk"))
    assert table.chain.send(SERVER, move) == "WRONG_VALUE"
    again = next_after_computing(server)
    assert again == Move("claim", move.arguments[:2] + again.arguments[2:], BOND)
    assert table.chain.send(SERVER, again) is None


def test_what_storage_says_counts_even_if_no_event_told_of_the_first_claim() -> None:
    table = Table(validator=False)
    (server,) = table.players
    request_id = table.request(b"contested", STAGES)
    table.chain.is_withheld = lambda event: type(event).__name__ == "Claimed"
    table.claim(request_id, keccak256(b"junk"))
    move = next_after_computing(server)
    assert move.value == BOND
    assert table.chain.send(SERVER, move) is None


def test_the_price_counts_against_the_fee_and_the_balance_of_the_first_claimant_only() -> None:
    policy = Policy(least_fee_wei=ETHER)
    table = Table(validator=False, policy=policy)
    (server,) = table.players
    fee = ETHER + price(table, STAGES) - 1
    request_id = table.request(b"dear line", STAGES, fee=fee)
    assert not every_move(server)
    table.claim(request_id, keccak256(b"junk"))
    assert {move.arguments[0] for move in every_move(server)} == {request_id}
    table.head()
    other = table.request(b"affordable", STAGES, fee=fee + 1)
    table.chain.balances[SERVER] = BOND + price(table, STAGES) - 1
    assert not every_move(server)
    table.chain.balances[SERVER] += 1
    assert {move.arguments[0] for move in every_move(server)} == {other}


# A lost claim --------------------------------------------------------------------------------------------------------------------


def lose(table: Table, data: bytes, model: bytes | None = None) -> None:
    """Lets a claim of the liar fall by a timeout, as it might have done long ago."""
    claim = table.claim(table.request(data, **({} if model is None else {"model": model})), keccak256(data))
    table.send(ATTACKER, "challenge", claim, value=root_bond(table.chain.parameters, BOND))
    clock = table.chain.court.nodes[root_id(claim)].clock
    now, table.chain.now = table.chain.now, clock.due + clock.server_left + 1
    table.send(ATTACKER, "timeout", root_id(claim))
    assert table.chain.now > now


def pump(table: Table) -> None:
    """A puppet opens 33 nodes of another claim of the liar."""
    parameters = table.chain.parameters
    pumped = table.claim(table.request(b"pumped", 1 << 20), keccak256(b"pumped"))
    table.send(ATTACKER, "challenge", pumped, value=root_bond(parameters, BOND))
    run_hash, hashes = keccak256(b"pumped"), b"".join([keccak256(b"noise")] * 31)
    table.send(LIAR, "post", root_id(pumped), segment_in(table.chain.court.nodes[root_id(pumped)]), hashes, run_hash)
    for part in range(32):
        posted = segment_in(table.chain.court.nodes[root_id(pumped)])
        table.send(ATTACKER, "choose", root_id(pumped), posted, hashes, part, value=parameters.node_bond)


@pytest.mark.parametrize("falls", [True, False])
def test_a_server_that_lost_on_any_model_is_excused_no_longer(falls: bool) -> None:
    """The liar pumps its due time, and then a claim on another model falls or expires. Its node is due E after that."""
    table = Table(server=False)
    (validator,) = table.players
    parameters = table.chain.parameters
    other = model_id(keccak256(b"other"), STATE_ROOT, MICROSECONDS)
    table.send(REQUESTER, "register", keccak256(b"other"), STATE_ROOT, MICROSECONDS)
    silent = table.claim(table.request(b"silent", model=other), keccak256(b"silent"))
    expires_at = table.chain.court.claims[silent].closes_at + parameters.grace + 1
    table.chain.now = expires_at - 5 * parameters.effort
    claim, _ = lying(table)
    assert isinstance(next_after_computing(validator), Move)
    pump(table)
    opened_at = table.chain.now
    assert table.chain.send(VALIDATOR, next_after_computing(validator)) is None
    node = table.chain.court.nodes[root_id(claim)]
    assert node.clock.due == opened_at + 34 * parameters.effort
    assert wait_at(validator, claim) == Wait(node.clock.due + parameters.server_time + 1)
    if falls:
        lose_at(table, other, expires_at)
    else:
        table.chain.now = expires_at
        table.send(ATTACKER, "expire", silent)
    late_from = expires_at + parameters.effort + parameters.server_time + 1
    assert wait_at(validator, claim) == Wait(late_from)
    table.chain.now = late_from - 1
    assert table.chain.send(VALIDATOR, Move("timeout", (root_id(claim),))) == "NOT_OUT_OF_TIME"
    assert wait_at(validator, claim) == Wait(late_from)
    table.chain.now = late_from
    assert wait_at(validator, claim) == Move("timeout", (root_id(claim),))
    assert table.chain.send(VALIDATOR, Move("timeout", (root_id(claim),))) is None


def lose_at(table: Table, model: bytes, when: int) -> None:
    """The liar concedes a claim on another model: it opens a failed stage with an end that does not fit."""
    carry = keccak256(b"carry")
    request_id = table.request(b"foreign", 2, model=model)
    run_hash, middle = keccak256(b"end"), keccak256(carry + b"\1")
    claim = table.claim(request_id, run_hash)
    table.send(ATTACKER, "challenge", claim, value=root_bond(table.chain.parameters, BOND))
    table.send(LIAR, "post", root_id(claim), segment_in(table.chain.court.nodes[root_id(claim)]), middle, run_hash)
    posted = segment_in(table.chain.court.nodes[root_id(claim)])
    table.send(ATTACKER, "choose", root_id(claim), posted, middle, 1, value=table.chain.parameters.node_bond)
    table.chain.now = when
    last = child_id(root_id(claim), 1)
    nothing = (carry, 1, 0, b"", bytes(32), bytes(32), b"", bytes(32))
    table.send(LIAR, "open", last, segment_in(table.chain.court.nodes[last]), *nothing)
    assert status(table, claim) == REJECTED


def wait_at(validator: Any, claim: bytes) -> Any:
    """What a validator does about one claim."""
    list(validator.decisions())
    return validator.next_step(validator.index.claims[claim])


def test_a_server_that_lost_says_so_and_claims_no_more() -> None:
    """It goes on answering for the claim that stands, within the time that it still has."""
    table = Table(server=False, validator=False)
    liar = player(Server, "liar", LIAR, table.chain)
    standing = table.claim(table.request(b"standing", days=60), true_hash(b"standing"))
    lose(table, b"junk")
    table.request(b"another")
    table.send(ATTACKER, "challenge", standing, value=root_bond(table.chain.parameters, BOND))
    assert {move.name for move in every_move(liar)} == {"post"}
    assert isinstance(liar.agenda.troubles[LIAR.encode()], LostBefore)
    bold = player(Server, "bold", LIAR, table.chain, policy=Policy(claims_after_loss=True))
    assert {move.name for move in every_move(bold)} == {"post", "claim"}


# The order of fights -------------------------------------------------------------------------------------------------------------


def test_the_largest_bond_is_fought_first() -> None:
    """Distractors, as many as a validator can fight at once, close earlier, and each of its moves takes the whole effort E."""
    table = Table(server=False)
    (validator,) = table.players
    distractors = [lying(table, b"small %d" % number) for number in range(table.chain.parameters.claims_at_once)]
    large, liar = lying(table, b"large", bond=50 * BOND)
    while len(validator.runs._run_hashes) <= len(distractors):
        list(validator.decisions())
    sent = []
    while isinstance(decision := validator.next_move(), Move):
        about = table.chain.court.nodes[decision.arguments[0]].claim_id if decision.name == "choose" else decision.arguments[0]
        assert about == large or not isinstance(validator.next_step(validator.index.claims[large]), Move)
        assert table.chain.send(VALIDATOR, decision) is None
        sent.append(decision)
        table.chain.now += table.chain.parameters.effort
        for each in (liar, *(liar for _, liar in distractors)):
            answer = each.next_move()
            if isinstance(answer, Move) and answer.name == "post":
                assert table.chain.send(LIAR, answer) is None
    assert sent[0] == Move("challenge", (large,), 50 * BOND // 8)
    assert {move.arguments[0] for move in sent if move.name == "challenge"} == {large, *(claim for claim, _ in distractors)}
    closes = [table.chain.court.claims[move.arguments[0]].closes_at for move in sent[1:] if move.name == "challenge"]
    assert closes == sorted(closes)
    assert sum(move.name == "choose" for move in sent) >= 1 + len(distractors)


def test_what_closes_first_is_computed_first() -> None:
    """What is not known is computed one run at a time, in the order of closing. What is known to be false is fought before that."""
    table, computed = Table(server=False, validator=False), []

    def run(image: Any, data: bytes, count: int) -> HashRun:
        computed.append(data)
        return HashRun(image, data, count)

    for number in (3, 1, 2):
        table.claim(table.request(b"%d" % number, number * 10**6), keccak256(b"false"))
        table.chain.now += BLOCK_SECONDS
    validator = player(Validator, "validator", VALIDATOR, table.chain, run=run)
    counts = []
    for _ in range(4):
        list(validator.decisions())
        counts.append(len(computed))
    assert counts == [1, 2, 3, 3]
    assert computed == [b"3", b"1", b"2"]  # the line is in the order of the claims
    names = [decision.name for decision in validator.decisions() if isinstance(decision, Move)]
    assert names == ["challenge"] * 3


# Fees that are held --------------------------------------------------------------------------------------------------------------


def stalled(table: Table, data: bytes) -> bytes:
    """A true claim whose root nobody answers, so that it can be neither finalised nor expired."""
    claim = table.claim(table.request(data), true_hash(data))
    table.send(ATTACKER, "challenge", claim, value=root_bond(table.chain.parameters, BOND))
    return claim


def keep_open(table: Table, claim: bytes) -> None:
    """Lets the server have time without end at the root of a claim, as many nodes opened before it would."""
    court, root = table.chain.court, root_id(claim)
    node = court.nodes[root]
    clock = type(node.clock)(node.clock.due + 365 * DAY, node.clock.server_left, node.clock.challengers_left, node.clock.since)
    table.chain.court = type(court)(**{**fields(court), "nodes": {**court.nodes, root: type(node)(**{**fields(node), "clock": clock})}})


def fields(thing: Any) -> dict[str, Any]:
    return {each.name: getattr(thing, each.name) for each in type(thing).__attrs_attrs__}


def test_hold_is_that_of_the_page() -> None:
    parameters = Table().chain.parameters
    assert most_nodes(1 << 24, parameters.k) == 13
    assert hold(parameters) == parameters.hold


def test_a_server_is_paid_past_a_stalled_claim() -> None:
    """Somebody's true claim came first and is stalled; the server's own claim becomes final and gets the fee after `hold`."""
    table = Table(validator=False, policy=Policy(claims_beside_true=True))
    (server,) = table.players
    first = stalled(table, b"asked")
    table.head()
    (second,) = (identity for identity, claim in table.chain.court.claims.items() if claim.server == address(SERVER))
    keep_open(table, first)
    held_until = table.chain.court.claims[first].closes_at + hold(table.chain.parameters)
    table.run(until=held_until)
    assert (status(table, first), status(table, second)) == (PENDING, FINAL)
    request = table.chain.court.requests[table.chain.court.claims[first].request_id]
    assert not request.fee_paid
    assert server.next_move() in (Wait(held_until + 1), Move("award", (first,)))
    table.run()
    assert table.chain.court.requests[table.chain.court.claims[first].request_id].fee_paid
    assert table.chain.balance(SERVER) == 10**6 * ETHER + ETHER


def test_a_server_with_the_default_policy_leaves_true_claims_alone() -> None:
    table = Table(validator=False)
    stalled(table, b"asked")
    table.head()
    assert len(table.chain.court.claims) == 1


def test_a_requester_takes_its_fee_back_from_a_stalled_claim() -> None:
    table = Table(server=False, validator=False)
    claim = stalled(table, b"asked")
    keep_open(table, claim)
    asked = table.chain.court.requests[table.chain.court.claims[claim].request_id]
    requester = Requester(
        "requester", REQUESTER, table.chain, None, HashRun, data=b"asked", stage_count=100, stage_microseconds=MICROSECONDS,
        deadline=asked.deadline, fee_wei=ETHER, bond_wei=BOND,
    )  # type: ignore[arg-type]  # fmt: skip
    requester._roots = MODEL_ROOT, STATE_ROOT
    parameters = table.chain.parameters
    last = max(asked.deadline, asked.checked_at) + parameters.window + hold(parameters)
    assert requester.next_move() == Wait(last + 1)
    table.chain.now = last
    assert table.chain.send(REQUESTER, Move("reclaim", (table.chain.court.claims[claim].request_id,))) == "NOT_ALL_FAILED"
    table.chain.now = last + 1
    move = requester.next_move()
    assert isinstance(move, Move)
    assert (move.name, table.chain.send(REQUESTER, move)) == ("reclaim", None)
    assert table.chain.court.requests[table.chain.court.claims[claim].request_id].fee_paid


def test_a_claim_that_becomes_final_after_its_fee_is_gone_is_let_rest() -> None:
    """Its server finalises it and asks for no fee."""
    table = Table(validator=False)
    (server,) = table.players
    request_id = table.request(b"asked")
    table.head()
    (claim,) = table.chain.court.claims
    last = table.chain.court.requests[request_id].deadline + table.chain.parameters.window + hold(table.chain.parameters)
    table.chain.now = last + 1
    table.send(ATTACKER, "reclaim", request_id)
    table.run()
    assert status(table, claim) == FINAL
    assert server.next_move() is None
    assert not server.agenda.troubles
    assert table.chain.balance(SERVER) == 10**6 * ETHER - price(table, 100)


# True claims that nobody finalises -----------------------------------------------------------------------------------------------


def test_a_validator_finalises_what_nobody_finalises_if_it_is_told_to() -> None:
    for after in (None, 3_600):
        table = Table(server=False, policy=Policy(finalises_others_after_seconds=after))
        (validator,) = table.players
        request_id = table.request(b"asked")
        claim = table.claim(request_id, true_hash(b"asked"))
        false = table.claim(request_id, keccak256(b"false"), ACCOUNTS[9])
        next_after_computing(validator)
        assert validator.runs.knows(request_id)
        legal_from = table.chain.court.claims[claim].closes_at
        table.run(until=legal_from + 3_600 - BLOCK_SECONDS)
        assert status(table, claim) == PENDING
        table.run(until=legal_from + 2 * 3_600)
        assert status(table, claim) == (PENDING if after is None else FINAL)
        assert status(table, false) != FINAL
        assert seal(true_hash(b"asked"), LIAR) == table.chain.court.claims[claim].sealed
