"""What was proved a moment ago on a path: the compiler checks each sum and difference right after it was made.

A packed word is subtracted field by field where z3 shows that nothing is borrowed. Then the bytecode asks whether the whole word has become
larger. That it has not follows from what was shown, whatever the fields are. So z3 is asked that first, with a name for each field.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import z3

LAST = 4
UNITS = 50_000_000  # of z3's work


class Remembered:
    """Conditions that were proved under the first conditions of a path. These hold as long as it is followed."""

    def __init__(self) -> None:
        self.proved: deque[tuple[tuple[int, ...], tuple[Any, ...], Any]] = deque(maxlen=LAST)
        self.solver = z3.SolverFor("QF_UFBV")
        self.solver.set("rlimit", UNITS)
        self.solver.set("ctrl_c", False)

    def add(self, conditions: Sequence[Any], fact: Any) -> None:
        self.proved.append((identities(conditions), tuple(conditions), fact))

    def refute(self, conditions: Sequence[Any], contrary: Sequence[Any]) -> tuple[Any, ...] | None:
        """Finds facts of the path that contradict something: these and that, or None."""
        path = identities(conditions)
        facts = [fact for first, _, fact in self.proved if path[: len(first)] == first]
        if not facts:
            return None
        self.solver.push()
        names = dict[int, Any]()
        self.solver.add(*(named(one, names) for one in (*facts, *contrary)))
        answer = self.solver.check()
        self.solver.pop()
        return (*facts, *contrary) if answer == z3.unsat else None


SEEN_THROUGH = frozenset((
    z3.Z3_OP_AND, z3.Z3_OP_OR, z3.Z3_OP_NOT, z3.Z3_OP_EQ, z3.Z3_OP_ULEQ, z3.Z3_OP_ULT, z3.Z3_OP_UGEQ, z3.Z3_OP_UGT,
    z3.Z3_OP_CONCAT, z3.Z3_OP_BADD, z3.Z3_OP_BMUL, z3.Z3_OP_BNOT,
))  # fmt: skip
"""Of what sums, differences and comparisons of packed words are made."""


def named(term: Any, names: dict[int, Any]) -> Any:
    """The term with a name for whatever is no sum, difference or comparison. names: those that were given, by term"""
    if z3.is_bv_value(term) or not (term.num_args() or z3.is_bv(term)):
        return term
    if term.decl().kind() in SEEN_THROUGH:
        parts = [named(one, names) for one in term.children()]
        return made(term, parts)
    if term.get_id() not in names:
        names[term.get_id()] = z3.Const(f"named{len(names)}", term.sort())
    return names[term.get_id()]


def made(term: Any, parts: list[Any]) -> Any:
    """Returns a term with other operands of its operation."""
    return z3.substitute(term, *((old, new) for old, new in zip(term.children(), parts, strict=True) if not old.eq(new)))


def identities(conditions: Sequence[Any]) -> tuple[int, ...]:
    return tuple(one.get_id() for one in conditions)
