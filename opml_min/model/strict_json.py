"""JSON from strangers, read within limits: what is too long or nested too deeply is refused before a parser sees it.

A parser recurses once per level, so a short file of brackets can exhaust the stack of any process that has raised Python's recursion limit.
Keys that stand twice, NaN and infinities are refused too, because readers disagree about what they mean.

*Source*: RFC 8259 (objects, numbers, limits of parsers).
"""

import json
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

MOST_DEPTH = 64
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class JsonError(ValueError):
    """The text is not JSON, or is beyond the limits."""


def depth(data: bytes) -> int:
    """Return how many arrays and objects the text opens within one another, counting brackets outside strings."""
    outside = np.frombuffer(STRING.sub(b"", data), np.uint8)
    opened = np.isin(outside, np.frombuffer(b"[{", np.uint8)).astype(np.int64)
    closed = np.isin(outside, np.frombuffer(b"]}", np.uint8))
    return int(np.cumsum(opened - closed).max(initial=0))


def object_of(data: bytes, most_bytes: int) -> dict[str, Any]:
    """Return the object that a text holds."""
    if len(data) > most_bytes:
        raise JsonError(f"has {len(data)} bytes; at most {most_bytes} are read")
    if depth(data) > MOST_DEPTH:
        raise JsonError(f"is nested more than {MOST_DEPTH} levels deep")
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_distinct, parse_constant=_refuse)
        if SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()  # raises for half a pair
    except JsonError:
        raise
    except (ValueError, RecursionError) as error:  # among them UnicodeDecodeError, and integers of too many digits
        raise JsonError(f"is not JSON: {str(error)[:100]}") from error
    if not isinstance(value, dict):
        raise JsonError("does not hold an object")
    return value


def object_in(path: Path, most_bytes: int) -> dict[str, Any]:
    """Return the object that a file holds, and read no more of the file than the limit."""
    with path.open("rb") as file:
        return object_of(file.read(most_bytes + 1), most_bytes)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonError(f"has the key {twice[:50]!r} twice")
    return values


def _refuse(constant: str) -> NoReturn:
    raise JsonError(f"holds {constant}, which is not JSON")
