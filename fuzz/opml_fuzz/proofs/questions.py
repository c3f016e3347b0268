"""Questions to z3, of which only `unsat` proves anything.

A claim is proved under conditions if the conditions and its contrary cannot hold together. An answer `sat` is a counterexample; `unknown`
is a failure. How much z3 may work is counted in its own units, not in seconds, so a slow machine gets the same answers. Equal questions
are asked once, and what holds in a model that was found before is not asked at all.
"""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import z3

from opml_fuzz.proofs.stoppable import Stopped
from opml_fuzz.proofs.symbols import FEASIBLE_UNITS

MOST_MODELS = 16

LOGIC = "QF_UFBV"  # bit vectors and unknown functions


class Failure(Exception):
    """A statement is not proved. result: counterexample, unknown or error; model: what z3 found, in which the formulas hold"""

    def __init__(self, result: str, detail: str = "", model: Any = None, formulas: Sequence[Any] = ()) -> None:
        super().__init__(detail)
        self.result, self.model, self.formulas = result, model, tuple(formulas)


class KeptQueries:
    """Queries that z3 answered with unsat, each once, as SMT-LIB; none unless they are to be kept. logic: what they are about, if known"""

    def __init__(self, keeps: bool, logic: str | None = None) -> None:
        self.keeps, self.logic = keeps, logic
        self.queries: dict[str, None] = {}

    def __call__(self, formulas: Sequence[Any]) -> None:
        if self.keeps:
            solver = z3.Solver() if self.logic is None else z3.SolverFor(self.logic)
            solver.add(*formulas)
            self.queries[solver.to_smt2()] = None


class Questions:
    """The questions of one proof. `refuted` keeps those that were answered with unsat, here or where paths were explored.

    limit: how much z3 may work on one of them, in its own units (`rlimit`)"""

    def __init__(self, limit: int, stop: threading.Event, keeps: bool = False) -> None:
        self.limit, self.stop, self.refuted = limit, stop, KeptQueries(keeps, LOGIC)
        self.answers: dict[frozenset[int], tuple[Any, Any]] = {}
        self.kept: list[Any] = []
        self.models: deque[Any] = deque(maxlen=MOST_MODELS)

    def can_hold(self, formulas: Sequence[Any]) -> bool:
        """Tells whether the formulas may hold together: false only if z3 shows, without much work, that they cannot."""
        return bool(self.ask(formulas, FEASIBLE_UNITS)[0] != z3.unsat)

    def solver(self, facts: Any, more: Sequence[Any] = ()) -> Any:
        """A solver that knows facts, those to come as well, and remembers what it found out about them."""
        solver = z3.SimpleSolver()
        solver.set("rlimit", FEASIBLE_UNITS)
        solver.set("ctrl_c", False)
        facts.tell(solver)
        solver.add(*more)
        return solver

    def ask_in(self, solver: Any, formulas: Sequence[Any], known: Sequence[Any]) -> tuple[Any, Any]:
        """Asks, without much work, whether the formulas can hold together with what a solver knows: z3's answer, and its model."""
        if self.stop.is_set():
            raise Stopped
        model = next((one for one in self.models if holds(one, (*known, *formulas))), None)
        if model is not None:
            return z3.sat, model
        answer = solver.check(*formulas)
        if answer == z3.unsat:
            self.refuted([*known, *formulas])
        if answer == z3.sat:
            self.models.appendleft(solver.model())
        return answer, self.models[0] if answer == z3.sat else None

    def ask(self, formulas: Sequence[Any], limit: int | None = None) -> tuple[Any, Any]:
        """Asks whether the formulas can hold together: z3's answer, and its model or why it gave up. The solver is too large to be kept."""
        if self.stop.is_set():
            raise Stopped
        key = frozenset(one.get_id() for one in formulas)
        if key not in self.answers:
            known = next((model for model in self.models if holds(model, formulas)), None)
            if known is not None:
                return z3.sat, known
            solver = z3.SolverFor(LOGIC)
            solver.set("rlimit", limit or self.limit)
            solver.set("ctrl_c", False)
            solver.add(*formulas)
            answer = solver.check()
            if answer == z3.unsat:
                self.refuted(formulas)
            if answer == z3.unknown:
                return answer, solver.reason_unknown()
            why = solver.model() if answer == z3.sat else None
            if why is not None:
                self.models.appendleft(why)
            self.answers[key] = answer, why
            self.kept.append(formulas)  # as long as they live, no other formula has their id
        return self.answers[key]

    def prove(self, conditions: Sequence[Any], claim: Any) -> None:
        """Shows that the claim holds wherever the conditions do, or raises Failure."""
        claim = z3.simplify(claim, ctrl_c=False)
        if z3.is_true(claim) or any(z3.is_false(one) for one in conditions):
            return
        formulas = [*(one for one in conditions if not z3.is_true(one)), z3.Not(claim)]
        answer, why = self.ask(formulas)
        if answer == z3.sat:
            raise Failure("counterexample", model=why, formulas=formulas)
        if answer != z3.unsat:
            raise Failure("unknown", why)

    def are_possible(self, conditions: Sequence[Any]) -> None:
        """Shows that the conditions can hold together, or raises Failure: what assumes too much proves nothing."""
        answer, why = self.ask(conditions)
        if answer == z3.unknown:
            raise Failure("unknown", f"whether anything is admitted: {why}")
        if answer != z3.sat:
            raise Failure("error", "nothing is admitted")


def holds(model: Any, formulas: Sequence[Any]) -> bool:
    """Tells whether all of the formulas are true in a model. The last ones, which are the newest, are tried first."""
    return all(z3.is_true(model.eval(one, model_completion=True)) for one in reversed(formulas))
