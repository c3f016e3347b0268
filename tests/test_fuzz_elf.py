"""ELF conformance: what passes, what fails, what is refused and how."""

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from opml_fuzz.commands import fuzz as cli
from opml_fuzz.machine.encodings import assemble

from opml_min.machine import interpret

ENTRY, IO = 1 << 38, 2 << 38
A0, A7 = 10, 17
REPOSITORY = Path(__file__).resolve().parent.parent


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
        (False, 1, f"trapped with cause 2 at {ENTRY:#x}"),
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


CASE = """
#define CASE(n, wanted, code...) li TESTNUM, n; code; li x7, wanted; bne x14, x7, fail;
#define END bne x0, TESTNUM, pass; fail: RVTEST_FAIL; pass: RVTEST_PASS
"""
TESTS = {
    "rv64ui/passes": "la x1, word; lwu x2, 0(x1); sh x2, 5(x1)\n CASE(2, 0x2100edbeef, ld x14, 2(x1))\n END",
    "rv64ui/fence_i": "fence.i",
    "rv64um/fails": "CASE(2, 6, li x1, 3; slli x14, x1, 1)\n CASE(7, 8, li x1, -4; mul x14, x1, x1)\n END",
    "rv64um/runs_no_case": "END",
}


def test_the_environment_of_the_page_for_riscv_tests(tmp_path: Path) -> None:
    """Its header, build and command as they stand there, on four programs of the same form."""
    pytest.importorskip("ziglang")
    page = (REPOSITORY / "fuzz" / "README.md").read_text()
    header, _ = re.findall(r"^```c\n(.*?)^```$", page, re.M | re.S)
    (commands,) = re.findall(r"^```sh\n(for .*?)^```$", page, re.M | re.S)
    macros = tmp_path / "riscv-tests" / "isa" / "macros" / "scalar" / "test_macros.h"
    files = {tmp_path / "rv" / "riscv_test.h": header, macros: CASE}
    for name, body in TESTS.items():
        text = '#include "riscv_test.h"\n#include "test_macros.h"\nRVTEST_RV64U\nRVTEST_CODE_BEGIN\n' + body
        data = "\nRVTEST_CODE_END\n.data\nRVTEST_DATA_BEGIN\n.word 1\nword: .dword 0xfeedbeef2100\nRVTEST_DATA_END\n"
        files[tmp_path / "riscv-tests" / "isa" / f"{name}.S"] = text + data
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "opml_min").symlink_to(REPOSITORY / "opml_min")
    path_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", commands], cwd=tmp_path, env={**os.environ, "PATH": path_first}, capture_output=True, text=True)
    outcomes = [re.sub(r" +[0-9]+ steps,", "", line) for line in done.stdout.splitlines()]
    assert outcomes == [
        "FAILED  rv/fails.elf exit code 7",
        "passed  rv/passes.elf exit code 0",
        "FAILED  rv/runs_no_case.elf exit code 1",
    ], done.stderr
    assert done.returncode == 1
