"""The mutation score: of the mutants that the operators make of a part's text, how many give another answer to the fuzzer's questions.

A *part* is a group of modules with a list of questions about them. The right answers are those of the unbroken part, on which all
implementations agree; that is what `opml-fuzz run` checks. So a mutant would be reported as a difference, which is to be *killed*, if it
answers one question differently, raises, crashes, or does not come to an end.

Mutants that do not compile, and those that change no function, are none. `EQUIVALENT` lists those that nobody can kill, with the reason.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache
from importlib import import_module
from inspect import getsource
from itertools import zip_longest
from random import Random
from typing import Any

from attrs import frozen

from evm_arbiter.compile import sources
from opml_fuzz.engines.protocol import OutOfTime
from opml_fuzz.fuzzing.broken_guest import guest_texts, program_of
from opml_fuzz.fuzzing.broken_kernels import kernels_with
from opml_fuzz.fuzzing.c_operators import mutations_of_c
from opml_fuzz.fuzzing.changed_code import NotPlantable, rewritten
from opml_fuzz.fuzzing.compiled_mutants import NotCompiled, compiled_texts
from opml_fuzz.fuzzing.deadline import stopped_after
from opml_fuzz.fuzzing.operators import Mutation, mutations

PATIENCE, LEAST_SECONDS = 2, 5.0  # a mutant may take so many times as long as the right answers took, and that long in any case
SECONDS_TO_COMPILE = 120.0  # all kernels of numba, op by op
KILLED, SURVIVES, NO_MUTANT = "killed", "survives", "no mutant"


class Text(Enum):
    """What a part is written in, and with it how a mutant takes its place."""

    PYTHON = "functions get other code"
    LLVM = "the same; strings are LLVM IR"
    VYPER = "a contract is compiled"
    C = "the guest is compiled"
    NUMBA = "the modules that depend on it are executed again"


@frozen
class Part:
    """Modules of one part, and the questions about it."""

    name: str
    modules: tuple[str, ...]
    answers: Callable[[Any], Iterator[Any]]
    """Asks all questions again. It is given the broken contract or program, or None if nothing is to be given."""

    text: Text = Text.PYTHON
    contract: str = ""
    """The contract whose sources these modules are."""

    but: tuple[str, ...] = ()
    """Functions that nobody is asked about: they run when a module is imported, or write texts for people."""


@frozen
class MutantPlace:
    """A mutant by where it is: the part, the module and the number of the mutation there."""

    part: str
    module: str
    number: int


@frozen
class Fate:
    """The result for one mutant. how: the number of the question that killed it, or what else happened; seconds: of the processor"""

    verdict: str
    how: str
    seconds: float


def text_of(part: Part, module: str) -> str:
    if part.text in (Text.VYPER, Text.C):
        return (sources() if part.text == Text.VYPER else guest_texts())[module]
    return getsource(import_module(module))


@cache
def mutations_in(part: Part, module: str) -> list[Mutation]:
    text = text_of(part, module)
    if part.text == Text.C:
        return mutations_of_c(text)
    return [one for one in mutations(text, part.text == Text.LLVM) if one.function not in part.but]


def all_places(part: Part) -> list[MutantPlace]:
    """Every mutant of a part."""
    return [MutantPlace(part.name, module, number) for module in part.modules for number in range(len(mutations_in(part, module)))]


def sample_of(part: Part, size: int | None, seed: int, equivalent: set[tuple[str, str]]) -> list[MutantPlace]:
    """Draws so many of the part's mutants, or takes all of them, without those that are known to be equivalent."""
    every = [each for each in all_places(part) if (each.module, mutations_in(part, each.module)[each.number].name) not in equivalent]
    return every if size is None or size >= len(every) else Random(f"{seed}/{part.name}").sample(every, size)


@cache
def right_answers(part: Part) -> tuple[list[Any], float]:
    """The answers of the unbroken part, and the processor's seconds that they took. Asked in each process once."""
    begin = time.process_time()
    return list(part.answers(None)), time.process_time() - begin


@contextmanager
def planted(part: Part, module: str, mutation: Mutation) -> Iterator[Any]:
    """The part with the mutation in it, while this is entered; gives the broken contract or program, if it is one. Raises NotCompiled."""
    text = mutation.applied(text_of(part, module))
    if part.text == Text.VYPER:
        yield compiled_texts(part.contract, {**sources(), module: text})
    elif part.text == Text.C:
        yield program_of({module: text})
    elif part.text == Text.NUMBA:
        with kernels_with(module, text):
            yield None
    else:
        with rewritten(module, text) as differing:
            if not differing:
                raise NotCompiled("no function differs")
            yield None


def try_mutant(part: Part, place: MutantPlace) -> Fate:
    """Asks the questions until an answer is not the right one."""
    right, took = right_answers(part)
    begin = time.process_time()
    number = -1

    def outcome(verdict: str, how: str) -> Fate:
        return Fate(verdict, how, round(time.process_time() - begin, 3))

    try:
        with planted(part, place.module, mutations_in(part, place.module)[place.number]) as broken:
            begin = time.process_time()  # a contract or a program is compiled by now
            patience = SECONDS_TO_COMPILE if part.text == Text.NUMBA else 0.0
            with stopped_after(patience + PATIENCE * took + LEAST_SECONDS):
                for number, (answer, expected) in enumerate(zip_longest(part.answers(broken), right)):
                    if answer != expected:
                        return outcome(KILLED, f"question {number}")
    except (NotCompiled, NotPlantable) as error:
        return outcome(NO_MUTANT, " ".join(str(error).split())[:80])
    except OutOfTime:
        return outcome(KILLED, f"no end after question {number}")
    except Exception as error:
        return outcome(KILLED, f"question {number + 1} raised {type(error).__name__}")
    return outcome(SURVIVES, f"{len(right)} questions")
