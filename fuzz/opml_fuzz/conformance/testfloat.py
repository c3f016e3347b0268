"""TestFloat: lines of operands, result and flags, against the binary32 of the specification, opml_min, its guest and the processor.

A line is hexadecimal: the operands, the result, the exception flags. The flags do not exist here, so a signaling comparison is the quiet
one; any NaN stands for the canonical one; a conversion that cannot be done gives what RISC-V gives.

*Source*: John Hauser, Berkeley TestFloat, release 3e, "testfloat_gen"; RISC-V Unprivileged ISA, chapter "F".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from attrs import field, frozen
from opml_spec.arithmetic import binary32
from opml_spec.arithmetic.binary32 import Rounding
from opml_spec.words import signed, wrap

from opml_fuzz.conformance.binary32_operations import COMPARISONS, ROUNDED, Operations
from opml_fuzz.conformance.guest_float import GuestFloat, is_there
from opml_fuzz.conformance.hardware_float import HARDWARE
from opml_fuzz.conformance.integer_float import OPERATIONS as INTEGER_ALGORITHMS
from opml_fuzz.errors import InputError

CHUNK_LINES = 50_000
MOST_SHOWN = 20  # differences
INTEGERS = {"i32": (-(1 << 31), (1 << 31) - 1), "ui32": (0, (1 << 32) - 1), "i64": (-(1 << 63), (1 << 63) - 1), "ui64": (0, (1 << 64) - 1)}
ROUNDINGS = {"near_even": Rounding.RNE, "minMag": Rounding.RTZ, "min": Rounding.RDN, "max": Rounding.RUP, "near_maxMag": Rounding.RMM}
"""By TestFloat's names."""

Engine = Callable[[Sequence[tuple[int, ...]]], list[int]]
"""The results for a list of operands."""


def to_integer(name: str) -> Callable[..., int]:
    low, high = INTEGERS[name]
    return lambda a, mode: wrap(binary32.to_fixed(a, low, high, mode=mode), bits_of(name))


def from_integer(name: str) -> Callable[..., int]:
    return lambda a, mode: binary32.from_fixed(signed(a, bits_of(name)) if INTEGERS[name][0] < 0 else a, mode=mode)


def bits_of(name: str) -> int:
    return int(name.lstrip("fui"))


WITH_ROUNDING: Operations = {
    **{f"f32_{'mulAdd' if name == 'fma' else name}": operation for name, operation in ROUNDED.items()},
    **{f"f32_to_{name}": (1, to_integer(name)) for name in INTEGERS},
    **{f"{name}_to_f32": (1, from_integer(name)) for name in INTEGERS},
}
OPERATIONS: Operations = WITH_ROUNDING | {f"f32_{name}": operation for name, operation in COMPARISONS.items()}
WITH_OTHER_FLAGS = {"f32_eq_signaling": "f32_eq", "f32_le_quiet": "f32_le", "f32_lt_quiet": "f32_lt"}


@frozen
class Report:
    """What came of a file."""

    operation: str
    rounding: str
    on: tuple[str, ...]
    lines: int = 0
    different: int = 0
    differences: list[dict[str, Any]] = field(factory=list)  # the first of them

    def to_json(self) -> dict[str, Any]:
        names = ("operation", "rounding", "on", "lines", "different", "differences")
        return {name: getattr(self, name) for name in names}


def parse(operation: str, lines: Iterable[str]) -> Iterator[tuple[int, ...]]:
    """Operands and result of each line."""
    arity, _ = OPERATIONS[operation]
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


def of_each(function: Callable[..., int]) -> Engine:
    return lambda cases: [int(function(*operands)) for operands in cases]


def of_columns(operation: str) -> Engine:
    """All cases at once, as the processor takes them."""
    kind = np.uint32 if bits_of(operation.partition("_")[0]) == 32 else np.uint64
    return lambda cases: HARDWARE[operation](*(np.array(column, kind) for column in zip(*cases, strict=True))).tolist()


def engines(operation: str, mode: Rounding) -> dict[str, Engine]:
    """Who can be asked: the specification always; the others round to nearest only, and not each of them has every operation."""
    function = OPERATIONS[operation][1]
    asked = {"spec": of_each(partial(function, mode=mode) if operation in WITH_ROUNDING else function)}
    if operation in WITH_ROUNDING and mode is not Rounding.RNE:
        return asked
    asked["opml_min"] = of_each(INTEGER_ALGORITHMS[operation])
    if is_there(operation):
        asked["guest"] = GuestFloat(operation)
    if operation in HARDWARE:
        asked["processor"] = of_columns(operation)
    return asked


def places_that_differ(results: list[int], expected: list[int]) -> list[int]:
    return [] if results == expected else [place for place, pair in enumerate(zip(results, expected, strict=True)) if pair[0] != pair[1]]


def check(operation: str, lines: Iterable[str], rounding: str = "near_even", show: Callable[[int], None] = lambda lines: None) -> Report:
    """Every line on everybody who can be asked."""
    name = WITH_OTHER_FLAGS.get(operation, operation)
    if name not in OPERATIONS:
        raise InputError(f"no operation {operation!r}; there are {', '.join([*OPERATIONS, *WITH_OTHER_FLAGS])}")
    arity, _ = OPERATIONS[name]
    asked = engines(name, ROUNDINGS[rounding])
    cases = parse(name, lines)
    count, different, shown = 0, 0, list[dict[str, Any]]()
    while chunk := list(islice(cases, CHUNK_LINES)):
        operands = [case[:arity] for case in chunk]
        expected = [case[arity] for case in chunk]
        if gives_float(name):
            expected = [binary32.NAN if binary32.is_nan(result) else result for result in expected]
        answers = {engine: ask(operands) for engine, ask in asked.items()}
        wrong = sorted({place for results in answers.values() for place in places_that_differ(results, expected)})
        for place in wrong[: MOST_SHOWN - len(shown)]:
            found = {engine: f"{results[place]:x}" for engine, results in answers.items()}
            shown.append({"operands": [f"{word:x}" for word in operands[place]], "expected": f"{expected[place]:x}", **found})
        different += len(wrong)
        count += len(chunk)
        show(count)
    if count == 0:
        raise InputError("there are no lines")
    return Report(operation, rounding, tuple(asked), count, different, shown)
