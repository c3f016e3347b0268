"""A player that is thrown away after every move, and made anew from the image and the chain, goes on as if nothing had happened."""

from collections.abc import Iterator
from typing import Any

import pytest

from evm_arbiter.court import Court
from opml_min.cli.demo.play import Match, play, shared_computations
from opml_min.cli.demo.scene import scene_of
from opml_min.model.image.image import Image
from opml_min.model.resolve import resolve
from opml_min.players.agenda import Group
from opml_min.players.chain import Move, Wait
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Liar, Scene, Setup
from opml_min.players.cheats.tampering import lie
from opml_min.players.cheats.values import tokens
from opml_min.players.player import Player
from opml_min.players.server import Server
from opml_min.players.validator import Validator


class ShortLived(Player):
    """Every decision is made by somebody new, who opens the image and computes everything again."""

    kind: type[Player]

    def groups(self) -> Iterator[Group]:
        """None of its own: each new player has its tasks."""
        return iter(())

    def decisions(self) -> Iterator[Move | Wait]:
        yield from self.kind(self.name, self.address, self.chain, Image(self._image.path)).decisions()


def short_lived(setup: Setup, kind: type[Player], name: str) -> Player:
    player = setup.seat(ShortLived, name)
    player.kind = kind
    return player


def lying_server(challenger: type[Player] | None) -> Cheat:
    def seats(setup: Setup) -> list[Player]:
        liar = setup.seat(Liar, "server", lie(setup, tokens))
        return [liar, short_lived(setup, challenger, "challenger") if challenger else setup.seat(Validator, "challenger")]

    return Cheat("lying-server", "", seats)


def false_challenger(server: type[Player] | None) -> Cheat:
    def seats(setup: Setup) -> list[Player]:
        accuser = setup.seat(FalseChallenger, CHALLENGER)
        return [*setup.with_server(accuser)[:1], short_lived(setup, server, "server") if server else setup.seat(Server, "server")]

    return Cheat("false-challenger", "", seats, CHALLENGER, CHALLENGE_REJECTED)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scene_of(resolve("embedded"))


def told(match: Match) -> list[Any]:
    return [(each.player, each.move.name, each.move.arguments[1:], each.refusal, each.gas_used) for each in match.history]


@pytest.mark.parametrize(
    ("forgetful", "steady"),
    [(lying_server(Validator), lying_server(None)), (false_challenger(Server), false_challenger(None))],
    ids=["challenger", "server"],
)
def test_nothing_is_lost(forgetful: Cheat, steady: Cheat, scene: Scene) -> None:
    """Both matches have the same moves, to the last byte of their hashes, and the same end."""
    court, compute = Court(), shared_computations()
    before = court.snapshot()
    games = []
    for cheat in (steady, forgetful):
        court.restore(before)
        games.append(told(play(scene, cheat, seed=9, court=court, compute=compute)))
        assert len(games[-1]) > 12
    assert games[0] == games[1]
