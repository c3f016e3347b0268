"""Acts in a file from elsewhere: whether both courts can be asked about them.

A file that another version wrote may have acts that no longer exist, or that had other arguments. Then it is no question any more, though
it can be read. The types are those of the contract's interface.
"""

from collections.abc import Iterable
from typing import Any

from attrs import astuple
from opml_spec.dispute.acts import PAYABLE
from opml_spec.dispute.narrowing import Segment

from opml_fuzz.disputes.call import ARGUMENTS, Json, read
from opml_fuzz.disputes.contract import EVERYBODY, WEI
from opml_fuzz.disputes.rules import RULES
from opml_fuzz.disputes.spoilers import MOST_BYTES
from opml_fuzz.disputes.wire.abi import FUNCTIONS, SEGMENT

LENGTHS = {"bytes32": 32, "address": 20}
SEGMENT_KINDS = tuple(SEGMENT.strip("()").split(","))


def check_written(rules: int, acts: Iterable[Json]) -> None:
    """Raises ValueError if there are no such rules, or with the first act that cannot be put to both courts."""
    if rules >= len(RULES):
        raise ValueError(f"there are no rules {rules}")
    for number, written in enumerate(acts, 1):
        try:
            check_act(written)
        except KeyError as error:
            raise ValueError(f"act {number} has no {str(error)[:50]}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"act {number}: {str(error)[:150]}") from error


def check_act(written: Json) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError if a written act is none."""
    move, given = written["move"], written["arguments"]
    if move not in ARGUMENTS:
        raise ValueError(f"there is no act {str(move)[:50]!r}")
    if unknown := given.keys() - {*ARGUMENTS[move]}:
        raise ValueError(f"{move} has no argument {min(unknown)[:50]!r}")
    for value in (written["now"], written["basefee"], *given.values()):
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, int | str):
                raise TypeError(f"{str(each)[:50]} is neither a whole number nor a text")
    call = read(written)
    values = {name: (kind, value) for name, kind, value in zip(ARGUMENTS[move], FUNCTIONS[move], call.act.arguments, strict=True)}
    values |= {"sender": ("address", call.sender), "now": ("uint64", call.now), "basefee": ("uint256", call.basefee)}
    for name, (kind, value) in (values | {"value": ("uint256", call.act.value)}).items():
        if not is_of(kind, value):
            raise ValueError(f"{name} of {move} is not of type {kind}")
        if kind == "bytes" and len(value) > MOST_BYTES[name]:
            raise ValueError(f"{name} of {move} is longer than the interface allows")
    if call.sender not in EVERYBODY:
        raise ValueError("its sender is nobody who has money")
    if call.act.value > WEI >> 12:  # many such acts can be paid
        raise ValueError(f"{move} has more money than anybody can pay")
    if call.act.value and move not in PAYABLE:
        raise ValueError(f"{move} takes no money")


def is_of(kind: str, value: Any) -> bool:
    """Tells whether a value can be encoded as this type."""
    if kind == SEGMENT:
        return isinstance(value, Segment) and all(map(is_of, SEGMENT_KINDS, astuple(value)))
    if kind.startswith("uint"):
        return type(value) is int and 0 <= value < 1 << int(kind.removeprefix("uint"))
    return isinstance(value, bytes) and len(value) == LENGTHS.get(kind, len(value))
