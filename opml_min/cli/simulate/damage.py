"""What an attack cost whom: measured in a play, against a play without attack, and against the prices that the specification prints.

*Source*: spec §5.6 and §5.9.
"""

from typing import Any

from attrs import asdict, frozen

from evm_arbiter.objects import Awarded, Claimed, ClaimStatus, Fallen, Finalised, Opened, Reclaimed, Requested
from evm_arbiter.parameters import root_bond, share_of
from opml_min.cli.simulate.arena import Arena
from opml_min.players.chain import seal

HOUR = 3_600  # seconds


@frozen
class Damage:
    """The outcome of one attack; money in wei. Honest sides: the server and the validator."""

    attack: str
    staked: int  # the most that the attacker had at stake at one time
    lost: int  # what it owned less in the end, but for gas
    attack_gas: int
    page_price: int  # what it loses at least by the formulas of the specification
    burned: int  # more than without the attack
    delay_hours: float  # of an honest request's result, at most
    delay_sum_hours: float  # of all of them
    unanswered: int  # honest requests without result
    fee_hours: float  # from when the fee of an honest request would have been paid without the attack to when it was, at most
    stalled_hours: float  # from the first node of a false claim to its fall, at most
    false_claims: int
    false_finals: int
    honest_loss: int  # of honest sides that ended with less, but for gas
    honest_gas: int  # more than without the attack
    honest_shortfall: int  # of honest sides that ended with less, gas included
    honest_tied: int  # the most that the honest validator had at stake at one time, all of which came back
    server_earned: int
    validator_earned: int

    @property
    def per_hour(self) -> int | None:
        """What an hour of delay of one result cost the attacker."""
        return round(self.lost / self.delay_sum_hours) if self.delay_sum_hours > 0 else None

    @property
    def page_per_hour(self) -> int | None:
        return round(self.page_price / self.delay_sum_hours) if self.delay_sum_hours > 0 else None

    @property
    def per_false_claim(self) -> int | None:
        """What a false claim cost; a false result would have cost at least that."""
        return self.lost // self.false_claims if self.false_claims else None

    def griefing(self, honest_wei: int) -> float | None:
        """Wei taken from honest sides for each wei that the attacker lost."""
        return honest_wei / self.lost if self.lost > 0 else None

    def fields(self) -> dict[str, Any]:
        """All of it for the JSON object."""
        ratios = {
            "per_hour": self.per_hour, "page_per_hour": self.page_per_hour, "per_false_claim": self.per_false_claim,
            "griefing_without_gas": self.griefing(self.honest_loss), "griefing_with_gas": self.griefing(self.honest_loss + self.honest_gas),
            "griefing_after_refunds": self.griefing(self.honest_shortfall),
        }  # fmt: skip
        return asdict(self) | ratios


@frozen
class Quiet:
    """What happens when nobody attacks."""

    result_times: list[int | None]
    fee_times: list[int | None]
    burned: int
    honest_gas: int

    @classmethod
    def measured(cls, arena: Arena) -> "Quiet":
        results, fees = times(arena, Finalised), times(arena, Awarded, Reclaimed)
        return cls(results, fees, arena.court.books().burned, arena.gas_wei(arena.server, arena.validator))


def damage(name: str, arena: Arena, quiet: Quiet) -> Damage:
    """Measures a play that has just ended. quiet: the same one without attack"""
    honest, happened = (arena.server, arena.validator), arena.happened
    delays = lateness(times(arena, Finalised), quiet.result_times)
    fees = lateness(times(arena, Awarded, Reclaimed), quiet.fee_times)
    true = arena.setup.honest.run_hash()
    attackers = {player.address for player in arena.attackers}
    claimed = {event.claim_id for _, event in happened if isinstance(event, Claimed) and event.server in attackers
               and event.sealed != seal(true, event.server)}  # fmt: skip
    begins = {event.claim_id: at for at, event in reversed(happened) if isinstance(event, Opened)}
    stalls = [at - begins[event.claim_id] for at, event in happened if isinstance(event, Fallen) and event.claim_id in claimed]
    return Damage(
        attack=name,
        staked=arena.most_staked_wei,
        lost=-arena.gain(*arena.attackers),
        attack_gas=arena.gas_wei(*arena.attackers),
        page_price=page_price(arena),
        burned=arena.court.books().burned - quiet.burned,
        delay_hours=max([delay for delay in delays if delay is not None], default=0) / HOUR,
        delay_sum_hours=sum(delay for delay in delays if delay is not None) / HOUR,
        unanswered=delays.count(None),
        fee_hours=max([delay for delay in fees if delay is not None], default=0) / HOUR,
        stalled_hours=max(stalls, default=0) / HOUR,
        false_claims=len(claimed),
        false_finals=sum(isinstance(event, Finalised) and event.run_hash != true for _, event in happened),
        honest_loss=sum(max(0, -arena.gain(player)) for player in honest),
        honest_gas=max(0, arena.gas_wei(*honest) - quiet.honest_gas),
        honest_shortfall=sum(max(0, arena.gas_wei(player) - arena.gain(player)) for player in honest),
        honest_tied=arena.most_tied_wei,
        server_earned=arena.gain(arena.server),
        validator_earned=arena.gain(arena.validator),
    )


def times(arena: Arena, *kinds: type[Finalised | Awarded | Reclaimed]) -> list[int | None]:
    """When one of these events first happened to the honest requests; None for one to which none happened."""
    asked = [event.request_id for _, event in arena.happened if isinstance(event, Requested) and event.requester == arena.asker.address]
    first = {event.request_id: at for at, event in reversed(arena.happened) if isinstance(event, kinds)}
    return [first.get(request_id) for request_id in asked]


def lateness(late: list[int | None], early: list[int | None]) -> list[int | None]:
    """By how many seconds the events of one play are later than those of another."""
    return [None if a is None or b is None else max(0, a - b) for a, b in zip(late, early, strict=True)]


def page_price(arena: Arena) -> int:
    """What the attacker loses at least: 1 − φ of its lost bonds, whoever gets the rest, and the line for its first claims."""
    fixed, attackers = arena.court.parameters, {player.address for player in arena.attackers}
    wei = 0
    for _, event in arena.happened:
        if isinstance(event, Claimed):
            claim, request = arena.court.claim_of(event.claim_id), arena.court.request_of(event.request_id)
            if event.server in attackers and claim.status is ClaimStatus.REJECTED:
                wei += request.bond - share_of(fixed, request.bond)
            if event.server in attackers and event.index == 0:
                microseconds = arena.court.model_of(request.model_id).stage_microseconds
                wei += -(-request.stage_count * microseconds // 10**6) * fixed.second_price
        if isinstance(event, Opened) and event.opener in attackers:
            claim = arena.court.claim_of(event.claim_id)
            is_root, bond = not any(event.parent_id), arena.court.request_of(claim.request_id).bond
            staked = root_bond(fixed, bond) if is_root else fixed.node_bond
            wei += staked - share_of(fixed, staked) if claim.status is ClaimStatus.FINAL else 0
    return wei
