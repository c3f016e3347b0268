"""False challenges. Whichever parts the challenger chooses, the hashes are true, so it loses when the instruction is executed."""

from collections.abc import Callable

from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Setup
from opml_min.players.player import Player


def _accuser(name: str, description: str, choice: Callable[[Setup], Callable[[int], int] | None]) -> Cheat:
    def seats(setup: Setup) -> list[Player]:
        player = setup.seat(FalseChallenger, CHALLENGER)
        player.choice = choice(setup)
        return setup.with_server(player)

    return Cheat(name, description, seats, CHALLENGER, CHALLENGE_REJECTED)


CHEATS = (
    _accuser("accuse-first", "a true claim is challenged, and the first part is always chosen", lambda setup: lambda parts: 0),
    _accuser("accuse-at-random", "a true claim is challenged, and parts are chosen at random", lambda setup: setup.random.randrange),
    _accuser("replay", "a true claim is challenged by somebody who agrees with every posted hash and chooses a part anyway",
             lambda setup: None),
)  # fmt: skip
