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

_OF_ANSWERS = {"kv-cache", "token", "read-out", "other-prompt", "other-weights", *(cheat.name for cheat in own_programs.CHEATS)}
TRAINING_CHEATS = {cheat.name: cheat for cheat in trainers.CHEATS} | {name: it for name, it in CHEATS.items() if name not in _OF_ANSWERS}
"""What can be tried with a training: its own ways to cheat first, then those that do not depend on what is computed."""


def _honest(setup: Setup) -> list[Player]:
    return [setup.seat(Server, "server"), setup.seat(Validator, "challenger")]


NONE = Cheat("none", "nobody cheats", _honest, "nobody", CLAIM_FINAL)
