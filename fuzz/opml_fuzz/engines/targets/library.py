"""A shared library as an implementation: the functions of `opml_target.h`, called through ctypes.

*Source*: `opml_target.h`, beside this file.
"""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

VERSION = 1
HASH_BYTES, MOST_WITNESS_BYTES = 32, 3_768
Memory = dict[int, bytes]


class Segment(ctypes.Structure):
    """`opml_segment`: some bytes of a memory."""

    _fields_ = (("address", ctypes.c_uint64), ("bytes", ctypes.c_char_p), ("length", ctypes.c_size_t))


class Library:
    """A library; it has a method for each question whose function is exported."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(str(Path(path).absolute()))
        if (version := self._library.opml_target_version()) != VERSION:
            raise ValueError(f"{path} is made for version {version} of opml_target.h; this is version {VERSION}")
        for method in (self._execute, self._step, self._witness, self._root, self._run):
            kind = method.__name__.removeprefix("_")
            if hasattr(self._library, f"opml_{kind}"):
                setattr(self, kind, method)

    def _execute(self, witness: bytes) -> bytes | int:
        return _filled(self._library.opml_execute, witness, ctypes.c_size_t(len(witness)))

    def _step(self, state: bytes, memory: Memory) -> bytes | int:
        return _filled(self._library.opml_step, state, *_segments(memory))

    def _root(self, memory: Memory) -> bytes | int:
        return _filled(self._library.opml_root, *_segments(memory))

    def _witness(self, state: bytes, memory: Memory) -> bytes | int:
        length = ctypes.c_size_t(MOST_WITNESS_BYTES)
        arguments = (state, *_segments(memory), ctypes.byref(length))
        witness = _filled(self._library.opml_witness, *arguments, size=MOST_WITNESS_BYTES)
        return witness[: length.value] if isinstance(witness, bytes) else witness

    def _run(self, state: bytes, memory: Memory, stops: Sequence[int]) -> list[bytes] | int:
        count = len(stops)
        arguments = (state, *_segments(memory), (ctypes.c_uint64 * count)(*stops), ctypes.c_size_t(count))
        hashes = _filled(self._library.opml_run, *arguments, size=HASH_BYTES * count)
        if isinstance(hashes, int):
            return hashes
        return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def _filled(function: Callable[..., Any], *arguments: Any, size: int = HASH_BYTES) -> bytes | int:
    """Calls a function that fills so many bytes or returns the number of an error."""
    place = ctypes.create_string_buffer(size)
    error = int(function(*arguments, place))
    return error or place.raw


def _segments(memory: Memory) -> tuple[Any, ctypes.c_size_t]:
    """Writes a memory as an array and its length."""
    array = (Segment * len(memory))(*(Segment(address, data, len(data)) for address, data in sorted(memory.items())))
    return array, ctypes.c_size_t(len(memory))
