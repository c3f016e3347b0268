"""Players: calls that a server, a challenger, a requester or a bystander might rightly make now.

They see the specification's court. Of each claim they know a telling of its run, true or with one lie, and play it as an honest side
would; choices also go where nobody honest would go.
"""

from contextlib import suppress
from random import Random

from attrs import define, evolve, field
from opml_spec.dispute.acts import Act
from opml_spec.dispute.honest import Trace, answer, false_part, finalising
from opml_spec.dispute.narrowing import part_count
from opml_spec.dispute.objects import ANYONE, Claim, ClaimStatus, Court, Node, NodeState, child_id, model_id, seal
from opml_spec.dispute.parameters import TIME_LIMIT, YEAR
from opml_spec.dispute.tree import server_in_time
from opml_spec.hashing import HASH_BYTES
from opml_spec.machine.merkle import LEAF_BYTES
from opml_spec.runs.run import RunStatus

from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.moments import award_held_until, fee_held_until
from opml_fuzz.disputes.output import output_leaves
from opml_fuzz.disputes.tellings import DATA, LIES, MODELS, STAGE_COUNTS, model, telling

MOST_STAGES = max(STAGE_COUNTS) + 1  # of a run of which there is a telling
MOST_WEI = 1 << 110  # of a bond that anybody has


@define
class Players:
    """All players of one court, and what they remember."""

    court: Court
    people: tuple[bytes, ...]
    rng: Random
    now: int
    basefee: int = 0
    alive: int = 1
    """Claims whose trees grow at once."""
    pace: tuple[int, ...] = (0,)
    """How many seconds may pass between two acts."""
    crowds: bool = False
    """Whether somebody crowds the trees of false claims (`crowds.py`)."""
    requests: dict[bytes, tuple[int, int, bytes]] = field(factory=dict)  # model, stages, data
    traces: dict[bytes, tuple[Trace, Trace]] = field(factory=dict)  # by claim: what its server tells, and the truth
    models: dict[bytes, int] = field(factory=dict)  # their numbers, by id

    def anybody(self) -> bytes:
        return self.rng.choice(self.people)

    def call(self, name: str, *arguments: object, sender: bytes | None = None, value: int = 0) -> Call:
        return self.play(Act(name, arguments, value), sender)

    def play(self, act: Act, sender: bytes | None = None) -> Call:
        return Call(act, sender or self.anybody(), self.now, self.basefee)

    def learn(self, call: Call, before: Court, after: Court, told: Trace | None) -> None:
        """Sees the court after a call that was accepted."""
        self.court = after
        for identity in after.requests.keys() - before.requests.keys():
            asked_of, stage_count, data, *_ = call.act.arguments
            if stage_count <= MOST_STAGES and asked_of in self.models and after.requests[identity].bond < MOST_WEI:
                self.requests[identity] = self.models[asked_of], stage_count, data
        for identity in after.claims.keys() - before.claims.keys():
            asked = self.requests.get(call.act.arguments[0])
            sealed = told is not None and seal(told.run_hash, call.sender) == call.act.arguments[1]
            if told is not None and sealed and asked and len(told.stages) == asked[1]:
                self.traces[identity] = told, telling(*asked, 0)

    # outside of trees

    def register(self) -> Call:
        number = self.rng.randrange(MODELS)
        self.models[model_id(*model(number).roots)] = number
        return self.call("register", *model(number).roots)

    def ask(self) -> Call:
        rng = self.rng
        known = [identity for identity in self.models if identity in self.court.models]
        if not known:
            return self.register()
        identity, parameters = rng.choice(known), self.court.parameters
        stage_count = rng.choice(STAGE_COUNTS[-3:] if self.crowds else STAGE_COUNTS if parameters.k > 5 else STAGE_COUNTS[:-1])
        server = rng.choice((ANYONE, ANYONE, ANYONE, self.anybody()))
        deadline = self.now + rng.choice((0, 30, 200, 2_000, YEAR))
        price = self.court.models[identity].work(stage_count) * parameters.second_price
        fee = price + rng.choice((0, 7, 12_345))
        bond = parameters.min_bond + rng.choice((0, 0, 0, 1, 13_000_003, 1_000_000_007))
        return self.call("request", identity, stage_count, rng.choice(DATA), deadline, bond, server, value=fee)

    def claim(self, request_id: bytes) -> tuple[Call, Trace]:
        """Claims something about a request; often the truth, where that is left to chance already."""
        rng, left = self.rng, [self.court.claims[each].request_id for each in self.left_to_chance()]
        if (again := [each for each in self.open_requests() if each in left]) and rng.random() < 0.3:
            request_id = rng.choice(again)
        request = self.court.requests[request_id]
        told = telling(*self.requests[request_id], rng.choice((0, 0, 0, 0, *range(1, LIES))))
        sender = rng.choice((self.people[0], self.people[-1], self.anybody())) if request.server == ANYONE else request.server
        line, parameters = self.court.models[request.model_id], self.court.parameters
        work = 0 if request.claims else line.work(request.stage_count)
        last_time = TIME_LIMIT - parameters.window - work - 1
        if last_time > self.now > TIME_LIMIT - YEAR and rng.random() < 0.2:
            self.now = last_time + rng.randrange(2)
        checked_at = request.checked_at or max(self.now, line.busy_until) + work
        closes_at = max(self.now, checked_at) + parameters.window
        latest, value = closes_at + rng.choice((0, 0, 10_000)), request.bond + work * parameters.second_price
        return self.call("claim", request_id, seal(told.run_hash, sender), latest, sender=sender, value=value), told

    def challenge(self, claim_id: bytes) -> Call:
        bond = self.court.requests[self.court.claims[claim_id].request_id].bond
        return self.call("challenge", claim_id, value=self.court.parameters.root_bond(bond))

    def finalise(self, claim_id: bytes) -> Call:
        told = self.traces[claim_id][0]
        act = finalising(claim_id, told)
        if told.runs[-1].status == RunStatus.OK and self.rng.random() < 0.3:
            leaves = len(act.arguments[3]) // LEAF_BYTES + self.rng.choice((1, 2, 5))
            act = evolve(act, arguments=(*act.arguments[:3], *output_leaves(told.runs[-1].carry, leaves)))
        return self.play(act)

    # in a tree

    def tree_move(self, claim_id: bytes) -> Call:
        """Makes a move at some node of a claim's tree, deep ones first. Opens the root if there is none; ends a claim that is settled."""
        nodes = {identity: node for identity, node in self.court.nodes.items() if node.claim_id == claim_id}
        claim = self.court.claims[claim_id]
        useful = [identity for identity, node in nodes.items() if self.is_useful(identity, node, claim)]
        if not nodes and self.now < claim.closes_at and self.rng.random() < 0.85:
            return self.challenge(claim_id)
        can_end = not useful and claim.status is ClaimStatus.PENDING
        if can_end and self.rng.random() < (0.8 if self.now >= claim.closes_at else 0.3):
            self.wait_for_end(claim)
            return self.finalise(claim_id) if self.rng.random() < 0.7 else self.call("expire", claim_id)
        if not nodes:
            return self.challenge(claim_id)
        places = useful or [*nodes]
        node_id = self.rng.choice(self.rng.choice((places[-1:], places[-2:], places[-4:], places[:1], places)))
        node = nodes[node_id]
        return self.choose(node_id, node) if node.state is NodeState.POSTED else self.answer(node_id, node)

    def wait_for_end(self, claim: Claim) -> None:
        """Waits, now and then, for the second in which a claim can be finalised or expires, or the one before or after it."""
        end = max(claim.closes_at, claim.settles_at) + self.rng.choice((0, self.court.parameters.grace)) + self.rng.choice((-1, 0, 1))
        if end > self.now and self.rng.random() < 0.4:
            self.now = end

    def is_useful(self, node_id: bytes, node: Node, claim: Claim) -> bool:
        """Whether something can be done at a node."""
        if node.state is not NodeState.POSTED:
            return node.state is NodeState.OPEN
        return self.now <= node.clock.last_choice(claim.closes_at) and bool(self.free_parts(node_id, node))

    def free_parts(self, node_id: bytes, node: Node) -> list[int]:
        """The parts of a posted node that nobody has chosen."""
        parts = range(part_count(node.segment.length, self.court.parameters.k))
        return [part for part in parts if child_id(node_id, part) not in self.court.nodes]

    def answer(self, node_id: bytes, node: Node) -> Call:
        """Answers an open node, or calls the timeout: usually if it is due, sometimes too early."""
        is_late = not server_in_time(self.court, node, self.now)
        if self.rng.random() < (0.8 if is_late else 0.03):
            return self.call("timeout", node_id)
        told = self.traces[node.claim_id][0]
        act = answer(self.court, node_id, told)
        if act.name == "post" and self.rng.random() < (0.06 if told.runs[-1].status == RunStatus.OK else 0.3):
            hashes, at = act.arguments[2], HASH_BYTES * self.rng.randrange(len(act.arguments[2]) // HASH_BYTES)
            hashes = hashes[:at] + self.rng.randbytes(HASH_BYTES) + hashes[at + HASH_BYTES :]
            act = evolve(act, arguments=(*act.arguments[:2], hashes, act.arguments[3]))
        server = self.court.claims[node.claim_id].server
        return self.play(act, None if act.name == "arbitrate" else server)

    def choose(self, node_id: bytes, node: Node) -> Call:
        """Chooses a part: a false one, or any."""
        parts = part_count(node.segment.length, self.court.parameters.k)
        part = self.rng.choice(self.free_parts(node_id, node) or range(parts))
        _, truth = self.traces[node.claim_id]
        if self.rng.random() < 0.5:
            with suppress(IndexError):  # nothing is false, or the true run has no machines there
                part = false_part(self.court, node, truth)
        first = self.now < node.clock.since + self.court.parameters.priority
        return self.choice(node_id, node, part, node.opener if first and self.rng.random() < 0.9 else None)

    def choice(self, node_id: bytes, node: Node, part: int, sender: bytes | None) -> Call:
        return self.call("choose", node_id, node.segment, node.posted, part, sender=sender, value=self.court.parameters.node_bond)

    # what there is

    def claims(self, status: ClaimStatus | None = None) -> list[bytes]:
        """The claims of which a telling is known, oldest first."""
        claims = self.court.claims
        return [identity for identity in self.traces if status is None or claims[identity].status is status]

    def tended(self) -> list[bytes]:
        """The pending claims that somebody plays to their end, oldest first. The last person leaves its own to chance."""
        return [each for each in self.claims(ClaimStatus.PENDING) if self.court.claims[each].server != self.people[-1]]

    def left_to_chance(self) -> list[bytes]:
        """The true ones of the other pending claims."""
        told, tended = self.traces, self.tended()
        return [each for each in self.claims(ClaimStatus.PENDING) if each not in tended and told[each][0] is told[each][1]]

    def held_up(self) -> list[tuple[int, Call]]:
        """The awards and reclaims that a pending claim may hold up, each with the last second in which it does; awards if there are any."""
        court = self.court
        awards = [each for each in self.next_awards() if court.claims[each].status is ClaimStatus.PENDING]
        asked = [(each, it) for each, it in court.requests.items() if it.pending and not it.result and not it.fee_paid]
        found = [(award_held_until(court, court.claims[each]), self.call("award", each)) for each in awards]
        return found or [(fee_held_until(court, it), self.call("reclaim", each)) for each, it in asked]

    def wait_for_money(self) -> Call | None:
        """Waits until a pending claim holds a fee up no longer, or until the last second in which it does."""
        to_come = [(last, call) for last, call in self.held_up() if last >= self.now]
        if not to_come or self.rng.random() > (0.3 if to_come[0][1].move == "award" else 0.01):
            return None
        last, call = self.rng.choice(to_come)
        self.now = last + self.rng.randrange(2)
        return evolve(call, now=self.now)

    def next_awards(self) -> list[bytes]:
        """The claims that the fee of a request with a result is next for."""
        requests = self.court.requests
        following = {each: (claim.index, requests[claim.request_id]) for each, claim in self.court.claims.items()}
        return [each for each, (index, asked) in following.items() if asked.result and not asked.fee_paid and index == asked.next_award]

    def open_requests(self) -> list[bytes]:
        """The requests that may be claimed."""
        asked = self.court.requests
        return [each for each in self.requests if asked[each].deadline >= self.now and asked[each].result is None]

    def failed_requests(self) -> list[bytes]:
        """The requests that come to nothing."""
        asked = self.court.requests.items()
        over = [(each, it) for each, it in asked if it.deadline < self.now and not (it.result or it.fee_paid)]
        return [each for each, it in over if not it.pending or self.now > fee_held_until(self.court, it)]
