"""The acts that rules are about: each happens to a court, and changes nothing but what it is there for.

`CHANGES` says for each act what it may change. It is shown wherever an act is performed, so that no rule need ask for it.

*Source*: spec §5.
"""

from collections.abc import Mapping
from typing import Any

from attrs import fields, has
from opml_spec.dispute.acts import ACTS
from opml_spec.dispute.objects import Court, Message
from opml_spec.errors import SpecError

from opml_fuzz.statements.rules_court import THE_REST
from opml_fuzz.statements.world import World

TABLES = ("models", "requests", "claims", "nodes", "requests_made", "server_due", "server_lost_at")
OPENED: dict[str, tuple[str, ...]] = {"claims": ("nodes", "open_nodes", "prices"), "nodes": (), "server_due": (), "ledger": ()}
ANSWERED = {"claims": ("open_nodes", "settles_at"), "nodes": ("segment", "posted", "state", "clock")}
REJECTED: dict[str, tuple[str, ...]] = {"requests": ("pending",), "claims": ("status", "fell_at"), "ledger": ()}
FALLEN = {**REJECTED, "server_lost_at": ()}
ANSWERED_OR_FALLEN = {**ANSWERED, **FALLEN, "claims": (*ANSWERED["claims"], *REJECTED["claims"])}
FINAL = ("pending", "result", "run_hash", "outcome", "output_hash", "fee_left", "fee_paid")
CHANGES: dict[str, dict[str, tuple[str, ...]]] = {
    "register": {"models": ()},
    "request": {"requests": (), "requests_made": (), "ledger": ()},
    "claim": {"models": ("busy_until",), "requests": ("claims", "pending", "checked_at"), "claims": (), "ledger": ()},
    "challenge": OPENED,
    "post": ANSWERED,
    "open": ANSWERED_OR_FALLEN,
    "choose": OPENED,
    "arbitrate": ANSWERED_OR_FALLEN,
    "timeout": FALLEN,
    "finalise": {"requests": FINAL, "claims": ("status",), "ledger": ()},
    "expire": FALLEN,
    "collect": {"nodes": ("collected",), "ledger": ()},
    "award": {"requests": ("fee_left", "fee_paid", "next_award"), "ledger": ()},
    "reclaim": {"requests": ("fee_left", "fee_paid"), "ledger": ()},
    "withdraw_to": {"ledger": ()},
}
"""For each act the tables in which it may change one entry or add one, and the fields of that entry that it may change."""


def perform(world: World, court: Court, name: str, message: Message, *arguments: Any) -> Court | None:
    """The court after an act, None if it is refused. No act touches what is not named, nor what is not its business (`CHANGES`)."""
    try:
        after = ACTS[name](court, message, *arguments)
    except SpecError:
        world.reach(refused(name))
        return None
    except IndexError as error:
        world.show(f"an act happens as a whole, or names its error: {error}", False)
        return None
    for table in TABLES:
        old, new = getattr(court, table), getattr(after, table)
        world.show(f"nothing else is touched in {table}", new.get(world.rest) is THE_REST)
        show_change(world, f"{name} changes only what it may in {table}", old, new, CHANGES[name].get(table))
    world.show(f"{name} moves only money that it may", after.ledger is court.ledger or "ledger" in CHANGES[name])
    may_lose = (message.sender,) if name == "withdraw_to" else ()
    for holder, credit in court.ledger.credited.items():
        kept = after.ledger.credited.get(holder, 0)
        if holder not in may_lose and kept is not credit:
            world.show("nobody else loses a credit", kept >= credit)
    world.reach(name)
    return after


def show_change(world: World, what: str, old: Mapping[Any, Any], new: Mapping[Any, Any], may_change: tuple[str, ...] | None) -> None:
    """Shows that a table keeps all its entries as they were, but for these fields of one entry; a new one may have come.

    None stands for no change at all. What is no object with fields may be another in one entry."""
    there = {id(key): entry for key, entry in new.items()}  # symbols of ids would ask whether they are equal
    kept = [(entry, there.get(id(key))) for key, entry in old.items()]
    world.show(f"{what}: nothing vanishes", all(other is not None for _, other in kept))
    most = 0 if may_change is None else 1
    world.show(f"{what}: {most} are new at most", len(new) <= len(old) + most)
    changed = [(one, other) for one, other in kept if one is not other]  # what an act leaves as it is stays the same object
    world.show(f"{what}: {most} are changed at most", len(changed) <= most)
    for one, other in changed:
        for name in (each.name for each in fields(type(one))) if has(type(one)) else ():
            if name not in (may_change or ()) and getattr(one, name) is not getattr(other, name):
                world.show(f"{what}: {name}", getattr(one, name) == getattr(other, name))


def refused(name: str) -> str:
    """The place of a play at which an act is refused."""
    return f"{name} is refused"
