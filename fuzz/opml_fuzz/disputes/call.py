"""A call: an act, with who does it, when, and what gas costs in that block. It can be written down and read again.

Numbers below 2^53 are written plainly, larger ones as strings that begin with `0x`; bytes are strings of hexadecimal digits without
that, and a segment is a list.

*Source*: spec §5.11.
"""

from inspect import signature
from typing import Any

from attrs import astuple, evolve, frozen
from opml_spec.dispute.acts import ACTS, Act, act
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.objects import Court

ARGUMENTS = {name: tuple(signature(function).parameters)[2:] for name, function in ACTS.items()}
"""The names of the arguments of each act, behind the court and the message."""
EXACT = 1 << 53  # every reader of JSON keeps whole numbers below this one
Json = dict[str, Any]


@frozen
class Call:
    """An act of somebody, at a time."""

    act: Act
    sender: bytes
    now: int
    basefee: int = 0

    @property
    def move(self) -> str:
        return self.act.name

    def on(self, court: Court) -> Court:
        """Makes the call at the specification's court."""
        return act(court, self.act, self.sender, self.now, self.basefee)

    def with_argument(self, number: int, value: Any) -> "Call":
        """Replaces the argument in that place."""
        arguments = (*self.act.arguments[:number], value, *self.act.arguments[number + 1 :])
        return evolve(self, act=evolve(self.act, arguments=arguments))


def write(call: Call) -> Json:
    """Writes a call as JSON."""
    arguments = {name: text(value) for name, value in zip(ARGUMENTS[call.move], call.act.arguments, strict=True)}
    moment = {"now": text(call.now), "basefee": text(call.basefee), "sender": call.sender.hex(), "value": hex(call.act.value)}
    return {**moment, "move": call.move, "arguments": arguments}


def read(written: Json) -> Call:
    """Reads what `write` wrote, with the arguments in any order."""
    arguments = tuple(value_of(written["arguments"][name]) for name in ARGUMENTS[written["move"]])
    act = Act(written["move"], arguments, int(written["value"], 0))
    return Call(act, bytes.fromhex(written["sender"]), value_of(written["now"]), value_of(written["basefee"]))


def text(value: Any) -> Any:
    """Writes an argument."""
    match value:
        case bytes():
            return value.hex()
        case Segment():
            return [text(each) for each in astuple(value)]
        case bool():
            return value
        case _:
            return int(value) if value < EXACT else hex(value)


def value_of(written: Any) -> Any:
    """Reads an argument."""
    match written:
        case str():
            return int(written, 0) if written.startswith("0x") else bytes.fromhex(written)
        case list():
            return Segment(*map(value_of, written))
        case _:
            return int(written)
