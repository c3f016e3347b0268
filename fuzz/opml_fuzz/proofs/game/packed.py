"""Words in which several fields are packed: added, subtracted and joined field by field, as long as nothing is carried.

z3 would have to find out about 256 bits that a sum leaves most fields as they were. Here the fields are seen by the form of a word. Where
z3 shows that a field's sum needs no more bits than the field has, it is one field of the result; else it is one number with those above.
"""

from collections.abc import Callable, Iterator
from typing import Any

import z3

from opml_fuzz.proofs.evm.words import BITS, Word, reduced

Part = tuple[Any, int]
"""An int or a vector, and its number of bits."""

Prove = Callable[[Any], bool]
Rule = Callable[[Any, Any], Any]
Name = Callable[[Any], Any]
"""The name of a field, if it has one; else the field."""


def parts(word: Word) -> list[Part]:
    """The fields of a word, from the lowest up."""
    if isinstance(word, int):
        return [(word, BITS)]
    if z3.is_app_of(word, z3.Z3_OP_CONCAT):
        return [(one.as_long() if z3.is_bv_value(one) else one, one.size()) for one in reversed(word.children())]
    return [(word, word.size())]


def borders(fields: list[Part]) -> list[int]:
    at, found = 0, []
    for _, size in fields:
        at += size
        found.append(at)
    return found


def cut(fields: list[Part], low: int, high: int) -> Any:
    """The bits from `low` up to `high`."""
    at, found = 0, list[Any]()
    for term, size in fields:
        first, last = max(low - at, 0), min(high - at, size)
        if first < last:
            if isinstance(term, int):
                found.append(z3.BitVecVal(term >> first & (1 << last - first) - 1, last - first))
            else:
                found.append(z3.Extract(last - 1, first, term))
        at += size
    return reduced(found[0] if len(found) == 1 else z3.Concat(*reversed(found)))


def unknown(fields: list[Part]) -> int:
    return sum(not isinstance(term, int) for term, _ in fields)


def aligned(a: Word, b: Word) -> Iterator[tuple[Any, Any, int]] | None:
    """Cuts both words where the one with more fields has its borders; None if neither has several."""
    first, second = parts(a), parts(b)
    leading = max(first, second, key=unknown)
    if len(leading) < 2:
        return None
    ends = borders(leading)
    return ((cut(first, low, high), cut(second, low, high), high - low) for low, high in zip([0, *ends], ends, strict=False))


def joined(fields: list[Part]) -> Word:
    """The word that has these fields, from the lowest up."""
    return reduced(z3.Concat(*(sized(term, size) for term, size in reversed(fields)))) if len(fields) > 1 else fields[0][0]


def sized(term: Any, size: int) -> Any:
    return z3.BitVecVal(term, size) if isinstance(term, int) else term


def carrying(a: Word, b: Word, rule: Rule, fits: Rule, prove: Prove, name: Name) -> Word | None:
    """The sum or difference of two words; None if they have no fields. fits: that nothing is carried"""
    cuts = aligned(a, b)
    if cuts is None:
        return None
    done: list[Part] = []
    waiting: tuple[Any, Any, int] | None = None
    for one, other, size in cuts:
        if waiting is not None:
            low, its, width = waiting
            one, other = (joined([(below, width), (above, size)]) for below, above in ((low, one), (its, other)))
            size += width
        left, right = sized(one, size), sized(other, size)
        if (z3.is_bv_value(right) and right.as_long() == 0) or prove(fits(left, right)):
            done.append((name(reduced(rule(left, right))), size))
            waiting = None
        else:
            waiting = one, other, size
    if waiting is not None:
        one, other, size = waiting
        done.append((reduced(rule(sized(one, size), sized(other, size))), size))
    return joined(done)


def added(a: Word, b: Word, prove: Prove, name: Name) -> Word | None:
    if unknown(parts(a)) < unknown(parts(b)):
        a, b = b, a
    return carrying(a, b, lambda one, other: one + other, lambda one, other: z3.ULE(other, ~one), prove, name)


def subtracted(a: Word, b: Word, prove: Prove, name: Name) -> Word | None:
    return carrying(a, b, lambda one, other: one - other, lambda one, other: z3.ULE(other, one), prove, name)


def either(a: Word, b: Word) -> Word | None:
    """The bitwise or of two words, if at each bit one of them is known."""
    first, second = parts(a), parts(b)
    ends = sorted({*borders(first), *borders(second)})
    found: list[Part] = []
    for low, high in zip([0, *ends], ends, strict=False):
        one, other = cut(first, low, high), cut(second, low, high)
        if one == 0 or other == 0:
            found.append((other if isinstance(one, int) and one == 0 else one, high - low))
        elif isinstance(one, int) and isinstance(other, int):
            found.append((one | other, high - low))
        else:
            return None
    return joined(found)
