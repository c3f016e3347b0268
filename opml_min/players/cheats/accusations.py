"""False challenges. Whichever parts the challenger chooses, the hashes are true, so every node of the claim's tree is answered."""

from collections.abc import Callable

from opml_min.players.chain import POSTED, Decision, Wait, child_id
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Setup
from opml_min.players.index import ClaimEntry, NodeEntry
from opml_min.players.player import Player

MOST_NODES = 45


class Spreading(FalseChallenger):
    """A challenger that chooses all parts of a node, and all parts of those, as far as it can."""

    def go_down(self, claim: ClaimEntry, node: NodeEntry) -> Decision:
        if len(claim.nodes) < MOST_NODES:
            for posted in claim.nodes.values():
                for part in range(len(posted.hashes) // 32 + 1 if posted.state == POSTED else 0):
                    if child_id(posted.node_id, part) not in claim.nodes:
                        return self.choose(claim, posted, part)
        return None


class Hesitant(FalseChallenger):
    """A challenger that chooses in the last second that is legal and, where none is left, one second later."""

    _is_late = False

    def choose(self, claim: ClaimEntry, node: NodeEntry, part: int) -> Decision:
        last = node.last_choice(claim.closes_at)
        if self.chain.now < last:
            return Wait(last)
        if self.chain.now == last and not self._is_late and node.is_root:
            return self.choice_at(node, part)
        if self.chain.now == last:
            return Wait(last + 1)
        if self._is_late:
            return None
        self._is_late = True
        return self.choice_at(node, part)


def _accuser(
    name: str, description: str, choice: Callable[[Setup], Callable[[int], int] | None], kind: type[FalseChallenger] = FalseChallenger,
    refusal: str | None = None,
) -> Cheat:  # fmt: skip
    def seats(setup: Setup) -> list[Player]:
        player = setup.seat(kind, CHALLENGER)
        player.choice = choice(setup)
        return setup.with_server(player)

    return Cheat(name, description, seats, CHALLENGER, CHALLENGE_REJECTED, refusal=refusal)


CHEATS = (
    _accuser("accuse-first", "a true claim is challenged, and the first part is always chosen", lambda setup: lambda parts: 0),
    _accuser("accuse-at-random", "a true claim is challenged, and parts are chosen at random", lambda setup: setup.random.randrange),
    _accuser("replay", "a true claim is challenged by somebody who agrees with every posted hash and chooses a part anyway",
             lambda setup: None),
    _accuser("breadth", "a true claim is challenged, and part after part is chosen, to wear the server out",
             lambda setup: None, Spreading),
    _accuser("late-choices", "a true claim is challenged, and parts are chosen in the last second, or one second later",
             lambda setup: lambda parts: 0, Hesitant, refusal="OUT_OF_TIME"),
)  # fmt: skip
