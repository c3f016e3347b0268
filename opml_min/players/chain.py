"""The chain as players see it: what they read from it, and the moves that they ask somebody to deliver.

Events tell a player what exists. Storage tells it what is true now; no answer is sent before the two agree.

*Source*: spec §5.1, §5.2, §5.7, §5.9 and §5.11.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from attrs import frozen

from opml_min.machine.hashing import keccak256
from opml_min.memory_map import STAGE_STEP_LIMIT

STAGES, INSTRUCTIONS = 1, 2  # phases
MOST_STAGES = 1 << 24  # of a request
PENDING, FINAL, REJECTED = 0, 1, 2  # of a claim
OPEN, POSTED, ANSWERED = 1, 2, 3  # of a node
ANYONE = "0x" + 40 * "0"  # the server of a request that any server may claim
NO_HASH = bytes(32)
HASH_BYTES = 32
MICROSECONDS = 1_000_000


@frozen
class Segment:
    """A disagreement about a part of a run: `agreed` is the hash at `lo`, `disputed` the server's hash at `hi`."""

    phase: int
    lo: int
    hi: int
    agreed: bytes
    disputed: bytes

    @property
    def length(self) -> int:
        return self.hi - self.lo

    def boundaries(self, k: int) -> list[int]:
        """Cuts the segment into at most k parts: `lo`, the inner boundaries, `hi`."""
        parts = min(k, self.length)
        return [self.lo + part * self.length // parts for part in range(parts + 1)]

    def commitment(self, hashes: bytes) -> bytes:
        """The name of this segment together with the hashes posted in it."""
        ends = self.lo.to_bytes(8, "big") + self.hi.to_bytes(8, "big")
        return keccak256(bytes([self.phase]) + ends + self.agreed + self.disputed + hashes)

    def part(self, hashes: bytes, part: int) -> "Segment":
        """One part of it, once the inner hashes are posted."""
        known = [self.agreed, *split(hashes), self.disputed]
        ends = self.boundaries(len(known) - 1)
        return Segment(self.phase, ends[part], ends[part + 1], known[part], known[part + 1])


def split(hashes: bytes) -> list[bytes]:
    """Separates posted hashes."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def bytes20(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))


def seal(run_hash: bytes, server: str) -> bytes:
    """What this server's claim of this run hash looks like."""
    return keccak256(run_hash + bytes20(server))


def model_id(model_root: bytes, state_root: bytes, stage_microseconds: int) -> bytes:
    return keccak256(model_root + state_root + stage_microseconds.to_bytes(8, "big"))


def claim_id(request_id: bytes, server: str, sealed: bytes) -> bytes:
    return keccak256(request_id + bytes20(server) + sealed)


def root_id(claim_id: bytes) -> bytes:
    return keccak256(claim_id)


def child_id(node_id: bytes, part: int) -> bytes:
    return keccak256(node_id + bytes([part]))


def stage_at(path: int, depth: int, stage_count: int, k: int) -> int:
    """The first stage of the node at this place of a tree; the only one, if the node is narrowed down to one stage or lies inside it."""
    bits = (k - 1).bit_length()
    whole = Segment(STAGES, 0, stage_count, NO_HASH, NO_HASH)
    for level in reversed(range(depth - 1)):
        if whole.length == 1:
            break
        ends = whole.boundaries(k)
        part = path >> bits * level & (1 << bits) - 1
        whole = Segment(STAGES, ends[part], ends[part + 1], NO_HASH, NO_HASH)
    return whole.lo


def most_nodes(stage_count: int, k: int) -> int:
    """The nodes of the longest path in the tree of a claim about so many stages."""
    return _choices(stage_count, k) + _choices(STAGE_STEP_LIMIT, k) + 1


def _choices(length: int, k: int) -> int:
    """How many choices narrow a segment of this length to one, whatever is chosen."""
    choices, reach = 0, 1
    while reach < length:
        choices, reach = choices + 1, reach * k
    return choices


class Parameters(Protocol):
    """What a player needs to know of a deployment. Times are seconds, money is wei."""

    @property
    def k(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def priority(self) -> int: ...
    @property
    def server_time(self) -> int: ...
    @property
    def challenger_time(self) -> int: ...
    @property
    def grace(self) -> int: ...
    @property
    def effort(self) -> int: ...
    @property
    def censorship(self) -> int: ...
    @property
    def min_bond(self) -> int: ...
    @property
    def node_bond(self) -> int: ...
    @property
    def second_price(self) -> int: ...


def root_bond(parameters: Parameters, bond: int) -> int:
    """What it takes to challenge a claim with this bond."""
    return max(parameters.node_bond, bond // 8)


def hold(parameters: Parameters) -> int:
    """How long after its window a pending claim keeps the fee from others, in seconds."""
    tree = most_nodes(MOST_STAGES, parameters.k) * parameters.effort
    return parameters.server_time + parameters.challenger_time + tree + parameters.grace


class Chain(Protocol):
    """What a player reads. `Any` stands for objects with the fields that spec §5.11 gives views and events.

    For an unknown id a view returns zeros or fails. Players ask for what they computed or read from an event. A chain that was reorganised
    returns other events under the same numbers, and perhaps fewer.
    """

    @property
    def now(self) -> int: ...
    @property
    def parameters(self) -> Parameters: ...
    @property
    def accounts(self) -> tuple[str, ...]: ...
    def events(self, since: int = 0) -> Sequence[Any]: ...
    def model_of(self, model_id: bytes) -> Any: ...
    def request_of(self, request_id: bytes) -> Any: ...
    def claim_of(self, claim_id: bytes) -> Any: ...
    def node_of(self, node_id: bytes) -> Any: ...
    def account_of(self, address: str) -> Any: ...
    def balance(self, address: str) -> int: ...


@frozen
class Move:
    """A call to the contract, with the name and the arguments of its interface."""

    name: str
    arguments: tuple[Any, ...]
    value: int = 0  # wei


@frozen
class Wait:
    """There is nothing to do before this time, unless somebody else moves."""

    until: int


Decision = Move | Wait | None  # None: nothing to do unless somebody else moves
