"""Challenges against a true claim. Whatever part is named, the server's hashes are true, so the instruction that is left is too."""

from collections.abc import Callable

from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Table
from opml_min.players.player import Player


def _accuser(name: str, description: str, choice: Callable[[Table], Callable[[int], int] | None]) -> Cheat:
    def seats(table: Table) -> list[Player]:
        player = table.seat(FalseChallenger, CHALLENGER)
        player.choice = choice(table)
        return table.with_server(player)

    return Cheat(name, description, seats, CHALLENGER, CHALLENGE_REJECTED)


CHEATS = (
    _accuser("accuse-first", "a true claim is challenged, and always the first part named", lambda table: lambda parts: 0),
    _accuser("accuse-at-random", "a true claim is challenged, and parts are named at random", lambda table: table.random.randrange),
    _accuser("replay", "a true claim is challenged by somebody who agrees with all that is posted, and names a part all the same",
             lambda table: None),
)  # fmt: skip
