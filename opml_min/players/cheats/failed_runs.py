"""Lies about failed runs. The request is such that its run fails, and somebody denies it."""

from collections.abc import Iterator
from random import Random

from opml_min.model.staged_run import OK, RunState
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Liar, Scene, Setup
from opml_min.players.cheats.tampering import Tampering, steps_of
from opml_min.players.cheats.values import halted, liar
from opml_min.players.computation import Computation
from opml_min.players.player import Player


def one_stage_off(scene: Scene, random: Random) -> Scene:
    return scene._replace(stage_count=scene.stage_count - 1 if scene.stage_count > 1 else 2)


def arbitrary_bytes(scene: Scene, random: Random) -> Scene:
    return scene._replace(request=random.randbytes(random.randrange(1, 200)))


def exit_code_forged(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering]:
    """Stage 0 rejects the request, and the server claims that it did not."""
    yield Tampering(0, steps_of(honest, 0), halted)


class Resurrected(Computation):
    """A failed run that is said to be OK again after some stage."""

    def __init__(self, scene: Scene, first_stage: int) -> None:
        super().__init__(*scene)
        self._first_stage = first_stage

    def run_state(self, stages: int) -> RunState:
        state = super().run_state(stages)
        return state if stages <= self._first_stage else RunState(state.carry_root, OK)


def resurrection(setup: Setup) -> list[Player]:
    stage = setup.random.randrange(1, setup.scene.stage_count) if setup.stage is None else max(setup.stage, 1)
    return setup.with_challenger(setup.seat(Liar, "server", Resurrected(setup.scene, stage)))


def denial(setup: Setup) -> list[Player]:
    player = setup.seat(FalseChallenger, CHALLENGER)
    player.choice = lambda parts: parts - 1
    return setup.with_server(player)


CHEATS = (
    Cheat("short-request", "a request with one stage too few fails, and the server claims success",
          liar(exit_code_forged), scene=one_stage_off),
    Cheat("resurrection", "a run has failed, and the server claims that it is OK some stages later", resurrection, scene=one_stage_off),
    Cheat("denied-failure", "a request of arbitrary bytes fails, as it should, and that is challenged",
          denial, CHALLENGER, CHALLENGE_REJECTED, scene=arbitrary_bytes),
)  # fmt: skip
