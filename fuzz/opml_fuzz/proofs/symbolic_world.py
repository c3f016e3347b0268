"""A world of symbols: the specification's dispute runs in it as it is, on numbers and hashes that stand for all.

What a symbol cannot be is replaced while a play runs, and only that (`REPLACED`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import z3
from opml_spec import hashing
from opml_spec.dispute import claims, clocks, ends, honest, money, moves, objects, opening, parameters, tree
from opml_spec.dispute.narrowing import inner_boundaries
from opml_spec.hashing import HASH_BYTES
from opml_spec.machine.state import MachineState

from opml_fuzz.proofs.exploration import Exploration
from opml_fuzz.proofs.strings import Quantity, String, keccak, unknown_function
from opml_fuzz.proofs.symbols import Symbol, constant
from opml_fuzz.statements.rules_court import Registers, Stretch, joined
from opml_fuzz.statements.rules_run import Machines
from opml_fuzz.statements.world import Option, World


class Rest:
    """The key of all that a play does not name. No id is equal to it."""

    def __repr__(self) -> str:
        return "rest"


class SymbolicWorld(World):
    """Makes symbols of one exploration."""

    def __init__(self, paths: Exploration, milliseconds: int) -> None:
        self.paths, self.milliseconds = paths, milliseconds
        self.rest = Rest()
        self.named: dict[str, Any] = {}
        self.bounds: dict[str, tuple[int, int | None]] = {}
        self.within: dict[tuple[str, int, int | None], list[z3.BoolRef]] = {}  # that a number is, told on each path
        self.hashes: dict[tuple[int, ...], Any] = {}
        self.places: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Begins a play: what it will have asked for, chosen, applied and hashed."""
        self.asked: dict[str, Any] = {}
        self.chosen: list[int] = []
        self.applied: list[tuple[str, tuple[Any, ...], Any]] = []
        self.hashed: list[tuple[String, String]] = []

    def number(self, name: str, low: int = 0, high: int | None = None) -> Any:
        term = self.constant(name)
        first_low, first_high = self.bounds.setdefault(name, (low, high))
        if low > first_low or (high is not None and (first_high is None or high < first_high)):
            raise ValueError(f"{name} has other values where it is asked for again")  # else it would be narrowed without a word
        key = name, low, high
        if key not in self.within:
            self.within[key] = [term >= low] if high is None else [term >= low, term <= high]
        self.paths.learn(*self.within[key])
        self.asked[name] = Quantity(term, self.paths, low, high)
        return self.asked[name]

    def hash(self, name: str) -> Any:
        self.asked[name] = String([(self.constant(name), HASH_BYTES)], self.paths)
        return self.asked[name]

    def constant(self, name: str) -> Any:
        if name not in self.named:
            self.named[name] = z3.Int(name)
        return self.named[name]

    def choice(self, options: Sequence[Option]) -> Option:
        self.chosen.append(self.paths.branch(len(options)))
        return options[self.chosen[-1]]

    def apply(self, name: str, arguments: Sequence[Any]) -> Any:
        terms = [constant(each) if isinstance(each, int) else each.term() if isinstance(each, String) else each.term for each in arguments]
        return unknown_function(name, len(terms))(*terms)

    def value(self, name: str, *arguments: Any) -> Any:
        self.applied.append((name, arguments, Quantity(self.apply(name, arguments), self.paths)))
        return self.applied[-1][-1]

    def hash_of(self, name: str, *arguments: Any) -> Any:
        self.applied.append((name, arguments, String([(self.apply(name, arguments), HASH_BYTES)], self.paths)))
        return self.applied[-1][-1]

    def state_hash(self, state: MachineState) -> Any:
        return state_hash(state)

    def assume(self, condition: Any) -> None:
        self.paths.assume(condition)

    def show(self, what: str, condition: Any) -> None:
        model = self.paths.counterexample(condition, self.milliseconds)
        if model is not None:
            shown = ", ".join(f"{name} = {model.eval(term, model_completion=True)}" for name, term in self.named.items())
            raise Refuted(f"{what}: {shown}", model)

    def reach(self, place: str) -> None:
        if place not in self.places and self.paths.solver.check() == z3.sat:
            self.places.add(place)


class Refuted(Exception):
    """A case in which what a play shows does not hold."""

    def __init__(self, detail: str, model: Any) -> None:
        super().__init__(detail)
        self.model = model


class Keccak:
    """Stands for the module `sha3`: strings of symbols get an unknown hash, bytes the real one."""

    def __init__(self, world: SymbolicWorld) -> None:
        self.world, self.real = world, vars(hashing)["sha3"]

    def keccak_256(self, data: Any) -> Any:
        if not isinstance(data, String):
            return self.real.keccak_256(data)
        digest, facts = keccak(data, self.world.hashes)
        self.world.paths.learn(*facts)
        self.world.hashed.append((data, digest))
        return Digest(digest)


class Digest:
    """What is asked for its bytes."""

    def __init__(self, value: String) -> None:
        self.value = value

    def digest(self) -> String:
        return self.value


def greater(*values: Any, least: bool = False) -> Any:
    """`max`, or `min`, without asking which of them it is."""
    one, *others = values
    for other in others:
        symbol = one if isinstance(one, Symbol) else other
        if isinstance(symbol, Symbol):
            is_first = (one <= other) if least else (one >= other)
            one = symbol.of(z3.If(is_first.formula, symbol.lift(one), symbol.lift(other)))
        else:
            one = (min if least else max)(one, other)
    return one


def less(*values: Any) -> Any:
    return greater(*values, least=True)


def length(things: Any) -> Any:
    """`len`, and for a path with a stretch of any number of parts, that number of them."""
    if isinstance(things, Machines):
        return things.count
    if isinstance(things, tuple) and any(isinstance(each, Stretch) for each in things):
        return sum((each.parts if isinstance(each, Stretch) else 1) for each in things)
    return len(things)


def joined_words(state: MachineState) -> Any:
    """The pc and the registers x1 … x31, as the number that their bytes make."""
    return reduce(lambda whole, word: (1 << 64) * whole + word, (state.pc, *state.x[1:]))


def state_hash(state: MachineState) -> Any:
    """The hash of a machine state whose registers are one number of 256 bytes (`Registers`), or 31 words."""
    words: Any = state.x.all if isinstance(state.x, Registers) else joined_words(state)
    status = state.status.kind.to_bytes(1, "big") + state.status.value.to_bytes(8, "big")
    return hashing.keccak256(words.to_bytes(256, "big") + status + state.memory.root)


def inner_hashes(told: Any, segment: Any, stage: Any, k: int) -> Any:
    """Joins, as `honest.inner_hashes` does, what may be no bytes."""
    return joined(told.hash_at(segment.phase, stage, at) for at in inner_boundaries(segment, k))


@contextmanager
def replaced(world: SymbolicWorld) -> Iterator[None]:
    """The specification with the few functions replaced that take no symbols, while this is entered."""

    def stage_of(path: tuple[Any, ...], stage_count: Any, k: int) -> Any:
        return path[0].stage if path else 0

    def on_the_way_to(node: Any, other: Any) -> Any:
        return world.value("is_on_the_way", *(each.path[0].parts if each.path else 0 for each in (node, other))) == 1

    def execute_witness(witness: Any) -> Any:
        return witness, world.hash_of("step", witness)

    def known_state(state: Any) -> Any:
        return state

    table: tuple[tuple[Any, str, Any], ...] = (
        (hashing, "sha3", Keccak(world)),
        *((module, "max", greater) for module in (claims, clocks, ends, parameters, tree)),
        *((module, "min", less) for module in (clocks, money, parameters, tree)),
        (objects, "len", length),  # of a path of any length
        (objects.Node, "on_the_way_to", on_the_way_to),  # on such paths; it has its own statement
        (opening, "decode_state", known_state),  # of 297 bytes: an act brings any state that can be encoded
        (opening, "state_hash", state_hash),
        (moves, "execute_witness", execute_witness),  # what an instruction does is the machine's business
        (claims, "io_quarter", lambda stage_count, data: world.hash_of("io_quarter", stage_count)),
        (ends, "read_result", lambda state, output, proof: (output, proof)),  # an act brings any outcome
        (honest, "len", length),
        (honest, "encode", known_state),
        (honest, "state_hash", state_hash),
        (honest, "make_witness", state_hash),
        (honest, "inner_hashes", inner_hashes),  # joins
        (honest, "stage_of", stage_of),  # of such paths
    )
    missing = object()
    kept = [(owner, name, vars(owner).get(name, missing)) for owner, name, _ in table]
    try:
        for owner, name, it in table:
            setattr(owner, name, it)
        yield
    finally:
        for owner, name, it in kept:
            if it is missing:
                delattr(owner, name)
            else:
                setattr(owner, name, it)
