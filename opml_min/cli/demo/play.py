"""Plays a match: a requester, servers and challengers move on one court until nobody has anything left to do.

This is where the players meet the embedded chain; neither knows the other. Players decide, this module delivers their moves, and time
passes when nobody wants to move.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from attrs import define, field, frozen

from evm_arbiter.court import Court, Refused
from evm_arbiter.objects import Expired, Fallen, Finalised
from opml_min.model.devices import Device
from opml_min.players.chain import REJECTED, Move, Wait
from opml_min.players.cheats import NONE
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CLAIM_FINAL, CLAIM_REJECTED, Cheat, Scene, Setup
from opml_min.players.cheats.tampering import NoSuchLie
from opml_min.players.computation import Computation
from opml_min.players.image_kinds import ModelImage
from opml_min.players.index import ClaimEntry, Index, NodeEntry
from opml_min.players.ledger import Ledger
from opml_min.players.player import Player
from opml_min.players.requester import Requester
from opml_min.players.run_cache import Compute

FEE_WEI = 10**16  # a hundredth of an ether
BOND_WEI = 8 * 10**18  # of each claim
STAGE_MICROSECONDS = 5_000  # what the model is registered with
DEADLINE_SECONDS = 3 * 86_400  # from the request on
BLOCK_SECONDS = 12  # one move per block. Source: Ethereum's main net
MOST_DECISIONS = 5_000
TREE_MOVES = ("challenge", "post", "choose", "open", "arbitrate", "timeout")


class MatchDoesNotEnd(Exception):
    """The players never stop moving, which is a bug in this program."""


@frozen
class Delivered:
    """A move that was sent, with its cost or its refusal."""

    player: str
    move: Move
    at_seconds: int  # since the match began
    gas_used: int | None  # None if it was refused
    refusal: str | None


@frozen
class Dispute:
    """A claim that was disputed, and the node that tells most about it."""

    claim: ClaimEntry
    node: NodeEntry


Observer = Callable[["Match", Delivered], None]


@define
class Match:
    """The players of one request on one court, and everything that they have done so far."""

    cheat: Cheat
    model: ModelImage  # the one that was asked for; the setup of a cheat may have another one
    court: Court
    setup: Setup
    players: list[Player]
    observe: Observer
    tensor_names: Mapping[int, str] = field(factory=dict)
    """Of a training: how its weights are called, by the addresses of what belongs to them."""
    history: list[Delivered] = field(factory=list)
    balances_before: dict[str, int] = field(init=False)
    _begun: int = field(init=False)
    _ledger: Ledger = field(init=False)
    _before_last: Any = None  # a snapshot before the last move, for a player that can take blocks back

    def __attrs_post_init__(self) -> None:
        self.balances_before = self.balances()
        self._begun = self.court.now
        self._ledger = Ledger(self.court, lambda model: True)

    def run(self) -> "Match":
        for _ in range(MOST_DECISIONS):
            if not self._one_head():
                return self
        raise MatchDoesNotEnd(self.cheat.name)

    def _one_head(self) -> bool:
        """Delivers the first move that is accepted; if there is none, lets time pass. False if there is nothing to wait for either."""
        waits = []
        for player in self.players:
            for decision in player.decisions():
                if isinstance(decision, Wait):
                    waits.append(decision.until)
                elif self._reorganised(decision) | self._deliver(player, decision):
                    return True
        if waits:
            self.court.set_time(max(self.court.now, min(waits)))
        return bool(waits)

    def _reorganised(self, answer: Move) -> bool:
        """Reorganises the chain if a player wants it: undoes that player's last move and delivers another one in its place."""
        for player in self.players:
            replacement = player.replacement(answer) if player.reorganises else None
            if replacement is not None:
                self.court.restore(self._before_last)
                self._deliver(player, replacement)
                return True
        return False

    def _deliver(self, player: Player, move: Move) -> bool:
        """Sends a move, after those that others squeeze in before it. Whether it was accepted; only then does time pass."""
        for other in self.players:
            while other is not player and (first := other.squeezed_in(move)) is not None:
                self._send(other, first)
        if any(player.reorganises for player in self.players):
            self._before_last = self.court.snapshot()
        is_accepted = self._send(player, move)
        if is_accepted:
            self.court.set_time(self.court.now + BLOCK_SECONDS)
        return is_accepted

    def _send(self, player: Player, move: Move) -> bool:
        money = {"value": move.value} if move.value else {}
        at, gas_used, refusal = self.court.now - self._begun, None, None
        try:
            getattr(self.court, move.name)(*move.arguments, sender=player.address, **money)
            gas_used = self.court.transactions[-1].gas_used
        except Refused as refused:
            refusal = refused.name
        self.history.append(Delivered(player.name, move, at, gas_used, refusal))
        self.observe(self, self.history[-1])
        return refusal is None

    # The outcome -----------------------------------------------------------------------------------------------------------

    @property
    def index(self) -> Index:
        """All that happened, as events tell it."""
        return self._ledger.follow()

    @property
    def dispute(self) -> Dispute | None:
        """The first dispute that was decided: at the node where the claim fell, or else at the one that was narrowed down most."""
        index = self.index
        ended = [event.claim_id for event in self.court.events() if isinstance(event, Fallen | Expired | Finalised)]
        for claim in (index.claims[claim_id] for claim_id in ended):
            if claim.nodes:
                deepest = max(claim.nodes.values(), key=lambda node: (node.segment.phase, -node.segment.length))
                return Dispute(claim, index.nodes[claim.fell_at] if claim.fell_at else deepest)
        return None

    @property
    def verdict(self) -> str:
        if any(claim.status == REJECTED for claim in self.index.claims.values()):
            return CLAIM_REJECTED
        return CLAIM_FINAL if self.dispute is None else CHALLENGE_REJECTED

    def balances(self) -> dict[str, int]:
        """What the players own, in wei."""
        return {player.name: self.court.balance(player.address) for player in self.players}

    def money(self) -> dict[str, int]:
        """Where the contract's money is, in wei."""
        totals = self.court.books()
        credited = sum(self.court.account_of(player.address).credited for player in self.players)
        return {
            "deposits": totals.deposits, "locked": totals.locked, "credited": credited,
            "burned": totals.burned, "paid_out": totals.paid_out,
        }  # fmt: skip

    def money_adds_up(self) -> bool:
        """Whether the contract's books balance and agree with what the players own."""
        money, after = self.money(), self.balances()
        missing = sum(self.balances_before.values()) - sum(after.values())
        books = money["deposits"] == money["locked"] + money["credited"] + money["burned"] + money["paid_out"]
        return books and missing == money["deposits"] - money["paid_out"]

    def honest_side_won(self) -> bool:
        """Whether the verdict is right and no honest server or challenger lost money."""
        after = self.balances()
        unharmed = all(after[player.name] >= self.balances_before[player.name] for player in self.players[:-1] if player.honest)
        return self.verdict == self.cheat.verdict and unharmed

    def gas(self) -> dict[str, int]:
        """The gas of all transactions, summed by the name of the move."""
        gas: dict[str, int] = {}
        for delivered in self.history:
            gas[delivered.move.name] = gas.get(delivered.move.name, 0) + (delivered.gas_used or 0)
        return gas

    def moves(self) -> int:
        """How many moves in trees the contract accepted."""
        return sum(delivered.refusal is None and delivered.move.name in TREE_MOVES for delivered in self.history)


def shared_computations(device: Device | None = None) -> Compute:
    """Lets honest players of one match, or of several in a row, share one computation per request."""
    known: dict[tuple[int, bytes, int], tuple[ModelImage, Computation]] = {}

    def compute(image: ModelImage, request: bytes, stage_count: int) -> Computation:
        key = (id(image), request, stage_count)
        if key not in known:
            known[key] = (image, Computation(image, request, stage_count, device))
        return known[key][1]

    return compute


def unobserved(match: Match, delivered: Delivered) -> None:
    pass


def play(
    scene: Scene,
    cheat: Cheat = NONE,
    *,
    seed: int = 0,
    stage: int | None = None,
    court: Court | None = None,
    compute: Compute | None = None,
    observe: Observer = unobserved,
    begin: Callable[[Match], None] = lambda match: None,
    kind: type[Match] = Match,
    tensor_names: Mapping[int, str] | None = None,
) -> Match:
    """Plays one match to its end. court: one on which nothing has happened yet."""
    court, compute, random = court or Court(), compute or shared_computations(), Random(f"{cheat.name} {seed}")
    setup = Setup(court, cheat.scene(scene, random), random, stage, compute)
    if stage is not None and stage >= setup.scene.stage_count:
        raise NoSuchLie(f"there is no stage {stage}: the run has {setup.scene.stage_count}")
    players = cheat.seats(setup)
    requester = Requester(
        "requester", court.accounts[0], court, setup.scene.image, compute,
        data=setup.scene.request, stage_count=setup.scene.stage_count, stage_microseconds=STAGE_MICROSECONDS,
        deadline=court.now + DEADLINE_SECONDS, fee_wei=FEE_WEI, bond_wei=BOND_WEI,
    )  # fmt: skip
    match = kind(cheat, scene.image, court, setup, [*players, requester], observe, tensor_names or {})
    begin(match)
    return match.run()
