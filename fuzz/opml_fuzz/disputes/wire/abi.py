"""The contract's interface in bytes: calls, views and events, encoded word by word.

A word is 32 bytes. Arguments stand one after the other; one of type bytes has its offset there, and its length and contents behind all.

*Source*: the contract ABI specification; spec §5.11 for the names and types.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from attrs import astuple
from opml_spec.dispute.narrowing import Segment
from opml_spec.hashing import keccak256

SEGMENT = "(uint8,uint64,uint64,bytes32,bytes32)"
FUNCTIONS = {
    "register": ("bytes32", "bytes32", "uint64"),
    "request": ("bytes32", "uint64", "bytes", "uint64", "uint256", "address"),
    "claim": ("bytes32", "bytes32", "uint64"),
    "challenge": ("bytes32",),
    "post": ("bytes32", SEGMENT, "bytes", "bytes32"),
    "open": ("bytes32", SEGMENT, "bytes32", "uint8", "uint64", "bytes", "bytes32", "bytes32", "bytes", "bytes32"),
    "choose": ("bytes32", SEGMENT, "bytes", "uint8"),
    "arbitrate": ("bytes32", SEGMENT, "bytes"),
    "timeout": ("bytes32",),
    "finalise": ("bytes32", "bytes32", "uint8", "bytes", "bytes"),
    "expire": ("bytes32",),
    "collect": ("bytes32",),
    "award": ("bytes32",),
    "reclaim": ("bytes32",),
    "withdraw_to": ("address",),
    "result_of": ("bytes32",),
    "model_of": ("bytes32",),
    "request_of": ("bytes32",),
    "claim_of": ("bytes32",),
    "node_of": ("bytes32",),
    "account_of": ("address",),
    "books": (),
    "parameters": (),
}
EVENTS = {  # indexed ones first
    "Registered": (("bytes32",), ("bytes32", "bytes32", "uint64")),
    "Requested": (("bytes32", "bytes32", "address"), ("uint64", "uint64", "uint256", "uint256", "address", "bytes")),
    "Claimed": (("bytes32", "bytes32", "address"), ("bytes32", "uint32", "uint64", "uint64")),
    "Opened": (("bytes32", "bytes32", "address"), ("bytes32", "uint8", SEGMENT, *5 * ("uint64",))),
    "Answered": (("bytes32", "bytes32"), ("uint8", SEGMENT, "bytes", "uint64", "uint64", "uint64")),
    "Fallen": (("bytes32", "bytes32"), ("uint64",)),
    "Expired": (("bytes32",), ("uint64",)),
    "Finalised": (("bytes32", "bytes32"), ("uint8", "bytes32", "bytes")),
    "Collected": (("bytes32",), ()),
    "Awarded": (("bytes32", "bytes32"), ()),
    "PassedOver": (("bytes32", "bytes32"), ()),
    "Reclaimed": (("bytes32",), ()),
    "Credited": (("address", "bytes32"), ("uint256",)),
    "Burned": (("bytes32",), ("uint256",)),
    "Withdrawn": (("address",), ("address", "uint256")),
}
SELECTORS = {name: keccak256(f"{name}({','.join(kinds)})".encode())[:4] for name, kinds in FUNCTIONS.items()}
TOPICS = {name: keccak256(f"{name}({','.join((*indexed, *rest))})".encode()) for name, (indexed, rest) in EVENTS.items()}


class Log(NamedTuple):
    """An event as the chain keeps it."""

    topics: tuple[bytes, ...]
    data: bytes


def word(value: int | bytes | None) -> bytes:
    """One word: a number, a hash, or an address; nothing is zero."""
    if isinstance(value, bytes):
        return value.rjust(32, b"\0")
    return (int(value or 0) % (1 << 256)).to_bytes(32, "big")  # only a broken specification has negative numbers


def words(values: Iterable[Any]) -> bytes:
    return b"".join(map(word, values))


def encode(kinds: tuple[str, ...], values: tuple[Any, ...]) -> bytes:
    """Encodes arguments of these types."""
    head, tail = list[Any](), b""
    size = 32 * sum(5 if kind == SEGMENT else 1 for kind in kinds)
    for kind, value in zip(kinds, values, strict=True):
        if kind == "bytes":
            head.append(size + len(tail))
            tail += word(len(value)) + value + bytes(-len(value) % 32)
        else:
            head += astuple(value) if isinstance(value, Segment) else [value]
    return words(head) + tail


def calldata(name: str, *values: Any) -> bytes:
    """Encodes a call."""
    return SELECTORS[name] + encode(FUNCTIONS[name], values)
