"""Compiles the guests: `python -m opml_min.guest.build` writes guest.elf, training.elf and their hashes beside the sources.

The compiler is zig's clang, whose version the `dev` extra fixes. Its stripped output is the same on every computer. At run time only the
committed ELF is used, so no compiler is needed.
"""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
ELF = FOLDER / "guest.elf"
ELF_SHA256 = FOLDER / "guest.elf.sha256"
TRAINING_ELF = FOLDER / "training.elf"
TRAINING_ELF_SHA256 = FOLDER / "training.elf.sha256"

# fmt: off
COMPILER = (
    sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-freestanding-none", "-mcpu=generic_rv64+m", "-mcmodel=medany",
    "-std=c11", "-O2", "-static", "-nostdlib", "-s",
    "-ffreestanding", "-fno-builtin", "-fwrapv", "-fno-strict-aliasing", "-fno-sanitize=undefined", "-fno-stack-protector",
    "-fomit-frame-pointer", "-mllvm", "-enable-misched=false",  # in source order, matmul fits the registers; rescheduled, it spills
    "-fno-jump-tables",  # every jump but a return then has its target in the instruction, which helps a translator
    "-ffunction-sections", "-Wl,--gc-sections", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
)
# fmt: on


class CompilationError(Exception):
    """The compiler refused; its messages are the argument."""


def sources() -> list[Path]:
    """The source files of the guest of inference, in link order."""
    return [FOLDER / "start.S", *sorted(FOLDER.glob("*.c"))]


def training_sources() -> list[Path]:
    """The source files of the guest of training: its own, and the arithmetic that both use."""
    return [FOLDER / "start.S", FOLDER / "elementary.c", FOLDER / "normalise.c", *sorted((FOLDER / "training").glob("*.c"))]


def compile_elf(files: Sequence[Path], linker_script: Path, output: Path, options: Sequence[str] = ()) -> None:
    """Compiles C and assembly files into one RV64IM ELF."""
    command = [*COMPILER, *options, "-T", str(linker_script), "-o", str(output), *map(str, files)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise CompilationError(result.stderr)
    output.chmod(0o644)  # data of the image, nothing that this computer runs


def build(output: Path, files: Sequence[Path]) -> str:
    """Builds a guest; returns the hash of the ELF."""
    compile_elf(files, FOLDER / "link.ld", output)
    return hashlib.sha256(output.read_bytes()).hexdigest()


if __name__ == "__main__":
    for elf, elf_sha256, files in ((ELF, ELF_SHA256, sources()), (TRAINING_ELF, TRAINING_ELF_SHA256, training_sources())):
        digest = build(elf, files)
        elf_sha256.write_text(digest + "\n", encoding="utf-8")
        print(digest, elf.name)
