"""The computations that a player keeps at hand: few of them, for requests on its own model only.

A computation holds memory, so the one that was used longest ago makes room for a new one. Of the others only the run hash stays, and what
was found out about posted hashes. All of it can be computed again.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from opml_min.players.computation import Computation
from opml_min.players.image_kinds import ModelImage
from opml_min.players.index import RequestEntry

Compute = Callable[[ModelImage, bytes, int], Computation]
MOST_COMPUTATIONS = 4
MOST_HELD_BYTES = 512 << 20  # by their checkpoints
MOST_ANSWERS = 1 << 16

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """A table that forgets what was used longest ago."""

    def __init__(self, most: int) -> None:
        self._most, self._entries = most, OrderedDict[K, V]()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made if it is not there."""
        if key not in self._entries:
            while len(self._entries) >= self._most:
                self._entries.popitem(last=False)  # before the new one is made, which may need the room
            self._entries[key] = make()
        self._entries.move_to_end(key)
        return self._entries[key]

    def shrink(self, fits: Callable[[Iterable[V]], bool]) -> None:
        """Forgets until what is left fits, or is one."""
        while len(self._entries) > 1 and not fits(self._entries.values()):
            self._entries.popitem(last=False)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)


class RunCache:
    """The runs of one image's requests."""

    def __init__(self, image: ModelImage, compute: Compute, first_run_hash: Callable[[bytes], bytes]) -> None:
        """first_run_hash: where the contract says that the run of a request begins"""
        self._image, self._compute, self._first_run_hash = image, compute, first_run_hash
        self.computations = Bounded[bytes, Computation](MOST_COMPUTATIONS)
        self._run_hashes = Bounded[bytes, bytes](MOST_ANSWERS)
        self._false_parts = Bounded[bytes, int](MOST_ANSWERS)

    def of(self, request: RequestEntry) -> Computation:
        """The run of a request. It fails if the request, as it was read, does not begin where the contract says."""
        computation = self.computations.get(request.request_id, lambda: self._begun(request))
        self.computations.shrink(lambda kept: sum(each.held_bytes() for each in kept) <= MOST_HELD_BYTES)
        return computation

    def _begun(self, request: RequestEntry) -> Computation:
        computation = self._compute(self._image, request.data, request.stage_count)
        if computation.run_state(0).hash() != self._first_run_hash(request.request_id):
            raise ValueError(f"request 0x{request.request_id.hex()} does not begin as the contract says")
        return computation

    def knows(self, request_id: bytes) -> bool:
        """Whether the run hash is known without computing."""
        return request_id in self._run_hashes

    def run_hash(self, request: RequestEntry) -> bytes:
        """The hash at the end of the run."""
        return self._run_hashes.get(request.request_id, lambda: self.of(request).run_hash())

    def false_part(self, commitment: bytes, find: Callable[[], int]) -> int:
        """The false part of posted hashes, which their commitment names."""
        return self._false_parts.get(commitment, find)
