"""The symbolic EVM with what a contract needs beside memory: storage, events, payments, time, and what the arbiter answers to a call.

These opcodes are hooks at the places where they stand, so `proofs/evm/` is as it is for the arbiter. Products and quotients come from
`arithmetic.py`, as those of the specification do.

*Source*: Ethereum Yellow Paper, appendix H.2; EIP-3198 (BASEFEE).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import z3
from attrs import evolve, frozen

from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.instructions import known, push
from opml_fuzz.proofs.evm.machine import Hook, Machine, shared_conditions
from opml_fuzz.proofs.evm.path import End, Input, Path
from opml_fuzz.proofs.evm.pieces import Pieces, length
from opml_fuzz.proofs.evm.words import BITS, Word, binary, choice, formula, is_nonzero, reduced, vector
from opml_fuzz.proofs.game.arbiter_call import Arbiter, answer_size, copy_answer
from opml_fuzz.proofs.game.arithmetic import Arithmetic, choices, excess, least, width
from opml_fuzz.proofs.game.cuts import Cuts
from opml_fuzz.proofs.game.facts import DistinctHashes, Facts
from opml_fuzz.proofs.game.open_bytes import copied, padded, read_to_end, same
from opml_fuzz.proofs.game.packed import added, either, subtracted
from opml_fuzz.proofs.game.remembered import Remembered
from opml_fuzz.proofs.game.storage import WordPlace, place_of
from opml_fuzz.proofs.questions import Questions
from opml_fuzz.proofs.unsupported import Unsupported

NAMES = {
    0x33: "CALLER", 0x42: "TIMESTAMP", 0x48: "BASEFEE", 0x54: "SLOAD",
    0x55: "SSTORE", 0x5A: "GAS", 0xF1: "CALL", 0xFA: "STATICCALL", 0x3D: "RETURNDATASIZE", 0x3E: "RETURNDATACOPY",
    **{0xA0 + i: f"LOG{i}" for i in range(5)},
}  # fmt: skip
IS_TAKEN = z3.Bool("is_taken")
"""Whether whoever is paid takes the money."""
GAS = "gas"
OPCODES = {f"0x{opcode:02x}": name for opcode, name in NAMES.items()}


@frozen(eq=False)
class Event:
    """An event as the contract logs it."""

    topics: tuple[Word, ...]
    data: Pieces


@frozen(eq=False)
class Payment:
    """A call that sends money. success: whether whoever gets it takes it"""

    to: Word
    amount: Word
    data: Pieces
    success: Any


@frozen
class GamePath(Path):
    """A path with what a contract has beside memory."""

    storage: Any = None
    events: tuple[Event, ...] = ()
    payments: tuple[Payment, ...] = ()
    answered: Pieces = ()  # by the arbiter

    @property
    def meeting(self) -> tuple[Any, ...]:
        """Paths that have logged or paid different things stay apart."""
        logged = tuple((tuple(map(identity, one.topics)), identities(one.data)) for one in self.events)
        paid = tuple((identity(one.to), identity(one.amount), identities(one.data)) for one in self.payments)
        return *Path.meeting.fget(self), logged, paid, length(self.answered)  # type: ignore[attr-defined]


def identity(word: Word) -> Any:
    return word if isinstance(word, int) else (word.get_id(),)


def identities(data: Pieces) -> Any:
    return tuple((identity(piece), size) for piece, size in data)


@frozen
class Block:
    """What the EVM tells a contract of the block and the caller."""

    sender: Word
    now: Word
    basefee: Word


class GameMachine(Machine):
    """An EVM that runs one call of the game.

    remembers: whether it uses what it has just proved, and else asks a new solver; worth it where amounts have long forms
    inner: stands for a function of the contract, if one is taken as unknown"""

    def __init__(self, code: Code, given: Input, facts: Facts, hashes: DistinctHashes, arithmetic: Arithmetic, block: Block,
                 questions: Questions, cuts: Cuts, arbiter: Arbiter | None = None, remembers: bool = False,
                 inner: Any = None) -> None:  # fmt: skip
        hooks: dict[int, Hook] = {}
        for at, one in code.instructions.items():
            name = OPCODES.get(one.name, one.name)
            if name in RULES:
                hooks[at] = partial(hooked, RULES[name], name)
            elif name == "STATICCALL" and arbiter is not None:
                hooks[at] = arbiter.call
        if inner is not None:
            hooks[inner.function.entry] = inner.call
        super().__init__(code, given, hashes, hooks)
        self.guards = frozenset(guards(code))
        self.facts, self.arithmetic, self.block, self.questions = facts, arithmetic, block, questions
        self.knowing = questions.solver(facts), questions.solver(facts, facts.long)
        self.cuts, self.remembered = cuts, Remembered() if remembers else None

    def possible(self, path: Path, *condition: Any, long: bool = False) -> bool:
        """Tells what the machine tells, knowing the facts. long: the long ones too, if the others do not suffice"""
        few = *path.conditions, *condition
        short, all_of_them = self.knowing
        if self.is_refuted_by_few(path, condition, long):
            return False
        if self.remembered is not None:
            return self.questions.can_hold(self.facts.relevant(*few, *(self.facts.long if long else ())))
        if self.questions.ask_in(short, few, self.facts.known)[0] == z3.unsat:
            return False
        if not (long and self.facts.long):
            return True
        return bool(self.questions.ask_in(all_of_them, few, [*self.facts.known, *self.facts.long])[0] != z3.unsat)

    def is_refuted_by_few(self, path: Path, condition: Sequence[Any], long: bool) -> bool:
        """Tells whether it suffices to know what was just proved, or what speaks of the same fields, or not what names stand for."""
        remembered = self.remembered
        if remembered is not None and (refuted := remembered.refute(path.conditions, condition)) is not None:
            self.questions.refuted(refuted)
            return True
        if long:
            fields = self.facts.fields_in(z3.And(list(condition)))
            near = *(one for one in path.conditions if self.facts.fields_in(one) & fields), *condition
            if not self.questions.can_hold(self.facts.near(fields, *near, defined=remembered is None)):
                return True
        if remembered is None or not self.facts.names:
            return False
        return not self.questions.can_hold(self.facts.relevant(*path.conditions, *condition, defined=False))

    def branches(self, path: Path, word: Word) -> Iterator[tuple[Path, bool]]:
        """Splits a path as the machine does. Where it cannot go one way, it goes the other: that is not asked."""
        condition, guards = is_nonzero(word), path.at in self.guards
        if isinstance(condition, bool):
            yield path, condition
        elif not self.possible(path, condition, long=guards):
            yield path, False
        elif not self.possible(path, z3.Not(condition)):
            yield path, True
        else:
            yield path.assuming(condition), True
            yield path.assuming(formula(z3.Not(condition))), False

    def prove(self, path: Path) -> Callable[[Any], bool]:
        def holds(condition: Any) -> bool:
            known = formula(condition)
            if isinstance(known, bool):
                return known
            is_proved = not self.possible(path, z3.Not(known), long=True)
            if is_proved and self.remembered is not None:
                self.remembered.add(path.conditions, known)
            return is_proved

        return holds

    def meet(self, path: Path, other: Path) -> Path:
        met: Any = super().meet(path, other)
        assert isinstance(path, GamePath)
        assert isinstance(other, GamePath)
        condition = z3.And(list(path.conditions[shared_conditions(path, other):]))
        merged: Path = evolve(met, storage=path.storage.merged(condition, other.storage))
        return merged

    def excess(self, path: GamePath, a: Word, b: Word) -> Word | None:
        """By how much one word is more than another, if it is that by its form; under its name, if it has one."""
        found = beyond(a, b)
        if found is None:
            return None
        name = self.cuts.name_of_excess(*found, self.prove(path))
        return reduced(excess(*found)) if name is None else name

    def place(self, slot: Word) -> WordPlace:
        return place_of(slot, self.hashes)


def guards(code: Code) -> Iterator[int]:
    """Where the code goes on after a conditional jump to a revert without data: what is checked there cannot happen, mostly."""
    places = list(code.instructions)
    for target, at in pairwise(places):
        if code.instructions[at].name == "JUMPI":
            names, place = list[str](), code.instructions[target].operand
            while place in code.instructions and len(names) < 4:
                names.append(code.instructions[place].name)
                place = code.instructions[place].following
            if names == ["JUMPDEST", "PUSH0", "DUP1", "REVERT"]:
                yield code.instructions[at].following


Rule = Callable[[GamePath, GameMachine, str], GamePath]


def hooked(rule: Rule, name: str, path: Path, machine: Machine) -> Iterator[Path | End]:
    """Executes the opcode at this place by its rule."""
    assert isinstance(path, GamePath)
    assert isinstance(machine, GameMachine)
    yield rule(evolve(path, at=machine.code.instructions[path.at].following), machine, name)


def pushing(word: Callable[[GameMachine], Word]) -> Rule:
    return lambda path, machine, name: push(path, word(machine))  # type: ignore[return-value]


def settled(path: GamePath) -> None:
    """Refuses whatever comes after a payment: who is paid may have called in the meantime."""
    if path.payments:
        raise Unsupported("something happens after a payment")


def load(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    settled(path)
    *rest, slot = path.stack
    return evolve(path, stack=(*rest, path.storage.read(machine.place(slot))))


def store(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    settled(path)
    *rest, word, slot = path.stack
    return evolve(path, stack=tuple(rest), storage=path.storage.write(machine.place(slot), reduced(vector(word))))


def log(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    settled(path)
    count = int(name[3:])
    stack = path.stack
    size, at = stack[-2], known(stack[-1])
    data = () if size == 0 else read(path, at, size, machine)
    topics = tuple(reversed(stack[-2 - count : -2]))
    return evolve(path, stack=stack[: -2 - count], events=(*path.events, Event(topics, data)))


def read(path: GamePath, at: int, size: Word, machine: GameMachine) -> Pieces:
    """Reads memory; it may be that it is not known how much."""
    prove = machine.prove(path)
    return path.memory.read(at, size, prove) if isinstance(size, int) else read_to_end(path.memory, at, size, prove)


def hash_memory(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    *rest, size, at = path.stack
    return evolve(path, stack=(*rest, machine.hashes.digest(read(path, known(at), size, machine))))


def copy_memory(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    *rest, size, source, to = path.stack
    memory, prove = path.memory, machine.prove(path)
    if isinstance(size, int):
        memory = memory.store_pieces(known(to), memory.read(known(source), size, prove)) if size else memory
    else:
        memory = copied(memory, known(to), known(source), size, prove)
    return evolve(path, stack=tuple(rest), memory=memory)


def copy_input(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    """CALLDATACOPY. What stands behind bytes of unknown number is not known, so nothing may be copied there."""
    *rest, size, source, to = path.stack
    if isinstance(to, int):
        memory = machine.input.copy(path.memory, to, source, size, path, machine)
    elif same(size, 0, machine.prove(path)):
        memory = path.memory
    elif same(source, machine.input.size, machine.prove(path)):
        memory = padded(path.memory, to, size, machine.prove(path))
    else:
        raise Unsupported(f"a copy of {size} bytes of the call's data to {to}")
    return evolve(path, stack=tuple(rest), memory=memory)


def pay(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    """CALL. All that is left of the gas must go along, and nothing of the answer may be stored: whoever is paid could write there."""
    settled(path)
    *rest, answer_size, _, size, at, amount, to, gas = path.stack
    if known(answer_size) or isinstance(gas, int) or not gas.decl().name().startswith(GAS):
        raise Unsupported("a payment with a limit of gas, or with an answer")
    data = path.memory.read(known(at), known(size), machine.prove(path)) if size else ()
    return evolve(path, stack=(*rest, IS_TAKEN), payments=(Payment(to, amount, data, IS_TAKEN),))


def answer_length(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    return push(path, answer_size(path))  # type: ignore[return-value]


def copied_answer(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    *rest, size, at, to = path.stack
    return evolve(path, stack=tuple(rest), memory=copy_answer(path, to, at, size))


def multiply(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    """MUL; by a truth value it is a choice."""
    *rest, b, a = path.stack
    a, b = (b, a) if z3.is_bool(b) else (a, b)
    return evolve(path, stack=(*rest, choice(a, b, 0) if z3.is_bool(a) else machine.arithmetic.product(a, b)))


def exclusive(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    """XOR; with something or nothing, it is a choice: so are the maximum and the minimum compiled."""
    *rest, b, a = path.stack
    a, b = (b, a) if chooses_nothing(b) else (a, b)
    if not chooses_nothing(a) or z3.is_bool(b):
        return evolve(path, stack=(*rest, binary("XOR", a, b)))
    condition, *both = a.children()
    yes, no = (binary("XOR", reduced(one), b) for one in both)
    is_least = any(condition.eq(z3.simplify(rule(vector(yes), vector(no)), ctrl_c=False)) for rule in (z3.ULT, z3.ULE))
    return evolve(path, stack=(*rest, least(yes, no) if is_least else choice(condition, yes, no)))


def chooses_nothing(word: Word) -> bool:
    """Tells whether it is one of two words, of which one is 0."""
    if isinstance(word, int) or not z3.is_app_of(word, z3.Z3_OP_ITE) or z3.is_bool(word):
        return False
    return any(z3.is_bv_value(one) and one.as_long() == 0 for one in word.children()[1:])


def divide(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    *rest, divisor, number = path.stack
    condition = is_nonzero(divisor)
    if condition is False:
        return evolve(path, stack=(*rest, 0))
    quotient = machine.arithmetic.quotient(number, divisor)
    is_certain = condition is True or machine.prove(path)(condition)
    return evolve(path, stack=(*rest, quotient if is_certain else choice(condition, quotient, 0)))


def beyond(a: Word, b: Word) -> tuple[Any, Any] | None:
    """The two words, if one of them is the larger of both less the other: by how much it is more."""
    found = choices(a)
    if found is None or isinstance(b, int):
        return None
    condition, yes, no = found
    for is_more, larger, smaller in ((condition, yes, no), (z3.Not(condition), no, yes)):
        is_largest = any(formula(is_more == rule(vector(larger), vector(smaller))) is True for rule in (z3.UGT, z3.UGE))
        if is_largest and b.eq(vector(smaller)) and width(larger) < BITS:
            return vector(larger), b
    return None


def packed(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    """ADD, SUB and OR, of packed words field by field."""
    *rest, b, a = path.stack
    found = machine.excess(path, a, b) if name == "SUB" else machine.arithmetic.sum(a, b) if name == "ADD" else None
    if found is None and not any(isinstance(one, z3.BoolRef) for one in (a, b)) and not (isinstance(a, int) and isinstance(b, int)):
        prove = machine.prove(path)
        found = either(a, b) if name == "OR" else (added if name == "ADD" else subtracted)(a, b, prove, machine.cuts.known)
    found = binary(name, a, b) if found is None else found
    return evolve(path, stack=(*rest, found if name == "OR" else machine.cuts.name_of(found, machine.prove(path))))


def known_only(path: GamePath, machine: GameMachine, name: str) -> GamePath:
    *rest, b, a = path.stack
    return evolve(path, stack=(*rest, binary(name, known(a), known(b))))


RULES: dict[str, Rule] = {
    "CALLER": pushing(lambda machine: machine.block.sender),
    "TIMESTAMP": pushing(lambda machine: machine.block.now),
    "BASEFEE": pushing(lambda machine: machine.block.basefee),
    "GAS": pushing(lambda machine: z3.FreshConst(z3.BitVecSort(BITS), GAS)),  # never the same twice
    "SLOAD": load,
    "SSTORE": store,
    **{f"LOG{i}": log for i in range(5)},
    "CALL": pay,
    "RETURNDATASIZE": answer_length,
    "RETURNDATACOPY": copied_answer,
    "KECCAK256": hash_memory,
    "MCOPY": copy_memory,
    "CALLDATACOPY": copy_input,
    **dict.fromkeys(("ADD", "SUB", "OR"), packed),
    "XOR": exclusive,
    "MUL": multiply,
    "DIV": divide,
    **dict.fromkeys(("SDIV", "MOD", "SMOD"), known_only),
}
