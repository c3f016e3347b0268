"""The mutation score: operators on small texts, planted code and its removal, lost workers, a sample of each part, the bugs of the past."""

import contextlib
import io
import json
import os
import time
from importlib import import_module
from inspect import getsource
from random import Random

import pytest
from opml_fuzz.commands import fuzz as cli
from opml_fuzz.commands.mutated_parts import BY_NAME, PARTS
from opml_fuzz.engines.model_runs import GuestModels, NativeModels
from opml_fuzz.fuzzing import past_bugs
from opml_fuzz.fuzzing.broken_guest import guest_texts, program_of
from opml_fuzz.fuzzing.broken_kernels import kernels_with
from opml_fuzz.fuzzing.c_operators import mutations_of_c
from opml_fuzz.fuzzing.changed_code import changed, rewritten
from opml_fuzz.fuzzing.compiled_mutants import NotCompiled, compiled_texts, replaced
from opml_fuzz.fuzzing.equivalent import EQUIVALENT
from opml_fuzz.fuzzing.expendable_workers import LOST, ExpendableWorkers
from opml_fuzz.fuzzing.operators import Mutation, mutations
from opml_fuzz.fuzzing.score import KILLED, MutantPlace, Part, all_places, mutations_in, planted, right_answers, try_mutant
from opml_fuzz.models.random_models import one_operation, random_shape
from opml_spec.machine import alu
from opml_spec.machine.instructions import INSTRUCTIONS
from opml_spec.model.operations.fixed import Add, Rope

from evm_arbiter.compile import sources
from opml_min.model.native import engine

PYTHON = '''
TABLE = {
    "add": lambda a, b: a + b,
}
LIMIT = 3


@decorated(1)
def function(a: list[int | None], b: int = 2) -> int:
    """Docstring with 1 + 2."""
    x: dict[int | str, int] = {}
    x[7] = a - b
    if a < b and not x:
        raise ValueError(
            f"at {a + 1}"
        )
    return min(a << b, -b)
'''
VYPER = '''
LIMIT: constant(uint256) = 3


@internal
def _function(a: uint256, b: Bytes[32]) -> uint256:
    """
    @notice Text with 1 + 2
    """
    words: uint256[2] = [a, 4]
    if a >= LIMIT:
        codec.fail(ERROR)
    return unsafe_sub(a, b)
'''
PYTHON_MUTANTS = {
    '"add": lambda a, b: a ⟦+ → -⟧ b,',
    "without x[7] = a - b",
    "x[⟦7 → 8⟧] = a - b",
    "x[7] = a ⟦- → +⟧ b",
    "x[7] = ⟦a - b → b - a⟧",
    "if a ⟦< → <=⟧ b and not x:",
    "if a < b ⟦and → or⟧ not x:",
    "if a < b and ⟦not → ⟧ x:",
    "return ⟦min → max⟧(a << b, -b)",
    "return min(a ⟦<< → >>⟧ b, -b)",
    "return min(⟦a << b → b << a⟧, -b)",
}
VYPER_MUTANTS = {
    "words: uint256[2] = [a, ⟦4 → 5⟧]",
    "if a ⟦>= → >⟧ LIMIT:",
    "without codec.fail(ERROR)",
    "return ⟦unsafe_sub(a, b) → unsafe_sub(b, a)⟧",
}
C = """
#include "x.h" /* 1 < 2 */
enum { LIMIT = 3 };
static inline int twice(int a) { return a << 1; }
int function(const int *p, int n)
{
    int x = (int)-n, *q = &x;
    if (*p <= n && !x)  // 4
        x += 0xFu;
    *q = min(n - x, 7);
    return p[0];
}
"""
C_MUTANTS = {
    "static inline int twice(int a) { return a ⟦<< → >>⟧ 1; }",
    "static inline int twice(int a) { return a << ⟦1 → 2⟧; }",
    "if (*p ⟦<= → <⟧ n && !x)  // 4",
    "if (*p <= n ⟦&& → ||⟧ !x)  // 4",
    "if (*p <= n && ⟦! → ⟧x)  // 4",
    "without x += 0xFu;",
    "x ⟦+= → -=⟧ 0xFu;",
    "x += ⟦0xFu → 0x10u⟧;",
    "without *q = min(n - x, 7);",
    "*q = ⟦min → max⟧(n - x, 7);",
    "*q = min(n ⟦- → +⟧ x, 7);",
    "*q = min(⟦n - x → x - n⟧, 7);",
    "*q = min(n - x, ⟦7 → 8⟧);",
    "return p[⟦0 → 1⟧];",
}
LLVM = 'TEXT = "{t} = and i64 {b}, 63\\n{d} = %s i64 {a}, {t}"\nCONDITIONS = {"blt": "slt"}\n'
LLVM_MUTANTS = {'TEXT = "{t} = ⟦and → or⟧ i64 {b}, 63\\n{d} = %s i64 {a}, {t}"', 'CONDITIONS = {"blt": "⟦slt → sle⟧"}'}


@pytest.mark.parametrize(("text", "expected"), [(PYTHON, PYTHON_MUTANTS), (VYPER, VYPER_MUTANTS), (LLVM, LLVM_MUTANTS)])
def test_operators(text: str, expected: set[str]) -> None:
    """Every mutant is the expected one: none in signatures, annotations, docstrings, decorators and messages."""
    found = mutations(text, is_llvm=text is LLVM)
    assert {one.name for one in found} == expected
    for one in found:
        wrong = one.applied(text)
        assert wrong != text
        assert wrong.count("\n") == text.count("\n")


def test_operators_of_c() -> None:
    """Every mutant is the expected one: none in directives, comments, types and declarations. Pointers and signs stay."""
    found = mutations_of_c(C)
    assert {one.name for one in found} == C_MUTANTS
    assert all(one.applied(C).count("\n") == C.count("\n") for one in found)


def test_a_broken_guest_answers_differently() -> None:
    right = guest_texts()["rope.c"]
    program = program_of({"rope.c": right.replace("a * cos - b * sin", "a * cos + b * sin")})
    rope = one_operation(Random(1), random_shape(Random(1)), False, Rope)
    assert GuestModels(program).answer(rope) != GuestModels().answer(rope)
    with pytest.raises(NotCompiled, match="refuses"):
        program_of({"rope.c": right.replace("int64_t a", "int64_t", 1)})
    with pytest.raises(NotCompiled, match="the same"):
        program_of({})


def test_kernels_that_are_executed_again() -> None:
    """With the same text they answer the same, with another one differently, and then the engine is as it was."""
    module, native = "opml_min.model.native.kernels.fixed.elementwise", NativeModels()
    text, before = getsource(import_module(module)), engine.run_stages
    add = one_operation(Random(1), random_shape(Random(1)), False, Add)
    right = GuestModels().answer(add)
    assert right is not None
    with kernels_with(module, text):
        assert engine.run_stages is not before
        assert native.answer(add) == right
    with kernels_with(module, text.replace("np.int64(x[i]) + np.int64(y[i])", "np.int64(x[i]) - np.int64(y[i])")):
        assert native.answer(add) != right
    assert engine.run_stages is before


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_part_has_mutants_in_every_module(part: Part) -> None:
    for module in part.modules:
        assert mutations_in(part, module), module
    assert len(all_places(part)) > 90


def test_what_is_called_equivalent_is_a_mutant() -> None:
    for each in EQUIVALENT:
        part = next(part for part in PARTS if each.module in part.modules)
        assert each.name in {one.name for one in mutations_in(part, each.module)}, each.name


def test_code_behind_decorators_and_in_tables_is_changed_and_restored() -> None:
    """The functions of the table of instructions are closures, made when their module was imported."""
    execute = {row.name: row.execute for row in INSTRUCTIONS}
    before = execute["add"].__code__
    with changed("opml_spec.machine.alu", "state.pc + 4", "state.pc + 8"):
        assert execute["add"].__code__ != before
        assert execute["lui"].__code__ is {row.name: row.execute for row in INSTRUCTIONS}["lui"].__code__
    assert execute["add"].__code__ is before
    with rewritten("opml_spec.machine.alu", getsource(alu)) as differing:
        assert differing == 0


def test_a_mutant_is_killed_and_nothing_of_it_is_left() -> None:
    part = BY_NAME["spec: arithmetic"]
    outcome = try_mutant(part, MutantPlace(part.name, "opml_spec.arithmetic.fixed", 0))
    assert outcome.verdict == KILLED
    assert list(part.answers(None)) == right_answers(part)[0]


def test_a_contract_that_does_not_compile_or_does_not_differ_is_no_mutant() -> None:
    texts = sources()
    with pytest.raises(NotCompiled):
        compiled_texts("arbiter", {**texts, "arbiter.vy": texts["arbiter.vy"].replace("uint256", "uint", 1)})
    with pytest.raises(NotCompiled, match="the same"):
        compiled_texts("arbiter", texts)
    module = "opml_spec.arithmetic.fixed"
    spaced = Mutation("constant", 1, 0, '"""', '""" ', "")
    with pytest.raises(NotCompiled, match="no function differs"), planted(BY_NAME["spec: arithmetic"], module, spaced):
        pytest.fail("this only changes a docstring")


def slow_or_mad(task: int) -> int:
    """Work for a worker: one task waits, one ends the process, one uses the processor for ever."""
    if task == 1:
        time.sleep(60)
    if task == 2:
        os._exit(3)
    while task == 4:
        pass
    return task * task


def test_workers_that_hang_or_die_are_replaced() -> None:
    answers = dict(ExpendableWorkers(slow_or_mad, 2, 1.0).answers(range(6)))
    assert answers == {0: 0, 1: LOST, 2: LOST, 3: 9, 4: LOST, 5: 25}


def test_on_a_busy_computer_no_worker_is_ended_early() -> None:
    """What counts is the time of the processor: a task may take longer than its seconds by the clock."""
    assert dict(ExpendableWorkers(waits, 1, 1.0).answers([3])) == {3: 3}


def waits(seconds: int) -> int:
    time.sleep(seconds)
    return seconds


def test_the_command_prints_the_score_by_part() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main(["mutants", "--operators", "6", "--only", "spec: arithmetic", "--json", "--jobs", "1"])
    told = json.loads(printed.getvalue())
    assert told["seed"] == 1
    assert told["total"] == told["parts"][0]["mutants"] == told["parts"][-1]["mutants"] <= 6
    assert told["killed"] + len(told["survivors"]) == told["total"] > 3
    assert code == bool(told["survivors"])
    assert {one["part"] for one in told["mutants"]} == {"spec: arithmetic"}


def test_the_bugs_of_the_past_can_be_put_back() -> None:
    """Each text stands where the list says, once; the list has each part."""
    for _, right, wrong in past_bugs.IN_THE_CONTRACT:
        assert replaced("game", right, wrong)
    for _, right, wrong in past_bugs.IN_THE_ARBITER:
        assert replaced("arbiter", right, wrong)
    for _, module, right, wrong in past_bugs.IN_PYTHON:
        with changed(module, right, wrong):
            assert import_module(module)
    for _, module, right, wrong in past_bugs.IN_THE_RULES:
        with changed(f"opml_spec.dispute.{module}", right, wrong):
            pass
    names = [mutant.name for mutant in past_bugs.past_bugs()]
    assert len(names) == len(set(names)) == 20
