"""A call at a court of which everything is known: the specification's act beside the deployed bytecode.

The court is given as it is stored: the fields of each object by its kind and id, all as ints. The specification gets the objects that have
these fields, the contract the words in which they lie, so neither has to play a dispute first. What differs afterwards is told by name.

*Source*: spec §5.11; `layout.py` for the places.
"""

from collections.abc import Iterator, Mapping, Set
from contextlib import nullcontext
from typing import Any

from attrs import evolve, field, frozen
from opml_spec.dispute.acts import PAYABLE
from opml_spec.dispute.clocks import Clock
from opml_spec.dispute.money import Ledger
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Model, Node, NodeState, Request
from opml_spec.dispute.parameters import Parameters
from opml_spec.dispute.result import Outcome
from opml_spec.errors import SpecError

from evm_arbiter.chain import Artefact, error_number, keccak256
from evm_arbiter.embedded import EmbeddedNode
from opml_fuzz.disputes.answers import new_id
from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.wire.abi import Log, calldata, word, words
from opml_fuzz.disputes.wire.logs import logs
from opml_fuzz.disputes.wire.views import VIEWS
from opml_fuzz.proofs.game.equivalence import PAYMENT_FAILED, REFUSED, VIEW_WORDS, deployed
from opml_fuzz.proofs.game.known_arbiter import Answer
from opml_fuzz.proofs.game.layout import BOOKS, LAYOUT, WIDTHS, first_slot, slots_of
from opml_fuzz.proofs.game.stored_objects import StoredRequest, fields_of, hidden

Place = tuple[str, int]
"""What something is, and its id or address; 0 for the books."""
Fields = Mapping[str, int]
StoredCourt = Mapping[Place, Fields]
"""Fields that are not named are 0."""

GAME, WEI = keccak256(b"game")[-20:], 1 << 180
UNUSED = "unused bits"
REFUSES = bytes.fromhex("5f5ffd")
"""Code that takes no money: it reverts."""
NUMBERS = {"requests": "requests_made", "due": "server_due", "lost_at": "server_lost_at"}


class NotACourt(Exception):
    """The specification has no court that is stored like this."""


@frozen
class Answered:
    """How a call ends. said: `ok`, `refused`, or the number of an error; paid: by address, what it has more than before"""

    said: int | str
    events: tuple[Log, ...] = ()
    returned: bytes = b""
    paid: Mapping[bytes, int] = field(factory=dict)
    stored: StoredCourt = field(factory=dict)


def differences(
    stored: StoredCourt, call: Call, is_taken: bool = True, game: Artefact | None = None, arbiter: Answer | None = None
) -> dict[str, tuple[Any, Any]]:
    """What the specification and the contract make of the same call, wherever it is not the same.

    is_taken: whether an address to which money is paid takes it; game: other bytecode than the committed game contract;
    arbiter: what it answers to a witness, if it is to be asked"""
    with nullcontext() if arbiter is None else arbiter.given():
        ours = by_specification(stored, call, is_taken)
    theirs = by_contract(stored, call, is_taken, {*stored, *ours.stored}, game, arbiter)
    left, right = told(ours), told(theirs)
    return {what: (left.get(what), right.get(what)) for what in {**left, **right} if left.get(what) != right.get(what)}


def told(ending: Answered) -> dict[str, Any]:
    """Everything in an ending, by what it is. What is 0 is not mentioned."""
    found = {"answer": ending.said, "result": ending.returned.hex()}
    for number, event in enumerate(ending.events):
        found |= {f"event {number}, topic {place}": topic.hex() for place, topic in enumerate(event.topics)}
        found[f"event {number}, data"] = event.data.hex()
    found |= {f"paid to {address.hex()}": wei for address, wei in ending.paid.items() if wei}
    named = {f"{kind} {key:#x}, {name}": it for (kind, key), fields in ending.stored.items() for name, it in fields.items()}
    return found | {name: it for name, it in named.items() if it}


# The specification -------------------------------------------------------------------------------------------------------------------


def by_specification(stored: StoredCourt, call: Call, is_taken: bool) -> Answered:
    """Makes the call at the specification's court."""
    if call.move not in PAYABLE and call.act.value:
        return Answered(REFUSED)
    try:
        before = court_of(stored, call)
    except (ValueError, OverflowError) as error:  # a state that is none, a number that is no address
        raise NotACourt(str(error)) from error
    if call.move in VIEWS:
        try:
            shown = VIEWS[call.move](before, *call.act.arguments)
        except SpecError as error:
            return Answered(error.number)
        except KeyError:
            shown = VIEW_WORDS[call.move] * (0,)
        return Answered("ok", returned=words(shown), stored=storage_of(before))
    try:
        after = call.on(before)
    except SpecError as error:
        return Answered(error.number)
    paid = {address: after.ledger.paid_out - before.ledger.paid_out for address in call.act.arguments[:1] if call.move == "withdraw_to"}
    if paid and not is_taken:
        return Answered(PAYMENT_FAILED)
    new = new_id(before, call, after)
    left = {("requests", number_of(key)): one.fee_left for key, one in after.requests.items()}
    stored_then = {place: {**fields, "fee_left": left[place]} if place in left else fields for place, fields in storage_of(after).items()}
    return Answered("ok", tuple(logs(before, call, after, new)), word(new) if new else b"", paid, stored_then)


def court_of(stored: StoredCourt, call: Call | None = None) -> Court:
    """The court that is stored like this, or NotACourt if there is none. What a node is about is known only if the call says it."""
    objects: dict[str, dict[bytes, Any]] = {kind: {} for kind in MAKE}
    whole = {place: {**dict.fromkeys(WIDTHS[place[0]], 0), **fields} for place, fields in stored.items()}
    for (kind, key), fields in whole.items():
        if kind in MAKE and any(fields.values()):
            objects[kind][hash_of(key)] = MAKE[kind](fields, key, whole)
    for node_id, one in objects["nodes"].items():
        for segment, posted in said(call) if call else ():
            if segment.commitment(posted) == one.commitment:
                objects["nodes"][node_id] = evolve(one, segment=segment, posted=posted)
    accounts = {address_of(key): fields for (kind, key), fields in whole.items() if kind == "accounts"}
    tables: Any = {name: {one: its[of] for one, its in accounts.items() if its[of]} for of, name in NUMBERS.items()}
    books = {name: it for kind in BOOKS.values() for name, it in whole.get((kind, 0), {}).items()}
    credited = {one: its["credited"] for one, its in accounts.items() if its["credited"]}
    court = Court(Parameters(), **objects, **tables, ledger=Ledger(**books, credited=credited))
    if nonzero(storage_of(court)) != nonzero(stored):
        raise NotACourt("it would be stored otherwise")
    return court


def said(call: Call) -> Iterator[tuple[Segment, bytes]]:
    """Yields what a call may say that a node is about."""
    for segment in call.act.arguments:
        if isinstance(segment, Segment):
            yield segment, b""
            if call.move == "choose":
                yield segment, call.act.arguments[2]


def hash_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def address_of(number: int) -> bytes:
    return number.to_bytes(20, "big")


def model(it: Fields, key: int, stored: StoredCourt) -> Model:
    return Model(hash_of(it["model_root"]), hash_of(it["state_root"]), it["stage_microseconds"], it["busy_until"])


def request(it: Fields, key: int, stored: StoredCourt) -> Request:
    result, run_hash, output_hash = (hash_of(it[name]) if it[name] else None for name in ("result", "run_hash", "output_hash"))
    return StoredRequest(
        hash_of(it["model_id"]), it["stage_count"], hash_of(it["first_run_hash"]), it["deadline"], 0 if it["fee_paid"] else it["fee"],
        it["bond"], address_of(it["requester"]), address_of(it["server"]), it["checked_at"], it["claims"], it["pending"],
        it["next_award"], bool(it["fee_paid"]), result, run_hash, Outcome(it["outcome"] - 1) if it["outcome"] else None, output_hash,
        fee=it["fee"],
    )  # fmt: skip


def claim(it: Fields, key: int, stored: StoredCourt) -> Claim:
    fell_at = None
    if it["end_depth"]:
        where = (key, it["end_depth"], it["end_path"])
        nodes = (place[1] for place, its in stored.items() if place[0] == "nodes" and place_in_tree(its) == where)
        fell_at = next(map(hash_of, nodes), None)
    return Claim(
        hash_of(it["request_id"]), address_of(it["server"]), hash_of(it["sealed"]), it["index"], it["closes_at"], it["settles_at"],
        it["open_nodes"], it["nodes"], it["prices"], ClaimStatus(it["status"]), fell_at,
    )  # fmt: skip


def place_in_tree(it: Fields) -> tuple[int, int, int]:
    """The claim of a node, its depth and its path."""
    return it["claim_id"], it["depth"], it["path"]


def node(it: Fields, key: int, stored: StoredCourt) -> Node:
    bits = (Parameters().k - 1).bit_length()
    path = tuple(it["path"] >> bits * place & (1 << bits) - 1 for place in reversed(range(it["depth"] - 1)))
    clock = Clock(it["due"], it["server_left"], it["challengers_left"], it["since"])
    return Node(
        hash_of(it["claim_id"]), address_of(it["opener"]), path, hidden(hash_of(it["commitment"])), clock, it["price"],
        NodeState(it["state"]), b"", bool(it["collected"]),
    )  # fmt: skip


MAKE = {"models": model, "requests": request, "claims": claim, "nodes": node}


def storage_of(court: Court) -> StoredCourt:
    """The fields in which a court is stored."""
    found: dict[Place, dict[str, int]] = {}
    for kind in MAKE:
        for key, thing in getattr(court, kind).items():
            found[kind, number_of(key)] = {name: number_of(it) for name, it in fields_of(kind, thing, court).items()}
    tables = {**{of: getattr(court, name) for of, name in NUMBERS.items()}, "credited": court.ledger.credited}
    for of, table in tables.items():
        for address, it in table.items():
            found.setdefault(("accounts", number_of(address)), {})[of] = it
    for kind in BOOKS.values():
        found[kind, 0] = {name: getattr(court.ledger, name) for name in WIDTHS[kind]}
    for (kind, _), fields in found.items():
        if not all(0 <= it < 1 << WIDTHS[kind][name] for name, it in fields.items()):
            raise NotACourt("a number does not fit its field")
    return found


def number_of(value: Any) -> int:
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)


def nonzero(stored: StoredCourt) -> StoredCourt:
    """What is stored, without what is 0."""
    found = {place: {name: it for name, it in fields.items() if it} for place, fields in stored.items()}
    return {place: fields for place, fields in found.items() if fields}


# The contract ------------------------------------------------------------------------------------------------------------------------


class OpenNode(EmbeddedNode):
    """An embedded node in which code and storage are what somebody says."""

    def put(self, address: Any, code: bytes, stored: Mapping[int, int], wei: int) -> None:
        self._state.set_code(address, code)
        self._state.set_balance(address, wei)
        for slot, it in stored.items():
            self._state.set_storage(address, slot, it)

    def word(self, address: Any, slot: int) -> int:
        return int(self._state.get_storage(address, slot))


def by_contract(
    stored: StoredCourt, call: Call, is_taken: bool, places: Set[Place], game: Artefact | None = None, arbiter: Answer | None = None
) -> Answered:
    """Makes the call at the contract, and reads what is stored afterwards in these places."""
    chain = OpenNode([(call.sender, WEI)], call.now)
    slots = {slot: it for place, fields in stored.items() for slot, it in slots_of(place, fields)}
    contract = deployed(game)
    chain.put(GAME, contract.code.data, slots, WEI)
    if arbiter is not None:
        chain.put(address_of(contract.arbiter), arbiter.code, {}, 0)
    if not is_taken:
        chain.put(call.act.arguments[0], REFUSES, {}, 0)
    people = {call.sender, *(one for one in call.act.arguments[:1] if call.move == "withdraw_to")}
    had = {one: chain.balance_wei(one) for one in people}
    chain.base_fee_wei = call.basefee
    done = chain.transact(call.sender, GAME, calldata(call.move, *call.act.arguments), call.act.value, call.now)
    if not done.success:
        return Answered(error_number(done.output) or REFUSED)
    spent = {call.sender: call.act.value}
    paid = {one: chain.balance_wei(one) - wei + spent.get(one, 0) for one, wei in had.items()}
    events = tuple(Log(log.topics, log.data) for log in done.logs)
    return Answered("ok", events, done.output, paid, {place: read(chain, place) for place in places})


def read(chain: OpenNode, place: Place) -> Fields:
    """The fields of an object in the contract's storage."""
    kind, key = place
    found = {}
    for offset, names in enumerate(LAYOUT[kind]):
        it = chain.word(GAME, first_slot(kind, key) + offset)
        for name, width in names:
            found[name or UNUSED], it = it & (1 << width) - 1, it >> width
        found[f"word {offset}, {UNUSED}"] = it
    return {**found, "fee_left": 0 if found["fee_paid"] else found["fee"]} if kind == "requests" else found
