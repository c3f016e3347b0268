"""TestFloat lines: expected results here come from the hardware's own float, by way of numpy."""

import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from opml_fuzz import cli
from opml_fuzz.errors import InputError
from opml_fuzz.testfloat import OPERATIONS, check

EDGES = (0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x3FFFFFFF, 0x4B800001, 0x4F000000, 0x5F000000, 0x7F7FFFFF, 0x7F800000, 0x7FC00001)
NUMPY = {
    "f32_add": np.add, "f32_sub": np.subtract, "f32_mul": np.multiply, "f32_div": np.divide, "f32_sqrt": np.sqrt,
    "f32_eq": np.equal, "f32_le": np.less_equal, "f32_lt": np.less,
}  # fmt: skip


def lines_of(operation: str) -> list[str]:
    """What the hardware computes, as TestFloat writes it."""
    rng, arity = random.Random(operation), OPERATIONS[operation][0]
    operands = [[rng.choice((rng.getrandbits(32), rng.choice(EDGES) | rng.getrandbits(1) << 31)) for _ in range(arity)] for _ in range(500)]
    lines = []
    with np.errstate(all="ignore"):
        for words in operands:
            result = NUMPY[operation](*(np.uint32(word).view(np.float32) for word in words))
            bits = int(result) if result.dtype == bool else int(result.view(np.uint32))
            lines.append(" ".join(f"{word:08X}" for word in words) + f" {bits:08X} 01")
    return lines


@pytest.mark.parametrize("operation", NUMPY)
def test_arithmetic_is_the_hardware(operation: str) -> None:
    report = check(operation, lines_of(operation))
    assert (report.lines, report.different, report.on) == (500, 0, ("spec", "opml_min", "guest")), report.differences


@pytest.mark.parametrize(
    ("operation", "lines"),
    [
        ("f32_mulAdd", ["3F800001 3F800001 BF800002 28800000 00", "7F800000 00000000 3F800000 FFC00000 10"]),
        ("f32_to_i32", ["4F000000 7FFFFFFF 10", "CF000000 80000000 00", "7FC00000 7FFFFFFF 10", "BFC00000 FFFFFFFE 01"]),
        ("f32_to_ui32", ["BF800000 00000000 10", "4F800000 FFFFFFFF 10", "40200000 00000002 01"]),
        ("f32_to_i64", ["DF000000 8000000000000000 00", "FF800000 8000000000000000 10", "BF800000 FFFFFFFFFFFFFFFF 00"]),
        ("f32_to_ui64", ["5F800000 FFFFFFFFFFFFFFFF 10", "5F000000 8000000000000000 00"]),
        ("i32_to_f32", ["80000000 CF000000 00", "FFFFFFFF BF800000 00", "01000001 4B800000 01"]),
        ("ui32_to_f32", ["80000000 4F000000 00", "FFFFFFFF 4F800000 01"]),
        ("i64_to_f32", ["8000000000000000 DF000000 00", "FFFFFFFFFFFFFFFF BF800000 00"]),
        ("ui64_to_f32", ["8000000000000000 5F000000 00", "FFFFFFFFFFFFFFFF 5F800000 01"]),
    ],
)
def test_other_operations_by_hand(operation: str, lines: list[str]) -> None:
    assert check(operation, lines).differences == []


def test_a_wrong_line_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lines"
    one = struct.pack(">f", 1.0).hex()
    path.write_text(f"{one} {one} 40000000 00\n{one} {one} 40000001 00\n")
    assert cli.main(["float", "f32_add", str(path), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["lines"], printed["different"]) == (2, 1)
    two = dict.fromkeys(("spec", "opml_min", "guest"), "40000000")
    assert printed["differences"] == [{"operands": [one, one], "expected": "40000001", **two}]


@pytest.mark.parametrize(("operation", "line"), [("f64_add", ""), ("f32_add", "x"), ("f32_add", "1 2"), ("f32_sqrt", "123456789 0 00")])
def test_what_is_refused(operation: str, line: str) -> None:
    with pytest.raises(InputError):
        check(operation, [line])
