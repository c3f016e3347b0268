"""A whole game: the court, a requester, servers and challengers take their seats and move until nobody has anything left to do.

Here players and embedded chain meet; neither knows the other. Players decide, this delivers, and time passes when nobody wants to move.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from attrs import define, field, frozen

from evm_arbiter.court import Court, Refused
from opml_min.model.image.image import Image
from opml_min.players.chain import REJECTED, Dispute, Move, Record
from opml_min.players.cheats import NONE
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CLAIM_FINAL, CLAIM_REJECTED, Cheat, Scene, Table
from opml_min.players.cheats.tampering import NoSuchLie
from opml_min.players.computation import Computation
from opml_min.players.player import Player
from opml_min.players.requester import Requester

FEE_WEI = 10**16  # a hundredth of an ether
DEADLINE_SECONDS = 86_400  # from the request on
BLOCK_SECONDS = 12  # a move a block. Source: Ethereum's main net
MOST_DECISIONS = 5_000
GAME_MOVES = ("challenge", "post", "choose", "open", "arbitrate", "timeout")


class GameDoesNotEnd(Exception):
    """The players go on for ever: an error of this program."""


@frozen
class Delivered:
    """A move that was sent, and what became of it."""

    player: str
    move: Move
    at_seconds: int  # since the game began
    gas_used: int | None  # None if it was refused
    refusal: str | None


Observer = Callable[["Game", Delivered], None]


@define
class Game:
    """One game on one court."""

    cheat: Cheat
    model: Image  # of the request; a cheat may bring another one to the table
    court: Court
    table: Table
    players: list[Player]
    observe: Observer
    history: list[Delivered] = field(factory=list)
    balances_before: dict[str, int] = field(init=False)
    _begun: int = field(init=False)
    _before_last: Any = None  # a snapshot, for who can take blocks back

    def __attrs_post_init__(self) -> None:
        self.balances_before = self.balances()
        self._begun = self.court.now

    def run(self) -> "Game":
        for _ in range(MOST_DECISIONS):
            if not self._one_decision():
                return self
        raise GameDoesNotEnd(self.cheat.name)

    def _one_decision(self) -> bool:
        """The first player who wants to move does; if nobody does, time passes. False if there is nothing to wait for."""
        waits = []
        for player in self.players:
            decision = player.next_move()
            if isinstance(decision, Move):
                self._replace_last(decision)
                self._deliver(player, decision)
                return True
            if decision is not None:
                waits.append(decision.until)
        if waits:
            self.court.set_time(max(self.court.now, min(waits)))
        return bool(waits)

    def _replace_last(self, answer: Move) -> None:
        """A reorganisation, if a player wants one: its last move is undone, and another takes its place."""
        for player in self.players:
            replacement = player.replacement(answer) if player.reorganises else None
            if replacement is not None:
                self.court.restore(self._before_last)
                self._deliver(player, replacement)

    def _deliver(self, player: Player, move: Move) -> None:
        if any(player.reorganises for player in self.players):
            self._before_last = self.court.snapshot()
        money = {"value": move.value} if move.value else {}
        at, gas_used, refusal = self.court.now - self._begun, None, None
        try:
            getattr(self.court, move.name)(*move.arguments, sender=player.address, **money)
            gas_used = self.court.transactions[-1].gas_used
            self.court.set_time(self.court.now + BLOCK_SECONDS)
        except Refused as refused:
            refusal = refused.name
            player.refused(move)
        self.history.append(Delivered(player.name, move, at, gas_used, refusal))
        self.observe(self, self.history[-1])

    # What came of it -----------------------------------------------------------------------------------------------------------

    @property
    def dispute(self) -> Dispute | None:
        """The first game that was decided."""
        decided = [dispute for dispute in Record.of(self.court).disputes.values() if dispute.server_won is not None]
        return decided[0] if decided else None

    @property
    def verdict(self) -> str:
        if self.dispute is None:
            return CLAIM_FINAL
        return CLAIM_REJECTED if self.court.claim_of(self.dispute.claim_id).status == REJECTED else CHALLENGE_REJECTED

    def balances(self) -> dict[str, int]:
        """What the players own, in wei."""
        return {player.name: self.court.balance(player.address) for player in self.players}

    def money(self) -> dict[str, int]:
        """The contract's books."""
        totals = self.court.totals()
        credited = sum(self.court.balance_of(player.address) for player in self.players)
        return {
            "deposits": totals.deposits, "locked": totals.locked, "credited": credited,
            "burned": totals.burned, "paid_out": totals.paid_out,
        }  # fmt: skip

    def money_adds_up(self) -> bool:
        """The books do, and the players have what they say."""
        money, after = self.money(), self.balances()
        missing = sum(self.balances_before.values()) - sum(after.values())
        books = money["deposits"] == money["locked"] + money["credited"] + money["burned"] + money["paid_out"]
        return books and missing == money["deposits"] - money["paid_out"]

    def honest_side_won(self) -> bool:
        """The verdict is right, and nobody honest paid for it."""
        after = self.balances()
        unharmed = all(after[player.name] >= self.balances_before[player.name] for player in self.players[:-1] if player.honest)
        return self.verdict == self.cheat.verdict and unharmed

    def gas(self) -> dict[str, int]:
        """Of all transactions of a kind together."""
        gas: dict[str, int] = {}
        for delivered in self.history:
            gas[delivered.move.name] = gas.get(delivered.move.name, 0) + (delivered.gas_used or 0)
        return gas

    def moves(self) -> int:
        return sum(delivered.refusal is None and delivered.move.name in GAME_MOVES for delivered in self.history)


def shared_computations() -> Callable[[Image, bytes, int], Computation]:
    """For games that are played one after the other: honest players that compute the same do it once."""
    known: dict[tuple[int, bytes, int], tuple[Image, Computation]] = {}

    def compute(image: Image, request: bytes, stage_count: int) -> Computation:
        key = (id(image), request, stage_count)
        if key not in known:
            known[key] = (image, Computation(image, request, stage_count))
        return known[key][1]

    return compute


def silently(game: Game, delivered: Delivered) -> None:
    pass


def play(
    scene: Scene,
    cheat: Cheat = NONE,
    *,
    seed: int = 0,
    stage: int | None = None,
    court: Court | None = None,
    compute: Callable[[Image, bytes, int], Computation] | None = None,
    observe: Observer = silently,
    begin: Callable[[Game], None] = lambda game: None,
) -> Game:
    """Plays one game to its end. court: one on which nothing has happened yet."""
    court, compute, random = court or Court(), compute or shared_computations(), Random(f"{cheat.name} {seed}")
    table = Table(court, cheat.scene(scene, random), random, stage, compute)
    if stage is not None and stage >= table.scene.stage_count:
        raise NoSuchLie(f"there is no stage {stage}: the run has {table.scene.stage_count}")
    players = cheat.seats(table)
    requester = Requester(
        "requester", court.accounts[0], court, table.scene.image, compute,
        data=table.scene.request, stage_count=table.scene.stage_count, deadline=court.now + DEADLINE_SECONDS, fee_wei=FEE_WEI,
    )  # fmt: skip
    game = Game(cheat, scene.image, court, table, [*players, requester], observe)
    begin(game)
    return game.run()
