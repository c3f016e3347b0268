"""Signatures by QEMU: a program that is compiled twice, like an architecture test, passes with the right one and fails with any other."""

import subprocess
import sys
from pathlib import Path

import pytest
from opml_fuzz.conformance.elf import run
from opml_fuzz.conformance.signature import directives, signature
from opml_fuzz.errors import FuzzError, InputError

from opml_min.guest.build import FOLDER

SOURCE = """
.section .text.init
.globl _start
_start:
  la s0, begin_signature
  li t0, -7
  li t1, 3
  mulh t2, t0, t1
  check t2
  rem t2, t0, t1
  check t2
  la t3, begin_signature
  ld t2, 3(t3)
  check t2
  li a0, EXIT_CODE
  li a7, 93
  ecall
.data
.balign 16
.globl begin_signature, end_signature
begin_signature:
#ifdef SELFCHECK
  #include SELFCHECK
#else
  .dword 0, 0, 0
#endif
end_signature:
"""
WRITES = ".macro check register\n  sd \\register, 0(s0)\n  addi s0, s0, 8\n.endm\n"
COMPARES = (
    ".macro check register\n  ld t6, 0(s0)\n  addi s0, s0, 8\n  beq t6, \\register, 1f\n  li a0, 1\n  li a7, 93\n  ecall\n1:\n.endm\n"
)


def compiled(folder: Path, name: str, macro: str, *flags: str) -> Path:
    source, file = folder / f"{name}.S", folder / f"{name}.elf"
    source.write_text(macro + SOURCE)
    target = ["-target", "riscv64-freestanding-none", "-mcpu=generic_rv64+m", "-mcmodel=medany", "-nostdlib", "-static"]
    arguments = [*target, "-w", "-I", folder, "-T", FOLDER / "program.ld", *flags, "-o", file, source]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *arguments], check=True, capture_output=True)
    return file


def test_a_program_passes_with_the_signature_of_qemu_alone(tmp_path: Path) -> None:
    written = signature(compiled(tmp_path, "writes", WRITES, "-DEXIT_CODE=0"))
    results = [int.from_bytes(written[at : at + 8], "little", signed=True) for at in (0, 8, 16)]
    assert results[:2] == [-1, -1]
    (tmp_path / "right.h").write_text(directives(written))
    (tmp_path / "wrong.h").write_text(directives(written[:8] + bytes([7]) + written[9:]))
    for name, passes in (("right", True), ("wrong", False)):
        file = compiled(tmp_path, name, COMPARES, "-DEXIT_CODE=0", f'-DSELFCHECK="{name}.h"')
        assert run(file, {"spec", "min"}, None, 1_000).passed is passes


def test_what_has_no_signature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FuzzError, match="a0 = 4"):
        signature(compiled(tmp_path, "fails", WRITES, "-DEXIT_CODE=4"))
    stripped = compiled(tmp_path, "stripped", WRITES, "-DEXIT_CODE=0", "-s")
    with pytest.raises(InputError, match="no symbols"):
        signature(stripped)
