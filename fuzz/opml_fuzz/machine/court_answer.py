"""What counts as an answer about acts at court: first whether the parameters are accepted, then one text for each act.

A target may list a view though its fields are what they were, and may write a number in either way. So answers are brought into one form:
of the views those that differ from what was listed before, in a fixed order. Then the answers are the same if and only if the texts are.

*Source*: `engines/README.md`.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

BYTES = re.compile("(?:[0-9a-f]{2})*")
MOST_ERROR = 999
DEPLOYED = "deployed"
Fields = list[int | str]


def error_text(number: Any) -> str:
    """Writes the number of an error; raises ValueError for what is none."""
    if type(number) is not int or not 0 < number <= MOST_ERROR:
        raise ValueError
    return f"error {number}"


def court_texts(answer: Any) -> list[str]:
    """Brings the answers to a sequence of acts into one form; raises ValueError, TypeError or KeyError for what is no answer."""
    if not isinstance(answer, list):
        raise TypeError
    seen: dict[str, Fields] = {}
    return [DEPLOYED, *(act_text(each, seen) for each in answer)]


def act_text(answer: Any, seen: dict[str, Fields]) -> str:
    """Writes what is said about one act. seen: the fields of each view as they were listed last, which it brings up to date"""
    if "error" in answer:
        return error_text(answer["error"])
    changed = dict[str, Fields]()
    for *name, fields in answer["views"]:
        view, now = " ".join(map(bytes_or_name, name)), list(map(field, fields))
        if now != seen.get(view) and (view in seen or not all(map(is_zero, now))):
            changed[view] = seen[view] = now
    events = list(map(bytes_or_name, answer["events"]))
    paid = list(map(field, answer.get("paid", ())))
    told = {"id": bytes_or_name(answer.get("id", "")), "events": events, "paid": paid, "views": dict(sorted(changed.items()))}
    return json.dumps(told, separators=(",", ":"))


def bytes_or_name(text: Any) -> str:
    if not isinstance(text, str) or len(text.split()) > 1:
        raise TypeError
    return text


def field(value: Any) -> int | str:
    """Reads a field of a view: a number in either notation, or bytes."""
    if isinstance(value, int):
        return int(value)
    if value.startswith("0x"):
        return int(value, 16)
    if not BYTES.fullmatch(value):
        raise ValueError
    return str(value)


def is_zero(value: int | str) -> bool:
    return not str(value).strip("0")


def first_different(right: Sequence[str], answer: Sequence[str]) -> int:
    """Returns the place of the first text that is not the right one, or that is missing or too many."""
    both = zip(right, answer, strict=False)
    return next((place for place, (one, other) in enumerate(both) if one != other), min(len(right), len(answer)))
