"""What a cheat is: its name, who cheats, the right verdict, and which players take part."""

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, NamedTuple, TypeVar

from attrs import field, frozen

from opml_min.players.chain import STAGES, Chain, Decision, Move, Wait
from opml_min.players.computation import Computation
from opml_min.players.image_kinds import ModelImage
from opml_min.players.index import ClaimEntry, NodeEntry
from opml_min.players.player import Player
from opml_min.players.run_cache import Compute
from opml_min.players.server import Server
from opml_min.players.validator import Validator

SERVER, CHALLENGER = "server", "challenger"
CLAIM_REJECTED, CHALLENGE_REJECTED, CLAIM_FINAL = "claim_rejected", "challenge_rejected", "claim_final"
SomePlayer = TypeVar("SomePlayer", bound=Player)


class Scene(NamedTuple):
    """What a match is about: a request to a model."""

    image: ModelImage
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
        return [*cheats, self.seat(Validator, CHALLENGER)]

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

    def agrees(self, computed: bytes, agreed: bytes) -> bool:
        return True  # it answers as well as it can


class FalseChallenger(Validator):
    """A challenger that challenges every claim, also true ones, and chooses one part of every node."""

    honest = False
    wanted: dict[int, int | None]  # by phase: the stage and the instruction to narrow down to, if it matters
    choice: Callable[[int], int] | None = None  # which of so many parts to choose; None: the one that an honest challenger would

    def __init__(self, *arguments: Any, **how: Any) -> None:
        super().__init__(*arguments, **how)
        self.wanted = {}
        self._chosen: dict[bytes, int] = {}

    def objects_to(self, claim: ClaimEntry) -> bool:
        return True

    def part(self, node: NodeEntry) -> int:
        if node.node_id not in self._chosen:
            self._chosen[node.node_id] = self._part(node)
        return self._chosen[node.node_id]

    def _part(self, node: NodeEntry) -> int:
        ends = node.segment.boundaries(self.chain.parameters.k)[1:]
        wanted = self.wanted.get(node.segment.phase)
        if wanted is not None:
            return sum(end <= wanted for end in ends[:-1])
        return super().part(node) if self.choice is None else self.choice(len(ends))

    def expose(self, node: NodeEntry) -> Decision:
        """Hopes that the server is late."""
        late_from = self.last_answer(node) + 1
        return Wait(late_from) if self.chain.now < late_from else Move("timeout", (node.node_id,))
