"""The lemma about accesses: the contract's `access` computes what the specification computes, through all 35 heights of the tree.

35 forks would make 2^35 paths. Instead both worlds go up side by side, from each height to the next, beginning with values of which nothing
is known but that they are the same in both:

- *the beginning*: the errors before the first sibling are the same, or leaf, bitmap and place are;
- *each height*: if place and hashes were the same before, then the error is, or the place and the hashes are the same after;
- *the end*: the comparison with the root, and what is returned, is the same.

So by induction they are the same, for every witness, place, index and root, and for every change of the leaf. The frame of the function
must keep its other values in between; that is checked too. It may use nothing else: not the call around it, and no opcode that asks the
chain. Afterwards the four functions of `access.py` stand for both.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import z3
from attrs import define, field, frozen
from opml_spec.errors import SpecError
from opml_spec.machine import merkle
from opml_spec.machine.merkle import DEPTH
from opml_spec.machine.witness import WitnessMemory, WitnessReader

from opml_fuzz.proofs.evm.calldata import Unseen, argument_region
from opml_fuzz.proofs.evm.hashes import Hashes
from opml_fuzz.proofs.evm.machine import Machine
from opml_fuzz.proofs.evm.memory import Memory
from opml_fuzz.proofs.evm.path import End, Path
from opml_fuzz.proofs.evm.words import Word, reduced, vector
from opml_fuzz.proofs.questions import Failure, Questions
from opml_fuzz.proofs.step import access
from opml_fuzz.proofs.step.arbiter import WITNESS_BYTES, Bytecode
from opml_fuzz.proofs.step.ending import of_end
from opml_fuzz.proofs.step.machine_symbols import Octets, UnknownWitness, Unread, Value, number
from opml_fuzz.proofs.step.specification import BYTES, Names, SpecificationWorld, vector_of
from opml_fuzz.proofs.symbols import Paths

HASH_BYTES, SENT_BYTES = 32, 5
RESULT_BYTES = 96  # leaf, root, place
CALLER = (z3.BitVec("back", 256), z3.BitVec("buffer", 256))
"""Where the function returns to, and where the caller wants the results: of no importance before the end."""


def word(name: str) -> Any:
    return z3.BitVec(name, 256)


LENGTH, START, PLACE = (access.place(name) for name in ("length", "start", "place"))
INDEX, ROOT, LEAF, MASK, BITS = (word(name) for name in ("index", "root", "leaf", "mask", "bits"))
OLD, NEW, SIBLING = (word(name) for name in ("old", "new", "sibling"))
SENT = z3.BitVec("sent", 8 * SENT_BYTES)
CHANGED = reduced(LEAF & ~MASK | BITS)
INSIDE = (z3.ULE(LENGTH, WITNESS_BYTES), z3.ULE(START, LENGTH))
ON_THE_WAY = (z3.UGE(PLACE, START + access.LEAST_BYTES), z3.ULE(PLACE, LENGTH), z3.LShR(SENT, DEPTH) == 0)
SIBLINGS = tuple(word(f"sibling{height}") for height in range(DEPTH))


@frozen
class Reached:
    """What the specification has come to: an error, or values that the contract must have too."""

    conditions: Sequence[Any]
    error: int | None = None
    began: bool = False  # the siblings were read
    values: tuple[Any, ...] = ()


@define
class Lemma:
    """The lemma for one use of `access`. writes: whether it changes the leaf"""

    bytecode: Bytecode
    writes: bool
    questions: Questions
    hashes: Hashes = field(factory=Hashes)

    def prove(self) -> None:
        """Proves the beginning, each height and the end; raises Failure."""
        whole = self.whole_access()
        self.beginning(whole)
        for height, side in enumerate(self.sides()):
            self.one_height(height, side)
        self.end([one for one in whole if one.began])

    @property
    def assumptions(self) -> tuple[Any, ...]:
        return (*INSIDE, *((MASK != 0,) if self.writes else ()))

    # What the specification does -------------------------------------------------------------------------------------------------

    def world(self) -> SpecificationWorld:
        paths = Paths(refuted=self.questions.refuted, counts=True)
        witness = UnknownWitness(number(LENGTH, paths), paths)
        witness.name(START, ((LEAF, HASH_BYTES), (SENT, SENT_BYTES)))
        witness.name(PLACE, ((SIBLING, HASH_BYTES),))
        return SpecificationWorld(paths, witness, self.hashes, Names())

    def whole_access(self) -> list[Reached]:
        """Reads a leaf, and changes it, with names for what each sibling and the folded paths are."""
        world, read, folded = self.world(), list[int](), list[Any]()

        def sibling(reader: Any, height: int, sent: Any) -> Octets:
            self.require(height == len(read) and vector_of(sent).eq(reduced(z3.ZeroExt(216, SENT))), "siblings are read in another order")
            read.append(height)
            reader.rest = Unread(number(PLACE, world.paths), world.witness)
            return octets(SIBLINGS[height], world)

        def graft(node: Octets, index: Any, siblings: Any) -> Octets:
            in_order = len(siblings) == DEPTH and all(one.term.eq(name) for one, name in zip(siblings, SIBLINGS, strict=True))
            self.require(in_order, "a path is folded with other siblings")
            self.require(vector_of(index).eq(INDEX) and node.term.eq(CHANGED if folded else LEAF), "another node is folded")
            folded.append(node)
            return octets(NEW if len(folded) > 1 else OLD, world)

        def run() -> tuple[int | None, bool, tuple[Any, ...]]:
            read.clear()
            folded.clear()
            reader: Any = WitnessReader(Unread(number(START, world.paths), world.witness))  # type: ignore[arg-type]
            memory: Any = WitnessMemory(octets(ROOT, world), reader=reader)  # type: ignore[arg-type]
            index = number(INDEX, world.paths)
            try:
                leaf = memory.leaf(index)
                memory = memory.set_leaf(index, octets(CHANGED, world)) if self.writes else memory
            except SpecError as error:
                return error.number, bool(read), ()
            return None, bool(read), (leaf.term, memory.root.term, vector_of(reader.rest.at))

        with world.entered(BYTES), replaced(WitnessReader, "sibling", sibling), replaced(merkle, "graft", graft):
            found = list(world.paths.explore(run, self.assumptions))
        return [Reached(conditions, *result) for conditions, result in found]

    def sides(self) -> list[Any]:
        """On which side the node is at each height, as the specification folds a path: each node must be the parent of the last one."""
        world, sides = self.world(), list[Any]()

        def parent(node: Octets, sibling: Octets, side: Any) -> Octets:
            height = len(sides)
            self.require(sibling.term.eq(SIBLINGS[height]) and node.term.eq(word(f"node{height}")), "a path is folded in another order")
            sides.append(side)
            return octets(word(f"node{height + 1}"), world)

        with world.entered(BYTES), replaced(merkle, "parent", parent):
            siblings: Any = [octets(one, world) for one in SIBLINGS]
            top: Any = merkle.graft(octets(word("node0"), world), number(INDEX, world.paths), siblings)  # type: ignore[arg-type]
        self.require(len(sides) == DEPTH and top.term.eq(word(f"node{DEPTH}")), "a path is folded to another end")
        return sides

    def sibling_and_parents(self, height: int, side: Value) -> list[Reached]:
        """Reads one sibling and hashes it with the nodes beside it."""
        world = self.world()

        def run() -> tuple[int | None, bool, tuple[Any, ...]]:
            reader: Any = WitnessReader(Unread(number(PLACE, world.paths), world.witness))  # type: ignore[arg-type]
            here = number(side.term, world.paths)
            try:
                sibling: Any = reader.sibling(height, number(SENT, world.paths))
            except SpecError as error:
                return error.number, True, ()
            beside = sibling if isinstance(sibling, Octets) else Octets(((int.from_bytes(sibling, "big"), HASH_BYTES),), world.paths)
            nodes = (OLD, NEW) if self.writes else (OLD,)
            parents = [merkle.hash_of(merkle.parent(octets(node, world), beside, here)) for node in nodes]  # type: ignore[arg-type]
            return None, True, (vector_of(reader.rest.at), *(one.pieces[0][0] for one in parents))  # type: ignore[attr-defined]

        with world.entered(BYTES):
            found = list(world.paths.explore(run, (*self.assumptions, *ON_THE_WAY)))
        return [Reached(conditions, *result) for conditions, result in found]

    def require(self, condition: Any, what: str) -> None:
        """What is compared as it stands, without z3."""
        if not condition:
            raise Failure("counterexample", what)

    # What the contract does ------------------------------------------------------------------------------------------------------

    def run(self, at: int, words: dict[int, Word], conditions: Sequence[Any], stack: tuple[Word, ...]) -> list[End]:
        """Runs the function from some place on. words: what its variables hold"""
        frame = self.bytecode.frame
        memory = Memory().store_region(argument_region(frame.witness, reduced(LENGTH + 32), WITNESS_BYTES, LENGTH, self.world().witness))
        for place, one in {**self.arguments(), **words}.items():
            memory = memory.store(place, one)
        stops = {frame.loop.head, frame.loop.end, *(back for back, _ in frame.calls)} - {at}
        machine = Machine(self.bytecode.code, Unseen(), self.hashes, stops=stops, refuted=self.questions.refuted)
        return machine.run(Path(at, stack, memory, tuple(conditions)))

    def arguments(self) -> dict[int, Word]:
        frame = self.bytecode.frame
        return {frame.start: START, frame.index: INDEX, frame.root: ROOT, frame.mask: MASK if self.writes else 0, frame.bits: BITS}

    def variables(self, bit: int) -> dict[int, Word]:
        """The variables of the function between two heights."""
        frame = self.bytecode.frame
        new = NEW if self.writes else word("unused")
        sent = reduced(z3.ZeroExt(216, SENT))
        return {frame.at: PLACE, frame.leaf: LEAF, frame.sent: sent, frame.old: OLD, frame.new: new, frame.bit: bit}

    # Both ------------------------------------------------------------------------------------------------------------------------

    def beginning(self, ours: Sequence[Reached]) -> None:
        frame = self.bytecode.frame
        expected = {frame.at: reduced(START + access.LEAST_BYTES), frame.leaf: LEAF, frame.sent: reduced(z3.ZeroExt(216, SENT))}
        expected |= {frame.old: LEAF, frame.bit: 1, **({frame.new: CHANGED} if self.writes else {})}
        stack = (*CALLER, DEPTH, 0)

        def holds(one: Reached, end: End) -> Any:
            if one.began and end.path.at == frame.loop.head:
                return z3.And(self.keeps(end, expected, stack), z3.ULE(START + access.LEAST_BYTES, LENGTH), z3.LShR(SENT, DEPTH) == 0)
            return self.same_error(one if not one.began else Reached(()), end)

        self.compare(ours, self.run(frame.loop.entry, {}, self.assumptions, CALLER), holds)

    def one_height(self, height: int, side: Value) -> None:
        frame, last = self.bytecode.frame, height == DEPTH - 1
        ours = self.sibling_and_parents(height, side)
        conditions = (*self.assumptions, *ON_THE_WAY)
        before = self.variables(1 << height)
        theirs = self.run(frame.loop.head + 1, before, conditions, (*CALLER, DEPTH, height))
        stack = (*CALLER, DEPTH, height + 1)

        def holds(one: Reached, end: End) -> Any:
            if one.error is not None or end.path.at != (frame.loop.end if last else frame.loop.head):
                return self.same_error(one, end)
            place, *nodes = one.values
            names = dict(zip((frame.old, frame.new), nodes, strict=False))
            kept = {**before, frame.at: place, frame.bit: 1 << height + 1, **names}
            if not self.writes:
                del kept[frame.new]
            return z3.And(self.keeps(end, kept, stack), z3.UGE(place, START + access.LEAST_BYTES), z3.ULE(place, LENGTH))

        self.compare(ours, theirs, holds)

    def end(self, ours: Sequence[Reached]) -> None:
        frame = self.bytecode.frame
        for back, buffer in frame.calls:
            variables, conditions = self.variables(1 << DEPTH), (*self.assumptions, *ON_THE_WAY)
            theirs = self.run(frame.loop.end, variables, conditions, (back, buffer, DEPTH, DEPTH))

            def holds(one: Reached, end: End, back: int = back, buffer: int = buffer) -> Any:
                if one.error is not None or end.path.at != back or end.path.stack:
                    return self.same_error(one, end)
                self.keeps_to_itself(end, buffer)
                returned = dict(zip((buffer, buffer + 32, buffer + 64), one.values, strict=True))
                return z3.And([vector(end.path.memory.load(at, bool)) == value for at, value in returned.items()])

            self.compare(ours, theirs, holds)

    def compare(self, ours: Sequence[Reached], theirs: Sequence[End], holds: Callable[[Reached, End], Any]) -> None:
        """Shows for each two paths that can both be taken that they come to the same."""
        self.questions.are_possible([*ours[-1].conditions, *theirs[-1].path.conditions])
        for end in theirs:
            for one in ours:
                self.questions.prove([*one.conditions, *end.path.conditions], holds(one, end))

    def same_error(self, one: Reached, end: End) -> Any:
        if end.how in ("STOP", "INVALID") or one.error is None:
            return z3.BoolVal(False)
        number = of_end(end).error
        return z3.BoolVal(False) if number is None else vector(number) == one.error

    def keeps(self, end: End, expected: dict[int, Word], stack: tuple[Word, ...]) -> Any:
        """The variables are as expected, and the arguments and the stack as they were."""
        found = [vector(one) for one in end.path.stack]
        same = len(found) == len(stack) and all(one.eq(vector(other)) for one, other in zip(found, stack, strict=True))
        self.require(same, "the stack is another")
        self.keeps_to_itself(end)
        memory = end.path.memory
        return z3.And([self.hashes.equal(memory.load(at, bool), one) for at, one in {**self.arguments(), **expected}.items()])

    def keeps_to_itself(self, end: End, buffer: int | None = None) -> None:
        """The function has written only into its frame, and where its caller wants the results; not over the witness."""
        memory, frame = end.path.memory, self.bytecode.frame
        memory.region_at(frame.witness)
        allowed = {*range(frame.end), *(range(buffer, buffer + RESULT_BYTES) if buffer is not None else ())}
        self.require(memory.cells.keys() <= allowed, "something outside of the frame is written")


def octets(term: Any, world: SpecificationWorld) -> Octets:
    return Octets(((term, HASH_BYTES),), world.paths)


@contextmanager
def replaced(where: Any, name: str, by: Any) -> Iterator[None]:
    """Puts another function in the place of one while it lasts."""
    with patch.object(where, name, by):
        yield
