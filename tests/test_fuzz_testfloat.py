"""TestFloat lines: expected results here come from the hardware's own float, by way of numpy."""

import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from opml_fuzz.commands import fuzz as cli
from opml_fuzz.conformance.testfloat import SPECIFIED, check
from opml_fuzz.errors import InputError

EDGES = (0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x3FFFFFFF, 0x4B800001, 0x4F000000, 0x5F000000, 0x7F7FFFFF, 0x7F800000, 0x7FC00001)
NUMPY = {
    "f32_add": np.add, "f32_sub": np.subtract, "f32_mul": np.multiply, "f32_div": np.divide, "f32_sqrt": np.sqrt,
    "f32_eq": np.equal, "f32_le": np.less_equal, "f32_lt": np.less,
}  # fmt: skip
EVERYBODY = ("spec", "integers", "guest", "processor")


def lines_of(operation: str) -> list[str]:
    """What the hardware computes, as TestFloat writes it."""
    rng, arity = random.Random(operation), SPECIFIED[operation][0]
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
    assert (report.lines, report.different, report.on) == (500, 0, EVERYBODY), report.differences


@pytest.mark.parametrize(
    ("operation", "lines"),
    [
        ("f32_mulAdd", ["3F800001 3F800001 BF800002 28800000 00", "7F800000 00000000 3F800000 FFC00000 10"]),
        ("f32_to_i32", ["4F000000 7FFFFFFF 10", "CF000000 80000000 00", "7FC00000 7FFFFFFF 10", "BFC00000 FFFFFFFE 01"]),
        ("f32_to_ui32", ["BF800000 00000000 10", "4F800000 FFFFFFFF 10", "40200000 00000002 01"]),
        (
            "f32_to_i64",
            [
                "DF000000 8000000000000000 00",
                "7FC00000 7FFFFFFFFFFFFFFF 10",
                "FF800000 8000000000000000 10",
                "BF800000 FFFFFFFFFFFFFFFF 00",
            ],
        ),
        ("f32_to_ui64", ["5F800000 FFFFFFFFFFFFFFFF 10", "5F000000 8000000000000000 00"]),
        ("i32_to_f32", ["80000000 CF000000 00", "FFFFFFFF BF800000 00", "01000001 4B800000 01"]),
        ("ui32_to_f32", ["80000000 4F000000 00", "FFFFFFFF 4F800000 01"]),
        ("i64_to_f32", ["8000000000000000 DF000000 00", "FFFFFFFFFFFFFFFF BF800000 00"]),
        ("ui64_to_f32", ["8000000000000000 5F000000 00", "FFFFFFFFFFFFFFFF 5F800000 01"]),
    ],
)
def test_other_operations_by_hand(operation: str, lines: list[str]) -> None:
    assert check(operation, lines).differences == []


@pytest.mark.parametrize(
    ("rounding", "integers", "third"),
    [
        ("near_even", "2 FFFFFFFE FFFFFFFE", "3EAAAAAB"),
        ("minMag", "2 FFFFFFFF FFFFFFFE", "3EAAAAAA"),
        ("min", "2 FFFFFFFE FFFFFFFD", "3EAAAAAA"),
        ("max", "3 FFFFFFFF FFFFFFFE", "3EAAAAAB"),
        ("near_maxMag", "3 FFFFFFFE FFFFFFFD", "3EAAAAAB"),
    ],
)
def test_directions_by_hand(rounding: str, integers: str, third: str) -> None:
    """2.5, −1.5 and −2.5 to an integer, and 1/3, each in TestFloat's five directions."""
    lines = [f"{a} {integer} 01" for a, integer in zip(("40200000", "BFC00000", "C0200000"), integers.split(), strict=True)]
    assert check("f32_to_i32", lines, rounding).differences == []
    division = check("f32_div", [f"3F800000 40400000 {third} 01"], rounding)
    assert division.differences == []
    assert division.on == (EVERYBODY if rounding == "near_even" else ("spec",))


@pytest.mark.parametrize("operation", ["f32_eq_signaling", "f32_le_quiet", "f32_lt_quiet"])
def test_comparisons_that_differ_by_flags(operation: str) -> None:
    lines = ["7FC00000 7FC00000 0 00", "80000000 00000000 " + ("0 00" if "lt" in operation else "1 00")]
    assert check(operation, lines).differences == []


def test_a_wrong_line_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lines"
    one = struct.pack(">f", 1.0).hex()
    path.write_text(f"{one} {one} 40000000 00\n{one} {one} 40000001 00\n")
    assert cli.main(["float", "f32_add", str(path), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["lines"], printed["different"]) == (2, 1)
    two = dict.fromkeys(EVERYBODY, "40000000")
    assert printed["differences"] == [{"operands": [one, one], "expected": "40000001", **two}]


@pytest.mark.parametrize(
    ("operation", "line"), [("f64_add", ""), ("f32_add", "x"), ("f32_add", "1 2"), ("f32_add", ""), ("f32_sqrt", "123456789 0 00")]
)
def test_what_is_refused(operation: str, line: str) -> None:
    with pytest.raises(InputError):
        check(operation, [line])
