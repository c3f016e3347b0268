"""Random play: true and false claims, a liar that dawdles, a stranger that opens nodes anywhere, and a chain that is
shut now and then, or reorganised. Honest players are thrown away in the middle, and others take their place.

The specification is the contract here, and the runs are real, so each answer of a player is checked by code that knows nothing of it.
"""

from functools import cache
from random import Random
from typing import Any

import pytest
from min_simulated_chain import ACCOUNTS, ETHER, START, SimulatedChain
from opml_spec.dispute.parameters import Parameters

from opml_min.model.image.image import Image
from opml_min.players.chain import ANYONE, FINAL, PENDING, POSTED, REJECTED, Move, Segment, Wait, model_id, root_bond
from opml_min.players.cheats.cheat import Liar
from opml_min.players.cheats.own_programs import ACROSS_LEAVES, model_of
from opml_min.players.cheats.tampering import TamperedComputation, Tampering, steps_of
from opml_min.players.cheats.values import BEYOND, written
from opml_min.players.computation import Computation
from opml_min.players.index import segment_of
from opml_min.players.server import Server
from opml_min.players.validator import Validator

REQUESTER, SERVER, VALIDATOR, STRANGER, *LIARS = ACCOUNTS[:7]
PARAMETERS = Parameters(k=4, challenger_time=280_000, min_bond=5 * ETHER)
BOND, STAGES, MICROSECONDS = 8 * ETHER, 12, 1_000
MOST_NODES = 50
SHUT_SECONDS = 80_000  # in all
CLAIMS = 2 + 2 * len(LIARS)  # on two requests


@cache
def image() -> Image:
    return model_of(ACROSS_LEAVES)


@cache
def honest(image: Image, data: bytes, stage_count: int) -> Computation:
    return Computation(image, data, stage_count, device="vm")


def lying(rng: Random) -> Any:
    """A computation that is wrong from a random step of a random stage on."""

    @cache
    def compute(image: Image, data: bytes, stage_count: int) -> Computation:
        tampered = TamperedComputation(image, data, stage_count, device="vm")
        stage = rng.randrange(stage_count)
        step = 1 + rng.randrange(steps_of(honest(image, data, stage_count), stage))
        tampered.tamper(Tampering(stage, step, written(BEYOND, rng.randbytes(32))))
        return tampered

    return compute


class Play:
    """A chain, two honest players, liars, and a stranger with a purse."""

    def __init__(self, seed: int) -> None:
        self.rng, self.chain, self.shut = Random(seed), SimulatedChain(PARAMETERS), 0
        self.snapshots: list[Any] = []
        self.server, self.validator = self.newcomers()
        self.liars = [Liar(name, name, self.chain, image(), lying(self.rng)) for name in LIARS]
        roots = self.server.roots
        assert self.chain.send(REQUESTER, Move("register", (*roots, MICROSECONDS))) is None
        for number in range(2):
            deadline = self.chain.now + 86_400
            arguments = (model_id(*roots, MICROSECONDS), STAGES, b"%d" % number, deadline, BOND, ANYONE)
            assert self.chain.send(REQUESTER, Move("request", arguments, ETHER)) is None

    def newcomers(self) -> tuple[Server, Validator]:
        """Honest players who know nothing yet."""
        server = Server("server", SERVER, self.chain, image(), honest)
        return server, Validator("validator", VALIDATOR, self.chain, image(), honest)

    def moves(self, player: Any, most: int = 100) -> list[int]:
        """Delivers what a player wants; returns what it waits for."""
        waits: list[int] = []
        for _ in range(most):
            waits = []
            for decision in player.decisions():
                if isinstance(decision, Wait):
                    waits.append(decision.until)
                elif self.chain.send(player.address, decision) is None:
                    break
            else:
                if self.chain.now not in waits:
                    break
        return waits

    def meddle(self) -> None:
        """The stranger challenges something, or chooses some part of some node."""
        court, rng = self.chain.court, self.rng
        if len(court.nodes) < MOST_NODES and court.claims:
            claim_id = rng.choice([*court.claims])
            self.chain.send(STRANGER, Move("challenge", (claim_id,), root_bond(self.chain.parameters, BOND)))
            posted = [node_id for node_id, node in court.nodes.items() if node.state == POSTED]
            if posted:
                node_id = rng.choice(posted)
                node = court.nodes[node_id]
                part = rng.randrange(len(node.posted) // 32 + 1)
                segment: Segment = segment_of(node.segment)
                self.chain.send(STRANGER, Move("choose", (node_id, segment, node.posted, part), PARAMETERS.node_bond))

    def pass_time(self, waits: list[int]) -> None:
        """A block, a time in which the chain is shut, or all the time until somebody wants something."""
        seconds = self.rng.randrange(12, 60)
        if self.rng.random() < 0.02 and self.shut < SHUT_SECONDS:
            seconds = self.rng.randrange(SHUT_SECONDS - self.shut)
            self.shut += seconds
        elif self.rng.random() < 0.1 and waits:
            seconds = max(seconds, min(waits) - self.chain.now)
        self.chain.now += seconds

    def reorganise(self) -> None:
        """Now and then takes back some of what happened in the last few heads; what follows is something else."""
        self.snapshots = [*self.snapshots[-4:], self.chain.snapshot()]
        if self.rng.random() < 0.05:
            kept = self.rng.randrange(len(self.snapshots))
            self.chain.restore(self.snapshots[kept])
            del self.snapshots[kept + 1 :]

    def run(self) -> None:
        for liar in self.liars:
            self.moves(liar, 2)
        while self.chain.now < START + 60 * 86_400:
            waits = []
            if self.rng.random() < 0.3:
                self.meddle()
            if self.rng.random() < 0.05:
                self.server, self.validator = self.newcomers()
            order: list[Any] = [self.server, self.validator, *self.liars]
            self.rng.shuffle(order)
            for player in order:
                if player.honest or self.rng.random() < 0.5:
                    waits += self.moves(player, 100 if player.honest else 1)
            claims = self.chain.court.claims.values()
            if all(int(claim.status) != PENDING for claim in claims) and len(claims) == CLAIMS:
                return
            self.pass_time(waits)
            self.reorganise()
        raise AssertionError("the play does not end")


@pytest.mark.parametrize("seed", range(6))
def test_honest_sides_win_at_random(seed: int) -> None:
    play = Play(seed)
    play.run()
    for player in (play.server, play.validator):
        play.moves(player)
    claims = play.chain.court.claims.values()
    server = bytes.fromhex(SERVER[2:])
    assert {int(claim.status) for claim in claims if claim.server == server} <= {FINAL}
    assert {int(claim.status) for claim in claims if claim.server != server} == {REJECTED}
    assert len([claim for claim in claims if claim.server == server]) == 2
    assert play.chain.balance(SERVER) > 10**6 * ETHER
    assert play.chain.balance(VALIDATOR) > 10**6 * ETHER
    assert play.chain.court.ledger.balanced
    assert not play.server.agenda.troubles
    assert not play.validator.agenda.troubles
