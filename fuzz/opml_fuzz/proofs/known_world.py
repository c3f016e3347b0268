"""A counterexample to a rule as a test that can be pasted: the play with the numbers, hashes and choices that z3 found.

In this world everything is plain, and Keccak-256 is the real one. What z3 calls the hash of something becomes its real hash, so that the
play goes the same way. Only a play that does break its rule there is printed. With the right rules it holds, or goes another way.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import z3
from opml_spec.hashing import HASH_BYTES, keccak256
from opml_spec.machine.state import MachineState

from opml_fuzz.proofs.exploration import Exploration
from opml_fuzz.proofs.strings import String
from opml_fuzz.proofs.symbolic_world import Rest, SymbolicWorld, replaced, state_hash
from opml_fuzz.proofs.symbols import Symbol
from opml_fuzz.statements.catalogue import RULES
from opml_fuzz.statements.world import Option, Rule, World

TEST = """
from opml_fuzz.proofs.known_world import play


def test_a_rule_that_does_not_hold() -> None:
    named = {{{named}}}
    values = {{{values}}}
    play("{rule}", {case}, named, values, choices={choices})  # {what}
"""

Values = Mapping[tuple[Any, ...], Any]


class Elsewhere(Exception):
    """The play goes another way than the one that was found."""


class KnownWorld(World):
    """A world in which everything that may be anything is known. values: of the unknown functions, by name and arguments"""

    def __init__(self, named: Mapping[str, Any], values: Values, choices: Sequence[int]) -> None:
        self.named, self.values, self.choices = named, values, list(choices)
        self.rest, self.paths = Rest(), Exploration()

    def found(self, known: Mapping[Any, Any], key: Any) -> Any:
        if key not in known:
            raise Elsewhere
        return known[key]

    def number(self, name: str, low: int = 0, high: int | None = None) -> Any:
        return self.found(self.named, name)

    def hash(self, name: str) -> Any:
        return self.found(self.named, name)

    def choice(self, options: Sequence[Option]) -> Option:
        if not self.choices:
            raise Elsewhere
        return options[self.choices.pop(0)]

    def value(self, name: str, *arguments: Any) -> Any:
        return self.found(self.values, (name, *arguments))

    def hash_of(self, name: str, *arguments: Any) -> Any:
        return self.found(self.values, (name, *arguments))

    def state_hash(self, state: MachineState) -> Any:
        return state_hash(state)

    def assume(self, condition: Any) -> None:
        if not condition:
            raise Elsewhere

    def show(self, what: str, condition: Any) -> None:
        assert condition, what

    def reach(self, place: str) -> None:
        pass


def play(rule: str, case: tuple[Any, ...], named: Mapping[str, Any], values: Values, choices: Sequence[int]) -> None:
    """Plays a rule's case with what is given; raises AssertionError where the rule does not hold."""
    world = KnownWorld(named, values, choices)
    try:
        with replaced(world):  # type: ignore[arg-type]  # it asks for nothing else
            RULES[rule].play(world, *case)
    except Elsewhere:
        pass


class Meaning:
    """What the symbols of one play mean in a model."""

    def __init__(self, world: SymbolicWorld, model: Any) -> None:
        self.model = model
        self.preimages = {self.number(digest.term()): data for data, digest in world.hashed}

    def number(self, term: Any) -> int:
        return int(self.model.eval(term, model_completion=True).as_long())

    def of(self, it: Any) -> Any:
        """The int or the bytes that something stands for."""
        if isinstance(it, String):
            return b"".join(self.piece(self.number(term), width) for term, width in it.pieces)
        if isinstance(it, Symbol):
            return self.number(it.term)
        return self.number(it) if z3.is_expr(it) else it

    def piece(self, number: int, width: int) -> bytes:
        """Some bytes. What is no hash of anything may be any bytes, as long as others are others."""
        if width == HASH_BYTES and number in self.preimages:
            return keccak256(self.of(self.preimages[number]))
        if 0 <= number < 1 << 8 * width:
            return number.to_bytes(width, "big")
        return keccak256(str(number).encode())[:width]


def entries(known: Mapping[Any, Any]) -> str:
    """Writes the entries of a dict, one per line."""
    return "".join(f"\n        {written(key)}: {written(it)}," for key, it in known.items()) + ("\n    " if known else "")


def written(it: Any) -> str:
    if isinstance(it, tuple):
        return f"({', '.join(map(written, it))},)"
    return f'bytes.fromhex("{it.hex()}")' if isinstance(it, bytes) else repr(it)


def reproducer(rule: Rule, case: tuple[Any, ...], world: SymbolicWorld, model: Any) -> str:
    """Writes the test; empty if the play with these values does not break the rule."""
    if RULES.get(rule.name) is None:
        return ""
    try:
        meaning = Meaning(world, model)
        named = {name: meaning.of(it) for name, it in world.asked.items()}
        values = {(name, *map(meaning.of, arguments)): meaning.of(it) for name, arguments, it in world.applied}
        play(rule.name, case, named, values, world.chosen)
    except AssertionError as broken:
        return TEST.format(named=entries(named), values=entries(values), rule=rule.name, case=case, choices=world.chosen, what=broken)
    except Exception:  # z3's functions may be what no real ones are: a hash that hashes itself, a state that is none
        return ""
    return ""
