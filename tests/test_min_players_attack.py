"""Players under attack, on a chain where the specification is the contract: they live, and answer each clock in time."""

import resource
from typing import Any

from min_simulated_chain import BLOCK_SECONDS, ETHER, MODEL_ROOT, START, STATE_ROOT, Answered, HashRun, Opened, SimulatedChain
from min_simulated_table import (
    ATTACKER,
    BOND,
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
from opml_min.players.chain import FINAL, PENDING, POSTED, REJECTED, Move, Wait, child_id, model_id, root_bond, root_id
from opml_min.players.policy import Policy
from opml_min.players.validator import Validator


def test_strangers_cost_nothing_and_bogus_claims_fall() -> None:
    """119 requests on another model are never computed, and 120 false claims bring their challenger money."""
    table = Table(server=False)
    table.send(REQUESTER, "register", keccak256(b"other"), STATE_ROOT, MICROSECONDS)
    other = model_id(keccak256(b"other"), STATE_ROOT, MICROSECONDS)
    foreign = [table.request(b"foreign %d" % number, model=other) for number in range(119)]
    for request_id in foreign:
        table.claim(request_id, keccak256(request_id))
    table.run()
    assert HashRun.made == 0
    assert not table.players[0].index.requests
    bogus = [table.claim(table.request(b"own %d" % number), keccak256(b"bogus")) for number in range(120)]
    table.run()
    assert {status(table, claim) for claim in bogus} == {REJECTED}
    assert HashRun.made <= 120
    assert table.chain.balance(VALIDATOR) == 10**6 * ETHER + 120 * BOND // 2
    assert not table.players[0].agenda.troubles


def test_ten_thousand_requests_and_nodes() -> None:
    """A server that is asked at 10^4 nodes, beside 10^4 requests, answers each in time, and its claim becomes final."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = Table(policy=Policy(least_fee_wei=ETHER))
    server, validator = table.players
    for number in range(10_000):
        table.request(b"cheap %d" % number, stages=1, fee=10**12)
    request_id = table.request(b"dear", stages=1 << 20, fee=2 * ETHER)
    table.head()
    (claim,) = table.chain.court.claims
    table.send(ATTACKER, "challenge", claim, value=root_bond(table.chain.parameters, BOND))
    nodes, latest = [root_id(claim)], 0
    for node_id in nodes:
        table.head(most=1)
        node = table.chain.court.nodes[node_id]
        latest = max(latest, table.chain.now - node.clock.due)
        for part in range(min(32, 10_000 - len(nodes))):
            table.send(ATTACKER, "choose", node_id, segment_in(node), node.posted, part, value=table.chain.parameters.node_bond)
            nodes.append(child_id(node_id, part))
        if len(nodes) == 10_000 and not server.index.open_nodes[SERVER]:
            break
    assert len(table.chain.court.nodes) == 10_000
    assert latest <= 0
    assert not server.agenda.troubles
    table.run()
    assert status(table, claim) == FINAL
    assert table.chain.court.requests[request_id].fee_paid
    assert table.chain.balance(SERVER) > 10**6 * ETHER
    assert table.chain.balance(VALIDATOR) == 10**6 * ETHER
    assert len(validator.runs.computations) <= 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


def test_a_false_part_is_chosen_whoever_opened_its_node() -> None:
    """A puppet opens the root and a true part, and stops. The validator waits for its turn and goes on below."""
    table = Table(server=False)
    claim, liar = lying(table)
    table.send(ATTACKER, "challenge", claim, value=root_bond(table.chain.parameters, BOND))
    assert table.chain.send(LIAR, liar.next_move()) is None
    posted_at = table.chain.now
    (validator,) = table.players
    assert next_after_computing(validator) == Wait(posted_at + table.chain.parameters.priority)
    root = table.chain.court.nodes[root_id(claim)]
    table.send(ATTACKER, "choose", root_id(claim), segment_in(root), root.posted, 0, value=table.chain.parameters.node_bond)  # a true part
    assert validator.next_move() == Wait(posted_at + table.chain.parameters.priority)
    table.chain.now = posted_at + table.chain.parameters.priority
    move = validator.next_move()
    assert isinstance(move, Move)
    assert (move.name, move.arguments[3]) == ("choose", 22)  # stages 687 to 718
    assert table.chain.send(VALIDATOR, move) is None
    assert table.chain.send(LIAR, liar.next_move()) is None  # the part that the puppet opened was due first
    assert table.chain.send(LIAR, liar.next_move()) is None
    move = validator.next_move()
    assert isinstance(move, Move)
    assert move.arguments[0] == child_id(root_id(claim), 22)


def test_an_unaffordable_move_stops_nothing() -> None:
    """A false claim that is too dear to fight does not keep the validator from one that it can afford."""
    table = Table(server=False)
    table.chain.balances[VALIDATOR] = 5 * ETHER
    dear, _ = lying(table, b"dear", bond=1_000 * ETHER)
    cheap, _ = lying(table, b"cheap")
    assert next_after_computing(table.players[0]) == Move("challenge", (cheap,), BOND // 8)
    table.chain.balances[VALIDATOR] = 10**6 * ETHER
    table.run()
    assert {status(table, claim) for claim in (dear, cheap)} == {REJECTED}


def test_a_computation_that_fails_stops_nothing() -> None:
    def run(image: Any, data: bytes, count: int) -> HashRun:
        if data == b"poison":
            raise MemoryError
        return HashRun(image, data, count)

    table = Table(server=False)
    poison = table.claim(table.request(b"poison"), keccak256(b"anything"))
    claims = [lying(table, b"lie %d" % number)[0] for number in range(3)]
    table.players = [player(Validator, "validator", VALIDATOR, table.chain, run=run)]
    table.run(until=START + 40 * 3_600)
    assert {status(table, claim) for claim in claims} == {REJECTED}
    assert status(table, poison) == PENDING
    assert isinstance(table.players[0].agenda.troubles[poison], MemoryError)


def test_a_refused_move_stops_nothing_and_is_not_remembered() -> None:
    """The chain refuses the first challenge for a while; the second one goes through, and later the first."""
    table = Table(server=False)
    claims = [lying(table, b"lie %d" % number)[0] for number in range(2)]
    send, refused = table.chain.send, []

    def censoring(sender: str, move: Move) -> str | None:
        if move.name == "challenge" and move.arguments[0] == claims[0] and len(refused) < 5:
            refused.append(move)
            return "CENSORED"
        return send(sender, move)

    table.chain.send = censoring  # type: ignore[method-assign]
    for _ in range(8):
        table.head(most=1)
    assert len(refused) == 5
    assert all(root_id(claim) in table.chain.court.nodes for claim in claims)


def test_a_node_that_no_event_tells_of_is_answered() -> None:
    """The server finds it in storage, since the contract counts it."""
    table = Table(validator=False)
    (server,) = table.players
    table.request(b"asked", stages=1 << 20)
    table.head()
    (claim,) = table.chain.court.claims
    table.send(ATTACKER, "challenge", claim, value=root_bond(table.chain.parameters, BOND))
    table.head()
    root, hidden = table.chain.court.nodes[root_id(claim)], child_id(root_id(claim), 3)
    table.chain.is_withheld = lambda event: isinstance(event, Opened) and event.node_id == hidden
    table.send(ATTACKER, "choose", root_id(claim), segment_in(root), root.posted, 3, value=table.chain.parameters.node_bond)
    table.head()
    assert hidden not in server.index.nodes
    assert table.chain.court.nodes[hidden].state == POSTED
    table.chain.is_withheld = None
    table.head()
    assert server.index.nodes[hidden].state == POSTED
    table.run()
    assert status(table, claim) == FINAL


def test_a_root_that_no_event_tells_of_is_answered() -> None:
    table = Table()
    server, _ = table.players
    table.request(b"asked")
    table.head()
    (claim,) = table.chain.court.claims
    table.chain.is_withheld = lambda event: isinstance(event, Opened)
    table.send(ATTACKER, "challenge", claim, value=root_bond(table.chain.parameters, BOND))
    table.head()
    assert root_id(claim) not in server.index.nodes
    assert table.chain.court.nodes[root_id(claim)].state == POSTED


def test_hashes_that_no_event_tells_are_waited_for() -> None:
    """The validator does not act on what it read when storage says otherwise, and goes on as soon as the log is there."""
    table = Table(server=False)
    _, liar = lying(table)
    (validator,) = table.players
    for each in (validator, liar, validator):
        assert table.chain.send(each.address, next_after_computing(each)) is None
    opened = table.chain.log[-1].node_id
    table.chain.is_withheld = lambda event: isinstance(event, Answered) and event.node_id == opened
    assert table.chain.send(LIAR, liar.next_move()) is None
    assert table.chain.court.nodes[opened].state == POSTED
    for _ in range(3):
        assert isinstance(validator.next_move(), Wait)
        table.chain.now += BLOCK_SECONDS
    table.chain.is_withheld = None
    move = validator.next_move()
    assert isinstance(move, Move)
    assert (move.name, move.arguments[0]) == ("choose", opened)


def test_a_policy_is_kept() -> None:
    policy = Policy(least_fee_wei=ETHER // 2, most_pending_claims=2, least_stage_microseconds=5)
    table = Table(validator=False, policy=policy)
    table.send(REQUESTER, "register", MODEL_ROOT, STATE_ROOT, 1)  # said to be faster than this server believes
    table.request(b"too fast", model=model_id(MODEL_ROOT, STATE_ROOT, 1))
    table.request(b"too cheap", fee=ETHER // 4)
    taken = table.request(b"taken")
    table.claim(taken, HashRun(None, b"taken", 100).run_hash())
    contested = table.request(b"contested")
    table.claim(contested, keccak256(b"false"))
    free = [table.request(b"free %d" % number) for number in range(3)]
    table.head()
    mine = [claim.request_id for claim in table.chain.court.claims.values() if claim.server == bytes.fromhex(SERVER[2:])]
    assert mine == [contested, free[0]]


class Copies(SimulatedChain):
    """A chain whose events are new objects each time, as if they came over a wire."""

    def events(self, since: int = 0) -> Any:
        return [event._replace() for event in super().events(since)]


def test_reorganisations_of_any_depth() -> None:
    """After each move the chain is set back by some moves and goes on; the index is always the one that a newcomer makes."""
    table = Table(server=False)
    table.chain.__class__ = Copies
    _, liar = lying(table)
    (validator,) = table.players
    snapshots = [table.chain.snapshot()]
    for depth in (1, 2, 3, 5, 1, 4, 6):
        for _ in range(3):
            for each in (validator, liar):
                move = each.next_move()
                if isinstance(move, Move) and move.name != "open":
                    assert table.chain.send(each.address, move) is None
                table.chain.now += BLOCK_SECONDS
                snapshots.append(table.chain.snapshot())
        del snapshots[-depth:]
        table.chain.restore(snapshots[-1])
        for each in (validator, liar):
            newcomer = player(Validator, "", each.address, table.chain)
            newcomer.next_move()
            each.next_move()
            assert dump(each.index) == dump(newcomer.index)
    assert len(table.chain.court.nodes) > 2


def dump(index: Any) -> Any:
    def plain(thing: Any) -> Any:
        if isinstance(thing, dict):
            return {key: plain(value) for key, value in thing.items()}
        names = getattr(type(thing), "__attrs_attrs__", None)
        return {each.name: plain(getattr(thing, each.name)) for each in names} if names else thing

    tables = ("models", "requests", "claims", "nodes", "unanswered", "unpaid", "pending", "lost_at", "servers")
    in_order = {server: list(nodes) for server, nodes in index.open_nodes.items() if nodes}
    uncollected = {opener: set(nodes) for opener, nodes in index.uncollected.items() if nodes}
    return {name: plain(getattr(index, name)) for name in tables} | {"open_nodes": in_order, "uncollected": uncollected}
