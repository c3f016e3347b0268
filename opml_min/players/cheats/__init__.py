"""All the ways to cheat against which the honest players are tested; each module holds one family."""

from opml_min.players.cheats import (
    accusations,
    claims,
    collusion,
    failed_runs,
    forgeries,
    own_programs,
    puppets,
    silence,
    stalling,
    trainers,
    values,
)
from opml_min.players.cheats.cheat import CLAIM_FINAL, Cheat, Setup
from opml_min.players.player import Player
from opml_min.players.server import Server
from opml_min.players.validator import Validator

FAMILIES = (values, own_programs, failed_runs, forgeries, silence, claims, stalling, collusion, puppets, accusations)
CHEATS = {cheat.name: cheat for family in FAMILIES for cheat in family.CHEATS}
"""What can be tried with a model that answers requests."""

_ANY_RUN = ("output-value", "register", "branch", "early-exit", "final-state")
TRAINING_CHEATS = {
    cheat.name: cheat
    for cheat in (*trainers.CHEATS, *(CHEATS[name] for name in _ANY_RUN), *failed_runs.CHEATS, *accusations.CHEATS)
}
"""What can be tried with a training. Cheats that are about the game, not about what is computed, would be the same there."""


def _honest(setup: Setup) -> list[Player]:
    return [setup.seat(Server, "server"), setup.seat(Validator, "challenger")]


NONE = Cheat("none", "nobody cheats", _honest, "nobody", CLAIM_FINAL)
