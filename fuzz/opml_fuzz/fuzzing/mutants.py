"""Mutants: one implementation is broken in one place, and the fuzzer must notice. A survivor shows what the fuzzer does not test.

In the specification, one instruction gets the effect of another. In opml_min, one operation is replaced by another, in the interpreter or
in translated code. In the arbiter, one expression of the source is replaced, and the source is compiled anew; `game_mutants.py` has those
of the game.

*Source*: DeMillo, Lipton, Sayward, "Hints on Test Data Selection" (1978).
"""

from collections.abc import Callable, Collection, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import count
from typing import Any

from attrs import evolve, frozen
from opml_spec.machine import decode
from opml_spec.machine.instructions import INSTRUCTIONS

from opml_fuzz.disputes.sequences import RandomDisputes
from opml_fuzz.engines.bytecode import EmbeddedEvm, fastest
from opml_fuzz.engines.protocol import OutOfTime
from opml_fuzz.engines.room import EngineRoom, Engines
from opml_fuzz.engines.specification import SpecWitness
from opml_fuzz.fuzzing import game_mutants
from opml_fuzz.fuzzing.batches import batch
from opml_fuzz.fuzzing.compiled_mutants import compiled, compiled_as_written
from opml_fuzz.fuzzing.deadline import stopped_after
from opml_fuzz.fuzzing.kinds import ABOUT_THE_MACHINE, AT_COURT
from opml_fuzz.machine.case import Case
from opml_fuzz.machine.encodings import ENCODINGS
from opml_min.machine import interpret
from opml_min.machine.translator import operations

CONTRACT = (
    ("(pc & 31) << 3)", "(pc & 28) << 2)"),
    ("unsafe_sub(pc, ENTRY) > LAST_TEXT", "unsafe_sub(pc, ENTRY) > LAST_TEXT + 4"),
    ("if pc & 3 != 0:", "if pc & 1 != 0:"),
    ("kind > TRAPPED or ", ""),
    (" or (kind == RUNNING and status_value != 0)", ""),
    (" or (kind == TRAPPED and (CAUSES >> status_value) & 1 == 0)", ""),
    ("funct7 &= 126", "funct7 &= 62"),
    ("MULDIV_32 if narrow else MULDIV_64", "MULDIV_64"),
    ("BASE_32 if narrow else BASE_64", "BASE_64"),
    ("funct3 > 6 or ", ""),
    ("(writes and funct3 > 3)", "(writes and funct3 > 4)"),
    ("high >= ENTRY and low < MODEL_END", "low >= ENTRY and low < MODEL_END"),
    ("high >= ENTRY and low < MODEL_END", "high >= ENTRY and high < MODEL_END"),
    ("elif high >= MEMORY_BYTES:", "elif low >= MEMORY_BYTES:"),
    ("(instruction >> 12) & 7 < 4", "(instruction >> 12) & 7 < 2"),
    ("(instruction >> 7) & 1) << 11", "(instruction >> 7) & 1) << 10"),
    ("(instruction >> 20) & 1) << 11", "(instruction >> 20) & 1) << 10"),
    (" & ~1", ""),
    (" or opcode == MISC_MEM", ""),
    ("== EXIT", "& 127 == EXIT"),
    ("if sent >> DEPTH != 0:", "if sent >> 36 != 0:"),
    ("if sibling == zero:", "if sibling == zero and bit > 1:"),
    ("amount: uint256 = b & unsafe_sub(width, 1)", "amount: uint256 = b & 63"),
    ("result = mask if funct3 < 6 else ua", "result = mask"),
    ("(ua if funct7 == BASE else sa) >> amount", "ua >> amount"),
    ("unsafe_mul(sa, ub) >> 64", "unsafe_mul(ua, ub) >> 64"),
    ("(ua ^ sign) < (ub ^ sign)", "ua < ub"),
    ("(a ^ SIGN64) < (b ^ SIGN64)", "a < b"),
    ("if at != length:", "if at > length:"),
    ("return pre_hash, codec.stopped_hash(", "return empty(bytes32), codec.stopped_hash("),
    ("if old != root:", "if old != root and sent == 0:"),
)
"""Expressions that occur once in the sources of the arbiter and its modules, and what replaces them."""

TO_THE_ARBITER = ("step", "witness")
"""The kinds of cases that an arbiter is asked about."""


@frozen
class Mutant:
    """A defect. `broken(room)` is a context: while it is entered, one of the engines that it gives is broken."""

    name: str
    broken: Callable[[EngineRoom], AbstractContextManager[EngineRoom]]
    kinds: Collection[str] = ABOUT_THE_MACHINE  # of the cases that are put to what is broken


def mutants() -> Iterator[Mutant]:
    """Yields all mutants."""
    by_format: dict[str, list[str]] = {}
    for name, encoding in ENCODINGS.items():
        by_format.setdefault(encoding.format, []).append(name)
    for names in by_format.values():
        for name, other in zip(names, names[1:] + names[:1], strict=True):
            if name != other:
                yield Mutant(f"spec: {name} does what {other} does", partial(wrong_row, name, other))
    tables: tuple[tuple[str, MutableMapping[str, Any]], ...] = (
        ("interpreter", interpret.ARITHMETIC),
        ("interpreter", interpret.COMPARISONS),
        ("translator", operations.ARITHMETIC),
        ("translator", operations.CONDITIONS),
    )
    for engine, table in tables:
        names = list(table)
        for name, other in zip(names, names[1:] + names[:1], strict=True):
            yield Mutant(f"opml_min, {engine}: {name} does what {other} does", partial(wrong_entry, table, name, other))
    for right, wrong in CONTRACT:
        yield Mutant(f"contract: {change(right, wrong)}", partial(wrong_contract, right, wrong), TO_THE_ARBITER)
    for right, wrong in game_mutants.CONTRACT:
        yield Mutant(f"game, contract: {change(right, wrong)}", partial(wrong_game, right, wrong), AT_COURT)
    for module, right, wrong in game_mutants.SPECIFICATION:
        yield Mutant(f"game, spec, {module}: {change(right, wrong)}", partial(wrong_rule, module, right, wrong), AT_COURT)


def change(right: str, wrong: str) -> str:
    """Writes what is replaced by what on one line."""
    return f"{' '.join(right.split())} → {' '.join(wrong.split())}"


@contextmanager
def wrong_row(name: str, other: str, room: EngineRoom) -> Iterator[EngineRoom]:
    execute = next(row.execute for row in INSTRUCTIONS if row.name == other)
    table: Any = decode
    table.INSTRUCTIONS = tuple(evolve(row, execute=execute) if row.name == name else row for row in INSTRUCTIONS)
    try:
        yield room
    finally:
        table.INSTRUCTIONS = INSTRUCTIONS


@contextmanager
def wrong_entry(table: MutableMapping[str, Any], name: str, other: str, room: EngineRoom) -> Iterator[EngineRoom]:
    right = table[name]
    table[name] = table[other]
    try:
        yield room
    finally:
        table[name] = right


@contextmanager
def wrong_contract(right: str, wrong: str, room: EngineRoom) -> Iterator[EngineRoom]:
    embedded = EmbeddedEvm(compiled("arbiter", right, wrong))
    broken = evolve(room.most, of_witnesses=(SpecWitness(), fastest(embedded)), of_states=())
    yield EngineRoom(broken, broken)


@contextmanager
def wrong_game(right: str, wrong: str, room: EngineRoom) -> Iterator[EngineRoom]:
    courts = RandomDisputes(compiled_as_written("game", right, wrong))
    yield EngineRoom(*(evolve(engines, courts=courts) for engines in (room.all, room.most)))


@contextmanager
def wrong_rule(module: str, right: str, wrong: str, room: EngineRoom) -> Iterator[EngineRoom]:
    with game_mutants.changed(module, right, wrong):
        yield room


def is_killed(mutant: Mutant, room: EngineRoom, seed: int, seconds: float) -> bool:
    """Tells whether some engine disagrees within that time, which is the processor's."""
    with mutant.broken(room) as broken, suppress(OutOfTime), stopped_after(seconds):  # a contract is compiled by now
        for number in count():
            for case in batch(seed, number, mutant.kinds):
                if is_different(case, broken.most):
                    return True
    return False


def is_different(case: Case, engines: Engines) -> bool:
    """Tells whether the engines give different answers; one that raises, because what breaks it is nonsense, does too."""
    answers = list(engines.ask(case).values())
    return any(answer != answers[0] for answer in answers)
