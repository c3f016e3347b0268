"""Compiles the benchmark programs: `python -m opml_min.bench_programs.build` writes an ELF beside each source.

They are RV64IM programs that end with ECALL 93. The stage program works in the state quarter, as a stage does. The others are ordinary
programs, so any other RISC-V emulator can run the same files.
"""

from pathlib import Path

from opml_min.guest.build import FOLDER as GUEST
from opml_min.guest.build import compile_elf

FOLDER = Path(__file__).parent
STAGE = "stage"
NAMES = tuple(sorted(source.stem for source in FOLDER.glob("*.c") if source.stem != STAGE))


def sources(name: str) -> list[Path]:
    """The C files of a program, without the start code."""
    library = [GUEST / "binary32.c"] if name == "softfloat" else []
    return [FOLDER / f"{name}.c", *library]


def build(name: str, output: Path) -> None:
    compile_elf([GUEST / "program.S", *sources(name)], GUEST / "program.ld", output)


if __name__ == "__main__":
    for name in (*NAMES, STAGE):
        build(name, FOLDER / f"{name}.elf")
