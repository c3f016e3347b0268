"""A second solver that must agree: it shares no code with z3 and reads the same questions as SMT-LIB.

bitwuzla is asked about bit vectors, floats and unknown functions. It knows no integers, so questions about these go to cvc5, if that is
installed; else they are only counted.

*Source*: Niemetz, Preiner, "Bitwuzla" (2023); Barbosa et al., "cvc5" (2022); The SMT-LIB Standard, version 2.7; for products of reals
Ábrahám et al., "Deciding the consistency of non-linear real arithmetic constraints … using cylindrical algebraic coverings" (2021).
"""

import threading
import time
from collections.abc import Iterable
from functools import partial
from itertools import product
from typing import Any

from attrs import asdict, evolve, frozen

from opml_fuzz.errors import InputError
from opml_fuzz.proofs.relaxed import NotRelaxed, Relaxation
from opml_fuzz.proofs.stoppable import Stopped, stoppable

QUERY_SECONDS = 1200.0  # one, about sums of money after `timeout`, takes nine minutes
INTEGER_SECONDS = 20.0  # for each strategy; cvc5 hears no signal meanwhile
QUICK_SECONDS = 1.0  # for each, at first
STRATEGIES: tuple[dict[str, str], ...] = (
    *({}, {"decision": "internal"}, {"decision": "stoponly"}),
    *({"nl-ext-purify": "true"}, {"arith-rewrite-equalities": "true"}, {"arith-prop": "none"}),
)
"""Options of cvc5 beside its own. What one of them does not decide in minutes, another often does at once."""

COVERINGS = {"nl-cov": "true", "nl-ext": "none"}
"""How cvc5 decides products of reals."""

INTEGERS = (" Int)", "(Int ", " Int ")  # the sort, where SMT-LIB has it: of a constant, of a function
AGREEING, DISAGREEING, UNDECIDED, UNREADABLE = "agreeing", "disagreeing", "undecided", "unreadable"


@frozen
class Answers:
    """What a solver says of questions that z3 answered with unsat: how many of each kind.

    undecided: it did not know within its time; unreadable: it cannot express them; slowest: the most seconds for one"""

    agreeing: int = 0
    disagreeing: int = 0
    undecided: int = 0
    unreadable: int = 0
    slowest: float = 0.0

    @property
    def count(self) -> int:
        """How many it was asked."""
        return self.agreeing + self.disagreeing + self.undecided + self.unreadable

    def __add__(self, other: "Answers") -> "Answers":
        numbers = {name: getattr(self, name) + getattr(other, name) for name in (AGREEING, DISAGREEING, UNDECIDED, UNREADABLE)}
        return Answers(**numbers, slowest=max(self.slowest, other.slowest))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "slowest": round(self.slowest, 3)}


@frozen
class Recheck:
    """What bitwuzla and cvc5 say. unasked: questions about integers, if there is no cvc5"""

    bitwuzla: Answers = Answers()
    cvc5: Answers = Answers()
    unasked: int = 0

    @property
    def is_well(self) -> bool:
        """Whether they agree on all that they were asked."""
        return all(one.agreeing == one.count for one in (self.bitwuzla, self.cvc5))

    def __add__(self, other: "Recheck") -> "Recheck":
        return Recheck(self.bitwuzla + other.bitwuzla, self.cvc5 + other.cvc5, self.unasked + other.unasked)

    def to_json(self) -> dict[str, Any]:
        return {"bitwuzla": self.bitwuzla.to_json(), "cvc5": self.cvc5.to_json(), "unasked": self.unasked}


def second_solver() -> Any:
    """The module of bitwuzla, or an error that says how to get it."""
    try:
        import bitwuzla  # a developer extra, so imported only where it is used
    except ImportError as error:
        raise InputError(f"bitwuzla is not installed ({error}): pip install 'opml[dev]'") from error
    return bitwuzla


def integer_solver() -> Any:
    """The module of cvc5, or None."""
    try:
        import cvc5  # an extra of its own
    except ImportError:
        return None
    return cvc5


def recheck(queries: Iterable[str], seconds: float = QUERY_SECONDS, integer_seconds: float = INTEGER_SECONDS) -> Recheck:
    """Asks the second solvers each question, for so many seconds at most. A signal stops it."""
    return stoppable(partial(_recheck, queries, seconds, integer_seconds))


def _recheck(queries: Iterable[str], seconds: float, integer_seconds: float, stop: threading.Event) -> Recheck:
    bitwuzla, cvc5, found = second_solver(), integer_solver(), Recheck()
    for query in queries:
        if stop.is_set():
            raise Stopped
        if not any(sort in query for sort in INTEGERS):
            found += Recheck(timed(partial(ask_bitwuzla, bitwuzla, query, seconds, stop)))
        elif cvc5 is None:
            found = evolve(found, unasked=found.unasked + 1)
        else:
            found += Recheck(cvc5=timed(partial(ask_cvc5, cvc5, query, integer_seconds)))
    return found


def timed(ask: Any) -> Answers:
    """The one answer, and how long it took."""
    begin = time.monotonic()
    return Answers(**{ask(): 1}, slowest=time.monotonic() - begin)


def ask_bitwuzla(bitwuzla: Any, query: str, seconds: float, stop: threading.Event) -> str:
    """What bitwuzla says."""
    parser = bitwuzla.Parser(bitwuzla.TermManager(), bitwuzla.Options())
    try:
        parser.parse(query.replace("(check-sat)", ""), True, False)
    except bitwuzla.BitwuzlaException:
        return UNREADABLE
    solver = parser.bitwuzla()
    solver.configure_terminator(partial(is_over, time.monotonic() + seconds, stop))
    answer = solver.check_sat()
    if stop.is_set():
        raise Stopped
    return {bitwuzla.Result.UNSAT: AGREEING, bitwuzla.Result.SAT: DISAGREEING}.get(answer, UNDECIDED)


def is_over(end: float, stop: threading.Event) -> bool:
    return stop.is_set() or time.monotonic() > end


def ask_cvc5(cvc5: Any, query: str, seconds: float) -> str:
    """What cvc5 says, by the first strategy that knows. The last one takes integers for reals."""
    for limit, options in product((QUICK_SECONDS, seconds), (*STRATEGIES, None)):
        answer = ask_cvc5_of_reals(cvc5, query, limit) if options is None else ask_cvc5_once(cvc5, query, limit, options)
        if answer != UNDECIDED:
            return answer
    return UNDECIDED


def ask_cvc5_once(cvc5: Any, query: str, seconds: float, options: dict[str, str]) -> str:
    """What cvc5 says by one strategy."""
    solver = solver_of(cvc5, cvc5.TermManager(), "ALL", seconds, options)
    if not reads(cvc5, solver, query):
        return UNREADABLE
    answer = solver.checkSat()
    return AGREEING if answer.isUnsat() else DISAGREEING if answer.isSat() else UNDECIDED


def ask_cvc5_of_reals(cvc5: Any, query: str, seconds: float) -> str:
    """What cvc5 says where reals stand for integers: they show that there is no solution, but never one."""
    terms = cvc5.TermManager()
    reader, solver = solver_of(cvc5, terms, "ALL", seconds, {}), solver_of(cvc5, terms, "QF_NRA", seconds, COVERINGS)
    if not reads(cvc5, reader, query):
        return UNREADABLE
    try:
        formulas = Relaxation(cvc5, terms).formulas(reader.getAssertions())
    except NotRelaxed:
        return UNDECIDED
    for formula in formulas:
        solver.assertFormula(formula)
    return AGREEING if solver.checkSat().isUnsat() else UNDECIDED


def solver_of(cvc5: Any, terms: Any, logic: str, seconds: float, options: dict[str, str]) -> Any:
    """A solver of cvc5 with these options, for so many seconds."""
    solver = cvc5.Solver(terms)
    solver.setLogic(logic)
    for option, value in {"tlimit-per": str(int(1000 * seconds)), **options}.items():
        solver.setOption(option, value)
    return solver


def reads(cvc5: Any, solver: Any, query: str) -> bool:
    """Lets a solver read a question; tells whether it can."""
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, query.replace("(check-sat)", ""), "")
    try:
        while not (command := parser.nextCommand()).isNull():
            command.invoke(solver, parser.getSymbolManager())
    except RuntimeError:
        return False
    return True
