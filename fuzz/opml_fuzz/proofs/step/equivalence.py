"""The step of the specification against the step of the bytecode, for all witnesses that some assumptions admit.

Each pair of a path here and a path there that can both be taken must end the same way. Only `unsat` is a proof.
"""

from collections.abc import Sequence
from typing import Any

import z3
from attrs import frozen
from opml_spec.machine.instructions import INSTRUCTIONS
from opml_spec.machine.memory import ENTRY
from opml_spec.machine.table import Instruction

from opml_fuzz.proofs.evm.calldata import CALLDATA, Anything
from opml_fuzz.proofs.evm.hashes import Hashes
from opml_fuzz.proofs.evm.machine import Machine
from opml_fuzz.proofs.evm.path import End, Path
from opml_fuzz.proofs.evm.pieces import Piece
from opml_fuzz.proofs.evm.words import reduced
from opml_fuzz.proofs.questions import Failure, Questions
from opml_fuzz.proofs.step import access, arbiter, specification
from opml_fuzz.proofs.step.arbiter import STATE_BYTES, WITNESS_BYTES, Bytecode
from opml_fuzz.proofs.step.ending import Ending, equal, of_end, substituted
from opml_fuzz.proofs.step.machine_symbols import UnknownWitness, number
from opml_fuzz.proofs.symbols import Paths

SELECTOR_BITS = 32
LEAST_CALL = 36  # bytes: the selector, and the word that says where the argument is
REGISTERS = 32
RUNNING = 0
LENGTH = access.place("length")

Values = tuple[tuple[Any, Any], ...]
"""Names, and the numerals that stand for them on some paths."""


@frozen
class Assumed:
    """What a proof is about: a state (its pieces), what is assumed of it, and what gets names.

    fields: the registers' numbers in the instruction word, with the names of these registers' values"""

    pieces: tuple[Piece, ...]
    conditions: tuple[Any, ...]
    word: Any = None
    fields: tuple[tuple[Any, int, Any], ...] = ()


def state_pieces(pc: Any, kind: Any, value: Any) -> tuple[Piece, ...]:
    """A state with names for its registers and its root."""
    registers = tuple((z3.BitVec(f"x{i}", 64), 8) for i in range(1, REGISTERS))
    return ((pc, 8), *registers, (kind, 1), (value, 8), (z3.BitVec("root", 256), 32))


def fetchable() -> Any:
    """Any pc from which an instruction can be fetched: a multiple of 4 in the first 2^28 bytes of the model quarter."""
    return z3.Concat(z3.BitVecVal(ENTRY >> 28, 36), z3.BitVec("text", 26), z3.BitVecVal(0, 2))


def complete() -> Any:
    """The witness has a whole state."""
    return z3.UGE(LENGTH, STATE_BYTES)


def fetched(pc: Any) -> Any:
    """The witness has a correct first access: the leaf with the instruction."""
    index = reduced(z3.LShR(z3.ZeroExt(192, pc), 5))
    return access.error(STATE_BYTES, index, z3.BitVec("root", 256)) == 0


def word_of(mask: int, match: int) -> Any:
    """All words with these fixed bits, and names for the other bits of each field."""
    parts: list[Any] = []
    for name, high, low in (("funct7", 31, 25), ("rs2", 24, 20), ("rs1", 19, 15), ("funct3", 14, 12), ("rd", 11, 7), ("opcode", 6, 0)):
        at = high
        while at >= low:
            fixed, end = mask >> at & 1, at
            while end > low and mask >> end - 1 & 1 == fixed:
                end -= 1
            size = at - end + 1
            parts.append(z3.BitVecVal(match >> end & (1 << size) - 1, size) if fixed else z3.BitVec(f"{name}_{end}", size))
            at = end - 1
    return z3.Concat(*parts)


def of_row(row: Instruction) -> Assumed:
    """Any state that is about to execute this instruction."""
    pc, word = fetchable(), word_of(row.mask, row.match)
    a, b = z3.BitVec("a", 64), z3.BitVec("b", 64)
    if row.format in ("I", "S") and row.match & 0x5F == 0x03:  # loads and stores: what is named is the address, rs1 is what gives it
        paths = Paths()
        immediate: Any = row.operands(number(word, paths)).imm
        a = reduced(z3.BitVec("address", 64) - z3.Extract(63, 0, immediate.term))
    rs1, rs2 = (z3.simplify(z3.Extract(low + 4, low, word)) for low in (15, 20))
    fields = tuple((one, key, name) for one, key, name in ((rs1, 1, a), (rs2, 2, b)) if not z3.is_bv_value(one))
    return Assumed(state_pieces(pc, RUNNING, 0), (complete(), fetched(pc)), z3.simplify(word), fields)


def of_illegal() -> Assumed:
    """Any state that is about to execute a word that is no instruction."""
    pc, word = fetchable(), word_of(0, 0)
    none = [word & row.mask != row.match for row in INSTRUCTIONS]
    return Assumed(state_pieces(pc, RUNNING, 0), (complete(), fetched(pc), *none), word)


def of_prefix() -> Assumed:
    """Any witness of which the instruction is not reached: too short, no state, a stopped one, or none that can fetch."""
    pc, kind, value = z3.BitVec("pc", 64), z3.BitVec("kind", 8), z3.BitVec("value", 64)
    can_fetch = z3.And(z3.Extract(1, 0, pc) == 0, z3.Extract(63, 28, pc) == ENTRY >> 28)
    reached = z3.And(complete(), kind == RUNNING, value == 0, can_fetch, fetched(pc))
    return Assumed(state_pieces(pc, kind, value), (z3.Not(reached),))


class Worlds:
    """Both worlds in one proof."""

    def __init__(self, bytecode: Bytecode, assumed: Assumed, knows_products: bool, questions: Questions) -> None:
        self.bytecode, self.assumed, self.knows_products, self.questions = bytecode, assumed, knows_products, questions
        self.hashes, self.paths = Hashes(), Paths(knows_products, questions.refuted, counts=True)
        witness = UnknownWitness(number(LENGTH, self.paths), self.paths)
        witness.name(0, assumed.pieces)
        self.given = Anything(WITNESS_BYTES, LENGTH, witness)
        words = [(one, key, z3.ZeroExt(192, name)) for one, key, name in assumed.fields]
        word = None if assumed.word is None else z3.ZeroExt(224, assumed.word)
        self.names = specification.Names(word, words)
        self.world = specification.SpecificationWorld(self.paths, witness, self.hashes, self.names)

    @property
    def accepted(self) -> tuple[Any, ...]:
        """The call has the selector of `step`, no money, and an argument that is not too long."""
        selector = self.bytecode.contract.calldata("step", b"")[:4]
        called = z3.Extract(255, 256 - SELECTOR_BITS, CALLDATA(z3.BitVecVal(0, 256))) == int.from_bytes(selector, "big")
        return called, self.given.value == 0, z3.UGE(self.given.size, LEAST_CALL), z3.ULE(self.given.length, WITNESS_BYTES)

    @property
    def assumptions(self) -> tuple[Any, ...]:
        """The call is accepted, and what else is assumed."""
        return (*self.accepted, *self.assumed.conditions)

    def prove(self) -> None:
        """Shows that both end the same way, or raises Failure."""
        self.questions.are_possible(self.assumptions)
        ours = specification.endings(self.world, self.assumptions)
        theirs = self.run_bytecode(self.assumptions)
        for values, ends in by_split(theirs).items():
            mine = [self.with_values(one, values) for one in ours]
            for end in ends:
                for conditions, ending in mine:
                    self.compare(conditions, ending, values, end)

    def run_bytecode(self, assumptions: tuple[Any, ...]) -> list[End]:
        """Runs the bytecode on all paths that the assumptions admit."""
        frame = self.bytecode.frame
        hooks = {frame.loop.entry: arbiter.accessed(frame, self.given.length), **self.cuts()}
        machine = Machine(self.bytecode.code, self.given, self.hashes, hooks, (), self.knows_products, self.questions.refuted)
        return machine.run(Path(0, conditions=assumptions))

    def with_values(self, one: tuple[Sequence[Any], Ending], values: Values) -> tuple[Sequence[Any], Ending]:
        """A path of the specification with values in place of some names. Its ending is left, as most of them are not needed."""
        conditions, ending = one
        return [z3.simplify(z3.substitute(each, *values), ctrl_c=False) for each in conditions] if values else conditions, ending

    def cuts(self) -> dict[int, Any]:
        """Where the bytecode must have computed what the specification computed, and what that is called from there on."""
        cuts: dict[int, Any] = {}
        if self.names.definitions:
            places, registers = self.bytecode.cuts, self.world.registers(self.assumed.pieces)
            cuts[places[specification.WORD]] = arbiter.cut(self.names.definitions[specification.WORD], reduced(self.names.word))
            for one, key, name in self.names.registers:
                choice = registers.choice(number(z3.ZeroExt(256 - one.size(), one), self.paths))
                cuts[places[key]] = arbiter.cut(choice.term, reduced(name), one)
        return cuts

    def compare(self, conditions: Sequence[Any], ending: Ending, values: Values, end: End) -> None:
        """Shows that a path here and a path there end the same way, if both can be taken."""
        both = [one for one in (*conditions, *end.path.conditions) if not z3.is_true(one)]
        if any(z3.is_false(one) for one in both) or self.questions.ask(both)[0] == z3.unsat:
            return
        if end.how in ("DIFFERS", "INVALID"):
            self.questions.prove(both, z3.BoolVal(False))
            return
        mine = substituted(ending, values, self.hashes) if values else ending
        self.questions.prove(both, equal(mine, of_end(end), self.hashes))


def by_split(ends: Sequence[End]) -> dict[Values, list[End]]:
    """Groups the ends by the names that have values there."""
    groups: dict[Any, tuple[Values, list[End]]] = {}
    for end in ends:
        key = tuple((name.get_id(), value) for name, value in end.path.split)
        values = tuple((name, z3.BitVecVal(value, name.size())) for name, value in end.path.split)
        groups.setdefault(key, (values, []))[1].append(end)
    return dict(groups.values())


def prove(bytecode: Bytecode, assumed: Assumed, questions: Questions) -> None:
    """Proves it without knowing what products are, and if that fails, knowing it; raises Failure."""
    try:
        Worlds(bytecode, assumed, False, questions).prove()
    except Failure:
        Worlds(bytecode, assumed, True, questions).prove()


def prove_refusals(bytecode: Bytecode, questions: Questions) -> None:
    """Proves that a call which is not accepted reverts without data, whatever its length word is; raises Failure."""
    worlds = Worlds(bytecode, Assumed((), ()), True, questions)
    worlds.given.length = CALLDATA(worlds.given.place)
    refused = (z3.Not(z3.And(*worlds.accepted)),)
    questions.are_possible(refused)
    for end in worlds.run_bytecode(refused):
        if end.how != "REVERT" or end.data:
            questions.prove(end.path.conditions, z3.BoolVal(False))
