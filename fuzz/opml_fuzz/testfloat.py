"""TestFloat: lines of operands, result and flags, against the specification's binary32, opml_min's, and the C of its guest.

A line is hexadecimal: the operands, the result, the exception flags. The flags do not exist here; any NaN stands for the canonical one;
a conversion that cannot be done gives what RISC-V gives.

*Source*: John Hauser, Berkeley TestFloat, release 3e, "testfloat_gen"; RISC-V Unprivileged ISA, chapter "F".
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from attrs import field, frozen
from opml_spec.arithmetic import binary32
from opml_spec.words import signed, wrap

from opml_fuzz.adapters.guest_float import GuestFloat, is_there
from opml_fuzz.errors import InputError
from opml_min.binary32 import OPERATIONS as INTEGER_ALGORITHMS

CHUNK_LINES = 50_000
MOST_SHOWN = 20  # differences
INTEGERS = {"i32": (-(1 << 31), (1 << 31) - 1), "ui32": (0, (1 << 32) - 1), "i64": (-(1 << 63), (1 << 63) - 1), "ui64": (0, (1 << 64) - 1)}


def to_integer(name: str) -> Callable[[int], int]:
    low, high = INTEGERS[name]
    return lambda a: wrap(binary32.to_fixed(a, low, high), bits_of(name))


def from_integer(name: str) -> Callable[[int], int]:
    return lambda a: binary32.from_fixed(signed(a, bits_of(name)) if INTEGERS[name][0] < 0 else a)


def bits_of(name: str) -> int:
    return int(name.lstrip("fui"))


OPERATIONS: dict[str, tuple[int, Callable[..., int]]] = {  # operands, and the specification's function
    "f32_add": (2, binary32.add),
    "f32_sub": (2, binary32.sub),
    "f32_mul": (2, binary32.mul),
    "f32_div": (2, binary32.div),
    "f32_sqrt": (1, binary32.sqrt),
    "f32_mulAdd": (3, binary32.fma),
    "f32_eq": (2, binary32.eq),
    "f32_le": (2, binary32.le),
    "f32_lt": (2, binary32.lt),
    **{f"f32_to_{name}": (1, to_integer(name)) for name in INTEGERS},
    **{f"{name}_to_f32": (1, from_integer(name)) for name in INTEGERS},
}


@frozen
class Report:
    """What came of a file."""

    operation: str
    on: tuple[str, ...]
    lines: int = 0
    different: int = 0
    differences: list[dict[str, Any]] = field(factory=list)  # the first of them

    def to_json(self) -> dict[str, Any]:
        names = ("operation", "on", "lines", "different", "differences")
        return {name: getattr(self, name) for name in names}


def parse(operation: str, lines: Iterable[str]) -> Iterator[tuple[int, ...]]:
    """Operands and result of each line."""
    arity, _ = OPERATIONS[operation]
    source = operation.partition("_")[0]
    for number, line in enumerate(lines, 1):
        try:
            words = tuple(int(word, 16) for word in line.split())
        except ValueError as error:
            raise InputError(f"line {number} is not hexadecimal: {line.strip()!r}") from error
        if words and (len(words) not in (arity + 1, arity + 2) or any(word >> bits_of(source) for word in words[:arity])):
            raise InputError(f"line {number} is not {arity} operands, result and flags: {line.strip()!r}")
        if words:
            yield words[: arity + 1]


def canonical(operation: str, result: int) -> int:
    """One NaN for all, where the result is a float."""
    is_float = operation.endswith("_f32") or operation.rpartition("_")[2] in ("add", "sub", "mul", "div", "sqrt", "mulAdd")
    return binary32.NAN if is_float and binary32.is_nan(result) else result


def check(operation: str, lines: Iterable[str]) -> Report:
    """Every line on the specification and on opml_min, and on the guest's C where it has the operation."""
    if operation not in OPERATIONS:
        raise InputError(f"no operation {operation!r}; there are {', '.join(OPERATIONS)}")
    arity, spec = OPERATIONS[operation]
    fast = INTEGER_ALGORITHMS[operation]
    guest = GuestFloat(operation) if is_there(operation) else None
    count, different, shown = 0, 0, list[dict[str, Any]]()
    cases = parse(operation, lines)
    while chunk := list(islice(cases, CHUNK_LINES)):
        guests = guest([case[:arity] for case in chunk]) if guest else [None] * len(chunk)
        for case, compiled in zip(chunk, guests, strict=True):
            count += 1
            operands, expected = case[:arity], canonical(operation, case[arity])
            answers = {"spec": int(spec(*operands)), "opml_min": int(fast(*operands))} | ({} if compiled is None else {"guest": compiled})
            if any(answer != expected for answer in answers.values()):
                different += 1
                if len(shown) < MOST_SHOWN:
                    found = {name: f"{answer:x}" for name, answer in answers.items()}
                    shown.append({"operands": [f"{word:x}" for word in operands], "expected": f"{expected:x}", **found})
    return Report(operation, ("spec", "opml_min", "guest") if guest else ("spec", "opml_min"), count, different, shown)
