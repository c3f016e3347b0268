"""Runs bytecode on symbols: all paths, from a beginning to their ends.

A path is a state of the machine with the conditions under which it is reached. At a conditional jump it becomes two. **Paths that come to
the same JUMPDEST out of the same calls become one again**, whose words are choices between theirs. The path that is furthest behind runs
first, so a diamond costs two short paths, not twice all that follows.

Where a number must be known and is not (the length of a copy), the path is split by the few bits that the number depends on, which get each
of their values in turn; such paths stay apart.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import z3
from attrs import evolve

from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.hashes import Hashes
from opml_fuzz.proofs.evm.instructions import execute
from opml_fuzz.proofs.evm.memory import CHOICE_BITS, merged, variables
from opml_fuzz.proofs.evm.path import End, Input, Path
from opml_fuzz.proofs.evm.words import Word, choice, formula, is_nonzero, reduced
from opml_fuzz.proofs.symbols import FEASIBLE_UNITS, ignore
from opml_fuzz.proofs.unsupported import Unsupported

MOST_STEPS = 200_000

Hook = Callable[[Path, "Machine"], Iterator[Path | End]]
"""What happens instead of the instruction at some place."""


class Machine:
    """An EVM that runs one call.

    hooks: by place; stops: places at which a path ends; knows_products: whether MUL of two unknown words is exact
    refuted: gets what z3 showed to be impossible"""

    def __init__(
        self, code: Code, given: Input, hashes: Hashes, hooks: Mapping[int, Hook] | None = None, stops: Iterable[int] = (),
        knows_products: bool = True, refuted: Callable[[Sequence[Any]], None] = ignore,
    ) -> None:  # fmt: skip
        self.code: Code = code
        self.input: Input = given
        self.hashes, self.hooks, self.stops = hashes, hooks or {}, frozenset(stops)
        self.knows_products, self.refuted = knows_products, refuted
        self.solver = z3.Solver()
        self.solver.set("rlimit", FEASIBLE_UNITS)
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
            try:
                for one in self.advance(path):
                    (ends if isinstance(one, End) else waiting).append(one)  # type: ignore[arg-type]
            except Unsupported as error:
                if self.solver.check(*path.conditions) == z3.sat:
                    error.model = self.solver.model()
                raise
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
        shared = shared_conditions(path, other)
        condition = z3.And(list(path.conditions[shared:]))
        either = formula(z3.Or(condition, z3.And(list(other.conditions[shared:]))))
        stack = tuple(choice(condition, one, another) for one, another in zip(path.stack, other.stack, strict=True))
        conditions = path.conditions[:shared] + (() if either is True else (either,))
        return evolve(path, stack=stack, memory=merged(condition, path.memory, other.memory), conditions=conditions)

    def advance(self, path: Path) -> Iterator[Path | End]:
        """Runs one path until it splits, ends, or comes to a place where others may join it."""
        while True:
            if path.at in self.stops:
                yield End("STOP", path)
                return
            self.code.executed.add(path.at)
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

    def possible(self, path: Path, *condition: Any) -> bool:
        """Tells whether the path may be taken, under one more condition: false only if z3 shows that it cannot."""
        if self.solver.check(*path.conditions, *condition) != z3.unsat:
            return True
        self.refuted([*path.conditions, *condition])
        return False

    def prove(self, path: Path) -> Callable[[Any], bool]:
        """Tells of conditions whether they hold on the path for certain."""

        def holds(condition: Any) -> bool:
            known = formula(condition)
            return known if isinstance(known, bool) else not self.possible(path, z3.Not(known))

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

            def replace(term: Any, numeral: Any = numeral) -> Word:
                return reduced(z3.substitute(term, (name, numeral)))

            substitute = partial(self.hashes.substituted, substitute=replace)

            stack = tuple(one if isinstance(one, int) else substitute(one) for one in path.stack)
            conditions = tuple(z3.simplify(z3.substitute(one, (name, numeral))) for one in path.conditions)
            yield evolve(
                path, stack=stack, memory=path.memory.substituted(substitute), split=(*path.split, (name, number)),
                conditions=tuple(one for one in conditions if not z3.is_true(one)),
            )  # fmt: skip


def shared_conditions(path: Path, other: Path) -> int:
    """Counts the conditions with which both paths begin."""
    return len(list(takewhile(lambda both: both[0].eq(both[1]), zip(path.conditions, other.conditions, strict=False))))
