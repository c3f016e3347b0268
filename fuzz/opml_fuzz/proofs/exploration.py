"""Exploration: all paths of a play, each with one solver that knows what the path assumes.

It differs from `Paths` in that a play may assume things on the way, choose between alternatives that are no condition, and ask z3 whether
something holds at once.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import z3

from opml_fuzz.proofs.symbols import Paths, formula, ignore

DECIDE_MILLISECONDS = 2_000


class Discarded(Exception):
    """The path assumes what cannot be."""


class Exploration(Paths):
    """The paths of a play, depth first. `taken` are the alternatives taken on the path being run, by number.

    The solver has a scope for each of them. What a path has in common with the one before it is not told to the solver again."""

    def __init__(self, refuted: Callable[[Sequence[Any]], None] = ignore) -> None:
        super().__init__(refuted=refuted)
        self.solver.set("timeout", DECIDE_MILLISECONDS)
        self.taken: list[int] = []
        self.place, self.shared = 0, -1
        self.waiting: list[list[int]] = []
        self.simplified = dict[int, tuple[z3.BoolRef, z3.BoolRef | None]]()

    def plays(self, play: Callable[[], None]) -> Iterator[None]:
        """Plays each path; stops after each one, while what it assumes is still known."""
        self.waiting = [[]]
        while self.waiting:
            self.taken = self.waiting.pop()
            self.place, self.conditions, self.is_running = 0, [], True
            self.shared = len(self.taken) - 1
            self.solver.pop(self.solver.num_scopes() - max(self.shared, 0))
            try:
                play()
                yield
            except Discarded:
                pass
            finally:
                self.is_running = False
        self.solver.reset()

    def learn(self, *facts: z3.BoolRef) -> None:
        """Adds what is known on this path."""
        self.conditions.extend(facts)
        if self.place > self.shared:
            self.solver.add(*facts)

    def take(self) -> int:
        """Goes on to the next alternative on this path, which is known."""
        if self.place >= self.shared:
            self.solver.push()
        self.place += 1
        return self.taken[self.place - 1]

    def branch(self, count: int) -> int:
        """Takes each of so many alternatives, one per path."""
        if self.place == len(self.taken):
            self.waiting.extend([*self.taken, other] for other in range(count - 1, 0, -1))
            self.taken.append(0)
        return self.take()

    def decide(self, condition: z3.BoolRef) -> bool:
        """Answers for the path being run. An answer that cannot hold is not tried."""
        if not self.is_running:
            raise TypeError("a symbol has no truth value outside of a play")
        condition = self.simple(condition)
        if z3.is_true(condition) or z3.is_false(condition):
            return bool(z3.is_true(condition))
        if self.place == len(self.taken):
            answers = [answer for answer, holds in enumerate((condition, z3.Not(condition))) if self.possible(holds)]
            if not answers:
                raise Discarded
            self.waiting.extend([*self.taken, answer] for answer in answers[1:])
            self.taken.append(answers[0])
        answer = self.take() == 0
        self.learn(condition if answer else z3.Not(condition))
        return answer

    def simple(self, condition: z3.BoolRef) -> z3.BoolRef:
        """Simplifies a condition, once for all paths that ask for it."""
        _, simple = self.simplified.setdefault(condition.get_id(), (condition, None))
        if simple is None:
            simple = z3.simplify(condition, ctrl_c=False)
            self.simplified[condition.get_id()] = (condition, simple)  # z3 gives the number to no other condition as long as this is kept
        return simple

    def possible(self, condition: z3.BoolRef) -> bool:
        if self.solver.check(condition) != z3.unsat:
            return True
        self.refuted([*self.conditions, condition])
        return False

    def assume(self, condition: Any) -> None:
        """Goes on only where this holds."""
        fact = self.simple(formula(condition))
        if z3.is_false(fact):
            raise Discarded
        if not z3.is_true(fact):
            self.learn(fact)

    def counterexample(self, condition: Any, milliseconds: int) -> z3.ModelRef | None:
        """Looks for a case of this path in which the condition does not hold; raises if z3 does not know."""
        wrong = self.simple(z3.Not(formula(condition)))
        if z3.is_false(wrong):
            return None
        answer = self.solver.check(wrong)
        if answer == z3.sat:
            return self.solver.model()
        if answer == z3.unsat:
            self.refuted([*self.conditions, wrong])
            return None
        alone = z3.Solver()
        alone.set("timeout", milliseconds)
        alone.set("ctrl_c", False)
        alone.add(*self.conditions, wrong)
        answer = alone.check()
        if answer == z3.unknown:
            raise TimeoutError(alone.reason_unknown())
        if answer == z3.sat:
            return alone.model()
        self.refuted([*self.conditions, wrong])
        return None
