"""Runs bytecode on symbols: all paths, from a beginning to their ends.

A path is a state of the machine with the conditions under which it is reached. At a conditional jump it becomes two. **Paths that come to
the same JUMPDEST out of the same calls become one again**, whose words are choices between theirs. The path that is furthest behind runs
first, so a diamond costs two short paths, not twice all that follows.

Where a number must be known and is not (the length of a copy), the path is split by the few bits that the number depends on, which get each
of their values in turn; such paths stay apart.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import z3
from attrs import evolve, field, frozen

from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.memory import CHOICE_BITS, Memory, Unsupported, merged, variables
from opml_fuzz.proofs.evm.words import Word, choice, formula, is_nonzero
from opml_fuzz.proofs.hashes import Hashes
from opml_fuzz.proofs.pieces import Pieces

MOST_STEPS = 200_000
FEASIBLE_MILLISECONDS = 2_000


@frozen
class Path:
    """A state of the EVM, and how it is reached.

    calls: where the functions that are being executed return to; split: the names that were given values, with these values"""

    at: int
    stack: tuple[Word, ...] = ()
    memory: Memory = field(factory=Memory)
    conditions: tuple[Any, ...] = ()
    calls: tuple[int, ...] = ()
    split: tuple[tuple[Any, int], ...] = ()

    def assuming(self, *conditions: Any) -> "Path":
        """The path under more conditions."""
        return evolve(self, conditions=(*self.conditions, *(one for one in conditions if one is not True)))

    @property
    def progress(self) -> tuple[float, ...]:
        """How far the path is, comparable: inside a call it is just before the place that the call returns to."""
        return (*(place - 0.5 for place in self.calls), float(self.at))

    @property
    def meeting(self) -> tuple[Any, ...]:
        """Where it meets others: paths that agree in this become one."""
        return self.at, self.calls, tuple((name.get_id(), number) for name, number in self.split), len(self.stack), self.memory.regions


@frozen
class End:
    """How a path ends. how: RETURN, REVERT, INVALID, or STOP at one of the places that were asked for"""

    how: str
    path: Path
    data: Pieces = ()


class Input:
    """What a call brings along. Both the known and the unknown kind have these."""

    size: Word
    value: Word

    def load(self, at: Word) -> Word:
        """The word at a place of the call's data; zeros beyond its end."""
        raise NotImplementedError

    def copy(self, memory: Memory, to: int, at: Word, size: Word, path: Path, machine: "Machine") -> Memory:
        """The memory with a part of the call's data at `to`."""
        raise NotImplementedError


Hook = Callable[[Path, "Machine"], Iterator["Path | End"]]
"""What happens instead of the instruction at some place."""


def no_cases(path: Path, machine: "Machine") -> Iterator["Path | End"]:
    raise Unsupported("no hook")


class Machine:
    """An EVM that runs one call.

    hooks: by place; stops: places at which a path ends; knows_products: whether MUL of two unknown words is exact"""

    def __init__(
        self, code: Code, given: Input, hashes: Hashes, hooks: Mapping[int, Hook] | None = None, stops: Iterable[int] = (),
        knows_products: bool = True,
    ) -> None:  # fmt: skip
        self.code, self.input, self.hashes, self.hooks, self.stops = code, given, hashes, hooks or {}, frozenset(stops)
        self.knows_products = knows_products
        self.solver = z3.Solver()
        self.solver.set("timeout", FEASIBLE_MILLISECONDS)
        self.solver.set("ctrl_c", False)
        self.steps = self.merges = 0

    def run(self, start: Path) -> list[End]:
        """Runs all paths from one beginning; returns their ends."""
        ends: list[End] = []
        waiting = [start]
        while waiting:
            group = self.furthest_behind(waiting)
            path = group[0]
            for other in group[1:]:
                path = self.meet(path, other)
            for one in self.advance(path):
                (ends if isinstance(one, End) else waiting).append(one)  # type: ignore[arg-type]
        return ends

    def furthest_behind(self, waiting: list[Path]) -> list[Path]:
        """Takes out those paths that wait furthest behind, all at one place."""
        first = min(waiting, key=lambda path: path.progress)
        group = [path for path in waiting if path.meeting == first.meeting]
        waiting[:] = [path for path in waiting if path.meeting != first.meeting]
        return group

    def meet(self, path: Path, other: Path) -> Path:
        """Makes one path of two that are at the same place."""
        self.merges += 1
        shared = 0
        for one, another in zip(path.conditions, other.conditions, strict=False):
            if not one.eq(another):
                break
            shared += 1
        condition = z3.And(list(path.conditions[shared:]))
        either = formula(z3.Or(condition, z3.And(list(other.conditions[shared:]))))
        stack = tuple(choice(condition, one, another) for one, another in zip(path.stack, other.stack, strict=True))
        conditions = path.conditions[:shared] + (() if either is True else (either,))
        return evolve(path, stack=stack, memory=merged(condition, path.memory, other.memory), conditions=conditions)

    def advance(self, path: Path) -> Iterator[Path | End]:
        """Runs one path until it splits, ends, or comes to a place where others may join it."""
        from opml_fuzz.proofs.evm.instructions import execute

        while True:
            if path.at in self.stops:
                yield End("STOP", path)
                return
            if path.at in self.hooks:
                yield from self.hooks[path.at](path, self)
                return
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise Unsupported("it does not end")
            following = execute(path, self)
            if isinstance(following, Path):
                path = following
                if path.at in self.code.instructions and self.code.instructions[path.at].name == "JUMPDEST" and path.conditions:
                    yield path
                    return
                continue
            yield from following
            return

    # What may hold on a path -----------------------------------------------------------------------------------------------------

    def possible(self, path: Path, condition: Any = True) -> bool:
        """Tells whether a condition may hold: false only if z3 shows that it cannot."""
        return bool(self.solver.check(*path.conditions, condition) != z3.unsat)

    def prove(self, path: Path) -> Callable[[Any], bool]:
        """Tells of conditions whether they hold on the path for certain."""

        def holds(condition: Any) -> bool:
            known = formula(condition)
            return known if isinstance(known, bool) else self.solver.check(*path.conditions, z3.Not(known)) == z3.unsat

        return holds

    def branches(self, path: Path, word: Word) -> Iterator[tuple[Path, bool]]:
        """The path where a word is not 0, and where it is, if it can be."""
        condition = is_nonzero(word)
        if isinstance(condition, bool):
            yield path, condition
            return
        can, cannot = self.possible(path, condition), self.possible(path, z3.Not(condition))
        if can:
            yield (path.assuming(condition) if cannot else path), True
        if cannot:
            yield (path.assuming(formula(z3.Not(condition))) if can else path), False

    def split(self, path: Path, word: Any) -> Iterator[Path]:
        """The path once for each value of the few bits that a word depends on."""
        names = variables(word)
        if len(names) != 1 or names[0].size() > CHOICE_BITS:
            raise Unsupported(f"a number that must be known: {word}")
        (name,) = names
        for number in range(1 << name.size()):
            numeral = z3.BitVecVal(number, name.size())
            if not self.possible(path, name == numeral):
                continue

            def substitute(term: Any, numeral: Any = numeral) -> Any:
                return self.hashes.substituted(term, lambda one: substituted(one, name, numeral))

            stack = tuple(one if isinstance(one, int) else substitute(one) for one in path.stack)
            conditions = tuple(z3.simplify(z3.substitute(one, (name, numeral))) for one in path.conditions)
            yield evolve(
                path, stack=stack, memory=path.memory.substituted(substitute), split=(*path.split, (name, number)),
                conditions=tuple(one for one in conditions if not z3.is_true(one)),
            )  # fmt: skip


def substituted(term: Any, name: Any, numeral: Any) -> Word:
    """A term with a value in place of a name."""
    from opml_fuzz.proofs.evm.words import reduced

    return reduced(z3.substitute(term, (name, numeral)))
