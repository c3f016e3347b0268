"""Statements about money: it is conserved, a liar loses at least half of its bond, and nobody who opened a node loses by a fall.

*Source*: spec §5.6.
"""

from typing import Any

from attrs import evolve
from opml_spec.dispute import ends, moves
from opml_spec.dispute.clocks import Clock
from opml_spec.dispute.money import Ledger, settle
from opml_spec.dispute.narrowing import Phase, Segment
from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Message, Node, NodeState, Request, child_id, root_id, seal
from opml_spec.dispute.parameters import Parameters
from opml_spec.hashing import keccak256
from opml_spec.runs.run import RunStatus

from opml_fuzz.statements.clocks import CLAIM_ID, REQUEST_ID, REQUESTER, RULES, SERVER
from opml_fuzz.statements.statement import Integer, Statement

WEI, POSITIVE = Integer(0), Integer(1)
BOOKS = {"locked": WEI, "burned": WEI, "paid_out": WEI, "credit": WEI}
SHARES = ((1, 2), (2, 5), (1, 3), (499, 1_000))
DEPTHS = (1, 2, 3, 13, 57)
CARRY = b"y" * 32
FAILED_HASH = keccak256(CARRY + bytes([RunStatus.FAILED]))
WHO = tuple(bytes([number]) * 20 for number in range(1, 5))
ROOT = root_id(CLAIM_ID)
WAY, ASIDE = child_id(ROOT, 0), child_id(ROOT, 1)


def share_is_half(numerator: Any, denominator: Any, wei: Any) -> Any:
    share = evolve(RULES, share_numerator=numerator, share_denominator=denominator).share(wei)
    return (share >= 0) & (2 * share <= wei)


def at_most_half(numerator: Any, denominator: Any, wei: Any) -> Any:
    return 2 * numerator <= denominator


def ledger(locked: Any, burned: Any, paid_out: Any, credit: Any) -> Ledger:
    """Makes a ledger that balances."""
    return Ledger(locked, burned, paid_out, locked + credit + burned + paid_out, {SERVER: credit})


def stays_balanced(locked: Any, burned: Any, paid_out: Any, credit: Any, wei: Any) -> Any:
    """The ledger balances after each of the four operations that move money."""
    books, other = ledger(locked, burned, paid_out, credit), b"o" * 20
    after = [books.deposit(wei), books.credit(SERVER, wei), books.credit(other, wei), books.burn(wei)]
    if credit > 0:
        after.append(books.pay_out(SERVER))
    result: Any = books.balanced
    for changed in after:
        result = result & changed.balanced
    return result


def parameters(numerator: int, denominator: int, node_bond: Any = 1, gas: Any = 1) -> Parameters:
    return evolve(RULES, share_numerator=numerator, share_denominator=denominator, node_bond=node_bond, gas_choose=gas)


def settlement_conserves(numerator: int, denominator: int, depth: int, bond: Any, prices: Any, gas: Any) -> Any:
    """Shares, refunds and what is burned at once are the bond; the shares are at most φ of it, and no refund exceeds the whole gas."""
    settled = settle(parameters(numerator, denominator, gas=gas), bond, depth, prices)
    parts = depth * settled.share + settled.gas * prices + settled.burned
    share = bond * numerator // denominator
    return (parts == bond) & (depth * settled.share <= share) & (settled.gas <= gas) & (settled.gas >= 0) & (settled.burned >= 0)


def court_of(rules: Parameters, bond: Any, nodes: dict[bytes, Node], books: Ledger, node_count: Any = None) -> Court:
    """Makes a court with one claim of a FAILED run and these nodes."""
    request = Request(b"m" * 32, 8, b"f" * 32, 0, 0, bond, REQUESTER, SERVER, claims=1, pending=1)
    prices = sum(node.price for node in nodes.values())
    count = len(nodes) if node_count is None else node_count
    claim = Claim(REQUEST_ID, SERVER, seal(FAILED_HASH, SERVER), 0, 0, 0, len(nodes), count, prices)
    return Court(rules, requests={REQUEST_ID: request}, claims={CLAIM_ID: claim}, nodes=nodes, ledger=books)


def node_at(path: tuple[int, ...], opener: bytes, price: Any) -> Node:
    return Node(CLAIM_ID, opener, path, Segment(Phase.STAGES, 0, 8, b"a" * 32, b"d" * 32), Clock(0, 0, 0, 0), price, NodeState.OPEN)


def nobody_loses(numerator: int, denominator: int, bond: Any, node_bond: Any, gas: Any, *prices: Any) -> Any:
    """A claim falls below its root, with a node aside; all collect. Nothing stays locked, every opener gets at least its bond back,
    those on the way their share too, and at least half of the claim's bond, less the gas that is refunded, is burned."""
    rules = parameters(numerator, denominator, node_bond, gas)
    places = ((ROOT, ()), (WAY, (0,)), (ASIDE, (1,)))
    nodes = {node_id: node_at(path, who, price) for (node_id, path), who, price in zip(places, WHO, prices, strict=False)}
    bonds = rules.root_bond(bond) + 2 * node_bond
    court = court_of(rules, bond, nodes, Ledger(locked=bond + bonds, deposits=bond + bonds))
    court = moves.timeout(court, Message(REQUESTER, 1), WAY)
    for node_id in nodes:
        court = ends.collect(court, Message(REQUESTER, 1), node_id)
    got, share = court.ledger.credited, rules.share(bond) // 2
    result = court.ledger.balanced & (court.ledger.locked == 0) & (2 * court.ledger.burned + 2 * gas * prices[2] >= bond)
    result = result & (got.get(WHO[0], 0) == rules.root_bond(bond) + share) & (got.get(WHO[1], 0) == node_bond + share)
    return result & (got.get(WHO[2], 0) >= node_bond) & (got.get(WHO[2], 0) <= node_bond + gas * prices[2])


def final_pays(numerator: int, denominator: int, bond: Any, node_bond: Any, nodes: Any) -> Any:
    """A final claim gets its bond back, and at most half of the nodes' bonds; the rest of these is burned, and nothing stays locked."""
    rules = parameters(numerator, denominator, node_bond)
    bonds = rules.node_bonds(bond, nodes)
    court = court_of(rules, bond, {}, Ledger(locked=bond + bonds, deposits=bond + bonds), nodes)
    after = ends.finalise(court, Message(REQUESTER, 1), CLAIM_ID, CARRY, RunStatus.FAILED, b"", b"").ledger
    got = after.credited.get(SERVER, 0)
    return after.balanced & (after.locked == 0) & (got >= bond) & (2 * (got - bond) <= bonds) & (after.burned == bonds - (got - bond))


def expiry_pays(numerator: int, denominator: int, bond: Any) -> Any:
    """An expired claim loses its bond: at most half of it goes to the requester, the rest is burned."""
    court = court_of(parameters(numerator, denominator), bond, {}, Ledger(locked=bond, deposits=bond))
    after = ends.expire(court, Message(REQUESTER, RULES.grace + 1), CLAIM_ID)
    got = after.ledger.credited.get(REQUESTER, 0)
    is_rejected = after.claims[CLAIM_ID].status is ClaimStatus.REJECTED
    return is_rejected and after.ledger.balanced & (after.ledger.locked == 0) & (2 * got <= bond)


STATEMENTS = (
    Statement(
        "money.share",
        "at most half of a bond is paid out as a share",
        {"numerator": Integer(0), "denominator": POSITIVE, "wei": WEI},
        share_is_half,
        at_most_half,
    ),
    Statement("money.ledger", "deposit, credit, burn and pay_out keep the ledger balanced", {**BOOKS, "wei": WEI}, stays_balanced),
    Statement(
        "money.settlement",
        "shares, refunds and what is burned are the bond; shares are at most φ of it",
        {"bond": WEI, "prices": WEI, "gas": POSITIVE},
        settlement_conserves,
        cases=tuple((*share, depth) for share in SHARES for depth in DEPTHS),
    ),
    Statement(
        "money.fall",
        "after a fall nothing stays locked, no opener loses, half of the bond less refunds is burned",
        {"bond": WEI, "node_bond": WEI, "gas": POSITIVE, "price_0": WEI, "price_1": WEI, "price_2": WEI},
        nobody_loses,
        cases=SHARES,
    ),
    Statement(
        "money.final",
        "a final claim gets its bond and at most half of the nodes' bonds",
        {"bond": WEI, "node_bond": WEI, "nodes": WEI},
        final_pays,
        cases=SHARES,
    ),
    Statement("money.expired", "an expired claim's requester gets at most half of the bond", {"bond": WEI}, expiry_pays, cases=SHARES),
)
