"""TestFloat: lines of operands, result and flags, checked against four implementations of binary32.

The specification is asked for every line. The integer algorithms, the guest's soft float and the processor round to nearest only, and each
lacks some operations. A line is hexadecimal: the operands, the result, the exception flags. Flags do not exist here, so a signaling
comparison is checked as the quiet one; any NaN stands for the canonical one; a conversion out of range gives RISC-V's result.

*Source*: John Hauser, Berkeley TestFloat, release 3e, "testfloat_gen"; RISC-V Unprivileged ISA, chapter "F".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from attrs import asdict, field, frozen
from opml_spec.arithmetic import binary32
from opml_spec.arithmetic.binary32 import Rounding
from opml_spec.words import signed, wrap

from opml_fuzz.conformance import guest_float, hardware_float, integer_float
from opml_fuzz.conformance.spec_float import COMPARISONS, ROUNDED, Operations
from opml_fuzz.errors import InputError

CHUNK_LINES = 50_000
MOST_SHOWN = 20  # differences
INTEGERS = {"i32": (-(1 << 31), (1 << 31) - 1), "ui32": (0, (1 << 32) - 1), "i64": (-(1 << 63), (1 << 63) - 1), "ui64": (0, (1 << 64) - 1)}
ROUNDINGS = {"near_even": Rounding.RNE, "minMag": Rounding.RTZ, "min": Rounding.RDN, "max": Rounding.RUP, "near_maxMag": Rounding.RMM}
"""The directions, by TestFloat's names."""

Engine = Callable[[Sequence[tuple[int, ...]]], list[int]]
"""Maps a list of operands to the list of results."""


def bits_of(kind: str) -> int:
    """Reads the width in a name such as `f32` or `ui64`."""
    return int(kind.lstrip("fui"))


def to_integer(kind: str) -> Callable[..., int]:
    low, high = INTEGERS[kind]
    return lambda a, mode: wrap(binary32.to_fixed(a, low, high, mode=mode), bits_of(kind))


def from_integer(kind: str) -> Callable[..., int]:
    is_signed = INTEGERS[kind][0] < 0
    return lambda a, mode: binary32.from_fixed(signed(a, bits_of(kind)) if is_signed else a, mode=mode)


WITH_ROUNDING: Operations = {
    **{f"f32_{'mulAdd' if name == 'fma' else name}": operation for name, operation in ROUNDED.items()},
    **{f"f32_to_{kind}": (1, to_integer(kind)) for kind in INTEGERS},
    **{f"{kind}_to_f32": (1, from_integer(kind)) for kind in INTEGERS},
}
SPECIFIED: Operations = WITH_ROUNDING | {f"f32_{name}": operation for name, operation in COMPARISONS.items()}
"""The specification's operations, by TestFloat's names."""

WITH_OTHER_FLAGS = {"f32_eq_signaling": "f32_eq", "f32_le_quiet": "f32_le", "f32_lt_quiet": "f32_lt"}
"""Operations that differ from another one by their flags alone."""


@frozen
class FloatReport:
    """The result for one file of lines."""

    operation: str
    rounding: str
    on: tuple[str, ...]
    lines: int = 0
    different: int = 0
    differences: list[dict[str, Any]] = field(factory=list)  # the first MOST_SHOWN

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parse(operation: str, lines: Iterable[str]) -> Iterator[tuple[int, ...]]:
    """Yields the operands and the result of each line."""
    arity, _ = SPECIFIED[operation]
    operand_bits = bits_of(operation.partition("_")[0])
    for number, line in enumerate(lines, 1):
        try:
            words = tuple(int(word, 16) for word in line.split())
        except ValueError as error:
            raise InputError(f"line {number} is not hexadecimal: {line.strip()!r}") from error
        if words and (len(words) not in (arity + 1, arity + 2) or any(word >> operand_bits for word in words[:arity])):
            raise InputError(f"line {number} is not {arity} operands, result and flags: {line.strip()!r}")
        if words:
            yield words[: arity + 1]


def gives_float(operation: str) -> bool:
    return operation.endswith("_f32") or operation.rpartition("_")[2] in ("add", "sub", "mul", "div", "sqrt", "mulAdd")


def one_by_one(function: Callable[..., int]) -> Engine:
    return lambda cases: [int(function(*operands)) for operands in cases]


def in_columns(operation: str) -> Engine:
    """Asks the processor for all cases at once."""
    kind = np.uint32 if bits_of(operation.partition("_")[0]) == 32 else np.uint64
    function = hardware_float.OPERATIONS[operation]
    return lambda cases: function(*(np.array(column, kind) for column in zip(*cases, strict=True))).tolist()


def engines(operation: str, mode: Rounding, with_guest: bool = True) -> dict[str, Engine]:
    """Lists the implementations that have this operation in this rounding direction. with_guest: also the guest, which is compiled"""
    _, function = SPECIFIED[operation]
    asked = {"spec": one_by_one(partial(function, mode=mode) if operation in WITH_ROUNDING else function)}
    if operation in WITH_ROUNDING and mode is not Rounding.RNE:
        return asked
    asked["integers"] = one_by_one(integer_float.OPERATIONS[operation])
    if with_guest and guest_float.is_available(operation):
        asked["guest"] = guest_float.GuestFloat(operation)
    if operation in hardware_float.OPERATIONS:
        asked["processor"] = in_columns(operation)
    return asked


def different_places(results: list[int], expected: list[int]) -> list[int]:
    return [] if results == expected else [place for place, pair in enumerate(zip(results, expected, strict=True)) if pair[0] != pair[1]]


def check(
    operation: str, lines: Iterable[str], rounding: str = "near_even", show: Callable[[int], None] = lambda lines: None
) -> FloatReport:
    """Checks every line with all implementations that have the operation. show: called with the number of lines so far"""
    name = WITH_OTHER_FLAGS.get(operation, operation)
    if name not in SPECIFIED:
        raise InputError(f"no operation {operation!r}; there are {', '.join([*SPECIFIED, *WITH_OTHER_FLAGS])}")
    arity, _ = SPECIFIED[name]
    asked = engines(name, ROUNDINGS[rounding])
    cases = parse(name, lines)
    count, different, shown = 0, 0, list[dict[str, Any]]()
    while chunk := list(islice(cases, CHUNK_LINES)):
        operands = [case[:arity] for case in chunk]
        expected = [case[arity] for case in chunk]
        if gives_float(name):
            expected = [binary32.NAN if binary32.is_nan(result) else result for result in expected]
        answers = {engine: ask(operands) for engine, ask in asked.items()}
        wrong = sorted({place for results in answers.values() for place in different_places(results, expected)})
        for place in wrong[: MOST_SHOWN - len(shown)]:
            found = {engine: f"{results[place]:x}" for engine, results in answers.items()}
            shown.append({"operands": [f"{word:x}" for word in operands[place]], "expected": f"{expected[place]:x}", **found})
        different += len(wrong)
        count += len(chunk)
        show(count)
    if count == 0:
        raise InputError("there are no lines")
    return FloatReport(operation, rounding, tuple(asked), count, different, shown)
