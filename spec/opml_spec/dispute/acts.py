"""Acts: everything that can be done to the court, under the names and with the arguments of the contract's functions.

Each act is a function from a court and a message to the court afterwards, or the error that names why it is refused. Errors are raised
in the order of the page. Money can only come in where the page says that an act takes it.

*Source*: spec §5.11.
"""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from opml_spec.dispute import claims, ends, moves
from opml_spec.dispute.objects import Court, Message
from opml_spec.dispute.parameters import Parameters

ACTS: Mapping[str, Callable[..., Court]] = {
    each.__name__: each
    for each in (
        *(claims.register, claims.request, claims.claim),
        *(moves.challenge, moves.post, moves.open, moves.choose, moves.arbitrate, moves.timeout),
        *(ends.finalise, ends.expire, ends.collect, ends.award, ends.reclaim, ends.withdraw_to),
    )
}
PAYABLE = frozenset({"request", "claim", "challenge", "choose"})


@frozen
class Act:
    """A call of one of the contract's functions, not yet made."""

    name: str
    arguments: tuple[Any, ...] = ()
    value: int = 0


def act(court: Court, what: Act, sender: bytes, now: int, basefee: int = 0) -> Court:
    """The court after `sender` did this at time `now`."""
    assert what.value == 0 or what.name in PAYABLE
    return ACTS[what.name](court, Message(sender, now, what.value, basefee), *what.arguments)


def deploy(parameters: Parameters) -> Court:
    """An empty court, if its parameters keep an honest side from losing."""
    parameters.check()
    return Court(parameters)
