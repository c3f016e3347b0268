"""The game's deployed bytecode is the specification's acts: every statement proved, and what is wrong is found.

A wrong contract, a wrong specification and a wrong byte must each get a counterexample, not merely make a proof fail.
"""

import os
from collections import Counter
from contextlib import suppress
from random import Random
from threading import Event
from typing import Any

import pytest
import z3
from attrs import evolve
from fuzz_game_proofs import WrongRule, pasted, proved_alone, proved_with
from opml_fuzz.disputes.answers import TellingCourt
from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.contract import PEOPLE
from opml_fuzz.disputes.players import Players
from opml_fuzz.disputes.sequences import drawn_calls
from opml_fuzz.disputes.wire.abi import TOPICS
from opml_fuzz.disputes.wire.views import VIEWS
from opml_fuzz.fuzzing.compiled_mutants import compiled
from opml_fuzz.fuzzing.game_mutants import changed
from opml_fuzz.proofs.evm.pieces import of_bytes
from opml_fuzz.proofs.game import game_prover, known_court
from opml_fuzz.proofs.game.arithmetic import Arithmetic, width
from opml_fuzz.proofs.game.case_split import DIVISIONS
from opml_fuzz.proofs.game.cuts import joined
from opml_fuzz.proofs.game.equivalence import AboutCalls, Proof, deployed
from opml_fuzz.proofs.game.facts import DistinctHashes, Facts
from opml_fuzz.proofs.game.game_prover import QUERY_UNITS, prove_game
from opml_fuzz.proofs.game.io_root import io_root_of
from opml_fuzz.proofs.game.known_arbiter import Answer
from opml_fuzz.proofs.game.known_court import NotACourt, StoredCourt, by_specification, differences, place_in_tree, storage_of
from opml_fuzz.proofs.game.layout import LAYOUT, function
from opml_fuzz.proofs.game.numbers import GamePaths
from opml_fuzz.proofs.game.packed import added, either, subtracted
from opml_fuzz.proofs.game.replay import NotAHash, Reading, acyclic, real_numbers
from opml_fuzz.proofs.game.storage import Storage, place_of
from opml_fuzz.proofs.questions import Failure, Questions
from opml_fuzz.proofs.symbols import DIVISION, PRODUCT, Truth
from opml_fuzz.proofs.unsupported import Unsupported
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.catalogue import GAME
from opml_fuzz.statements.game_bytecode import CONSTRUCTOR
from opml_spec.dispute.acts import ACTS, Act, deploy
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import Deadline
from opml_spec.machine.merkle import hash_of
from opml_spec.runs.run import io_quarter

from evm_arbiter.chain import START_TIME, Artefact, keccak256

WORDS = [z3.BitVec(name, 256) for name in "abcd"]


@pytest.mark.parametrize("name", GAME)
def test_an_entry_point_is_proved(name: str) -> None:
    verdict = proved_alone(name)
    assert verdict.result == "proved", verdict.detail


@pytest.mark.parametrize("subject", ["collect", "open", "finalise"])
def test_the_parts_of_an_entry_point_are_about_all_calls(subject: str) -> None:
    proof = Proof(deployed(), subject, Questions(QUERY_UNITS, Event()))
    scopes = [DIVISIONS[name](proof).scope for name, statement in GAME.items() if statement.subject == subject]
    assert len(scopes) == 2
    proof.questions.prove((), z3.Or(scopes))


# What is wrong is found --------------------------------------------------------------------------------------------------------------


IO_ROOT = "def _io_root(stage_count: uint256, data: Bytes[MAX_REQUEST_BYTES + 1]) -> bytes32:\n"
ITS_RESULT_CHANGED = (
    f"{IO_ROOT}    return merkle.node(self._inside(stage_count, data), empty(bytes32))\n\n\n"
    f"@internal\n@view\n{IO_ROOT.replace('_io_root', '_inside')}"
)

WRONG = (
    ("register", "stage_microseconds < 1 or stage_microseconds >= 2**32", "stage_microseconds < 1 or stage_microseconds > 2**32"),
    ("register", "if self.models[model_id].line_word == 0:", "if True:"),  # forgets the line
    ("withdraw_to", "self.accounts[msg.sender] = account_word - (amount << CREDITED_BIT)", "self.accounts[msg.sender] = account_word"),
    ("withdraw_to", "if not raw_call(to, b", "if not raw_call(msg.sender, b"),
    ("withdraw_to", "value=amount, revert_on_failure", "value=amount - 1, revert_on_failure"),
    ("withdraw_to", "        codec.fail(PAYMENT_FAILED)", "        pass"),
    ("withdraw_to", "    self.gone += amount << PAID_OUT_BIT\n", ""),
    ("withdraw_to", "account=msg.sender, to=to, amount=amount", "account=to, to=to, amount=amount"),
    ("withdraw_to", "NOTHING_TO_WITHDRAW: constant(uint256) = 231", "NOTHING_TO_WITHDRAW: constant(uint256) = 230"),
    ("reclaim", "max(waiting_until, progress_word & codec.MASK64) + WINDOW", "waiting_until + WINDOW"),
    ("reclaim", "    log objects.Reclaimed(request_id=request_id)\n", ""),
    ("award", "block.timestamp <= self._closes_at(claim_word) + HOLD", "block.timestamp < self._closes_at(claim_word) + HOLD"),
    ("expire", "max(self._closes_at(claim_word), tree_word & MASK40)", "self._closes_at(claim_word)"),
    ("expire", "self._credit(self._requester(request_id), request_id, paid)", "self._credit(msg.sender, request_id, paid)"),
    ("challenge", "(1 << NODES_BIT) + (price << PRICES_BIT)", "(1 << NODES_BIT)"),
    ("challenge", "max(block.timestamp, server_due) + EFFORT", "block.timestamp + EFFORT"),
    ("challenge", "due=convert(due, uint64), server_left", "due=0, server_left"),
    ("post", "len(hashes) != 32 * (self._part_count(length)", "len(hashes) != 32 * (self._part_count(length + 1)"),
    ("post", "        codec.fail(WRONG_SEAL)", "        pass"),
    ("post", "        clock_word -= turn.late << SERVER_LEFT_BIT\n", ""),
    ("post", "segment=segment, hashes=hashes,\n        since=", "segment=segment, hashes=b\"\",\n        since="),
    ("choose", "cut.hi = segment.lo + convert((part + 1) * length // parts", "cut.hi = segment.lo + convert(part * length // parts + 1"),
    ("choose", "cut.agreed = extract32(hashes, 32 * (part - 1))", "cut.agreed = extract32(hashes, 0)"),
    ("choose", "if block.timestamp < since + PRIORITY and", "if block.timestamp <= since + PRIORITY and"),
    ("result_of", "return convert(outcome - 1, uint8)", "return convert(outcome, uint8)"),
    ("result_of", "        codec.fail(NO_RESULT)", "        codec.fail(UNKNOWN_REQUEST)"),
    ("model_of", "busy_until=convert(slots.line_word >> BUSY_UNTIL_BIT, uint64)", "busy_until=0"),
    ("model_of", "        state_root=slots.state_root,", "        state_root=slots.model_root,"),
    ("request_of", "fee_left=0 if fee_paid else convert(", "fee_left=convert("),
    ("request_of", "outcome=convert(max(outcome, 1) - 1, uint8)", "outcome=convert(outcome, uint8)"),
    ("timeout", "self._late(turn) <= self._server_left", "self._late(turn) < self._server_left"),
    ("timeout", "bond - depth * share - gas * prices", "bond - depth * share"),
    ("arbitrate", "    if after == segment.disputed:", "    if before == segment.disputed:"),
    ("arbitrate", "    if before != segment.agreed:\n        codec.fail(WRONG_STATE)\n", ""),
    ("arbitrate", "segment.phase != INSTRUCTIONS or segment.hi", "segment.hi"),
    ("collect_elsewhere", "        if self._lies_on_the_way(", "        if not self._lies_on_the_way("),
    ("collect_elsewhere", "turn.clock_word | (1 << COLLECTED_BIT)", "turn.clock_word"),  # pays again and again
    ("claim_of", "PART_BITS * (depth - level)", "PART_BITS * (level - 2)"),  # reads the path backwards
    ("node_of", "depth=convert(slots.place_word >> DEPTH_BIT, uint8)", "depth=convert(self._path(slots.place_word) & MASK8, uint8)"),
    ("node_of", "collected=slots.clock_word >> COLLECTED_BIT != 0", "collected=slots.clock_word >> STATE_BIT != 0"),
    ("collect_on_the_way", "            credit += share\n", "            credit = share\n"),
    ("collect_on_the_way", "            burned = refund\n", "            pass\n"),
    ("collect_on_the_way", "    self._burn(node_id, burned)\n", "    self._burn(turn.claim_id, burned)\n"),
    ("collect_on_the_way", "        if self._lies_on_the_way(", "        if not self._lies_on_the_way("),
    ("account_of", "requests=convert(account_word & MASK32, uint64)", "requests=convert(account_word & MASK8, uint64)"),
    ("account_of", "lost_at=convert(account_word >> LOST_AT_BIT, uint64)", "lost_at=convert(self._server_due(account_word), uint64)"),
    ("books", "burned=convert(self.gone & MASK128, uint128)", "burned=convert(self.held & MASK128, uint128)"),
    ("parameters", "    return FIXED\n", "    p: bounds.Parameters = FIXED\n    p.grace = p.effort\n    return p\n"),
    ("open_failed", "    self._burn(turn.claim_id, bond - depth * share - gas * prices)\n", ""),
    ("request", IO_ROOT, ITS_RESULT_CHANGED),
    ("request", "wide_deadline > block.timestamp + YEAR", "wide_deadline >= block.timestamp + YEAR"),
    ("finalise_disputed", "    won: uint256 = self._phi(node_bonds)\n", "    won: uint256 = self._phi(node_bonds) + 1\n"),
    ("finalise_disputed", "    self._credit(server, claim_id, bond + won)\n", "    self._credit(server, claim_id, bond)\n"),
    ("finalise_disputed", "    self._burn(claim_id, node_bonds - won)\n", "    self._burn(request_id, node_bonds - won)\n"),
    ("finalise_undisputed", "    progress_word -= 1 << PENDING_BIT\n    if first:", "    if first:"),
)
IS_NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
TAKE_LONG = "arbitrate", "request"  # half a minute each, or more
CHOSEN = WRONG if IS_NIGHTLY else [*(one for one in WRONG[1:-2:8] if one[0] not in TAKE_LONG), *WRONG[-2:]]


def only_with(game: Artefact, verdict: Verdict, patch: pytest.MonkeyPatch) -> None:
    """The test passes, and fails as long as the contract is another one."""
    test = pasted(verdict)
    test()
    patch.setattr(known_court, "deployed", lambda _: deployed(game))
    with pytest.raises(AssertionError):
        test()


@pytest.mark.parametrize(("subject", "right", "wrong"), CHOSEN)
def test_a_wrong_contract_is_found(subject: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    game = compiled("game", right, wrong)
    only_with(game, proved_alone(f"game.{subject}", game), monkeypatch)


WRONG_RULES = (
    ("register", ("claims", "1 <= stage_microseconds < 1 << 32", "0 <= stage_microseconds < 1 << 32")),
    ("reclaim", ("ends", "held = asked.pending > 0 and", "held = False and")),
    ("collect_on_the_way", ("ends", "wei + settled.share", "wei")),
    ("award", ("ends", "next_award=asked.next_award + 1", "next_award=asked.next_award + 2")),
    ("arbitrate", ("moves", "if before != segment.agreed:", "if after != segment.agreed:")),
    ("collect_elsewhere", ("ends", "wei += node.price * settled.gas", "wei += settled.gas")),
    ("collect_elsewhere", ("ends", "evolve(node, collected=True)", "node")),
    ("collect_on_the_way", ("ends", "ledger.burn(node.price * settled.gas)", "ledger.burn(settled.gas)")),
    ("collect_on_the_way", ("money", "min(parameters.gas_choose, pool // prices)", "pool // prices")),
    ("timeout", ("tree", "pending=request.pending - 1", "pending=request.pending")),
    ("challenge", ("moves", "if message.now >= disputed.closes_at:", "if message.now > disputed.closes_at:")),
    ("post", ("moves", "if segment.length < 2:", "if segment.length < 1:")),
    ("choose", ("moves", "if message.now > node.clock.last_choice(", "if message.now >= node.clock.last_choice(")),
)


@pytest.mark.parametrize(("subject", "rule"), WRONG_RULES if IS_NIGHTLY else WRONG_RULES[:3])
def test_a_wrong_specification_is_found(subject: str, rule: WrongRule) -> None:
    test = pasted(proved_with(rule, f"game.{subject}"))
    with changed(*rule), pytest.raises(AssertionError):
        test()
    with suppress(NotACourt):  # where the wrong rule pays less, the right one may pay more than fits a field
        test()


def test_an_act_whose_numbers_never_fit_proves_nothing() -> None:
    """Numbers are assumed to fit. Where none can, nothing would be left to compare."""
    rule = ("ends", "credit(to, asked.fee_left)", "credit(to, asked.fee_left + (1 << 128))")
    verdict = proved_with(rule, "game.award")
    assert (verdict.result, "never fit" in verdict.detail) == ("error", True)


@pytest.mark.parametrize(("subject", "event"), [("withdraw_to", "Withdrawn"), ("reclaim", "Credited")])
def test_a_wrong_byte_is_found(subject: str, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte of an event's topic is another."""
    artefact = Artefact.load("game")
    code = bytearray(artefact.creation_bytecode)
    code[code.index(TOPICS[event]) + 7] ^= 1
    game = evolve(artefact, creation_bytecode=bytes(code))
    only_with(game, proved_alone(f"game.{subject}", game), monkeypatch)


def test_what_z3_finds_is_no_counterexample_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a call on which both differ, nothing is refuted, and the verdict says so."""
    monkeypatch.setattr(game_prover, "reproducer", lambda *_: "")
    subject, right, wrong = WRONG[0]
    verdict = prove_game(GAME[f"game.{subject}"], compiled("game", right, wrong))
    assert verdict.result == "unknown"
    assert verdict.detail.endswith(game_prover.NO_TEST)


# A court of which everything is known --------------------------------------------------------------------------------------------------


CALLS_ANOTHER = {"arbitrate"}  # the arbiter, which is not there


def test_a_court_that_was_played_can_be_stored() -> None:
    """At courts that are stored as random calls left them, both worlds end alike."""
    court, rng, tried = TellingCourt(deploy(Parameters())), Random(5), Counter[tuple[str, bool]]()
    players = Players(court.spec, PEOPLE, rng, START_TIME)
    for call in drawn_calls(court, players, 260):
        before = court.spec
        is_accepted = court.call(call) == "ok"
        if call.move not in CALLS_ANOTHER and tried[call.move, is_accepted] < 2:
            tried[call.move, is_accepted] += 1
            assert differences(storage_of(before), call) == {}
        players.court = court.spec
    accepted = {move for move, is_accepted in tried if is_accepted}
    assert accepted >= {"register", "request", "claim", "challenge", "post", "choose", "timeout", "withdraw_to"}
    assert len(tried) >= 16


VIEWED = Call(Act("request_of", (bytes(32),)), PEOPLE[0], START_TIME)


@pytest.mark.parametrize(
    "fields",
    [
        {("nodes", 1): {"depth": 1}},  # of no claim
        {("claims", 1): {"closes_at": 1, "status": 2, "end_depth": 1}},  # fell at a node that is not there
        {("nodes", 1): {"claim_id": 2, "state": 1, "depth": 2, "path": 1 << 40}},  # a path of more parts
        {("claims", 1): {"closes_at": 1, "status": 9}},
    ],
)
def test_what_no_court_stores_is_refused(fields: StoredCourt) -> None:
    with pytest.raises(NotACourt):
        differences(fields, VIEWED)


def test_a_refused_payment_is_233_on_both_sides() -> None:
    owner, to = PEOPLE[:2]
    stored = {("accounts", int.from_bytes(owner)): {"credited": 5}, ("held", 0): {"deposits": 5}}
    call = Call(Act("withdraw_to", (to,)), owner, START_TIME)
    assert differences(stored, call, is_taken=False) == {} == differences(stored, call)
    assert (by_specification(stored, call, False).said, by_specification(stored, call, True).paid) == (233, {to: 5})


def test_an_arbiter_that_gives_an_answer() -> None:
    """Both worlds get it: hashes, of which the first must be the agreed one, or the number of an error."""
    node_id, segment = 7, Segment(2, 3, 4, bytes(31) + b"\1", bytes(31) + b"\2")
    stored = {
        ("models", 5): {"stage_microseconds": 1},
        ("requests", 6): {"model_id": 5, "stage_count": 8, "bond": 1 << 60, "checked_at": 1, "claims": 1, "pending": 1},
        ("claims", 8): {"request_id": 6, "server": 9, "closes_at": START_TIME, "open_nodes": 1, "nodes": 2},
        ("nodes", node_id): {
            "claim_id": 8, "commitment": int.from_bytes(segment.commitment(b"")), "opener": 3, "depth": 2, "state": 1,
            "due": START_TIME, "server_left": 5, "since": 1,
        },
        ("held", 0): {"locked": 1 << 61, "deposits": 1 << 61},
    }  # fmt: skip
    call = Call(Act("arbitrate", (node_id.to_bytes(32), segment, b"any")), PEOPLE[0], START_TIME)
    for answer, said in ((Answer(1, 2), "ok"), (Answer(1, 3), "ok"), (Answer(2, 2), 226), (Answer(error=105), 105)):
        assert differences(stored, call, arbiter=answer) == {}
        with answer.given():
            assert by_specification(stored, call, True).said == said


def test_a_claim_that_fell_gets_the_node_at_which_it_did() -> None:
    """Also if nobody looked at that node, so that z3 says nothing of it."""
    proof = Proof(deployed(), "result_of", Questions(QUERY_UNITS, Event()))
    key, other = (z3.BitVecVal(number, 256) for number in (3, 4))
    proof.world.touched("claims", key), proof.world.touched("nodes", other)
    fell = [function("claims", name)(key) == it for name, it in {"closes_at": 1, "status": 2, "end_depth": 2, "end_path": 7}.items()]
    answer, model = proof.questions.ask([*proof.facts.relevant(*fell), *acyclic(proof.world.hashes)])
    assert answer == z3.sat
    stored = Reading(proof, model).case().stored
    assert [place_in_tree(it) for (kind, _), it in stored.items() if kind == "nodes" and it.get("claim_id") == 3] == [(3, 2, 7)]


def test_what_hashes_itself_is_no_hash() -> None:
    """z3 may take a model's id for its own root; the real Keccak-256 has no such value that anybody knows."""
    proof = Proof(deployed(), "register", Questions(QUERY_UNITS, Event()))
    root = proof.arguments[0].pieces
    name = proof.world.hashes.digest((*root, (0, 1)))
    for formulas, is_real in (([name == root[0][0]], False), ([name != root[0][0]], True)):
        answer, model = proof.questions.ask([*formulas, *proof.assumptions])
        assert answer == z3.sat
        meaning = Reading(proof, model)
        if is_real:
            given = meaning.octets(root)
            assert meaning.octets(((name, 32),)) == keccak256(given + bytes(1))
        else:
            with pytest.raises(NotAHash):
                meaning.case()
    assert proof.questions.ask([name == root[0][0], *acyclic(proof.world.hashes)])[0] == z3.unsat


def test_real_products_are_told_where_a_model_has_others() -> None:
    proof = Proof(deployed(), "register", Questions(QUERY_UNITS, Event()))
    a, b, c, _ = WORDS
    few, many = z3.simplify(a & 0xFFFF), z3.simplify(b & 0xFFFF)
    product, quotient = proof.world.arithmetic.product(few, many), proof.world.arithmetic.quotient(c, many)
    wrong = [few == 1000, many == 7, c == 100, product == 7001, quotient == 15]
    answer, model = proof.questions.ask(wrong)
    assert answer == z3.sat
    told = [*real_numbers(proof.world.arithmetic, model)]
    assert len(told) == 2
    assert proof.questions.ask([*wrong[:4], *told])[0] == proof.questions.ask([*wrong[:3], wrong[4], *told])[0] == z3.unsat
    assert proof.questions.ask([*wrong[:3], product == 7000, quotient == 14, *told])[0] == z3.sat


def test_a_sum_less_one_of_its_terms_is_the_other() -> None:
    proof = Proof(deployed(), "register", Questions(QUERY_UNITS, Event()))
    a, b, other = (proof.world.number(z3.simplify(one & 0xFFFF)) for one in WORDS[:3])
    for total in (a + b, b + a):
        assert (total - a).term.eq(b.term)
        assert (total - b).term.eq(a.term)
        assert evaluated((total - other).term, [5, 6, 7, 0]) == 4
    assert ((a + 5) - a, (a + 5 - 5).term.eq(a.term)) == (5, True)


def test_a_cut_inside_another_has_a_name_of_its_own() -> None:
    """Also: a word that only looks like the meaning of a name keeps its form."""
    proof = Proof(deployed(), "register", Questions(QUERY_UNITS, Event()))
    a, b = (proof.world.number(z3.simplify(one & 0xFF)) for one in WORDS[:2])
    cuts = proof.world.cuts
    one = proof.world.number(z3.BitVecVal(1, 256) | a.term)

    def outer(it: Any) -> Any:
        return it + cuts.number("inner", lambda its: its + 1, None, one, b)

    names = {cuts.number("outer", outer, None, one, a).term.get_id(), *(it.name.get_id() for it in cuts.made.values())}
    assert len(names) == 2
    left = cuts.name(WORDS[0] - WORDS[1])
    assert cuts.known(z3.simplify(WORDS[0] - WORDS[1])).eq(left)
    assert not cuts.known(z3.simplify(WORDS[1] - WORDS[0])).eq(left)
    assert proof.questions.ask(proof.facts.relevant(left != WORDS[0] - WORDS[1]))[0] == z3.unsat
    assert proof.questions.ask(proof.facts.relevant(left != WORDS[0] - WORDS[1], defined=False))[0] == z3.sat


def test_facts_are_told_without_what_a_case_assumes() -> None:
    facts, (a, b, c, _) = Facts(), WORDS
    facts.give(z3.And(a == 1, z3.Not(b == 2)))
    facts.learn(z3.Implies(z3.And(a == 1, z3.Not(b == 2)), c == 3), z3.Implies(b == 2, c == 4), z3.Implies(a == 2, c == 5))
    assert [str(one) for one in facts.known[:1]] == ["c == 3"]
    assert len(facts.known) == 3


def test_what_admits_nothing_proves_nothing() -> None:
    def nobody(proof: Proof) -> AboutCalls:
        return AboutCalls(conditions=(z3.BoolVal(False),))

    with pytest.raises(Failure):
        Proof(deployed(), "register", Questions(QUERY_UNITS, Event()), nobody).prove()


def test_a_wrong_layout_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two fields of an account exchanged, what is credited lies elsewhere."""
    fields = (("requests", 32), ("due", 56), ("credited", 128), ("lost_at", 40))
    monkeypatch.setitem(LAYOUT, "accounts", (fields,))  # type: ignore[call-overload]
    with pytest.raises((Failure, Unsupported)):
        Proof(deployed(), "withdraw_to", Questions(QUERY_UNITS, Event())).prove()


# The parts -----------------------------------------------------------------------------------------------------------------------------


def evaluated(term: object, values: list[int]) -> int:
    a, b = z3.Var(0, z3.BitVecSort(256)), z3.Var(1, z3.BitVecSort(256))
    term = z3.substitute_funs(term, (DIVISION, z3.UDiv(a, b)), (PRODUCT, a * b))
    term = z3.simplify(z3.substitute(term, *((one, z3.BitVecVal(value, 256)) for one, value in zip(WORDS, values, strict=True))))
    return int(term.as_long()) if z3.is_bv_value(term) else int(z3.is_true(term))


def test_the_innermost_function_that_gets_the_arguments_is_taken_as_unknown() -> None:
    """So what the contract makes of its result is looked at."""
    right, wrong = (io_root_of(deployed(game).code, Parameters()) for game in (None, compiled("game", IO_ROOT, ITS_RESULT_CHANGED)))
    assert right.places == wrong.places  # those of the lowest frame


@pytest.mark.parametrize("data", [b"", bytes(31), b"a" * 32, bytes(range(256)) * 3], ids=len)
def test_what_is_taken_as_unknown_computes_the_root(data: bytes) -> None:
    """A function that gets the same arguments and computes something else is not taken for it."""
    code = deployed().code
    for stages in (1, 7, 1 << 24):
        assert io_root_of(code, Parameters()).answer(code, stages, data) == hash_of(io_quarter(stages, data))
    changed_root = "merkle.node(self._inside(stage_count, data), empty(bytes32))"
    fake = compiled("game", IO_ROOT, ITS_RESULT_CHANGED.replace(changed_root, "empty(bytes32)"))
    with pytest.raises(Unsupported, match="another root"):
        io_root_of(deployed(fake).code, Parameters())


def test_a_cut_whose_paths_decide_different_things_is_not_made() -> None:
    (x, y, *_), (a, b) = WORDS, z3.Bools("a b")
    assert joined([([a], x), ([z3.Not(a)], y)]).eq(z3.If(a, x, y))
    with pytest.raises(Unsupported):
        joined([([a], x), ([b], y)])


def test_a_part_that_is_run_alone_is_not_refused() -> None:
    """Else the act would be refused on every path, though only one of the part's was."""
    paths = GamePaths(counts=True)

    def part() -> None:
        if Truth(z3.Bool("a"), paths):
            raise Deadline

    def act() -> None:
        paths.each_way(part)

    with pytest.raises(Unsupported):
        list(paths.explore(act))


def test_facts_about_products_and_quotients_are_true() -> None:
    """Each fact, with real products and quotients in it, on numbers of all sizes and at the edges of its conditions."""
    facts, rng = Facts(), Random(1)
    arithmetic = Arithmetic(facts)
    a, b, c, d = WORDS
    few = z3.simplify(z3.ZeroExt(192, z3.Extract(63, 0, c)))
    shown = [arithmetic.product(a, b), arithmetic.product(few, b), arithmetic.product(a, 1_000_000), arithmetic.product(few, 10**12)]
    shown += [arithmetic.quotient(d, b), arithmetic.quotient(d, few), arithmetic.quotient(d, 1_000_000), arithmetic.quotient(shown[0], a)]
    assert len(facts.known) > 20
    for _ in range(60):
        values = [rng.choice((0, 1, 2, rng.getrandbits(rng.randrange(1, 257)), (1 << rng.randrange(257)) - 1)) for _ in WORDS]
        assert all(evaluated(fact, values) for fact in facts.known), values
    assert width(few) == 64


def test_packed_words_add_and_join() -> None:
    """Field by field or not, the result is that of the whole words."""
    rng = Random(2)
    a, b, c, _ = WORDS

    def cut(term: object, *sizes: int) -> object:
        parts, at = [], 0
        for size in sizes:
            parts.append(z3.Extract(at + size - 1, at, term))
            at += size
        return z3.simplify(z3.Concat(*reversed(parts), *([z3.BitVecVal(0, 256 - at)] if at < 256 else [])))

    def exact(condition: object) -> bool:
        solver = z3.Solver()
        return bool(solver.check(z3.Not(condition)) == z3.unsat)

    def unnamed(field: object) -> object:
        return field

    word = z3.Concat(z3.BitVecVal(0, 128), z3.Extract(63, 0, a), z3.BitVecVal(0, 32), z3.Extract(31, 0, b))
    others = [z3.ZeroExt(224, z3.Extract(31, 0, c)), z3.Concat(z3.BitVecVal(0, 160), z3.Extract(63, 0, c), z3.BitVecVal(0, 32)), 5, 1 << 96]
    for other in others:
        as_vector = other if not isinstance(other, int) else z3.BitVecVal(other, 256)
        for found, expected in (
            (added(word, other, exact, unnamed), word + as_vector),
            (subtracted(word, other, exact, unnamed), word - as_vector),
            (either(word, other), word | as_vector),
        ):
            if found is None:
                continue
            for _ in range(40):
                values = [rng.choice((rng.getrandbits(256), 0, (1 << 256) - 1)) for _ in WORDS]
                assert evaluated(found, values) == evaluated(expected, values)


def test_storage_gives_what_was_written_last() -> None:
    facts = Facts()
    hashes = DistinctHashes(facts)
    a, b, c, _ = WORDS

    def place(key: object) -> object:
        return place_of(hashes.digest((*of_bytes((4).to_bytes(32, "big")), (key, 32))), hashes)

    storage = Storage(lambda kind, key: None).write(place(a), 1).write(place(b), 2)  # type: ignore[arg-type]
    for keys, expected in (((5, 5, 5), 2), ((5, 6, 5), 1), ((5, 6, 6), 2)):
        read = storage.read(place(c))  # type: ignore[arg-type]
        assert evaluated(read, [*keys, 0]) == expected
    with pytest.raises(Unsupported):
        place_of(a, hashes)
    with pytest.raises(Unsupported):
        place_of(99, hashes)


def test_hashes_are_equal_exactly_if_their_preimages_are() -> None:
    facts = Facts()
    hashes = DistinctHashes(facts)
    a, b, *_ = WORDS
    one, other, longer = hashes.digest(((a, 32),)), hashes.digest(((b, 32),)), hashes.digest(((a, 32), (b, 32)))
    solver = z3.Solver()
    facts.tell(solver)
    assert solver.check((one == other) != (a == b)) == z3.unsat
    assert solver.check(one == longer) == z3.unsat
    assert solver.check(one == other) == z3.sat


def test_the_statements_name_entry_points() -> None:
    assert {one.subject for one in GAME.values()} <= {*ACTS, *VIEWS, CONSTRUCTOR}
