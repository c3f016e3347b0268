"""All ways to cheat that the game has an answer to, one family a file."""

from opml_min.players.challenger import Challenger
from opml_min.players.cheats import accusations, forgeries, requests, silence, values
from opml_min.players.cheats import collusion as company
from opml_min.players.cheats import own_programs as borders
from opml_min.players.cheats.cheat import CLAIM_FINAL, Cheat, Table
from opml_min.players.player import Player
from opml_min.players.server import Server

FAMILIES = (values, borders, requests, forgeries, silence, company, accusations)
CHEATS = {cheat.name: cheat for family in FAMILIES for cheat in family.CHEATS}


def _honest(table: Table) -> list[Player]:
    return [table.seat(Server, "server"), table.seat(Challenger, "challenger")]


NONE = Cheat("none", "nobody cheats", _honest, "nobody", CLAIM_FINAL)
