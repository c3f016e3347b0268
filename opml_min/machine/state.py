"""The state between two steps, and its hash.

*Source*: spec §2.1.
"""

from typing import NamedTuple

from opml_min.machine.hashing import keccak256

RUNNING, HALTED, TRAPPED = range(3)


class Status(NamedTuple):
    """Whether the machine runs, has halted or has trapped; `value` is the exit code or the cause."""

    kind: int
    value: int


STATUS_RUNNING = Status(RUNNING, 0)


def encode_state(pc: int, registers: list[int], status: tuple[int, int], memory_root: bytes) -> bytes:
    """The 297 bytes whose hash is the state hash; `registers` begins with x0."""
    numbers = b"".join(number.to_bytes(8, "big") for number in [pc, *registers[1:]])
    return numbers + bytes([status[0]]) + status[1].to_bytes(8, "big") + memory_root


def state_hash(pc: int, registers: list[int], status: tuple[int, int], memory_root: bytes) -> bytes:
    return keccak256(encode_state(pc, registers, status, memory_root))
