"""Rules about money: every act leaves the books balanced, and what is locked is what the requests, claims and nodes still hold.

The *stake* of a request is the fee that is left. A pending claim holds its bond and those of its nodes; a final one nothing. A rejected
claim holds what its nodes are to get, each until it is collected. So no bond is paid out twice, and none is forgotten.

*Source*: spec §5.6, §5.7 and §5.12, invariant 4.
"""

from typing import Any

from attrs import evolve
from opml_spec.dispute.money import Ledger
from opml_spec.dispute.narrowing import MOST_STAGES, Phase, Segment
from opml_spec.dispute.objects import (
    ANYONE,
    MICROSECONDS,
    Claim,
    ClaimStatus,
    Court,
    Message,
    Node,
    NodeState,
    claim_id,
    model_id,
    root_id,
    seal,
)
from opml_spec.dispute.parameters import TIME_LIMIT, WEI_LIMIT, YEAR, Parameters
from opml_spec.dispute.tree import settlement

from opml_fuzz.statements.rules_acts import perform
from opml_fuzz.statements.rules_court import (
    CLAIM_ID,
    MODEL_ID,
    MOVES,
    OPENER,
    REQUEST_ID,
    REQUESTER,
    SERVER,
    STRANGER,
    any_claim,
    any_clock,
    any_hashes,
    any_request,
    court_of,
    implies,
    is_not,
    others,
    path_of,
    said,
)
from opml_fuzz.statements.world import Rule, World

SHARES = ((1, 2), (2, 5), (499, 1_000))
FELL_ID = b"f" * 32
NODE_ID = b"n" * 32
OTHER_ID = b"o" * 32


def any_money(world: World, numerator: int, denominator: int) -> Parameters:
    """Parameters with any amounts, and times that do not matter."""
    money = {name: world.number(name) for name in ("min_bond", "node_bond", "second_price", "gas_price_cap")}
    gas = world.number("gas_choose", 1)
    return evolve(Parameters(k=2, share_numerator=numerator, share_denominator=denominator, gas_choose=gas), **money)


def any_books(world: World, *holders: bytes) -> Ledger:
    """Books that balance; these have something credited, or nothing."""
    locked, burned, paid_out, elsewhere = (world.number(name) for name in ("locked", "burned", "paid_out", "elsewhere"))
    credited = {holder: world.number(f"credit_{place}") for place, holder in enumerate(dict.fromkeys(holders))}
    deposits = locked + burned + paid_out + elsewhere + sum(credited.values())
    return Ledger(locked, burned, paid_out, deposits, {**credited, world.rest: elsewhere})


def bond_of(court: Court, node: Node) -> Any:
    """What was brought to open a node."""
    return court.parameters.node_bond if node.path else court.parameters.root_bond(court.requests[REQUEST_ID].bond)


def stake(court: Court, claim: Claim) -> Any:
    """What a claim and its nodes hold, if none of these has been collected."""
    bond, parameters = court.requests[REQUEST_ID].bond, court.parameters
    bonds = parameters.node_bonds(bond, claim.nodes)
    if claim.status is ClaimStatus.FINAL:
        return 0
    if claim.status is ClaimStatus.PENDING:
        return bond + bonds
    if claim.fell_at is None:
        return bonds
    settled = settlement(court, claim)
    return bonds + settled.gas * claim.prices + court.nodes[claim.fell_at].depth * settled.share


def due(court: Court, node: Node) -> Any:
    """What a node of a rejected claim still holds."""
    claim = court.claims[CLAIM_ID]
    if node.collected:
        return 0
    if claim.fell_at is None:
        return bond_of(court, node)
    settled = settlement(court, claim)
    share = settled.share if node.on_the_way_to(court.nodes[claim.fell_at]) else 0
    return bond_of(court, node) + node.price * settled.gas + share


def books_balance(world: World, before: Court, after: Court, held: Any, holds: Any) -> None:
    """Shows that money moved only between its places, and that what is locked changed as what is held."""
    old, new = before.ledger, after.ledger
    world.show("the books balance", new.balanced)
    world.show("what is locked is what is held", new.locked - old.locked == holds - held)
    world.show("nothing comes back", (new.burned >= old.burned) & (new.paid_out >= old.paid_out) & (new.deposits >= old.deposits))
    world.show("nobody loses a credit", sum(new.credited.values()) + new.paid_out >= sum(old.credited.values()) + old.paid_out)


def tree_moves(world: World, name: str, numerator: int, denominator: int) -> None:
    """A challenge, a move in the tree, or an end of a pending claim."""
    parameters, claim = any_money(world, numerator, denominator), any_claim(world, settles_at=0, closes_at=world.choice((0, TIME_LIMIT)))
    request = any_request(world, bond=world.number("bond"), run_hash=world.choice((None, world.hash("final_run_hash"))))
    request = evolve(request, result=None if request.run_hash is None else OTHER_ID)
    world.assume(request.pending >= 1)
    is_root = world.choice((True, False)) if name in MOVES else True
    states = {"choose": (NodeState.POSTED,), "challenge": (NodeState.OPEN, NodeState.ANSWERED)}
    state = world.choice(states.get(name, (NodeState.OPEN,)))
    phase = Phase.INSTRUCTIONS if name == "arbitrate" else Phase.STAGES
    high = 2 if name == "post" or name == "choose" else 1
    segment = Segment(phase, 0, high, world.hash("agreed"), world.hash("disputed"))
    posted = any_hashes(world, "posted", 1) if name == "choose" else b""
    node = Node(CLAIM_ID, OPENER, path_of(world, is_root), segment, any_clock(world), world.number("price"), state, posted)
    nodes = {root_id(CLAIM_ID): node} if name == "challenge" and world.choice((True, False)) else {NODE_ID: node} if name in MOVES else {}
    world.assume((claim.nodes >= 1) & (claim.prices >= node.price) if nodes else True)
    world.assume((claim.nodes == 0) & (claim.open_nodes == 0) & (claim.prices == 0) if name == "challenge" and not nodes else True)
    world.assume(claim.open_nodes >= int(state is NodeState.OPEN) if nodes else True)
    court = court_of(world, parameters, nodes, claim, request, ledger=any_books(world, SERVER, REQUESTER))
    message = Message(world.choice((SERVER, STRANGER)), world.number("now", 1), world.number("value"), world.number("basefee"))
    at: dict[str, tuple[Any, ...]] = {
        "challenge": (CLAIM_ID,),
        "expire": (CLAIM_ID,),
        "finalise": (CLAIM_ID, world.hash("carry"), 0, 0, b""),
    }
    arguments = at[name] if name in at else (NODE_ID, *said(world, name, 2, node))
    after = perform(world, court, name, message, *arguments)
    if after is None:
        return
    now, new = after.claims[CLAIM_ID], [each for node_id, each in after.nodes.items() if node_id not in court.nodes]
    fee = after.requests[REQUEST_ID].fee_left
    books_balance(world, court, after, request.fee_left + stake(court, claim), fee + stake(after, now))
    world.show("no node is overwritten", now.nodes == claim.nodes + len(new))
    world.show("the claim knows the prices of its nodes", now.prices == claim.prices + sum(each.price for each in new))
    counted = [int(court.nodes[each].state is NodeState.OPEN) for each in nodes]
    counts = [int(each.state is NodeState.OPEN) for each_id, each in after.nodes.items() if isinstance(each_id, bytes)]
    if now.status is ClaimStatus.PENDING:
        world.show("the claim counts its open nodes", now.open_nodes - claim.open_nodes == sum(counts) - sum(counted))
    else:
        world.show("the request counts its pending claims", after.requests[REQUEST_ID].pending == request.pending - 1)
    for each in new:
        world.show("a refund is what was spent at most", (each.price <= message.basefee) & (each.price <= parameters.gas_price_cap))
        is_dear = (message.value >= parameters.node_bond) & implies(not each.path, 8 * message.value + 8 > request.bond)
        world.show("a root costs no less than any node", is_dear)
        world.show("who brings the bond is the opener", (each.opener == message.sender) & (message.value == bond_of(after, each)))
    if now.status is ClaimStatus.FINAL:
        world.show("the server gets its bond back", after.ledger.credited[SERVER] >= court.ledger.credited[SERVER] + request.bond)
        decided = after.requests[REQUEST_ID]
        world.show("what it sealed is the result", decided.run_hash is not None and seal(decided.run_hash, SERVER) == claim.sealed)
        world.show("the first final claim sets it", decided.result == (CLAIM_ID if request.result is None else request.result))
        world.show("a fee is paid once", (fee == request.fee_left) | ((fee == 0) & (not request.fee_paid)))
    if now.status is ClaimStatus.REJECTED:
        world.show("at most φ of the bond is paid as a share", 2 * shares_of(after, now) <= request.bond)


def shares_of(court: Court, claim: Claim) -> Any:
    """What the nodes on the way to the fall, or the requester, get of the bond."""
    if claim.fell_at is None:
        return court.parameters.share(court.requests[REQUEST_ID].bond)
    return court.nodes[claim.fell_at].depth * settlement(court, claim).share


def collecting(world: World, numerator: int, denominator: int) -> None:
    """A node of a rejected claim is collected by anybody, once: its opener gets what it holds."""
    parameters = any_money(world, numerator, denominator)
    fell = world.choice((None, NODE_ID, FELL_ID))
    status = world.choice(tuple(ClaimStatus))
    claim = any_claim(world, status=status, fell_at=fell)
    request = any_request(world, bond=world.number("bond"))
    segment = Segment(Phase.STAGES, 0, 8, world.hash("agreed"), world.hash("disputed"))
    opener, is_collected = world.choice((OPENER, SERVER)), world.choice((False, True))
    path = path_of(world, world.choice((True, False)))
    node = Node(CLAIM_ID, opener, path, segment, any_clock(world), world.number("price"), world.choice(tuple(NodeState)), b"", is_collected)
    there = Node(CLAIM_ID, STRANGER, path_of(world, False, name="fell_depth"), segment, any_clock(world), world.number("fell_price"))
    court = court_of(world, parameters, {NODE_ID: node, FELL_ID: there}, claim, request, ledger=any_books(world, OPENER, SERVER))
    after = perform(world, court, "collect", Message(STRANGER, world.number("now", 1)), NODE_ID)
    if after is None:
        refused = status is not ClaimStatus.REJECTED or is_collected
        world.show("what a rejected claim holds can be collected", refused)
        return
    books_balance(world, court, after, due(court, node), due(after, after.nodes[NODE_ID]))
    world.show("it was not collected before", not is_collected and status is ClaimStatus.REJECTED)
    world.show("it is now", after.nodes[NODE_ID].collected)
    world.show("the opener gets its bond back", after.ledger.credited[opener] >= court.ledger.credited[opener] + bond_of(court, node))
    world.show("nothing else changes", (after.claims == court.claims) and after.nodes[FELL_ID] is there)


def leaving(world: World, name: str) -> None:
    """A fee is paid, given back or passed on; somebody withdraws: nothing is paid twice."""
    status, is_paid = world.choice(tuple(ClaimStatus)), world.choice((False, True))
    result = world.choice((None, world.hash("result_hash")))
    claim = any_claim(world, status=status, sealed=seal(world.hash("run_hash"), SERVER))
    fee = 0 if is_paid else world.number("fee_left")
    request = any_request(world, fee_left=fee, fee_paid=is_paid, run_hash=result, result=None if result is None else OTHER_ID)
    holders = (SERVER, REQUESTER, STRANGER)
    court = court_of(world, Parameters(), {}, claim, request, ledger=any_books(world, *holders))
    sender = world.choice(holders)
    message = Message(sender, world.number("now", 1))
    arguments = {"award": CLAIM_ID, "reclaim": REQUEST_ID, "withdraw_to": STRANGER}[name]
    after = perform(world, court, name, message, arguments)
    if after is None:
        return
    now = after.requests[REQUEST_ID]
    books_balance(world, court, after, request.fee_left, now.fee_left)
    if name == "withdraw_to":
        world.show("it pays what is credited", after.ledger.paid_out == court.ledger.paid_out + court.ledger.credited[sender])
        world.show("it is paid once", after.ledger.credited.get(sender, 0) == 0)
        unchanged = all(after.ledger.credited[each] is court.ledger.credited[each] for each in holders if each != sender)
        world.show("nobody else pays", unchanged)
        return
    if now.fee_paid:
        world.reach("the fee")
        world.show("it was not paid before", not is_paid)
        winner = SERVER if name == "award" else REQUESTER
        world.show("it is paid to whom it belongs", after.ledger.credited[winner] == court.ledger.credited[winner] + fee)
        world.show("a result and its final claim, or none", (status is ClaimStatus.FINAL) == (result is not None) or name == "reclaim")
    else:
        world.reach("a claim is passed over")
        world.show("one claim is passed over", now.next_award == request.next_award + 1)
        world.show("it is not final", status is not ClaimStatus.FINAL)


def coming(world: World, name: str) -> None:
    """A request brings its fee; a claim brings its bond, and the first one the price of the line, which is burned. Ids are new."""
    parameters = any_money(world, 1, 2)
    result = world.choice((None, OTHER_ID)) if name == "claim" else None
    request = any_request(world, server=world.choice((ANYONE, SERVER)), claims=world.number("claims_before"), result=result)
    other = any_claim(world)
    sealed = world.hash("said_sealed")
    taken = claim_id(REQUEST_ID, SERVER, world.hash("sealed"))
    court = court_of(world, parameters, {}, other, request, ledger=any_books(world, SERVER))
    court = evolve(court, claims={taken: other, **others(world)})
    message = Message(world.choice((SERVER, STRANGER)), world.number("now", 1), world.number("value"))
    model = court.models[MODEL_ID]
    work = model.work(request.stage_count)
    if name == "register":
        microseconds = world.choice((model.stage_microseconds, world.number("other_microseconds")))
        court = evolve(court, models={model_id(model.model_root, model.state_root, model.stage_microseconds): model, **others(world)})
        after = perform(world, court, name, message, model.model_root, model.state_root, microseconds)
        is_legal: Any = (microseconds >= 1) & (microseconds < 1 << 32)
        world.show("a model is registered exactly if its time is in range", is_legal if after else is_not(is_legal))
        if after is not None:
            world.show("what is registered stays", all(after.models[each] is court.models[each] for each in court.models))
            fresh = [each for each_id, each in after.models.items() if each_id not in court.models]
            world.reach("a new model" if fresh else "a known model")
            world.show("a new line is free", all(each.busy_until == 0 for each in fresh))
            world.show("it is not registered twice", len(fresh) == int(bool(microseconds != model.stage_microseconds)))
        return
    if name == "claim":
        latest = world.number("latest")
        after = perform(world, court, name, message, REQUEST_ID, sealed, latest)
        is_new, is_his = sealed != other.sealed or message.sender != SERVER, request.server in (ANYONE, message.sender)
        line_price = 0 if request.claims > 0 else work * parameters.second_price
        checked_at = max(message.now, model.busy_until) + work if request.claims == 0 else request.checked_at
        closes_at = max(message.now, checked_at) + parameters.window
        is_in_time = (message.now <= request.deadline) & (closes_at <= latest) & (closes_at < TIME_LIMIT)
        is_legal = (message.value == request.bond + line_price) & is_in_time & (is_new and is_his and request.result is None)
        world.show("a claim is legal exactly in time, for the one that may", is_legal if after else is_not(is_legal))
        if after is None:
            return
        now, line = after.requests[REQUEST_ID], after.models[MODEL_ID].busy_until
        made = [each for each_id, each in after.claims.items() if isinstance(each, Claim) and each is not other]
        is_first = bool(request.claims == 0)
        world.reach("the first claim" if is_first else "another claim")
        world.show("a claim of another id is there", len(made) == 1 and len(after.claims) == 3)
        (claim,) = made
        price = work * parameters.second_price if is_first else 0
        books_balance(world, court, after, 0, request.bond)
        world.show("the line is paid by the first claim", after.ledger.burned == court.ledger.burned + price)
        world.show("the line is joined once", line == (max(message.now, model.busy_until) + work if is_first else model.busy_until))
        world.show("it is the next one", (claim.index == request.claims) & (now.claims == request.claims + 1))
        world.show("it is pending", now.pending == request.pending + 1)
        checked = line if is_first else request.checked_at
        world.show("it can be challenged for the whole window", claim.closes_at == max(message.now, checked) + parameters.window)
        world.show("nothing is claimed after a result", request.result is None)
        world.show("by the one that may", request.server == ANYONE or claim.server == request.server)
        return
    arguments = (MODEL_ID, world.number("asked_count"), world.hash("data"), world.number("asked_deadline", 0, TIME_LIMIT))
    bond, (_, count, _, deadline) = world.number("asked_bond"), arguments
    after = perform(world, court, name, message, *arguments, bond, ANYONE)
    is_legal = (count >= 1) & (count <= MOST_STAGES) & (message.now <= deadline) & (deadline <= message.now + YEAR)
    is_legal = is_legal & (parameters.min_bond <= bond) & (bond < WEI_LIMIT) & (model.work(count) <= YEAR)
    is_legal = is_legal & (model.work(count) * parameters.second_price <= message.value) & (message.value < WEI_LIMIT)
    world.show("a request is legal exactly within the bounds", is_legal if after else is_not(is_legal))
    if after is None:
        return
    (asked,) = (each for each_id, each in after.requests.items() if each_id not in court.requests)
    books_balance(world, court, after, 0, asked.fee_left)
    world.show("the fee is what came", asked.fee_left == message.value)
    world.show("the fee buys the line", message.value >= model.work(asked.stage_count) * parameters.second_price)
    world.show("the run is no longer than may be", (asked.stage_count >= 1) & (asked.stage_count <= MOST_STAGES))
    world.show("the bond is large enough", asked.bond >= parameters.min_bond)
    microseconds, whole = model.stage_microseconds * asked.stage_count, MICROSECONDS * model.work(asked.stage_count)
    world.show("the line is long enough for it", (microseconds <= whole) & (whole < microseconds + MICROSECONDS))
    world.show("a machine can recompute it", model.work(asked.stage_count) <= YEAR)
    nonces = [(court.requests_made[each], after.requests_made[each]) for each in court.requests_made if each != message.sender]
    world.show("nobody else's nonce is used", all(one is other for one, other in nonces))
    world.show("the nonce is used once", after.requests_made[message.sender] == court.requests_made.get(message.sender, 0) + 1)


def share_is_half(world: World) -> None:
    """At most half of a bond is paid as a share, whatever φ may be deployed."""
    parameters = evolve(Parameters(), share_numerator=world.number("numerator"), share_denominator=world.number("denominator"))
    for holds in parameters.bounds().values():
        world.assume(holds)
    world.show("φ is at most one half", 2 * parameters.share_numerator <= parameters.share_denominator)
    world.show("φ is more than nothing", parameters.share_numerator >= 1)
    world.reach("deployed")


TREE = ("challenge", "post", "open", "choose", "arbitrate", "timeout", "finalise", "expire")
RULES = (
    Rule("rules.share", "no φ above one half can be deployed", share_is_half, {(): {"deployed"}}),
    Rule(
        "rules.books_tree",
        "what is locked stays what claims and nodes hold, in challenge, moves and ends of a claim (φ = 1/2, 2/5, 0.499)",
        tree_moves,
        {(name, *share): {name} for name in TREE for share in (SHARES if name in ("timeout", "finalise", "expire") else SHARES[:1])},
    ),
    Rule(
        "rules.collect",
        "each node of a rejected claim is paid once, whenever that is, and its opener gets its bond back",
        collecting,
        {case: {"collect"} for case in SHARES},
    ),
    Rule(
        "rules.leaving",
        "fees and credits are paid once, to whom they belong",
        leaving,
        {("award",): {"the fee", "a claim is passed over"}, ("reclaim",): {"the fee"}, ("withdraw_to",): {"withdraw_to"}},
    ),
    Rule(
        "rules.coming",
        "models, requests and claims are accepted exactly within their bounds, and bring what they should",
        coming,
        {("register",): {"a new model", "a known model"}, ("request",): {"request"}, ("claim",): {"the first claim", "another claim"}},
    ),
)
