"""What a cheat is: its name, who cheats, the right verdict, and which players take part."""

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, NamedTuple, TypeVar

from attrs import field, frozen

from opml_min.model.image.image import Image
from opml_min.players.chain import STAGES, Chain, Dispute
from opml_min.players.challenger import Challenger
from opml_min.players.computation import Computation
from opml_min.players.player import Compute, Player
from opml_min.players.server import Server

SERVER, CHALLENGER = "server", "challenger"
CLAIM_REJECTED, CHALLENGE_REJECTED, CLAIM_FINAL = "claim_rejected", "challenge_rejected", "claim_final"
SomePlayer = TypeVar("SomePlayer", bound=Player)


class Scene(NamedTuple):
    """What a match is about: a request to a model."""

    image: Image
    request: bytes
    stage_count: int


@frozen
class Setup:
    """What the players of a match are made from: the chain, the scene, the randomness, and the honest computation."""

    chain: Chain
    scene: Scene
    random: Random
    stage: int | None  # the one to dispute; None: any
    compute: Compute  # how honest players compute
    _numbers: Any = field(factory=lambda: count(1))

    @property
    def honest(self) -> Computation:
        """The true run."""
        return self.compute(*self.scene)

    def seat(self, kind: Callable[..., SomePlayer], name: str, computation: Computation | None = None, **how: Any) -> SomePlayer:
        """Makes a player with the next address; one that does not compute honestly is given a computation."""
        compute = self.compute if computation is None else lambda image, request, stage_count: computation
        address = self.chain.accounts[next(self._numbers)]
        return kind(name, address, self.chain, self.scene.image, compute, **how)

    def with_challenger(self, *cheats: Player) -> list[Player]:
        """The cheats and an honest challenger."""
        return [*cheats, self.seat(Challenger, CHALLENGER)]

    def with_server(self, accuser: "FalseChallenger") -> list[Player]:
        """A false challenger, aimed at the chosen stage, and an honest server."""
        accuser.wanted = {STAGES: self.stage}
        return [accuser, self.seat(Server, SERVER)]


@frozen
class Cheat:
    """One kind of cheating."""

    name: str
    description: str
    seats: Callable[[Setup], list[Player]]  # the cheats first
    who: str = SERVER
    verdict: str = CLAIM_REJECTED
    scene: Callable[[Scene, Random], Scene] = lambda scene, random: scene
    refusal: str | None = None  # the error with which the contract refuses one of its moves


class Liar(Server):
    """A server that is honest about a computation that is not."""

    honest = False


class FalseChallenger(Challenger):
    """A challenger that challenges every claim, also true ones."""

    honest = False
    wanted: dict[int, int | None]  # by phase: the stage and the instruction to narrow down to, if it matters
    choice: Callable[[int], int] | None = None  # which of so many parts to choose; None: the one that an honest challenger would

    def objects_to(self, request_id: bytes, run_hash: bytes) -> bool:
        return True

    def part(self, dispute: Dispute, request_id: bytes) -> int:
        ends = dispute.segment.boundaries(self.chain.parameters.k)[1:]
        wanted = self.wanted.get(dispute.segment.phase)
        if wanted is not None:
            return sum(end <= wanted for end in ends[:-1])
        return super().part(dispute, request_id) if self.choice is None else self.choice(len(ends))
