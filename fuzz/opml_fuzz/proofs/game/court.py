"""The specification's acts, as they are shipped, on a court of which nothing is known.

`REPLACED` in `replaced` is the whole list of what means something else meanwhile, each with its reason. No check and no rule is among them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import attrs
import z3
from attrs import frozen
from opml_spec import hashing
from opml_spec.dispute import claims, clocks, ends, money, moves, narrowing, objects, opening, parameters, tree
from opml_spec.dispute.clocks import Clock
from opml_spec.dispute.money import Ledger, Settlement
from opml_spec.dispute.objects import Claim, ClaimStatus, Court, Model, Node, NodeState, Request, child_id, root_id
from opml_spec.dispute.parameters import Parameters
from opml_spec.dispute.result import Outcome, read_result
from opml_spec.machine import state
from opml_spec.runs.run import io_quarter

from opml_fuzz.proofs.game import invariants, machine_state
from opml_fuzz.proofs.game.arbiter_call import executed
from opml_fuzz.proofs.game.arithmetic import Arithmetic, difference, excess, least, upper_parts, within
from opml_fuzz.proofs.game.arithmetic import width as bits_of
from opml_fuzz.proofs.game.cuts import Cuts, Excess
from opml_fuzz.proofs.game.facts import DistinctHashes, Facts
from opml_fuzz.proofs.game.invariants import Fields, exists
from opml_fuzz.proofs.game.layout import LAYOUT, WIDTHS, first_word, function, word
from opml_fuzz.proofs.game.machine import Block
from opml_fuzz.proofs.game.numbers import ADDRESS_BYTES, HASH_BYTES, Amount, Count, GamePaths, amount, term_of, vector_of
from opml_fuzz.proofs.game.open_bytes import OpenOctets
from opml_fuzz.proofs.game.segments import HiddenSegment, Named, facts_about, hidden_segment, part_of
from opml_fuzz.proofs.game.storage import NO_KEY
from opml_fuzz.proofs.game.stored_objects import (
    Later,
    NumberedPath,
    StoredClaim,
    StoredNode,
    StoredRequest,
    fields_of,
    later,
    path_number,
    raw,
)
from opml_fuzz.proofs.game.tables import OpenTable, tabled
from opml_fuzz.proofs.step.machine_symbols import Octets, pieces_of
from opml_fuzz.proofs.symbolic_world import greater
from opml_fuzz.proofs.symbols import Truth
from opml_fuzz.proofs.unsupported import Unsupported

NUMBERS = {"requests_made": "requests", "server_due": "due", "server_lost_at": "lost_at"}
"""The court's tables of numbers by address, and the fields of an account."""

FELL_AT = z3.Function("claims.fell_at", *2 * [z3.BitVecSort(256)])
"""The id of the node at which a claim fell."""


LATE = Clock.late
NODE_BONDS = Parameters.node_bonds
"""The specification's own, which are replaced meanwhile."""


class StoredPath(tuple[NumberedPath, ...]):
    """The path of a node that was there, as one number; that of the root has no parts."""

    def __bool__(self) -> bool:
        return bool(self[0].parts != 0)


class GameWorld:
    """Both worlds' symbols in one proof, and the specification's court."""

    def __init__(self, rules: Parameters, paths: GamePaths, facts: Facts, block: Block) -> None:
        self.rules, self.paths, self.facts, self.block = rules, paths, facts, block
        self.hashes, self.arithmetic, self.cuts = DistinctHashes(facts), Arithmetic(facts), Cuts(paths, facts)
        self.known_keys: dict[tuple[str, int], Any] = {}
        self.cache: dict[tuple[str, int], Any] = {}
        self.named: Named | None = None  # what the call says that a node is about
        self.recognised = set[int]()  # the nodes of which it is known on this path that they are about that
        self.knows_beginnings = False  # whether it matters that each request begins well
        self.only_burns = False  # whether of a settlement only that is asked for which is burned
        self.tells_of_requests: Callable[[Any, DistinctHashes], Any] | None = None
        self.finalised: Any = None  # the claim that may become final
        self.witness: Any = None  # that of the call
        self.inner: Any = None  # the unknown function in place of an inner one of the contract
        self.locked: list[Any] = []  # what is left locked whenever some of it has gone
        self.places: dict[int, tuple[Any, Any]] = {}  # where the nodes are at which claims fell, as the claims say it
        paths.arithmetic = self.arithmetic
        facts.tell(paths.solver)

    # What is there at first ------------------------------------------------------------------------------------------------------

    def touched(self, kind: str, key: Any) -> None:
        """Learns what holds of the object of that id."""
        if (kind, key.get_id()) not in self.known_keys:
            self.known_keys[kind, key.get_id()] = key
            if kind in invariants.INVARIANTS:
                self.facts.learn(*invariants.INVARIANTS[kind](key, self.hashes, self.block.now))
            if kind == "nodes" and self.named is not None:
                self.touched("claims", Fields("nodes", key).claim_id)
                self.facts.learn(*facts_about(key, self.named, self.rules.k))
                if self.knows_beginnings:
                    self.touched("requests", Fields("claims", Fields("nodes", key).claim_id).request_id)
            if kind == "requests" and self.knows_beginnings:
                self.facts.learn(invariants.of_beginning(key, self.hashes))
            if kind == "requests" and self.tells_of_requests is not None:
                self.facts.learn(self.tells_of_requests(key, self.hashes))

    def court(self) -> Court:
        """The court at first. Each run of an act begins with a new one."""
        self.cache, self.locked, self.recognised = {}, [], set()
        tables: Any = {
            kind: OpenTable(self.paths, self.cached(kind, make))
            for kind, make in {"models": self.model, "requests": self.request, "claims": self.claim, "nodes": self.node}.items()
        }
        numbers: Any = {name: OpenTable(self.paths, self.account_field(of), 0) for name, of in NUMBERS.items()}
        books: Any = {
            name: amount(function(kind, name)(NO_KEY), self.paths) for kind in ("held", "gone") for name in WIDTHS[kind]
        }
        credited: Any = OpenTable(self.paths, self.account_field("credited"), 0)
        return Court(self.rules, **tables, **numbers, ledger=Ledger(**books, credited=credited))

    def cached(self, kind: str, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def first(key: Any) -> Any:
            term = term_of(key)
            self.touched(kind, term)
            if (kind, term.get_id()) not in self.cache:
                self.cache[kind, term.get_id()] = make(term) if self.holds(exists(kind, term)) else None
            return self.cache[kind, term.get_id()]

        return first

    def account_field(self, name: str) -> Callable[[Any], Any]:
        def first(key: Any) -> Any:
            self.touched("accounts", term_of(key))
            return amount(function("accounts", name)(term_of(key)), self.paths)

        return first

    def truth(self, condition: Any) -> Any:
        return Truth(condition, self.paths)

    def holds(self, condition: Any) -> bool:
        return bool(Truth(condition, self.paths))

    def one_of(self, term: Any, options: Iterable[Any]) -> Any:
        """The option whose number the term is: each is tried."""
        *others, last = options
        return next((one for one in others if self.holds(term == int(one))), last)

    def number(self, term: Any) -> Any:
        return amount(term, self.paths)

    def octets(self, term: Any, size: int = HASH_BYTES) -> Any:
        return Octets(((term, size),), self.paths)

    def model(self, key: Any) -> Model:
        it = Fields("models", key)
        return Model(self.octets(it.model_root), self.octets(it.state_root), self.number(it.stage_microseconds), self.number(it.busy_until))

    def request(self, key: Any) -> Request:
        it, octets, number, holds = Fields("requests", key), self.octets, self.number, self.holds

        def later(name: str, condition: Any, value: Callable[[], Any]) -> Any:
            return Later(lambda: value() if holds(condition) else None, **{name: getattr(it, name)})

        there = it.outcome != 0
        fee_left = z3.If(it.fee_paid != 0, z3.BitVecVal(0, WIDTHS["requests"]["fee"]), it.fee)
        return StoredRequest(
            octets(it.model_id), number(it.stage_count), octets(it.first_run_hash), number(it.deadline), number(fee_left), number(it.bond),
            octets(it.requester, ADDRESS_BYTES), octets(it.server, ADDRESS_BYTES), number(it.checked_at), number(it.claims),
            number(it.pending), number(it.next_award), self.truth(it.fee_paid != 0),
            later("result", there, lambda: octets(it.result)), later("run_hash", there, lambda: octets(it.run_hash)),
            later("outcome", there, lambda: self.one_of(it.outcome - 1, Outcome)),
            later("output_hash", it.outcome == 1 + Outcome.OK, lambda: octets(it.output_hash)), fee=number(it.fee),
        )  # fmt: skip

    def claim(self, key: Any) -> Claim:
        it, octets, number = Fields("claims", key), self.octets, self.number
        status, fell_at = later(lambda: self.one_of(it.status, ClaimStatus), status=it.status), later(lambda: self.fell_at(key))
        fell_at.stored = {"end_depth": it.end_depth, "end_path": it.end_path}
        return StoredClaim(
            octets(it.request_id), octets(it.server, ADDRESS_BYTES), octets(it.sealed), number(it.index), number(it.closes_at),
            number(it.settles_at), number(it.open_nodes), number(it.nodes), number(it.prices), status, fell_at,
        )  # fmt: skip

    def fell_at(self, key: Any) -> Any:
        """The node at which a claim fell, if it did: the one whose depth and path the claim has."""
        it, name = Fields("claims", key), FELL_AT(key)
        if not self.holds(it.end_depth != 0):
            return None
        fallen = Fields("nodes", name)
        self.places[name.get_id()] = it.end_depth, it.end_path
        self.touched("nodes", name)
        self.facts.learn(z3.Implies(it.end_depth != 0, z3.And(
            fallen.claim_id == key, fallen.depth == it.end_depth, fallen.path == it.end_path, exists("nodes", name))))  # fmt: skip
        return self.octets(name)

    def name_fallen(self, key: Any) -> None:
        """Learns what the id of the node is at which a claim fell: that of the root, then of one part after the other of its path."""
        it, longest = Fields("claims", key), self.rules.most_nodes
        path, bits = self.number(it.end_path).term, (self.rules.k - 1).bit_length()
        node_id = name = root_id(self.octets(key))
        for level in range(2, longest + 1):
            below = self.number(it.end_depth - level)  # parts; of no importance where that is less than none
            part = self.number(z3.LShR(path, (bits * below).term)) & (1 << bits) - 1
            node_id = child_id(node_id, part)
            name = self.octets(z3.If(z3.UGE(it.end_depth, level), term_of(node_id), term_of(name)))
        fits = z3.LShR(path, (bits * self.number(it.end_depth - 1)).term) == 0
        fell = z3.And(z3.ULE(it.end_depth, longest), fits, FELL_AT(key) == term_of(name))
        self.facts.learn(z3.Implies(it.end_depth != 0, fell))

    def node(self, key: Any) -> Node:
        it, octets, number = Fields("nodes", key), self.octets, self.number
        segment = hidden_segment(lambda: self.shown(it).segment, octets(it.commitment))
        path = later(lambda: self.path_of(it), depth=it.depth, path=it.path)
        clock = Clock(*map(number, (it.due, it.server_left, it.challengers_left, it.since)))
        return StoredNode(
            octets(it.claim_id), octets(it.opener, ADDRESS_BYTES), path, segment, clock, number(it.price),
            later(lambda: self.one_of(it.state, NodeState), state=it.state),
            later(lambda: self.shown(it).posted), self.truth(it.collected != 0),
        )  # fmt: skip

    def shown(self, it: Fields) -> Named:
        """What the call says of a node, if it is what the node is about."""
        if self.named is None or not (it.key.get_id() in self.recognised or self.holds(self.named.is_of(it))):
            raise Unsupported("what a node is about, of which nothing is known")
        self.recognised.add(it.key.get_id())
        return self.named

    def path_of(self, it: Fields) -> tuple[Any, ...]:
        """The path of a node: all its parts as one number."""
        depth, path = self.places.get(it.key.get_id(), (it.depth, it.path))
        return StoredPath((NumberedPath(self.number(z3.ZeroExt(248, depth)) - 1, self.number(path)),))

    # What is there afterwards ----------------------------------------------------------------------------------------------------

    def written(self, court: Court) -> "Written":
        """What the storage should be after an act that left this court."""
        found = Written(self)
        if court.parameters is not self.rules:
            raise Unsupported("the parameters change")
        for kind in ("models", "requests", "claims", "nodes"):
            for key, thing in getattr(court, kind).entries:
                found.put(kind, term_of(key), fields_of(kind, thing, court))
                found.implied += implied(kind, term_of(key), thing, court)
        tables: dict[str, Any] = {**{of: getattr(court, name) for name, of in NUMBERS.items()}, "credited": court.ledger.credited}
        for key in {term_of(key).get_id(): key for table in tables.values() for key, _ in table.entries}.values():
            found.put("accounts", term_of(key), {of: table.find(key) for of, table in tables.items()})
        for kind in ("held", "gone"):
            found.put(kind, NO_KEY, {name: getattr(court.ledger, name) for name in WIDTHS[kind]})
        found.fits += [z3.ULT(term_of(left), 1 << WIDTHS["held"]["locked"]) for left in self.locked]  # more than what is left at last
        return found


class Written:
    """Objects as they should be stored.

    fits: the conditions under which all numbers fit their fields; implied: what is not stored, and that it follows from what is"""

    def __init__(self, world: GameWorld) -> None:
        self.world = world
        self.objects: list[tuple[str, Any, dict[str, Any]]] = []
        self.fits: list[Any] = []
        self.implied: list[tuple[str, Any]] = []

    def put(self, kind: str, key: Any, values: dict[str, Any]) -> None:
        """An object, newer than those before it."""
        terms = {}
        for name, value in values.items():
            width, term = WIDTHS[kind][name], condition_term(value)
            if width < term.size():
                if bits_of(term) > width:
                    self.fits.append(z3.ULT(term, 1 << width))
                term = z3.Extract(width - 1, 0, term)
            terms[name] = term
        self.objects.append((kind, key, terms))

    def keys(self) -> list[tuple[str, Any]]:
        return [(kind, key) for kind, key, _ in self.objects]

    def word(self, kind: str, offset: int, key: Any) -> Any:
        """A word of the object of that id."""
        self.world.touched(kind, key)
        found = first_word(kind, offset, key)
        for its_kind, its_key, values in self.objects:
            if its_kind == kind:
                found = z3.If(its_key == key, word(kind, offset, {name: values[name] for name, _ in LAYOUT[kind][offset] if name}), found)
        return z3.simplify(found, ctrl_c=False)


def implied(kind: str, key: Any, thing: Any, court: Court) -> Iterator[tuple[str, Any]]:
    """Yields what the contract computes from the stored fields of an object, and that the object has just that."""
    if kind == "requests":
        fields = fields_of(kind, thing, court)
        fee = z3.If(condition_term(fields["fee_paid"]) != 0, z3.BitVecVal(0, 256), condition_term(fields["fee"]))
        yield "fee_left", condition_term(thing.fee_left) == fee
    if kind == "claims":
        fell_at = raw(thing, "fell_at")
        if fell_at is not None and not isinstance(fell_at, Later):
            yield "fell_at", term_of(court.nodes[fell_at].claim_id) == key


def condition_term(value: Any) -> Any:
    """The vector of 256 bits of whatever an object has in a field."""
    if isinstance(value, z3.BitVecRef):
        return z3.simplify(z3.ZeroExt(256 - value.size(), value)) if value.size() < 256 else value
    if isinstance(value, Truth):
        return z3.If(value.formula, z3.BitVecVal(1, 256), z3.BitVecVal(0, 256))
    return term_of(value)


class NamingHashes:
    """Stands for the module `sha3`."""

    def __init__(self, world: GameWorld) -> None:
        self.world, self.real = world, vars(hashing)["sha3"]

    def keccak_256(self, data: Any) -> Any:
        if isinstance(data, bytes):
            return self.real.keccak_256(data)
        return NamedHash(self.world.octets(self.world.hashes.digest(pieces_of(data))))


@frozen
class NamedHash:
    """What is asked for its bytes."""

    hash: Octets

    def digest(self) -> Octets:
        return self.hash


def evolve(instance: Any, **changes: Any) -> Any:
    """Does what that of attrs does. Dicts made of tables become tables, and what is not changed is not looked at."""
    if isinstance(instance, HiddenSegment):
        instance = instance.show()
    kept = {one.alias: raw(instance, one.name) for one in attrs.fields(type(instance)) if one.name not in changes}
    return type(instance)(**kept, **{name: tabled(value) for name, value in changes.items()})


def path_length(things: Any) -> Any:
    """`len`, and of a path the number of its parts."""
    if isinstance(things, tuple) and any(isinstance(one, NumberedPath) for one in things):
        return sum((one.parts if isinstance(one, NumberedPath) else 1) for one in things)
    return len(things)


def octets_length(data: Any) -> Any:
    """`len`, also of bytes of which the number is not known."""
    return amount(data.length, data.paths) if isinstance(data, OpenOctets) else len(data)  # type: ignore[arg-type]


def smallest(one: Any, other: Any) -> Any:
    """`min` of two numbers that are not negative."""
    symbol = one if isinstance(one, Amount) else other
    if not isinstance(symbol, Amount):
        return min(one, other)
    return symbol.of(vector_of(least(*(it.term if isinstance(it, Amount) else it for it in (one, other)))))


def largest(one: Any, other: Any) -> Any:
    """`max`; of 0 and a difference, in as few bits as the numbers have."""
    found = difference(other.term) if isinstance(one, int) and one == 0 and isinstance(other, Amount) else None
    if found is None:
        return greater(one, other)
    made = Excess(z3.simplify(excess(*found), ctrl_c=False), other.paths)
    made.operands = found
    return made


@contextmanager
def replaced(world: GameWorld) -> Iterator[None]:
    """The specification with the few functions replaced that take no symbols, while this is entered."""
    bits = (world.rules.k - 1).bit_length()

    def late(clock: Clock, now: Any, lost_at: Any, effort: Any) -> Any:
        def since(due: Any, since: Any, *others: Any) -> Any:
            return LATE(Clock(due, 0, 0, since), *others)

        return world.cuts.excess("late", since, clock.due, clock.since, now, lost_at, effort)

    def settled(rules: Parameters, bond: Any, depth: Any, prices: Any) -> Any:
        if not world.only_burns:
            return money.settle(rules, bond, depth, prices)
        burned = world.cuts.number("burned", lambda *given: money.settle(rules, *given).burned, bond, depth, bond, depth, prices)
        return Settlement(None, None, burned)  # type: ignore[arg-type]  # whoever looked at the others would raise

    def node_bonds(rules: Parameters, claim_bond: Any, nodes: Any) -> Any:
        if not nodes:
            return NODE_BONDS(rules, claim_bond, nodes)
        it = Fields("claims", world.finalised)
        given = (claim_bond, Fields("requests", it.request_id).bond), (nodes, it.nodes)
        if not all(term_of(one).eq(condition_term(its)) for one, its in given):
            raise Unsupported("the bonds of another claim's nodes")

        def cut(what: str, function: Callable[..., Any], *given: Any) -> Any:
            return world.cuts.number(what, function, None, nodes, *given)

        lost: Any = Count(cut("lost", partial(NODE_BONDS, rules), claim_bond, Count(nodes.term, world.paths)).term, world.paths)
        whole = claim_bond + rules.share(lost)
        paid = cut("paid", lambda whole: whole.of(within(whole.term, WIDTHS["accounts"]["credited"])), whole)
        burned = cut("burned", lambda lost: lost - rules.share(lost), lost)
        world.facts.learn(*invariants.of_stake(world.finalised, burned.term, paid.term, whole.term, world.cuts.name))
        return lost

    def moved(ledger: Ledger, **changes: Any) -> Any:
        if "locked" in changes and "deposits" not in changes:
            world.locked.append(changes["locked"])
        return evolve(ledger, **changes)

    def on_the_way_to(node: Any, other: Any) -> bool:
        (depth, path), (its_depth, its_path) = (path_number(one.path, world.rules.k) for one in (node, other))
        above = upper_parts(term_of(its_path), term_of(its_depth), term_of(depth), bits)
        return bool((depth <= its_depth) & (its_path.of(above) == path))

    table: tuple[tuple[Any, str, Any], ...] = (
        (hashing, "sha3", NamingHashes(world)),  # a hash is a name for what was hashed
        *((module, "evolve", evolve) for module in (claims, tree, ends, moves, opening)),  # a new table of an old one and an entry
        (money, "evolve", moved),
        *((module, "max", largest) for module in (claims, clocks, ends, parameters, tree)),  # one number, where `max` would ask which
        *((module, "min", smallest) for module in (clocks, money, narrowing, parameters, tree)),
        (clocks.Clock, "late", late),  # one number with a name, where a server that lost a claim would be another path
        (Parameters, "node_bonds", node_bonds),  # one number with a name, where the root's bond would be another path
        (tree, "settle", settled),  # one number with a name, where it is known that nothing else of it is asked for
        (tree, "part_of", part_of),  # with a choice of the hashes, where an index would have to be known
        *((module, "len", octets_length) for module in (claims, moves)),  # of bytes of which the number is not known
        (claims, "io_quarter", getattr(world.inner, "io_quarter", io_quarter)),  # as the contract's function computes its root
        (ends, "read_result", getattr(world.inner, "read_result", read_result)),  # as the contract's function answers
        (moves, "execute_witness", lambda witness: executed(witness, world.witness, world.holds, world.octets)),  # as the arbiter answers
        (state, "int", machine_state.integers(world.paths)),  # of bytes that are not known
        (state, "join", machine_state.join(world.paths)),
        (state, "tuple", machine_state.OneOf),  # one question, where `in` would ask of each cause
        (state, "Cause", machine_state.Causes()),  # a number of them, whichever it is
        (objects, "len", path_length),  # of a path of any length
        (objects.Node, "on_the_way_to", on_the_way_to),  # on such paths, as spec §5.11 says it of their numbers
    )
    with ExitStack() as stack:
        for where, name, by in table:
            stack.enter_context(patch.object(where, name, by, create=True))
        yield
