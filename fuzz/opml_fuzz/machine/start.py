"""A machine state written out: all that the next steps depend on, for implementations that share no types.

*Source*: spec §2.1 and §2.2.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from attrs import evolve, field, frozen
from opml_spec.machine.memory import Memory
from opml_spec.machine.merkle import LEAF_BYTES
from opml_spec.machine.start import start_state
from opml_spec.machine.state import MachineState, decode_status

from opml_fuzz.machine.target_question import in_pieces

REGISTERS = 32
WORD = (1 << 64) - 1
MEMORY_BYTES = 1 << 40
MOST_DIGITS, MOST_LEAVES = 66, 1 << 13  # of a number, and of a memory, in a replay file


def whole(value: Any, least: int, most: int) -> int:
    """Returns a whole number, from itself or as a text in hex; raises ValueError if it is none or outside the bounds."""
    if isinstance(value, str) and len(value) <= MOST_DIGITS:
        value = int(value, 0)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{str(value)[:50]} is not a number from {least} to {most}")
    return value


def listed(value: Any) -> list[Any]:
    """Returns a list of JSON; raises ValueError if it is none."""
    if not isinstance(value, list):
        raise ValueError(f"{str(value)[:50]!r} is no list")
    return value


@frozen
class Leaves:
    """The content of a memory: 32 bytes by leaf index; a leaf that is not listed is zero.

    Hundreds of cases share one object, so the specification's Merkle tree over it is built once."""

    by_index: Mapping[int, bytes] = field(factory=dict)

    @cached_property
    def memory(self) -> Memory:
        """The specification's memory with these leaves."""
        memory = Memory()
        for index, leaf in self.by_index.items():
            memory = memory.set_leaf(index, leaf)
        return memory

    @cached_property
    def text(self) -> str:
        """This content as JSON, for questions to a target."""
        return json.dumps(self.to_json(), separators=(",", ":"))

    @cached_property
    def text_in_pieces(self) -> str:
        """This content as JSON in pieces that begin and end anywhere, but cross every border where neighbouring leaves have content."""
        joined, begin, end = dict[int, bytearray](), -1, -1
        for index, leaf in sorted(self.by_index.items()):
            begin = begin if index == end else index
            joined.setdefault(begin, bytearray()).extend(leaf)
            end = index + 1
        return in_pieces({index * LEAF_BYTES: bytes(piece) for index, piece in joined.items()})

    def to_json(self) -> dict[str, str]:
        return {hex(index * LEAF_BYTES): leaf.hex() for index, leaf in sorted(self.by_index.items())}

    @classmethod
    def from_json(cls, text: Mapping[str, str]) -> "Leaves":
        by_index: dict[int, bytes] = {}
        if len(text) > MOST_LEAVES:
            raise ValueError(f"its memory has {len(text)} leaves; at most {MOST_LEAVES} are tried")
        for address, content in text.items():
            index, rest = divmod(whole(address, 0, MEMORY_BYTES - LEAF_BYTES), LEAF_BYTES)
            leaf = bytes.fromhex(content)
            if rest or len(leaf) != LEAF_BYTES or index in by_index:
                raise ValueError(f"the memory at {address[:50]} is no leaf, or stands twice")
            by_index[index] = leaf
        return cls(by_index)


@frozen
class Start:
    """A machine state: pc, registers, memory and status (its kind and value are the numbers of the encoding)."""

    pc: int
    x: tuple[int, ...]
    leaves: Leaves = field(factory=Leaves)
    kind: int = 0
    value: int = 0

    def state(self) -> MachineState:
        """Builds the specification's machine state."""
        state = start_state(self.leaves.memory, self.pc, dict(enumerate(self.x)))
        return evolve(state, status=decode_status(self.kind, self.value))

    def to_json(self) -> dict[str, Any]:
        """Writes numbers in hex and leaves out registers that are zero."""
        return {
            "pc": hex(self.pc),
            "x": {str(i): hex(value) for i, value in enumerate(self.x) if value},
            "status": [self.kind, hex(self.value)],
            "memory": self.leaves.to_json(),
        }

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> "Start":
        names = [str(i) for i in range(REGISTERS)]
        if not text["x"].keys() <= {*names}:
            raise ValueError("it has registers that a machine does not have")
        x = tuple(whole(text["x"].get(name, "0"), 0, WORD) for name in names)
        kind, value = (whole(number, 0, WORD) for number in listed(text["status"]))
        decode_status(kind, value)  # raises if there is no such status
        return cls(whole(text["pc"], 0, WORD), x, Leaves.from_json(text["memory"]), kind, value)
