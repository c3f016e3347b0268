"""The notation of a case: what is given (`pre`), and either the result (`post`) or the number of the error that must be raised.

Numbers are hexadecimal strings that begin with `0x` or `-0x`; bytes are hexadecimal strings without that; small counts are plain.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opml_spec.errors import SpecError
from opml_spec.machine.memory import Memory
from opml_spec.machine.merkle import DEPTH, LEAF_BYTES, Node, children, hash_of

Json = dict[str, Any]


def make_case(name: str, pre: Json, answer: Callable[[], Json]) -> Json:
    """Writes a case, with the specification's answer or error."""
    try:
        return {"name": name, "pre": pre, "post": answer()}
    except SpecError as error:
        return {"name": name, "pre": pre, "error": error.number}


def memory_text(segments: Mapping[int, bytes]) -> Json:
    """Writes a memory: bytes by address."""
    return {hex(address): data.hex() for address, data in sorted(segments.items())}


def written(before: Memory, after: Memory) -> dict[int, bytes]:
    """Finds the leaves that differ; adjacent ones as one run, by address."""
    runs: dict[int, bytes] = {}
    start, end = 0, -1
    for index, leaf in differing(before.tree, after.tree, DEPTH, 0):
        address = LEAF_BYTES * index
        if address != end:
            start = address
        runs[start] = runs.get(start, b"") + leaf
        end = address + LEAF_BYTES
    return runs


def differing(before: Node, after: Node, height: int, index: int) -> Iterator[tuple[int, bytes]]:
    """Yields the leaves below a node that have changed."""
    if hash_of(before) == hash_of(after):
        return
    if height == 0:
        yield index, hash_of(after)
        return
    for side, pair in enumerate(zip(children(before, height), children(after, height), strict=True)):
        yield from differing(*pair, height - 1, 2 * index + side)
