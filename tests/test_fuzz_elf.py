"""ELF conformance: what passes, what fails, what is refused and how."""

import json
import struct
from pathlib import Path

import pytest
from opml_fuzz import cli
from opml_fuzz.encodings import assemble

from opml_min.machine import interpret

ENTRY, IO = 1 << 38, 2 << 38
A0, A7 = 10, 17


def elf(path: Path, words: list[int], at: int = ENTRY, data: tuple[int, bytes] | None = None, kind: int = 2, machine: int = 243) -> str:
    """A file with these instructions and perhaps a data segment."""
    text = b"".join(word.to_bytes(4, "little") for word in words)
    segments = [(5, at, text), *([(6, *data)] if data else [])]
    body, headers, offset = b"", b"", 64 + 56 * len(segments)
    for flags, address, content in segments:
        headers += struct.pack("<IIQQQQQQ", 1, flags, offset + len(body), address, address, len(content), len(content) + 8, 4)
        body += content
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, at, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
    path.write_bytes(header + headers + body)
    return str(path)


def program(exit_code_from: int) -> list[int]:
    """Sums a loop, stores and loads it back from the io quarter; the exit code is what the loop's sum is short of `exit_code_from`."""
    return [
        assemble("addi", 5, 0, 0, 10),
        assemble("add", 6, 6, 5),
        assemble("addi", 5, 5, 0, -1),
        assemble("bne", 0, 5, 0, -8),
        assemble("addi", 7, 0, 0, 1),
        assemble("slli", 7, 7, 0, 39),
        assemble("sd", 0, 7, 6, 29),
        assemble("ld", 8, 7, 0, 29),
        assemble("lw", 9, 7, 0, 8),
        assemble("sub", 8, 8, 9),
        assemble("addi", A0, 8, 0, -exit_code_from),
        assemble("addi", A7, 0, 0, 93),
        assemble("ecall"),
    ]


DATA = (IO, struct.pack("<QI", 0, 5))


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, object]]]:
    code = cli.main(["elf", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)["files"]


@pytest.mark.parametrize("on", ["spec,min,evm", "min", "spec", "spec,evm"])
def test_a_program_that_passes(on: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, (file,) = report(capsys, elf(tmp_path / "a", program(50), data=DATA), "--on", on)
    assert (code, file["passed"], file["steps"]) == (0, True, 40)


def test_exit_code_trap_and_endless_loop_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [
        elf(tmp_path / "a", program(49), data=DATA),
        elf(tmp_path / "b", [0]),
        elf(tmp_path / "c", [assemble("jal", 0, imm=0)]),
    ]
    code, outcomes = report(capsys, *files, "--steps", "100")
    assert code == 1
    assert [(outcome["passed"], outcome["steps"], outcome["detail"]) for outcome in outcomes] == [
        (False, 40, "exit code 1"),
        (False, 1, "trapped with cause 2"),
        (False, 100, "still running"),
    ]


def test_a_difference_names_the_step(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(interpret.ARITHMETIC, "sll", lambda a, b: a << (b & 31))
    code, (file,) = report(capsys, elf(tmp_path / "a", program(50), data=DATA))
    assert code == 1
    assert str(file["detail"]).startswith(f"step 33 at {ENTRY + 20:#x}: spec ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"at": 0x10000}, "link it static"),
        ({"at": ENTRY + (1 << 28) - 8}, "link it static"),
        ({"kind": 3}, "not a static executable"),
        ({"machine": 62}, "not for RISC-V"),
        ({"data": (1 << 40, b"x")}, "link it static"),
        ({"data": (ENTRY + 4, b"x" * 9)}, "overlap"),
    ],
)
def test_what_is_refused(arguments: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = elf(tmp_path / "a", program(0), **arguments)  # type: ignore[arg-type]
    assert cli.main(["elf", path]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(20)])
def test_what_is_no_elf(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert cli.main(["elf", str(path)]) == 2
    assert cli.main(["elf", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err.count("\n") == 2
