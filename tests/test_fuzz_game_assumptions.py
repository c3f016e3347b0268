"""What the proofs about the game assume of every court, at courts that were played; and what their symbols mean there.

The proofs assume it of all courts. That each act keeps it is proved of a part only, so here it is tried after every act of random plays. At
the same courts, the paths of an act on symbols and those of the bytecode are filled in with what is stored: one of each is taken, and it
ends as the specification's act does with the same numbers.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import cache, partial
from itertools import chain
from random import Random
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import z3
from attrs import evolve
from opml_fuzz.disputes.answers import TellingCourt
from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.contract import PEOPLE
from opml_fuzz.disputes.deep_trees import deep_tree
from opml_fuzz.disputes.edges import acts_at_edges
from opml_fuzz.disputes.last_acts import last_acts
from opml_fuzz.disputes.last_seconds import last_seconds
from opml_fuzz.disputes.lost_server import lost_server
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.sequences import at_court, drawn_calls
from opml_fuzz.proofs.evm.memory import Memory
from opml_fuzz.proofs.evm.words import vector
from opml_fuzz.proofs.game import invariants, wire
from opml_fuzz.proofs.game.case_split import DIVISIONS
from opml_fuzz.proofs.game.court import replaced
from opml_fuzz.proofs.game.equivalence import SCRATCH_BYTES, WEI_BITS, AboutCalls, Ended, Proof, deployed, nothing
from opml_fuzz.proofs.game.game_prover import QUERY_UNITS
from opml_fuzz.proofs.game.invariants import INVARIANTS
from opml_fuzz.proofs.game.known_court import StoredCourt, by_specification, court_of, nonzero, number_of, place_in_tree, storage_of
from opml_fuzz.proofs.game.layout import LAYOUT, WIDTHS
from opml_fuzz.proofs.game.machine import GamePath
from opml_fuzz.proofs.game.open_bytes import OpenBytes
from opml_fuzz.proofs.game.segments import ENDS, Named, facts_about
from opml_fuzz.proofs.game.storage import Storage
from opml_fuzz.proofs.questions import Questions
from opml_fuzz.proofs.step.ending import of_end
from opml_fuzz.proofs.symbols import DIVISION, PRODUCT
from opml_fuzz.statements.catalogue import GAME
from opml_fuzz.statements.game_bytecode import OF_OUTPUT
from opml_spec.dispute.acts import deploy
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.objects import ClaimStatus, Court
from opml_spec.dispute.parameters import Parameters
from opml_spec.dispute.result import Outcome, read_result
from opml_spec.errors import SpecError
from opml_spec.machine.merkle import hash_of
from opml_spec.runs.run import RunState, RunStatus, first_state, io_quarter

from evm_arbiter.chain import START_TIME, keccak256

IS_NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
SEEDS = range(12 if IS_NIGHTLY else 2)
ACTS, AT_EDGES = 300, 20
WHOLE_EVERY = 60
"""So often everything is looked at; else what an act has changed."""


def plays(seed: int) -> Iterator[tuple[Court, Call, Court | None]]:
    """Yields each call of a random play, with the court before, and that afterwards if it was accepted."""
    court, rng = TellingCourt(deploy(Parameters())), Random(seed)
    players = Players(court.spec, PEOPLE, rng, START_TIME, alive=rng.choice((1, 3)))
    others = chain(acts_at_edges(players), lost_server(players), deep_tree(players), last_seconds(players), last_acts(players))
    for number, call in enumerate(chain(drawn_calls(court, players, ACTS), at_court(court, players, others))):
        before = court.spec
        is_accepted = court.call(call) == "ok"
        players.court = court.spec
        yield before, call, court.spec if is_accepted else None
        if number > ACTS + 120 + AT_EDGES:
            return


class RealHashes:
    """Keccak-256 of what is known."""

    def digest(self, pieces: Any) -> Any:
        data = b"".join(number(term).to_bytes(size, "big") for term, size in pieces)
        return z3.BitVecVal(number_of(keccak256(data)), 256)


def number(term: Any) -> int:
    return term if isinstance(term, int) else int(z3.simplify(term).as_long())


def field_in(stored: StoredCourt, kind: str, name: str) -> Callable[[Any], Any]:
    """A field of the objects of a kind, as it is stored; zero of what is not there."""
    return lambda key: z3.BitVecVal(stored.get((kind, number(key)), {}).get(name, 0), WIDTHS[kind][name])


def broken(stored: StoredCourt, places: Any, now: int, patch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is assumed of the objects in these places and is not so."""
    patch.setattr(invariants, "function", partial(field_in, stored))
    hashes: Any = RealHashes()
    return [
        (kind, place, stored[kind, key])
        for kind, key in places
        for place, fact in enumerate(INVARIANTS.get(kind, lambda *_: ())(z3.BitVecVal(key, 256), hashes, z3.BitVecVal(now, 256)))
        if not z3.is_true(z3.simplify(fact))
    ]


def broken_segments(court: Court) -> list[bytes]:
    """The nodes of whose segments something is assumed that is not so. The fields must be those of the court already."""
    found = []
    for node_id, node in court.nodes.items():
        ends = (getattr(node.segment, name) for name in ENDS)
        shown: Any = Segment(*(SimpleNamespace(term=z3.BitVecVal(number_of(one), 256)) for one in ends))  # type: ignore[arg-type]
        said = Named(shown, node.posted, z3.BitVecVal(number_of(node.commitment), 256))
        facts = facts_about(z3.BitVecVal(number_of(node_id), 256), said, court.parameters.k)
        found += [node_id for fact in facts if not z3.is_true(z3.simplify(fact))]
    return found


def first_carry(call: Call, court: Court) -> int:
    """The carry with which the run begins that a call asks for."""
    model_id, stage_count, data = call.act.arguments[:3]
    return number_of(hash_of(first_state(io_quarter(stage_count, data), court.models[model_id].state_root).carry))


def content_of(call: Call) -> int:
    """What a request says, as its id is made of it."""
    model_id, stage_count, data, deadline, bond, server = call.act.arguments
    numbers = stage_count.to_bytes(8, "big") + deadline.to_bytes(8, "big") + call.act.value.to_bytes(32, "big") + bond.to_bytes(32, "big")
    return number_of(model_id + numbers + server + keccak256(data))


def named(call: Call, before: Court, after: Court) -> dict[tuple[str, int], int]:
    """What the unknown functions of ids say of a request that a call made."""
    keys = [number_of(key) for key in after.requests if key not in before.requests]
    made = before.requests_made.get(call.sender, 0)
    return {(name, key): it for key in keys for name, it in (("requests.number", made), ("requests.content", content_of(call)))}


def broken_names(stored: StoredCourt, said: Mapping[tuple[str, int], int], patch: pytest.MonkeyPatch) -> list[int]:
    """The requests whose ids are not made of their requesters, and of a number that is less than those made by now."""
    patch.setattr(invariants, "function", partial(field_in, stored))
    patch.setattr(invariants, "NUMBER", lambda key: z3.BitVecVal(said["requests.number", number(key)], 64))
    patch.setattr(invariants, "CONTENT", lambda key: z3.BitVecVal(said["requests.content", number(key)], 8 * invariants.CONTENT_BYTES))
    hashes: Any = RealHashes()
    keys = [key for name, key in said if name == "requests.number"]
    return [key for key in keys if not z3.is_true(z3.simplify(invariants.of_identity(z3.BitVecVal(key, 256), hashes)))]


def two_outcomes(court: Court) -> list[bytes | None]:
    """The run hashes that have more than one outcome."""
    outcomes: dict[bytes | None, set[Any]] = {}
    for request in court.requests.values():
        outcomes.setdefault(request.run_hash, set()).add(request.outcome)
    return [run_hash for run_hash, its in outcomes.items() if len(its) > 1]


def broken_stakes(court: Court, patch: pytest.MonkeyPatch) -> list[bytes]:
    """The claims of which something is assumed to be locked that is not, or is more than somebody may have."""
    stored, rules, found = storage_of(court), court.parameters, []
    patch.setattr(invariants, "function", partial(field_in, stored))
    for claim_id, claim in court.claims.items():
        bond = court.requests[claim.request_id].bond
        lost = rules.node_bonds(bond, claim.nodes)
        amounts = (z3.BitVecVal(wei, 256) for wei in (lost - rules.share(lost), *2 * (bond + rules.share(lost),)))
        facts = invariants.of_stake(z3.BitVecVal(number_of(claim_id), 256), *amounts)
        found += [] if all(z3.is_true(z3.simplify(fact)) for fact in facts) else [claim_id]
    return found


def broken_beginnings(stored: StoredCourt, carries: Mapping[int, int], patch: pytest.MonkeyPatch) -> list[int]:
    """The requests that do not begin with their carry and OK."""
    patch.setattr(invariants, "function", lambda kind, name: lambda key: z3.BitVecVal(stored[kind, number(key)][name], WIDTHS[kind][name]))
    patch.setattr(invariants, "FIRST_CARRY", lambda key: z3.BitVecVal(carries[number(key)], 256))
    hashes: Any = RealHashes()
    return [key for key in carries if not z3.is_true(z3.simplify(invariants.of_beginning(z3.BitVecVal(key, 256), hashes)))]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_assumed_of_every_court_holds_after_every_act(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: all numbers fit their fields, the money is balanced, and a court is what is stored of it."""
    stored: StoredCourt = {}
    carries: dict[int, int] = {}
    said: dict[tuple[str, int], int] = {}
    for count, (court, call, after) in enumerate(plays(seed)):
        if after is None:
            continue
        carries |= {number_of(key): first_carry(call, after) for key in after.requests if key not in court.requests}
        said |= named(call, court, after)
        before, stored = stored, storage_of(after)  # raises where a number does not fit
        is_whole = count % WHOLE_EVERY == 0
        changed = [place for place, fields in stored.items() if is_whole or before.get(place) != fields]
        assert broken(stored, changed, call.now, monkeypatch) == [], call
        assert after.ledger.balanced
        fees = {key: stored["requests", number_of(key)]["fee"] for key in after.requests}
        assert all(one.fee_left == (0 if one.fee_paid else fees[key]) for key, one in after.requests.items())
        if is_whole:
            assert nonzero(storage_of(court_of(stored))) == nonzero(stored)
            assert broken_segments(after) == []
            assert broken_beginnings(stored, carries, monkeypatch) == []
            assert broken_names(stored, said, monkeypatch) == []
            assert two_outcomes(after) == []
            assert broken_stakes(after, monkeypatch) == []
    assert sum(kind == "nodes" for kind, _ in stored) > 20


def with_one(kind: str, **fields: Any) -> Callable[[Court], Court]:
    """Another court: these fields of an object of some kind are others. It is the first node, or its claim, request or model."""

    def change(court: Court) -> Court:
        table: Mapping[bytes, Any] = getattr(court, kind)
        node = next(iter(court.nodes))
        claim = court.nodes[node].claim_id
        request = court.claims[claim].request_id
        key = {"nodes": node, "claims": claim, "requests": request, "models": court.requests[request].model_id}[kind]
        return evolve(court, **{kind: {**table, key: evolve(table[key], **fields)}})

    return change


def early_node(court: Court) -> Court:
    return with_one("nodes", clock=evolve(next(iter(court.nodes.values())).clock, since=1 << 50))(court)


NO_COURTS: dict[str, Callable[[Court], Court]] = {
    "a stage takes too long": with_one("models", stage_microseconds=1 << 32),
    "a request of no model": with_one("requests", model_id=bytes(32)),
    "a request with a result hash and no outcome": with_one("requests", run_hash=b"r" * 32, result=None, outcome=None),
    "a request that joined no line": with_one("requests", claims=1, checked_at=0),
    "a claim of no request": with_one("claims", request_id=b"r" * 32),
    "a claim beyond the last": with_one("claims", index=1 << 31),
    "a claim that knows no node": with_one("claims", nodes=0),
    "a pending claim that fell": lambda court: with_one("claims", status=ClaimStatus.PENDING, fell_at=next(iter(court.nodes)))(court),
    "a node of no claim": with_one("nodes", claim_id=b"c" * 32),
    "a root below": with_one("nodes", path=(1,)),
    "a node in the future": early_node,
    "more locked than deposited": lambda court: evolve(court, ledger=evolve(court.ledger, locked=court.ledger.deposits + 1)),
}


@pytest.mark.parametrize("what", NO_COURTS)
def test_what_no_act_leads_to_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing that is assumed can be wrong: the test above would tell."""
    court, now = played()
    assert broken(storage_of(court), storage_of(court), now, monkeypatch) == []
    stored = storage_of(NO_COURTS[what](court))
    assert broken(stored, stored, now, monkeypatch), what


def test_a_request_that_begins_failed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    court, _ = played()
    carry, key = b"c" * 32, court.claims[next(iter(court.nodes.values())).claim_id].request_id
    for status in RunStatus:
        begun = with_one("requests", first_run_hash=RunState(carry, status).run_hash)(court)
        found = broken_beginnings(storage_of(begun), {number_of(key): number_of(carry)}, monkeypatch)
        assert found == ([] if status is RunStatus.OK else [number_of(key)])


def test_what_is_said_of_ids_and_outcomes_can_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    before, call, after = next(one for one in plays(0) if one[2] is not None and one[1].move == "request")
    assert after is not None
    said = named(call, before, after)
    stored = storage_of(after)
    assert said
    assert broken_names(stored, said, monkeypatch) == []
    for name, _ in said:
        assert broken_names(stored, {key: it + (key[0] == name) for key, it in said.items()}, monkeypatch), name
    (key, request), *_ = after.requests.items()
    answers = zip((key, bytes(32)), (Outcome.OK, Outcome.FAILED), strict=True)
    both = {one: evolve(request, run_hash=b"r" * 32, outcome=outcome) for one, outcome in answers}
    assert two_outcomes(evolve(after, requests=both)) == [b"r" * 32]


def test_a_stake_that_is_not_locked_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bond, that of the root, and the fee, less one; or a server who has so much that what is paid does not fit."""
    court, _ = played()
    claim_id = next(iter(court.nodes.values())).claim_id
    claim, rules = court.claims[claim_id], court.parameters
    asked = court.requests[claim.request_id]
    stake = asked.bond + rules.node_bonds(asked.bond, claim.nodes) + asked.fee_left
    others = {key: evolve(one, status=ClaimStatus.FINAL) for key, one in court.claims.items() if key != claim_id}
    for locked, credited, is_broken in ((stake, 0, False), (stake - 1, 0, True), (stake, (1 << 128) - asked.bond, True)):
        ledger = evolve(court.ledger, locked=locked, credited={claim.server: credited})
        changed = evolve(court, claims={**court.claims, **others}, ledger=ledger)
        assert broken_stakes(changed, monkeypatch) == [claim_id] * is_broken


@cache
def played() -> tuple[Court, int]:
    """A court with a node, and its time."""
    return next((after, call.now) for _, call, after in plays(0) if after is not None and call.move == "challenge")


# Symbols, filled in ----------------------------------------------------------------------------------------------------------------------


class Filled:
    """What the terms of a proof mean at a court that is known, for a call that is known."""

    def __init__(self, proof: Proof, stored: StoredCourt, call: Call, said: Mapping[tuple[str, int], int]) -> None:
        self.proof, self.stored, self.call, self.said = proof, stored, call, said
        hashes = proof.world.hashes
        self.hashed = {str(name): hashes.preimages[name.get_id()] for name in hashes.by_preimage.values()}
        given = {f"argument{place}": number_of(it) for place, it in enumerate(call.act.arguments)}
        given |= {f"argument{place}_length": len(it) for place, it in enumerate(call.act.arguments) if isinstance(it, bytes)}
        given |= ANSWERS.get(call.move, lambda *_: {})(*call.act.arguments)
        self.names = {**given, "sender": number_of(call.sender), "now": call.now, "value": call.act.value, "basefee": call.basefee}
        self.known: dict[int, tuple[Any, int]] = {}

    def __call__(self, term: Any) -> int:
        """The number, or the truth as 0 or 1."""
        if not z3.is_expr(term):
            return int(term)
        if term.get_id() not in self.known:
            self.known[term.get_id()] = term, self.evaluated(term)
        return self.known[term.get_id()][1]

    def evaluated(self, term: Any) -> int:
        if term.get_id() in self.proof.facts.names:
            return self(self.proof.facts.names[term.get_id()])
        declaration, given = term.decl(), [self(one) for one in term.children()]
        if declaration.kind() == z3.Z3_OP_UNINTERPRETED:
            return self.applied(declaration, given)
        if given:
            term = z3.simplify(declaration(*(literal(it, one.sort()) for it, one in zip(given, term.children(), strict=True))))
        return int(z3.is_true(term)) if z3.is_bool(term) else int(term.as_long())

    def applied(self, function: Any, given: list[int]) -> int:
        """What an unknown function, or a name, really is."""
        name = function.name()
        if name == PRODUCT.name():
            return given[0] * given[1] % (1 << 256)
        if name == DIVISION.name():
            return given[0] // given[1] if given[1] else 0
        if name == "claims.fell_at":
            fields = self.stored.get(("claims", given[0]), {})
            where = given[0], fields.get("end_depth", 0), fields.get("end_path", 0)
            return next((key for (kind, key), it in self.stored.items() if kind == "nodes" and place_in_tree(it) == where), 0)
        if name in self.hashed:
            return number_of(keccak256(b"".join(map(self.octets, self.hashed[name]))))
        if name.endswith("_word"):
            argument = self.call.act.arguments[int(name.removeprefix("argument").removesuffix("_word"))]
            return number_of(argument[given[0] :][:32].ljust(32, b"\0"))
        if name == "runs.outcome":
            return self.outcome(given[0])
        if (name, *given) in self.said:
            return self.said[name, given[0]]
        if given:
            kind, _, field = name.partition(".")
            return self.stored.get((kind, given[0]), {}).get(field, 0)
        return self.names[name]

    def octets(self, piece: Any) -> bytes:
        """The bytes of a piece, of which the number may not be known."""
        term, size = piece
        if not isinstance(term, OpenBytes):
            return self(term).to_bytes(size, "big")
        words = (self(word).to_bytes(32, "big") for at in range(0, self(term.length), 32) for word, _ in term.read(at, 32))
        return b"".join(words)[: self(term.length)]

    def outcome(self, run_hash: int) -> int:
        """The outcome that a run hash has by what the call shows; if it shows nothing of it, by what is stored."""
        _, carry, _, output, proof = self.call.act.arguments
        for state in (RunState(carry, one) for one in RunStatus):
            with suppress(SpecError):
                if number_of(state.run_hash) == run_hash:
                    shown = (output, proof) if state.status is RunStatus.OK else (b"", b"")
                    return int(read_result(state, *shown)[0])
        outcomes = (it["outcome"] for (kind, _), it in self.stored.items() if kind == "requests" and it["run_hash"] == run_hash)
        return next(outcomes, 1) - 1


def answer_of_request(model_id: bytes, stage_count: int, data: bytes, *_: Any) -> dict[str, int]:
    return {"io_root": number_of(hash_of(io_quarter(stage_count, data)))}


def answer_of_finalise(claim_id: bytes, carry: bytes, status: int, output: bytes, proof: bytes) -> dict[str, int]:
    """What the unknown function says of an output: as it is of no importance for a run that failed, it is wrong there."""
    found = {"output_is_wrong": 0, "output_is_readable": 0, "output_error": 0, "output_leaves": 0}
    try:
        outcome, _ = read_result(RunState(carry, RunStatus.OK), output, proof)
    except SpecError as error:
        return {**found, "output_is_wrong": 1, "output_error": error.number}
    tokens = int.from_bytes(output[:8], "little")
    return {**found, "output_is_readable": 1, "output_leaves": 1 + -(-tokens // 8)} if outcome is Outcome.OK else found


ANSWERS: dict[str, Callable[..., dict[str, int]]] = {"request": answer_of_request, "finalise": answer_of_finalise}


def literal(value: int, sort: Any) -> Any:
    return z3.BoolVal(bool(value)) if sort == z3.BoolSort() else z3.BitVecVal(value, sort.size())


def in_scope(name: str, proof: Proof) -> AboutCalls:
    """Such calls as the statement is about."""
    division = DIVISIONS[f"game.{name}"](proof)
    return AboutCalls((division.scope,), division.remembers)


@cache
def both_worlds(name: str) -> tuple[Proof, list[tuple[Any, Ended]], list[Any]]:
    """An entry point on symbols: all paths of the act, and all ends of the bytecode."""
    setup = partial(in_scope, name) if f"game.{name}" in DIVISIONS else nothing
    proof = Proof(deployed(), GAME[f"game.{name}"].subject, Questions(QUERY_UNITS, Event()), setup)
    with ExitStack() as stack:
        for one in (replaced(proof.world), wire.encoding(proof.paths)):
            stack.enter_context(one)
        ours = list(proof.paths.explore(proof.act, proof.assumptions))
    memory = Memory().store_pieces(0, ((0, SCRATCH_BYTES),))
    start = GamePath(0, memory=memory, conditions=proof.assumptions, storage=Storage(proof.world.touched))
    return proof, ours, proof.machine().run(start)


def word_of(kind: str, offset: int, fields: Mapping[str, int]) -> int:
    """A word as it is stored."""
    it, at = 0, 0
    for name, width in LAYOUT[kind][offset]:
        it, at = it | fields.get(name, 0) << at, at + width
    return it


CALLS = 6


EASY = ("register", "award", "reclaim", "request")


@pytest.mark.parametrize("name", (*EASY, "challenge", "expire", "finalise_undisputed", "finalise_disputed") if IS_NIGHTLY else EASY)
def test_symbols_mean_what_numbers_do(name: str) -> None:
    """All facts that z3 is told are true, and one path is taken here and one there: to the end, and the storage, of the real act."""
    proof, ours, theirs = both_worlds(name)
    tried: dict[Any, int] = {}
    said: dict[tuple[str, int], int] = {}
    for before, call, after in chain.from_iterable(map(plays, SEEDS)):
        known, said = said, said if after is None else {**said, **named(call, before, after)}
        if call.move != proof.name:
            continue
        stored = storage_of(before)
        answered = by_specification(stored, call, True).said
        if tried.setdefault(answered, 0) == CALLS:
            continue
        fill = Filled(proof, stored, call, known)
        is_outside = f"game.{name}" in DIVISIONS and not fill(proof.assumptions[3])
        if is_outside or call.act.value >= 1 << WEI_BITS:  # of these nothing is said
            continue
        tried[answered] += 1
        assert all(map(fill, proof.assumptions))
        assert [fact for fact in proof.facts.known if not fill(fact)] == []
        (ended,) = (ended for conditions, ended in ours if all(map(fill, conditions)))
        (end,) = (end for end in theirs if all(map(fill, end.path.conditions)))
        assert ended.what == answered or (ended.what == OF_OUTPUT and fill(ended.what.term) == answered)
        if after is None:
            error = of_end(end).error
            assert answered == ("refused" if error is None else fill(error))
            continue
        assert end.how == "RETURN"
        assert all(map(fill, ended.fits))
        assert ended.written is not None
        then = storage_of(after)
        for place, word in end.path.storage.written.values():
            key = fill(place.key)
            real = word_of(place.kind, place.offset, then.get((place.kind, key), {}))
            assert fill(vector(word)) == fill(ended.written.word(place.kind, place.offset, place.key)) == real, (place.kind, place.offset)
    assert tried.get("ok", 0) > 0
    assert len(tried) >= 2
