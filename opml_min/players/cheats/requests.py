"""Requests that no run can fulfil: the run fails, and that is the truth that somebody denies."""

from collections.abc import Iterator
from random import Random

from opml_min.model.run import OK, RunState
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Liar, Scene, Table
from opml_min.players.cheats.tampering import Tampering, steps_of
from opml_min.players.cheats.values import halted, liar
from opml_min.players.computation import Computation
from opml_min.players.player import Player


def one_stage_off(scene: Scene, random: Random) -> Scene:
    return scene._replace(stage_count=scene.stage_count - 1 if scene.stage_count > 1 else 2)


def arbitrary_bytes(scene: Scene, random: Random) -> Scene:
    return scene._replace(request=random.randbytes(random.randrange(1, 200)))


def exit_code_forged(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering]:
    """Stage 0 refuses the request; the server says that it did not."""
    yield Tampering(0, steps_of(honest, 0), halted)


class Resurrected(Computation):
    """A run that has failed goes on as if it had not."""

    def __init__(self, scene: Scene, first_stage: int) -> None:
        super().__init__(*scene)
        self._first_stage = first_stage

    def run_state(self, stages: int) -> RunState:
        state = super().run_state(stages)
        return state if stages <= self._first_stage else RunState(state.carry_root, OK)


def resurrection(table: Table) -> list[Player]:
    stage = table.random.randrange(1, table.scene.stage_count) if table.stage is None else max(table.stage, 1)
    return table.with_challenger(table.seat(Liar, "server", Resurrected(table.scene, stage)))


def denial(table: Table) -> list[Player]:
    player = table.seat(FalseChallenger, CHALLENGER)
    player.choice = lambda parts: parts - 1
    return table.with_server(player)


CHEATS = (
    Cheat("short-request", "a request with one stage too few, whose run fails, is claimed to have succeeded",
          liar(exit_code_forged), scene=one_stage_off),
    Cheat("resurrection", "a run that has failed is said to be well again some stages later", resurrection, scene=one_stage_off),
    Cheat("denied-failure", "a request of arbitrary bytes fails, as it should, and that is challenged",
          denial, CHALLENGER, CHALLENGE_REJECTED, scene=arbitrary_bytes),
)  # fmt: skip
