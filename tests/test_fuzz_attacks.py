"""Attacks by many, on the specification's court and the contract at once: a thousand openers, and true claims that hide a false one."""

from attrs import field, frozen
from opml_fuzz.disputes.both_courts import BothCourts
from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.contract import PEOPLE
from opml_fuzz.disputes.rules import RULES
from opml_fuzz.disputes.tellings import DATA, LIES, model, telling
from opml_spec.dispute.acts import Act
from opml_spec.dispute.claims import line_price
from opml_spec.dispute.honest import Trace, answer, finalising, is_false
from opml_spec.dispute.objects import ANYONE, ClaimStatus, Court, NodeState, child_id, model_id, root_id, seal
from opml_spec.dispute.parameters import Parameters

from evm_arbiter.chain import START_TIME

REQUESTER, SERVER, VALIDATOR, LIAR = PEOPLE[:4]
OPENERS = tuple(number.to_bytes(20, "big") for number in range(1, 1_001))
NUMBER, FEE = 4, 10**18  # of the model


@frozen(slots=False)
class Match:
    """Both courts, and the time."""

    courts: BothCourts
    moment: list[int] = field(factory=lambda: [START_TIME])

    @property
    def court(self) -> Court:
        return self.courts.spec

    @property
    def now(self) -> int:
        return self.moment[0]

    def at(self, now: int) -> None:
        self.moment[0] = now

    def play(self, act: Act, sender: bytes) -> None:
        """Both courts accept an act, and show the same after it."""
        assert self.courts.call(Call(act, sender, self.now)) == "ok"

    def asked(self, stages: int, microseconds: int, deadline: int) -> bytes:
        roots = *model(NUMBER).roots[:2], microseconds
        self.play(Act("register", roots), REQUESTER)
        bond = self.court.parameters.min_bond
        self.play(Act("request", (model_id(*roots), stages, DATA[0], deadline, bond, ANYONE), FEE), REQUESTER)
        return [*self.court.requests][-1]

    def claimed(self, request_id: bytes, told: Trace, server: bytes) -> bytes:
        asked = self.court.requests[request_id]
        value = asked.bond + line_price(self.court, asked)
        self.play(Act("claim", (request_id, seal(told.run_hash, server), 1 << 39), value), server)
        return [*self.court.claims][-1]

    def challenge(self, claim_id: bytes) -> Act:
        return Act("challenge", (claim_id,), self.court.parameters.root_bond(self.court.parameters.min_bond))

    def free_parts(self) -> list[Act]:
        """The choices that anybody may make now."""
        found, parameters = list[Act](), self.court.parameters
        for node_id, node in self.court.nodes.items():
            if node.state is NodeState.POSTED and self.now >= node.clock.since + parameters.priority:
                parts = [part for part in range(len(node.posted) // 32 + 1) if child_id(node_id, part) not in self.court.nodes]
                found += [Act("choose", (node_id, node.segment, node.posted, part), parameters.node_bond) for part in parts]
        return found


def test_a_thousand_openers_lose_against_one_server_on_one_machine() -> None:
    """Each opens a node as soon as it can. The server answers one node every E seconds, none late, and takes half of all bonds."""
    match, parameters = Match(BothCourts(RULES[2], people=(*PEOPLE, *OPENERS))), RULES[2]
    told = telling(NUMBER, 40, DATA[0], 0)
    claims = [match.claimed(match.asked(40, 1_000_000, START_TIME + 100), told, SERVER) for _ in range(4)]
    before, openers, late = match.court.ledger.burned, iter(OPENERS), 0
    for claim_id in claims:
        match.play(match.challenge(claim_id), next(openers))
    while open_nodes := [(node.clock.due, each) for each, node in match.court.nodes.items() if node.state is NodeState.OPEN]:
        match.at(match.now + parameters.effort)
        due, node_id = min(open_nodes)
        late = max(late, match.now - due)
        act = answer(match.court, node_id, told)
        match.play(act, SERVER)
        if match.court.nodes[node_id].state is NodeState.OPEN:  # a stage of one step
            match.play(answer(match.court, node_id, told), SERVER)
        for choice, opener in zip(match.free_parts(), openers, strict=False):
            match.play(choice, opener)
    assert late == 0
    assert {node.opener for node in match.court.nodes.values()} == {*OPENERS}
    for claim_id in claims:
        claim = match.court.claims[claim_id]
        match.at(max(match.now, claim.closes_at, claim.settles_at + 1))
        match.play(finalising(claim_id, told), SERVER)
    lost = [parameters.node_bonds(parameters.min_bond, match.court.claims[each].nodes) for each in claims]
    won, burned = sum(map(parameters.share, lost)), match.court.ledger.burned - before
    assert match.court.ledger.credited == {SERVER: 4 * (parameters.min_bond + FEE) + won}
    assert won + burned == sum(lost) == 4 * parameters.root_bond(parameters.min_bond) + 996 * parameters.node_bond
    match.courts.compare_everything()


def test_true_claims_before_a_false_one_do_not_hide_it() -> None:
    """Thirty runs of three hours come first in the line. A validator with one machine challenges the false claim before it closes."""
    parameters, stage_seconds = Parameters(), 3_600
    match = Match(BothCourts(parameters))
    truth, *lies = (telling(NUMBER, 3, DATA[0], lie) for lie in range(LIES))
    false = next(told for told in lies if told.run_hash != truth.run_hash)
    for number in range(31):
        told, server = (false, LIAR) if number == 30 else (truth, SERVER)
        match.claimed(match.asked(3, stage_seconds * 1_000_000, START_TIME + 100), told, server)
    free_at = START_TIME
    for claim_id, claim in sorted(match.court.claims.items(), key=lambda it: it[1].closes_at):
        free_at += 3 * stage_seconds  # its machine has done this run too
        match.at(free_at + parameters.detect + parameters.censorship + parameters.inclusion)
        assert match.now < claim.closes_at
        if is_false(claim, truth):
            match.play(match.challenge(claim_id), VALIDATOR)
    assert free_at > START_TIME + parameters.window, "without a line the false claim would have closed before it was checked"
    root = root_id([*match.court.claims][-1])
    match.at(match.court.nodes[root].clock.due + parameters.server_time + 1)
    match.play(Act("timeout", (root,)), VALIDATOR)
    assert [claim.status for claim in match.court.claims.values()].count(ClaimStatus.REJECTED) == 1
    match.courts.compare_everything()
