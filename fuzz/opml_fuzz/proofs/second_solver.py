"""A second solver that must agree: bitwuzla, which shares no code with z3, reads the same questions as SMT-LIB.

It knows bit vectors, floats and unknown functions, but no integers: questions about these are counted and not asked.

*Source*: Niemetz, Preiner, "Bitwuzla" (2023); The SMT-LIB Standard, version 2.7.
"""

import threading
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from attrs import evolve, frozen

from opml_fuzz.errors import InputError
from opml_fuzz.proofs.stoppable import Stopped, stoppable

QUERY_SECONDS = 120.0
INTEGERS = (" Int)", "(Int ", " Int ")  # the sort, where SMT-LIB has it: of a constant, of a function


@frozen
class Recheck:
    """What the second solver says of questions that z3 answered with unsat: how many of each kind.

    undecided: it did not know within its time, or could not read it; about_integers: it was not asked; slowest: the most seconds for one"""

    agreeing: int = 0
    disagreeing: int = 0
    undecided: int = 0
    about_integers: int = 0
    slowest: float = 0.0

    @property
    def is_well(self) -> bool:
        """Whether it agrees on all that it was asked."""
        return not self.disagreeing and not self.undecided

    def __add__(self, other: "Recheck") -> "Recheck":
        return Recheck(
            self.agreeing + other.agreeing, self.disagreeing + other.disagreeing, self.undecided + other.undecided,
            self.about_integers + other.about_integers, max(self.slowest, other.slowest),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return {
            "agreeing": self.agreeing, "disagreeing": self.disagreeing, "undecided": self.undecided,
            "about_integers": self.about_integers, "slowest": round(self.slowest, 3),
        }  # fmt: skip


def second_solver() -> Any:
    """The solver's module, or an error that says how to get it."""
    try:
        import bitwuzla  # a developer extra, so imported only where it is used
    except ImportError as error:
        raise InputError(f"bitwuzla is not installed ({error}): pip install 'opml[dev]'") from error
    return bitwuzla


def recheck(queries: Iterable[str], seconds: float = QUERY_SECONDS) -> Recheck:
    """Asks the second solver each question, for so many seconds at most. A signal stops it."""
    return stoppable(partial(_recheck, queries, seconds))


def _recheck(queries: Iterable[str], seconds: float, stop: threading.Event) -> Recheck:
    bitwuzla, found = second_solver(), Recheck()
    for query in queries:
        if any(sort in query for sort in INTEGERS):
            found = evolve(found, about_integers=found.about_integers + 1)
            continue
        begin = time.monotonic()
        answer = ask(bitwuzla, query, partial(is_over, begin + seconds, stop))
        if stop.is_set():
            raise Stopped
        agrees, disagrees = answer == bitwuzla.Result.UNSAT, answer == bitwuzla.Result.SAT
        found += Recheck(agrees, disagrees, not (agrees or disagrees), slowest=time.monotonic() - begin)
    return found


def ask(bitwuzla: Any, query: str, terminates: Any) -> Any:
    """The solver's answer; unknown if `terminates` was true before it had one, or if it cannot read the question."""
    parser = bitwuzla.Parser(bitwuzla.TermManager(), bitwuzla.Options())
    try:
        parser.parse(query.replace("(check-sat)", ""), True, False)
    except bitwuzla.BitwuzlaException:
        return bitwuzla.Result.UNKNOWN
    solver = parser.bitwuzla()
    solver.configure_terminator(terminates)
    return solver.check_sat()


def is_over(end: float, stop: threading.Event) -> bool:
    return stop.is_set() or time.monotonic() > end
