"""Each statement about code fails when that code is wrong: one expression is replaced, and the solver must find a counterexample."""

import re
import threading
from itertools import product
from typing import Any

import pytest
from opml_fuzz.fuzzing.changed_code import changed
from opml_fuzz.proofs.prover import prove, search
from opml_fuzz.proofs.symbols import Paths
from opml_fuzz.statements.catalogue import STATEMENTS
from opml_fuzz.statements.statement import Statement, Variable, Word

from opml_min.machine import interpret
from opml_min.machine.translator.operations import ARITHMETIC, CONDITIONS

EDGES = (0, 1, 2, 31, 32, 33, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1)
FILES = ("emit", "basic_blocks", "region", "bounds_checks", "loops")
EMIT, BLOCKS, REGION, BOUNDS, LOOPS = (f"opml_min.machine.translator.{name}" for name in FILES)
GO_TO = "            self.go_to(index + instruction.imm // 4)\n            self.label"  # of a branch
LINK = "to i1')}\")\n        self.write(instruction.rd, str(self.region.pc(index + 1)))"  # of JALR
BUDGET = "f\"udiv i64 {block.value('load i64, ptr %budget')}, {block.length}\""
MUTANTS = (
    (EMIT, "{MEMORY_BYTES - size}", "{MEMORY_BYTES - size + 1}", "checks.passes"),
    (EMIT, "icmp ule i64 {lowest}", "icmp sle i64 {lowest}", "checks.passes"),
    (EMIT, "(MEMORY_BYTES >> PAGE_SHIFT) - 1", "(MEMORY_BYTES >> PAGE_SHIFT + 1) - 1", "checks.passes"),
    (EMIT, "dict.fromkeys((lowest, highest))", "(lowest,)", "checks.passes"),
    (EMIT, "dict.fromkeys((lowest, highest))", "(highest,)", "loops.inside"),
    (EMIT, "add i64 {budget}, {charged}", "sub i64 {budget}, {charged}", "translator.steps"),
    (EMIT, "'sext' if instruction.operation in LOAD_IS_SIGNED else 'zext'", "'zext'", "translator.steps"),
    (EMIT, GO_TO, GO_TO.replace("instruction.imm // 4", "2"), "translator.steps"),
    (EMIT, LINK, LINK.replace("index + 1", "index"), "translator.steps"),
    (EMIT, "instruction.imm)}, -2", "instruction.imm)}, -4", "translator.steps"),
    (EMIT, "lshr i64 {target}, 1", "lshr i64 {target}, 2", "translator.steps"),
    (EMIT, "self.region.pc(index) + imm", "self.region.pc(index + 1) + imm", "translator.steps"),
    (EMIT, 'b if a == "0" else a', "a", "translator.steps"),
    (BLOCKS, "icmp ult i64 {budget}", "icmp ule i64 {budget}", "translator.steps"),
    (BLOCKS, "sub i64 {budget}, {block.length}", "sub i64 {budget}, {block.length + 1}", "translator.steps"),
    (BLOCKS, "instruction.imm % 4 != 0", "instruction.imm % 2 != 0", "translator.steps"),
    (BLOCKS, "decode.ECALL, ", "", "translator.steps"),
    (BLOCKS, "block.check_load if accessed.kind == decode.LOAD else block.check_store", "block.check_load", "translator.steps"),
    (REGION, "icmp ugt i64 %end, {ENTRY}", "icmp uge i64 %end, {ENTRY}", "checks.record"),
    (REGION, "icmp ult i64 %address, {2 * ENTRY}", "icmp ult i64 %address, {ENTRY}", "checks.record"),
    (REGION, "%most = sub i64 {MEMORY_BYTES}, %size", "%most = sub i64 {MEMORY_BYTES}, 1", "checks.record"),
    (REGION, "%last = sub i64 %end, 1", "%last = sub i64 %end, 0", "checks.record"),
    (REGION, "ptr %flags, i64 %second)", "ptr %flags, i64 %first)", "checks.record"),
    (REGION, "store i8 1, ptr %place", "store i8 0, ptr %place", "checks.flag"),
    (REGION, "%more = add i64 %length, 1", "%more = add i64 %length, 0", "checks.flag"),
    (REGION, "%new = icmp eq i8 %flag, 0", "%new = icmp ne i8 %flag, 0", "checks.flag"),
    (BOUNDS, "min(a.low, b.low)", "a.low", "checks.planned"),
    (BOUNDS, "max(a.low + a.size, b.low + b.size)", "b.low + b.size", "checks.planned"),
    (BOUNDS, "if both.size > PAGE_BYTES", "if both.size > 2 * PAGE_BYTES", "checks.planned"),
    (BOUNDS, "growing.pop((LOAD, instruction.rd), None)", "pass", "checks.planned"),
    (BOUNDS, "growing.pop((STORE, instruction.rd), None)", "pass", "checks.planned"),
    (BOUNDS, "instruction.imm + moved", "instruction.imm", "checks.predicted"),
    (BOUNDS, "so_far + imm if", "imm if", "checks.predicted"),
    (BOUNDS, "and rs1 == rd and", "and", "checks.predicted"),
    (BOUNDS, "moves(instructions[:index])", "moves(instructions)", "checks.predicted"),
    (BOUNDS, "moved.get(r.base) or 0)", "0)", "checks.predicted"),
    (BOUNDS, " or r.size > PAGE_BYTES", "", "checks.predicted"),
    (LOOPS, "above if accessed.stride > 0 else below", "above", "loops.inside"),
    (LOOPS, "f'add i64 {further}, 1'", "f'add i64 {further}, 2'", "loops.inside"),
    (LOOPS, "{MEMORY_BYTES - accessed.size}", "{MEMORY_BYTES}", "loops.inside"),
    (LOOPS, "sub i64 {PAGE_BYTES - 1}", "sub i64 {PAGE_BYTES}", "loops.inside"),
    (LOOPS, BUDGET, BUDGET.replace("block.length", "2"), "loops.paid"),
    (LOOPS, 'if operation in ("bne", "blt", "bltu"):', 'if operation in ("bne", "blt"):', "loops.taken"),
    (LOOPS, "and i64 {between}, {2**32 - 1}", "and i64 {between}, {2**33 - 1}", "loops.taken"),
    (LOOPS, "(a, b) if counter.stride > 0 else (b, a)", "(a, b)", "loops.taken"),
    (LOOPS, 'CONDITIONS.keys() - {"beq"}', "CONDITIONS.keys()", "loops.taken"),
    (LOOPS, '("addw", 32, {"bne", "blt", "bge"})', '("addw", 32, {"bne", "blt", "bge", "bltu"})', "loops.taken"),
    (LOOPS, "stride > 0 if operation in", "stride < 0 if operation in", "loops.taken"),
    (LOOPS, "for register in loop.words():", "for register in []:", "loops.taken"),
    (LOOPS, "i64 {further}, i64 0", "i64 {further}, i64 1", "loops.taken"),
    (LOOPS, "mul i64 {executed}, {block.length}", "mul i64 {executed}, {block.length + 1}", "iterations.executed"),
    (LOOPS, "sext i32 {word} to i64", "zext i32 {word} to i64", "iterations.executed"),
    (LOOPS, "icmp eq i64 %next, %iterations", "icmp eq i64 %executed, %iterations", "iterations.executed"),
    (LOOPS, "{block.read(branch.rs1)}, {block.read(branch.rs2)}", "{block.read(branch.rs2)}, {block.read(branch.rs1)}", "iterations.executed"),
)  # fmt: skip


def as_given(kind: Variable, value: int) -> int:
    """The number that the bits stand for."""
    return value - (1 << kind.bits) if isinstance(kind, Word) and value > kind.range[1] else value


def counterexample(statement: Statement) -> tuple[Any, ...]:
    """The first case and values that the solver finds against the statement. Products and division are unknown functions to it here."""
    for case in statement.cases:
        result, detail = search(statement, case, Paths(False), 30.0, threading.Event())
        if result == "counterexample":
            found = [int(value) for value in re.findall(r"= (-?\d+)", detail)]
            kinds = statement.variables.values()
            return *case, *map(as_given, kinds, found)
        assert result == "proved", (case, result, detail)
    raise AssertionError("proved")


@pytest.mark.parametrize(("module", "right", "wrong", "name"), MUTANTS)
def test_a_wrong_translator_is_found(module: str, right: str, wrong: str, name: str) -> None:
    """The counterexample is one for ints too."""
    statement = STATEMENTS[name]
    with changed(module, right, wrong):
        assert not statement.holds(*counterexample(statement))


@pytest.mark.parametrize(("name", "other"), [*zip(ARITHMETIC, [*[*ARITHMETIC][1:], "add"], strict=True)])
def test_a_wrong_template_is_found(name: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Division is an unknown function to the solver, so a counterexample must also be found among ints."""
    monkeypatch.setitem(ARITHMETIC, name, ARITHMETIC[other])
    statement = STATEMENTS[f"translator.{name}"]
    assert search(statement, (name,), Paths(False), 30.0, threading.Event())[0] != "proved"
    assert not all(statement.holds(name, a, b) for a, b in product(EDGES, EDGES))


@pytest.mark.parametrize("table", [CONDITIONS, interpret.COMPARISONS])
def test_a_wrong_branch_is_found(table: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, other in zip(table, [*[*table][1:], "beq"], strict=True):
        with monkeypatch.context() as patch:
            patch.setitem(table, name, table[other])
            assert prove(STATEMENTS["translator.branches"]).result == "counterexample"
