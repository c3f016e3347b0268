"""Proofs of the rules: each play on all its paths, with z3 asked at each place where it shows something."""

import threading
import time
from functools import partial
from typing import Any

from opml_fuzz.proofs.exploration import Exploration
from opml_fuzz.proofs.known_world import reproducer
from opml_fuzz.proofs.prover import QUERY_SECONDS
from opml_fuzz.proofs.questions import KeptQueries
from opml_fuzz.proofs.stoppable import Stopped, stoppable
from opml_fuzz.proofs.symbolic_world import Refuted, SymbolicWorld, replaced
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements.catalogue import RULES
from opml_fuzz.statements.world import Rule

NO_TEST = "\nThere is no test: with real hashes, what z3 found goes another way."


def prove_rule(rule: Rule, query_seconds: float = QUERY_SECONDS, keeps: bool = False) -> Verdict:
    """Plays all cases of a rule; the first that is not proved decides. A signal stops it. keeps: whether the verdict has all queries"""
    return stoppable(partial(play_cases, rule, query_seconds, KeptQueries(keeps)))


def play_cases(rule: Rule, query_seconds: float, refuted: KeptQueries, stop: threading.Event) -> Verdict:
    """Does what `prove_rule` does, until `stop` is set."""
    begin = time.monotonic()
    if not rule.cases:
        return Verdict(rule.name, "error", 0.0, "it has no cases")
    for case, places in rule.cases.items():
        exploration = Exploration(refuted)
        world = SymbolicWorld(exploration, int(1000 * query_seconds))
        try:
            with replaced(world):
                for _ in exploration.plays(partial(begun, rule, case, world)):
                    if stop.is_set():
                        raise Stopped
        except Refuted as found:
            test = reproducer(rule, case, world, found.model) or (NO_TEST if rule.name in RULES else "")
            return verdict(rule, "counterexample", begin, case, f"{found}{test}")
        except TimeoutError as late:
            return verdict(rule, "unknown", begin, case, str(late))
        except Exception as error:  # a play that cannot be played proves nothing
            return verdict(rule, "error", begin, case, f"{type(error).__name__}: {error}")
        if not places:
            return verdict(rule, "error", begin, case, "it names no place to come to")
        if missing := places - world.places:
            return verdict(rule, "error", begin, case, f"no play comes to {', '.join(sorted(missing))}")
    return Verdict(rule.name, "proved", time.monotonic() - begin, queries=tuple(refuted.queries))


def begun(rule: Rule, case: tuple[Any, ...], world: SymbolicWorld) -> None:
    world.begin()
    rule.play(world, *case)


def verdict(rule: Rule, result: str, begin: float, case: tuple[Any, ...], detail: str) -> Verdict:
    return Verdict(rule.name, result, time.monotonic() - begin, ", ".join([*map(str, case), detail]))
