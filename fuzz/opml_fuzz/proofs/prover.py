"""The prover: z3 looks for a counterexample to a statement, on every path through its predicate.

`proved` means that z3 showed there is none. `unknown` is a failure, and so is a path on which the predicate raises. A statement must
also be about something: z3 must find values that are admitted, and the predicate must take these, as plain numbers, too.
"""

import threading
import time
from functools import partial
from typing import Any

import z3

from opml_fuzz.proofs.ieee import IeeeFloat
from opml_fuzz.proofs.known_values import NO_TEST, given_as, reproducer, result_if_admitted
from opml_fuzz.proofs.questions import KeptQueries
from opml_fuzz.proofs.stoppable import Stopped, stoppable
from opml_fuzz.proofs.symbols import VECTOR_BITS, Number, Paths, Symbol, Vector, formula
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.statement import Float, Statement, Variable, Word

QUERY_SECONDS = 30.0


Made = tuple[Symbol | IeeeFloat, Any, list[z3.BoolRef]]


def symbol(name: str, variable: Variable, paths: Paths) -> Made:
    """Makes a symbol; returns it with the z3 constant that a counterexample is read from, and its bounds."""
    if isinstance(variable, Word):
        constant = z3.BitVec(name, variable.bits)
        extend = z3.SignExt if variable.is_signed else z3.ZeroExt
        return Vector(extend(VECTOR_BITS - variable.bits, constant), paths), constant, []
    if isinstance(variable, Float):
        constant = z3.BitVec(name, variable.bits)
        return IeeeFloat.of_bits(constant, variable, paths), constant, []
    constant = z3.Int(name)
    bounds = [constant >= variable.low] + ([] if variable.high is None else [constant <= variable.high])
    return Number(constant, paths), constant, bounds


def prove(statement: Statement, query_seconds: float = QUERY_SECONDS, keeps: bool = False) -> Verdict:
    """Tries all cases of a statement; the first not proved decides. A signal stops it. keeps: whether the verdict has its queries"""
    return stoppable(partial(prove_cases, statement, query_seconds, KeptQueries(keeps)))


def prove_cases(statement: Statement, query_seconds: float, refuted: KeptQueries, stop: threading.Event) -> Verdict:
    """Does what `prove` does, until `stop` is set."""
    begin = time.monotonic()
    if not statement.cases:
        return Verdict(statement.name, "error", 0.0, "it has no cases")
    for case in statement.cases:
        result, detail = prove_case(statement, case, query_seconds, refuted, stop)
        if result != "proved":
            return Verdict(statement.name, result, time.monotonic() - begin, detail)
    return Verdict(statement.name, "proved", time.monotonic() - begin, queries=tuple(refuted.queries))


def prove_case(
    statement: Statement, case: tuple[Any, ...], query_seconds: float, refuted: KeptQueries, stop: threading.Event
) -> tuple[str, str]:
    """Tries one case without knowing what products are, and if that fails, knowing it."""
    result, detail = "unknown", ""
    for knows_products in (False, True):
        try:
            result, detail = search(statement, case, Paths(knows_products, refuted), query_seconds, stop)
        except Exception as error:  # a predicate that cannot be evaluated proves nothing
            result, detail = "error", f"{type(error).__name__}: {error}"
        if result == "proved":
            break
    return result, ", ".join([*map(str, case), *([detail] if detail else [])])


def search(statement: Statement, case: tuple[Any, ...], paths: Paths, query_seconds: float, stop: threading.Event) -> tuple[str, str]:
    """Searches all paths for a counterexample, and for values that are admitted."""
    made = {name: symbol(name, variable, paths) for name, variable in statement.variables.items()}
    values = [value for value, _, _ in made.values()]
    bounds = [bound for _, _, more in made.values() for bound in more]
    solver, admitted, doubtful = z3.Solver(), False, ""
    solver.set("timeout", int(1000 * query_seconds))
    solver.set("ctrl_c", False)

    for conditions, result in paths.explore(partial(result_if_admitted, statement, case, values), bounds):
        if result is None:
            continue
        answer = solver.check(*conditions, z3.Not(formula(result)))
        if stop.is_set():
            raise Stopped
        if answer == z3.sat:
            model = solver.model()
            found = {name: model.eval(constant, model_completion=True) for name, (_, constant, _) in made.items()}
            test = reproducer(statement, case, [number.as_long() for number in found.values()])
            shown = ", ".join(f"{name} = {number}" for name, number in found.items()) + test
            return "unknown" if test == NO_TEST else "counterexample", shown
        if answer != z3.unsat:
            return "unknown", solver.reason_unknown()
        paths.refuted([*conditions, z3.Not(formula(result))])
        if not admitted:
            answer = solver.check(*conditions)
            if answer == z3.sat:
                model = solver.model()
                given = given_as(statement, [model.eval(constant, model_completion=True).as_long() for _, constant, _ in made.values()])
                said = result_if_admitted(statement, case, given)
                if said is not None and not said:
                    return "error", f"z3 proves it, and yet it does not hold for {given}"
                admitted = said is not None
            elif answer == z3.unknown:
                doubtful = solver.reason_unknown()
    if admitted:
        return "proved", ""
    return ("unknown", f"whether any value is admitted: {doubtful}") if doubtful else ("error", "no value is admitted")
