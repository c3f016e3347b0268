"""All the ways to cheat against which the honest players are tested; each module holds one family."""

from opml_min.players.challenger import Challenger
from opml_min.players.cheats import accusations, collusion, failed_runs, forgeries, own_programs, silence, values
from opml_min.players.cheats.cheat import CLAIM_FINAL, Cheat, Setup
from opml_min.players.player import Player
from opml_min.players.server import Server

FAMILIES = (values, own_programs, failed_runs, forgeries, silence, collusion, accusations)
CHEATS = {cheat.name: cheat for family in FAMILIES for cheat in family.CHEATS}


def _honest(setup: Setup) -> list[Player]:
    return [setup.seat(Server, "server"), setup.seat(Challenger, "challenger")]


NONE = Cheat("none", "nobody cheats", _honest, "nobody", CLAIM_FINAL)
