"""The specification's own `execute_witness`, as it is shipped, run on a witness of which nothing is known.

What Python cannot do with symbols is replaced while it runs; `OVERRIDES` is the whole list, each with its reason. No instruction and no
check is among them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import z3
from attrs import evolve, frozen
from opml_spec import hashing
from opml_spec.errors import SpecError
from opml_spec.machine import memory, merkle, state, witness
from opml_spec.machine.state import MachineState

from opml_fuzz.proofs.evm.hashes import Hashes
from opml_fuzz.proofs.evm.words import formula, reduced, vector
from opml_fuzz.proofs.step import access
from opml_fuzz.proofs.step.ending import Ending
from opml_fuzz.proofs.step.machine_symbols import (
    LEAF_BYTES,
    Octets,
    RegisterFile,
    UnknownWitness,
    Unread,
    Value,
    number,
    pieces_of,
    registers,
)
from opml_fuzz.proofs.symbols import Paths
from opml_fuzz.proofs.unsupported import Unsupported

INSTRUCTION_BYTES = 4
WORD, RS1, RS2 = range(3)  # what may have a name


class AccessFailed(Exception):
    """An access has an error; its number is a term."""

    def __init__(self, error: Any) -> None:
        self.number = error


class Names:
    """Names that a proof gives to values which both worlds compute: the instruction word, and the registers rs1 and rs2.

    `definitions` are what the specification computes for them; the bytecode must be shown to compute the same (`arbiter.py`)."""

    def __init__(self, word: Any = None, registers: Iterable[tuple[Any, int, Any]] = ()) -> None:
        self.word, self.registers = word, list(registers)
        self.definitions: dict[int, Any] = {}

    def read(self, read: Any) -> Any:
        """The name of a number that was read from memory: only the first one has one, the instruction."""
        if self.word is None:
            return read
        definition = self.definitions.setdefault(WORD, read.term)
        return number(self.word, read.paths) if definition.eq(read.term) else read

    def register(self, at: Value, choice: Any) -> Any:
        """The name of the register of some number."""
        for field, _, name in self.registers:
            if formula(at.term == z3.ZeroExt(at.term.size() - field.size(), field)) is True:
                return number(name, at.paths)
        return choice


@frozen
class Siblings:
    """The siblings of the leaf that was read at a place of the witness."""

    at: Any

    def __getitem__(self, heights: slice) -> "Siblings":
        return self


class SpecificationWorld:
    """The specification's world in one proof: the paths through it, what the witness is, which hashes there are, what has a name."""

    def __init__(self, paths: Paths, given: UnknownWitness, hashes: Hashes, names: Names) -> None:
        self.paths, self.witness, self.hashes, self.names = paths, given, hashes, names

    def length(self, data: Any) -> Any:
        return data.length if isinstance(data, Unread) else len(data)

    def from_bytes(self, data: Any, order: str) -> Any:
        octets = data if isinstance(data, Octets) else Octets(pieces_of(data), self.paths)
        read = number((octets if order == "big" else octets.reversed()).term, self.paths)
        return self.names.read(read) if order == "little" and len(octets) == INSTRUCTION_BYTES else read

    def join(self, parts: Iterable[Any]) -> Any:
        return Octets(tuple(piece for one in parts for piece in pieces_of(one)), self.paths)

    def put(self, items: Any, at: Any, new: Any) -> Any:
        """In registers, or in a leaf: shifted to its place, which may be unknown."""
        if isinstance(items, RegisterFile):
            return items.put(at, new[0])
        if at + len(new) > LEAF_BYTES:
            raise Unsupported("bytes beyond the leaf")
        distance = vector_of(8 * (LEAF_BYTES - len(new)) - (at << 3))
        missing = 8 * (LEAF_BYTES - len(new))
        mask = z3.BitVecVal((1 << 8 * len(new)) - 1, 8 * LEAF_BYTES) << distance
        shifted = (z3.ZeroExt(missing, new.term) if missing else new.term) << distance
        return Octets(((reduced(items.term & ~mask | shifted), LEAF_BYTES),), self.paths)

    def keccak256(self, data: Any) -> Any:
        return Octets(((self.hashes.digest(pieces_of(data)), 32),), self.paths)

    def decode_state(self, preimage: Any) -> MachineState:
        decoded = DECODE_STATE(preimage)
        return evolve(decoded, x=registers(decoded.x, self.names.register))

    def registers(self, pieces: Any) -> RegisterFile:
        """The registers of a state with these pieces."""
        octets = Octets(pieces, self.paths)
        return registers((0, *(number(octets[8 * i : 8 * i + 8].term, self.paths) for i in range(1, 32))), self.names.register)

    def access(self, reader: Any, index: Any, root: Octets) -> Octets:
        at = reader.rest.at
        place, which = vector_of(at), vector_of(index)
        error = number(access.error(place, which, root.term), self.paths)
        if error != 0:
            raise AccessFailed(error.term)
        reader.rest = Unread(number(access.following(place), self.paths), self.witness)
        reader.siblings = Siblings(place)
        return Octets(((access.leaf(place), LEAF_BYTES),), self.paths)

    def graft(self, node: Octets, index: Any, siblings: Any) -> Octets:
        return Octets(((access.root(siblings.at, vector_of(index), node.term), 32),), self.paths)

    @contextmanager
    def entered(self, overrides: "Sequence[Override]") -> Iterator[None]:
        """Makes this the world in which the specification's functions run."""
        with ExitStack() as stack:
            for one in overrides:
                stack.enter_context(patch.object(one.where, one.name, one.by(self), create=True))
            yield


def vector_of(integer: Any) -> Any:
    return vector(integer.term if isinstance(integer, Value) else integer)


DECODE_STATE = state.decode_state




def integers(world: SpecificationWorld) -> Any:
    return type("int", (), {"from_bytes": staticmethod(world.from_bytes)})


@frozen
class Override:
    """A name in the specification that means something else while it runs on symbols, and why."""

    where: Any
    name: str
    by: Callable[[SpecificationWorld], Any]
    why: str


BYTES = (
    Override(witness, "len", lambda world: world.length, "the length of a witness is not known, and Python's `len` must return an int"),
    *(
        Override(one, "int", integers, "`int.from_bytes` takes only real bytes; the first number read from memory gets a name")
        for one in (witness, state, memory)
    ),
    Override(state, "join", lambda world: world.join, '`b"".join` takes only real bytes'),
    Override(state, "put", lambda world: world.put, "the number of the register is not known: each may be the one"),
    Override(memory, "put", lambda world: world.put, "the place in the leaf is not known: the bytes are shifted there"),
    Override(hashing, "keccak256", lambda world: world.keccak256, "a hash is a name for what was hashed"),
    Override(state, "keccak256", lambda world: world.keccak256, "a hash is a name for what was hashed"),
    Override(witness, "decode_state", lambda world: world.decode_state, "afterwards the number of a register may be unknown"),
)
ACCESSES = (
    Override(witness.WitnessReader, "access", lambda world: lambda reader, *rest: world.access(reader, *rest), "proved in `lemma.py`"),
    Override(merkle, "graft", lambda world: world.graft, "proved in `lemma.py`"),
)
OVERRIDES = (*BYTES, *ACCESSES)


def endings(world: SpecificationWorld, assumptions: Sequence[Any]) -> list[tuple[list[Any], Ending]]:
    """Runs `execute_witness` on all paths that the assumptions admit: what each assumes, and how it ends."""

    def run() -> Ending:
        try:
            before, after = witness.execute_witness(Unread(0, world.witness))  # type: ignore[arg-type]
        except (SpecError, AccessFailed) as failure:
            return Ending(error=failure.number)
        return Ending((before.pieces[0][0], after.pieces[0][0]))  # type: ignore[attr-defined]

    with world.entered(OVERRIDES):
        return list(world.paths.explore(run, assumptions))
