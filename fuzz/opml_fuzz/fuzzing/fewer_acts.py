"""Fewer acts: what remains of acts at court if some of them are left out, so that the others still mean the same.

An id is a hash of what was there before it, such as the number of requests that somebody has made, and the first claim of a request pays
for the line of its model. So without a request that nobody needs, later acts would name what does not exist. Here the specification's
court tells which id each thing has instead.
"""

from collections.abc import Iterator
from typing import Any

from attrs import evolve
from opml_spec.dispute.acts import deploy
from opml_spec.dispute.objects import Court
from opml_spec.errors import SpecError

from opml_fuzz.disputes.answers import new_id
from opml_fuzz.disputes.call import Call, Json, read, write
from opml_fuzz.disputes.rules import RULES
from opml_fuzz.machine.case import Acts


def renamed(whole: Acts, fewer: Acts) -> Acts:
    """Returns some of the acts of a case, with the ids and the prices that they have without the others."""
    try:
        before = {id(act): told for act, told in zip(whole.acts, played(whole), strict=True)}
        return evolve(fewer, acts=tuple(renamed_acts(fewer, before)))
    except (SpecError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError):  # a broken specification may raise anything
        return fewer


def played(case: Acts) -> Iterator[tuple[str, int | None]]:
    """Yields for each act the id of what it made, and what a claim should pay."""
    court = deploy(RULES[case.rules])
    for act in case.acts:
        call = read(act)
        price = price_of(court, call)
        made, court = after(court, call)
        yield made, price


def renamed_acts(case: Acts, before: dict[int, tuple[str, int | None]]) -> Iterator[Json]:
    """Yields the acts as they are after those that are left, of which `before` tells what they made and paid among all."""
    court, names = deploy(RULES[case.rules]), dict[str, str]()
    for act in case.acts:
        made, price = before[id(act)]
        other = {**act, "arguments": {name: with_names(value, names) for name, value in act["arguments"].items()}}
        call = read(other)
        now = price_of(court, call)
        if now is not None and price == call.act.value:
            other = write(evolve(call, act=evolve(call.act, value=now)))
        again, court = after(court, read(other))
        if made and again:
            names[made] = again
        yield act if other == act else other


def after(court: Court, call: Call) -> tuple[str, Court]:
    """Makes a call; returns the id of what it made, empty if nothing, and the court."""
    try:
        changed = call.on(court)
    except SpecError:
        return "", court
    return new_id(court, call, changed).hex(), changed


def price_of(court: Court, call: Call) -> int | None:
    """The money that must come with a claim; None if the call is another one, or claims nothing that is there."""
    asked = court.requests.get(call.act.arguments[0]) if call.move == "claim" else None
    if asked is None:
        return None
    line = court.models[asked.model_id].work(asked.stage_count) * court.parameters.second_price
    return asked.bond + (0 if asked.claims else line)


def with_names(value: Any, names: dict[str, str]) -> Any:
    """An argument, with the new name of what it names."""
    return names.get(value, value) if isinstance(value, str) else value
