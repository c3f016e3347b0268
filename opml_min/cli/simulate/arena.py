"""An arena: honest players and an attacker with a purse, on the real contract, until nobody has anything left to do.

The honest server and the honest validator are those of `opml_min.players`, as slow as the rules let them be: an answer or a choice takes
them the whole effort E, and the validator recomputes each run in the time that the model declares. All other validators belong to the
attacker. It moves first in every block, any number of times, and any second may have a block. It stakes no more than its purse: what the
contract pays back it can stake again.

*Source*: spec §5.9.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from attrs import define, field, frozen

from evm_arbiter.court import Court, Refused
from evm_arbiter.objects import Event
from opml_min.players.agenda import Task
from opml_min.players.chain import Decision, Move, Wait
from opml_min.players.cheats.cheat import Scene, Setup
from opml_min.players.index import ClaimEntry
from opml_min.players.player import Player
from opml_min.players.requester import Requester
from opml_min.players.run_cache import Compute
from opml_min.players.server import Server
from opml_min.players.validator import Validator

FEE_WEI = 10**16  # of each honest request: a hundredth of an ether
STAGE_MICROSECONDS = 2_500_000  # what the model is registered with, as in the example of spec §5.13
ARRIVAL_SECONDS = 3_600  # when the honest requests come
DEADLINE_SECONDS = 60 * 86_400
BASE_FEE_WEI = 10**10  # per gas
BLOCK_SECONDS = 12  # Source: Ethereum's main net
MOST_BLOCKS = 20_000
MOST_MOVES = 64  # of one player in a block
EFFORTS = {"challenge", "post", "open", "choose", "arbitrate"}  # what takes an honest player its effort
MOST_VALIDATORS = 6  # the embedded chain has ten accounts


class ArenaDoesNotEnd(Exception):
    """The players never stop moving, which is a bug in this program."""


class Asker(Requester):
    """A requester that makes several equal requests at a given time."""

    count: int
    at: int

    def _requests(self) -> Iterable[Task]:
        if len(self._own()) < self.count:
            yield Task(b"request", self._ask)

    def _ask(self) -> Decision:
        decision = self.request()
        is_early = isinstance(decision, Move) and decision.name == "request" and self.chain.now < self.at
        return Wait(self.at) if is_early else decision


class Paced(Validator):
    """A validator that recomputes one run after the other, each as slowly as the registrant of the model declares."""

    _computing: tuple[bytes, int] | None = None  # the request, and when it is done

    def next_step(self, claim: ClaimEntry) -> Decision:
        if not self.runs.knows(claim.request_id):
            if self._computing is None or self._is_over(*self._computing):
                self._computing = claim.request_id, self.chain.now + self._work(claim.request_id)
            request_id, done_at = self._computing
            if request_id != claim.request_id or self.chain.now < done_at:
                return Wait(max(done_at, self.chain.now + 1))
            self._computing = None
        return super().next_step(claim)

    def _is_over(self, request_id: bytes, done_at: int) -> bool:
        """Whether a run is computed of which nobody wants to know any more."""
        is_wanted = any(claim.request_id == request_id for claim in self.index.pending.values())
        return self.chain.now >= done_at and not is_wanted

    def _work(self, request_id: bytes) -> int:
        request = self.index.requests[request_id]
        return self.policy.work_seconds(request.stage_count, self.index.models[request.model_id])


@frozen
class Terms:
    """What a play is about, whoever attacks."""

    purse_wei: int
    validators: int  # of whom one is honest
    claims: int  # honest requests
    seed: int


@define
class Arena:
    """One play."""

    court: Court
    terms: Terms
    setup: Setup
    asker: Asker
    server: Server
    validator: Validator
    attackers: list[Player] = field(factory=list)
    happened: list[tuple[int, Event]] = field(factory=list)  # with their times
    gas: dict[str, int] = field(factory=dict)  # used, by address
    most_staked_wei: int = 0  # by the attacker at one time
    most_tied_wei: int = 0  # by the honest validator
    has_silence: bool = False  # whether the attacker keeps the validator from the chain, for C from its own first answer on
    _silent_until: int = 0
    _starts: dict[str, int] = field(factory=dict)
    _working_until: dict[str, int] = field(factory=dict)

    @classmethod
    def made(
        cls, court: Court, terms: Terms, scene: Scene, compute: Compute, name: str, stage_microseconds: int = STAGE_MICROSECONDS
    ) -> "Arena":
        """Seats the honest players. court: one on which nothing has happened yet"""
        court.set_base_fee(BASE_FEE_WEI)
        line = -(-scene.stage_count * stage_microseconds // 10**6) * court.parameters.second_price
        setup = Setup(court, scene, Random(f"{name} {terms.seed}"), None, compute)
        asker = Asker(
            "requester", court.accounts[0], court, scene.image, compute, data=scene.request, stage_count=scene.stage_count,
            stage_microseconds=stage_microseconds, deadline=court.now + DEADLINE_SECONDS, fee_wei=max(FEE_WEI, 2 * line),
            bond_wei=court.parameters.min_bond,
        )  # fmt: skip
        asker.count, asker.at = terms.claims, court.now + ARRIVAL_SECONDS
        arena = cls(court, terms, setup, asker, setup.seat(Server, "server"), setup.seat(Paced, "validator"))
        arena._starts = {address: court.balance(address) for address in court.accounts}
        return arena

    def puppets(self, kind: Callable[..., Any], **how: Any) -> list[Any]:
        """Seats the attacker's validators: all but the honest one."""
        return [self.setup.seat(kind, f"puppet {number}", **how) for number in range(1, self.terms.validators)]

    # Money -----------------------------------------------------------------------------------------------------------------

    def gain(self, *players: Player) -> int:
        """What players own more than at first, in wei, but for gas."""
        return sum(self.court.balance(player.address) - self._starts[player.address] for player in players)

    def gas_wei(self, *players: Player) -> int:
        return BASE_FEE_WEI * sum(self.gas.get(player.address, 0) for player in players)

    def _can_stake(self, move: Move) -> bool:
        staked = move.value - self.gain(*self.attackers)
        if staked <= self.terms.purse_wei:
            self.most_staked_wei = max(self.most_staked_wei, staked)
            return True
        return False

    # Time ------------------------------------------------------------------------------------------------------------------

    def run(self) -> "Arena":
        for _ in range(MOST_BLOCKS):
            if not self._block():
                return self
        raise ArenaDoesNotEnd

    def _block(self) -> bool:
        """Lets everybody move, and time pass until somebody wants to. False if nobody ever will."""
        has_moved, waits = False, list[int]()
        for player in (self.asker, *self.attackers, self.server, self.validator):
            moved, waited = self._turn(player)
            has_moved |= moved
            waits += waited
        later = [until for until in waits if until > self.court.now]
        if has_moved:
            later.append(self.court.now + BLOCK_SECONDS)
        if later:
            self.court.set_time(min(later))
        return bool(later)

    def _turn(self, player: Player) -> tuple[bool, list[int]]:
        """Delivers what a player wants until it wants nothing now. Whether anything was accepted, and the times it waits for.

        A player that works on a move does nothing else until it has made it.
        """
        busy_until = self._working_until.get(player.address, 0)
        if busy_until > self.court.now:
            return False, [busy_until]
        has_moved, waits = False, list[int]()
        for _ in range(MOST_MOVES):
            waits = []
            for decision in player.decisions():
                free_at = decision.until if isinstance(decision, Wait) else self._free_at(player, decision)
                if isinstance(decision, Wait):
                    waits.append(free_at)
                elif free_at > self.court.now:
                    return has_moved, [free_at]
                elif self._deliver(player, decision):
                    has_moved = True
                    break
            else:
                if all(until > self.court.now for until in waits):
                    break
        return has_moved, waits

    def _free_at(self, player: Player, move: Move) -> int:
        """When a player has done the work for a move, which an honest one begins now, and can reach the chain."""
        if player is self.validator and self.court.now < self._silent_until:
            return self._silent_until
        if not player.honest or move.name not in EFFORTS:
            return self.court.now
        effort = self.court.parameters.effort - BLOCK_SECONDS
        return self._working_until.setdefault(player.address, self.court.now + effort)

    def _deliver(self, player: Player, move: Move) -> bool:
        """Sends a move, after what others squeeze in before it. Whether any of these was accepted."""
        has_changed = False
        for other in self.attackers:
            if other is not player and (first := other.squeezed_in(move)) is not None:
                has_changed |= self._send(other, first)
        is_accepted = self._send(player, move)
        if is_accepted and move.name in EFFORTS:
            self._working_until.pop(player.address, None)
        return has_changed | is_accepted

    def _send(self, player: Player, move: Move) -> bool:
        if player in self.attackers and not self._can_stake(move):
            return False
        if player is self.validator:
            self.most_tied_wei = max(self.most_tied_wei, move.value - self.gain(player))
        money, before = {"value": move.value} if move.value else {}, len(self.court.events())
        try:
            getattr(self.court, move.name)(*move.arguments, sender=player.address, **money)
        except Refused:
            return False
        if self.has_silence and not self._silent_until and move.name == "post" and not player.honest:
            self._silent_until = self.court.now + self.court.parameters.censorship
        self.gas[player.address] = self.gas.get(player.address, 0) + self.court.transactions[-1].gas_used
        self.happened += [(self.court.now, event) for event in self.court.events(before)]
        return True
