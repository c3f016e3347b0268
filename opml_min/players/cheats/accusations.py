"""Challenges against a true claim. Whatever part is named, the server's hashes are true, so the instruction that is left is too."""

from collections.abc import Callable

from opml_min.players.chain import STAGES, Dispute
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Table
from opml_min.players.player import Player


class Accuser(FalseChallenger):
    stage: int | None  # to have opened, if it can be chosen
    choice: Callable[[int], int] | None  # of so many parts; None: the one that honest recomputing leads to

    def part(self, dispute: Dispute, request_id: bytes) -> int:
        ends = dispute.segment.boundaries(self.chain.parameters.k)[1:]
        if self.stage is not None and dispute.segment.phase == STAGES:
            return sum(end <= self.stage for end in ends[:-1])
        return super().part(dispute, request_id) if self.choice is None else self.choice(len(ends))


def _accuser(name: str, description: str, choice: Callable[[Table], Callable[[int], int] | None]) -> Cheat:
    def seats(table: Table) -> list[Player]:
        player = table.seat(Accuser, CHALLENGER)
        player.stage, player.choice = table.stage, choice(table)
        return table.with_server(player)

    return Cheat(name, description, seats, CHALLENGER, CHALLENGE_REJECTED)


CHEATS = (
    _accuser("accuse-first", "a true claim is challenged, and always the first part named", lambda table: lambda parts: 0),
    _accuser("accuse-at-random", "a true claim is challenged, and parts are named at random", lambda table: table.random.randrange),
    _accuser("replay", "a true claim is challenged by somebody who agrees with all that is posted, and names a part all the same",
             lambda table: None),
)  # fmt: skip
