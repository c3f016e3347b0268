"""Bytes of which not even the number is known, and segments of which the contract stores hashes, in the proofs about the game."""

from typing import Any

import pytest
import z3
from opml_fuzz.proofs.evm.calldata import Argument
from opml_fuzz.proofs.evm.memory import Memory, Region, merged
from opml_fuzz.proofs.game.arithmetic import Arithmetic
from opml_fuzz.proofs.game.facts import DistinctHashes, Facts
from opml_fuzz.proofs.game.numbers import GamePaths, SegmentEnd, amount
from opml_fuzz.proofs.game.open_bytes import OpenOctets, argument_at, copied, open_bytes, open_end, padded, read_to_end, rounded_up
from opml_fuzz.proofs.game.segments import part_of
from opml_fuzz.proofs.step.machine_symbols import Octets
from opml_fuzz.proofs.unsupported import Unsupported
from opml_spec.dispute import narrowing
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.parameters import Parameters

A, B = z3.BitVecs("a b", 256)
GIVEN, OTHER = open_bytes("given", 2048), open_bytes("other", 2048)
SIZE = z3.simplify(GIVEN.length + 32)


def certain(condition: Any) -> bool:
    solver = z3.Solver()
    return bool(solver.check(z3.Not(condition)) == z3.unsat)


def learnt(left: Any, right: Any) -> tuple[Any, Any, Any]:
    """A solver that knows what is told of the hashes of two sequences, and these hashes."""
    facts, solver = Facts(), z3.Solver()
    hashes = DistinctHashes(facts)
    one, other = hashes.digest(left), hashes.digest(right)
    solver.add(*facts.known)
    return solver, one, other


def test_hashes_of_bytes_of_unknown_number() -> None:
    """They are that of known bytes only if the number is theirs, and equal to each other as what comes before is."""
    solver, one, other = learnt(((A, 32), (GIVEN, 0)), ((B, 32),))
    for conditions, answer in (([A == B, GIVEN.length == 0], z3.sat), ([GIVEN.length == 32], z3.unsat), ([A != B], z3.unsat)):
        assert solver.check(one == other, *conditions) == answer
    assert solver.check(one != other, A == B, GIVEN.length == 0) == z3.unsat
    solver, one, other = learnt(((A, 32), (GIVEN, 0)), ((B, 32), (GIVEN, 0)))
    assert solver.check((one == other) != (A == B)) == z3.unsat
    solver, one, other = learnt(((A, 32), (GIVEN, 0)), ((B, 32), (A, 32)))
    assert solver.check(one == other, GIVEN.length != 32) == z3.unsat
    assert solver.check(one == other, A == B) == solver.check(one != other, A == B) == z3.sat
    solver, one, other = learnt(((A, 32), (GIVEN, 0)), ((B, 32), (OTHER, 0)))
    assert solver.check(one == other, GIVEN.length != OTHER.length) == z3.unsat
    assert solver.check(one == other) == solver.check(one != other, A == B) == z3.sat
    solver, one, other = learnt(((A, 32), (B, 32), (GIVEN, 0)), ((A, 32),))
    assert solver.check(one == other) == z3.unsat


def test_an_argument_is_copied_and_read_as_a_whole() -> None:
    memory = Memory().store_region(argument_at(1000, GIVEN, SIZE)).store(4968, A)
    memory = copied(memory, 5000, 1032, GIVEN.length, certain)
    assert read_to_end(memory, 4968, SIZE, certain) == ((A, 32), (GIVEN, 0))
    assert read_to_end(memory, 1000, SIZE, certain) == ((GIVEN.length, 32), (GIVEN, 0))
    memory = copied(memory, 9000, 1000, SIZE, certain)
    assert read_to_end(memory, 9000, SIZE, certain) == ((GIVEN.length, 32), (GIVEN, 0))


@pytest.mark.parametrize(("at", "size"), [(1001, GIVEN.length + 31), (1032, GIVEN.length - 1), (1064, GIVEN.length - 32), (968, SIZE)])
def test_a_part_of_it_is_not_read(at: int, size: Any) -> None:
    memory = Memory().store_region(argument_at(1000, GIVEN, SIZE))
    if at > 1032 or at < 1000 or not certain(size + at == 1032 + GIVEN.length):
        with pytest.raises(Unsupported):
            read_to_end(copied(memory, 5000, at, size, certain), 5000, size, certain)
    else:
        assert open_end(read_to_end(copied(memory, 5000, at, size, certain), 5000, size, certain)) is GIVEN


def test_what_was_written_over_is_not_read() -> None:
    memory = Memory().store_region(argument_at(1000, GIVEN, SIZE)).store(1100, 7)
    with pytest.raises(Unsupported):
        read_to_end(memory, 1000, SIZE, certain)
    with pytest.raises(Unsupported):
        copied(memory, 5000, 1000, SIZE, certain)


BEHIND, PADDING = z3.simplify(1032 + GIVEN.length), z3.simplify(-GIVEN.length & 31)


@pytest.mark.parametrize(("source", "size"), [(968, SIZE + 32), (1000, SIZE), (1032, GIVEN.length)])
def test_zeros_behind_them_are_not_copied_with_them(source: int, size: Any) -> None:
    memory = Memory().store_region(argument_at(1000, GIVEN, SIZE)).store(968, A)
    there = padded(memory, BEHIND, PADDING, certain)
    assert read_to_end(there, 1000, rounded_up(SIZE), certain)[-1] == (GIVEN.padded, 0)
    copy = copied(there, 5000, source, size, certain)
    assert read_to_end(copy, 5000, size, certain)[-1] == (GIVEN, 0)
    with pytest.raises(Unsupported):
        read_to_end(copy, 5000, rounded_up(size), certain)


def test_zeros_behind_them_bring_nothing_back() -> None:
    memory = Memory().store_region(argument_at(1000, GIVEN, SIZE)).store(1032, 7)
    with pytest.raises(Unsupported):
        padded(memory, BEHIND, PADDING, certain)


def test_different_bytes_of_the_same_number_do_not_meet() -> None:
    """Neither do those with zeros behind them and those without; copies of the same bytes do."""
    other = Region(1000, SIZE, GIVEN.room + 32, Argument(GIVEN.length, OTHER))
    memory, same, another = (Memory().store_region(one) for one in (argument_at(1000, GIVEN, SIZE), argument_at(1000, GIVEN, SIZE), other))
    assert merged(A == B, memory, same).regions == memory.regions
    for one in (another, padded(memory, BEHIND, PADDING, certain)):
        with pytest.raises(Unsupported):
            merged(A == B, memory, one)


def test_a_beginning_of_more_than_a_word_has_no_name() -> None:
    paths = GamePaths()
    octets = OpenOctets(((GIVEN, 0),), paths)
    paths.solver.add(z3.UGE(GIVEN.length, 64))
    assert len(octets[:32]) == 32
    with pytest.raises(Unsupported):
        octets[:33]


def test_nobody_counts_them() -> None:
    octets = bytes(3) + OpenOctets(((GIVEN, 0),), GamePaths())
    assert open_end(octets.pieces) is GIVEN
    with pytest.raises(Unsupported):
        len(octets)


LENGTHS = (2, 3, 7, 31, 32, 33, 1000, 1 << 24, 1 << 32)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_part_is_that_of_the_specification(length: int) -> None:
    """Each part of a segment with real hashes is what the symbolic part means when it is filled in."""
    k, lo = Parameters().k, 12345
    posted = b"".join(bytes([j]) * 32 for j in range(1, narrowing.part_count(length, k)))
    whole = Segment(1, lo, lo + length, b"\xfe" * 32, b"\xff" * 32)
    for part in {0, 1, len(posted) // 64, len(posted) // 32 - 1, len(posted) // 32} & {*range(len(posted) // 32 + 1)}:
        assert filled_in(whole, posted, part) == narrowing.part_of(whole, posted, part)


def filled_in(whole: Segment, posted: bytes, part: int) -> Segment:
    """The part that `part_of` makes of symbols, with numbers put in their place."""
    paths = GamePaths(True)
    paths.arithmetic = Arithmetic(Facts())
    names = dict(zip(("lo", "hi", "part", "agreed", "disputed"), z3.BitVecs("lo hi part agreed disputed", 256), strict=True))
    small = {name: z3.simplify(z3.ZeroExt(192, z3.Extract(63, 0, names[name]))) for name in ("lo", "hi", "part")}
    ends = (Octets(((names[name], 32),), paths) for name in ("agreed", "disputed"))
    segment = Segment(1, *(SegmentEnd(small[name], paths) for name in ("lo", "hi")), *ends)  # type: ignore[arg-type]
    made = list[Segment]()
    conditions = [z3.ULT(small["lo"], small["hi"])]
    for _, found in paths.explore(lambda: part_of(segment, OpenOctets(((GIVEN, 0),), paths), amount(small["part"], paths)), conditions):
        made.append(found)
    (found,) = made
    agreed, disputed = (int.from_bytes(end, "big") for end in (whole.agreed, whole.disputed))
    given = {"lo": whole.lo, "hi": whole.hi, "part": part, "agreed": agreed, "disputed": disputed}
    solver = z3.Solver()
    solver.add(*(names[name] == number for name, number in given.items()), GIVEN.length == len(posted))
    solver.add(*(GIVEN.word(z3.BitVecVal(at, 256)) == int.from_bytes(posted[at : at + 32]) for at in range(0, len(posted), 32)))
    solver.add(*(bare == a * b for _, a, b, bare in paths.arithmetic.products))
    solver.add(*(bare == z3.UDiv(x, d) for _, x, d, bare in paths.arithmetic.quotients))
    assert solver.check() == z3.sat
    terms = (getattr(found, name).term for name in ("lo", "hi", "agreed", "disputed"))
    lo, hi, agreed, disputed = (solver.model().eval(one, model_completion=True).as_long() for one in terms)
    return Segment(1, lo, hi, agreed.to_bytes(32, "big"), disputed.to_bytes(32, "big"))
