"""What a cheat is: its name, who cheats, how the right verdict reads, and how the players take their seats."""

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
    """What the game is about."""

    image: Image
    request: bytes
    stage_count: int


@frozen
class Table:
    """Where players sit down."""

    chain: Chain
    scene: Scene
    random: Random
    stage: int | None  # the one to fight about; None: any
    compute: Compute  # of the honest
    _numbers: Any = field(factory=lambda: count(1))

    @property
    def honest(self) -> Computation:
        """What really comes out."""
        return self.compute(*self.scene)

    def seat(self, kind: Callable[..., SomePlayer], name: str, computation: Computation | None = None, **how: Any) -> SomePlayer:
        """A player with the next address; with a computation of its own if it is not to compute honestly."""
        compute = self.compute if computation is None else lambda image, request, stage_count: computation
        address = self.chain.accounts[next(self._numbers)]
        return kind(name, address, self.chain, self.scene.image, compute, **how)

    def with_challenger(self, *cheats: Player) -> list[Player]:
        return [*cheats, self.seat(Challenger, CHALLENGER)]

    def with_server(self, accuser: "FalseChallenger") -> list[Player]:
        accuser.wanted = {STAGES: self.stage}
        return [accuser, self.seat(Server, SERVER)]


@frozen
class Cheat:
    name: str
    description: str
    seats: Callable[[Table], list[Player]]  # the cheats first
    who: str = SERVER
    verdict: str = CLAIM_REJECTED
    scene: Callable[[Scene, Random], Scene] = lambda scene, random: scene
    refusal: str | None = None  # the error that one of its moves is met with


class Liar(Server):
    """Goes by a computation of its own, and believes it."""

    honest = False


class FalseChallenger(Challenger):
    """Challenges a claim that it has no reason to doubt."""

    honest = False
    wanted: dict[int, int | None]  # by phase: the stage and the instruction to come down to, if it matters
    choice: Callable[[int], int] | None = None  # of so many parts; None: the one that honest recomputing leads to

    def objects_to(self, request_id: bytes, run_hash: bytes) -> bool:
        return True

    def part(self, dispute: Dispute, request_id: bytes) -> int:
        ends = dispute.segment.boundaries(self.chain.parameters.k)[1:]
        wanted = self.wanted.get(dispute.segment.phase)
        if wanted is not None:
            return sum(end <= wanted for end in ends[:-1])
        return super().part(dispute, request_id) if self.choice is None else self.choice(len(ends))
