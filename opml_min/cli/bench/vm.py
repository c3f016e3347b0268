"""`opml bench vm`: the translated machine against its peers on the same programs.

Each program is one C source. The machine and qemu-riscv64 run the same ELF, `cc -O2` compiles the source for this computer, and the
interpreter executes the first steps. A peer's rate is the machine's step count divided by the peer's seconds. Rounds are interleaved and
the median counts.
"""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from opml_min.bench_programs.build import FOLDER, NAMES, sources
from opml_min.cli.bench.row import Row
from opml_min.cli.output import Progress
from opml_min.machine import HALTED, NEVER_TRANSLATE, Machine, Memory
from opml_min.model.errors import CheckFailed
from opml_min.model.files.temporary import temporary_folder
from opml_min.model.image.program import elf_segments

ROUNDS = 5
INTERPRETED_STEPS = 200_000
GIGA = 10**9


def rows() -> list[Row]:
    found: list[Row] = []
    progress = Progress("programs", len(NAMES))
    with temporary_folder() as folder:
        for number, name in enumerate(NAMES):
            found += compared(name, folder)
            progress.show(number + 1)
    return found


def compared(name: str, folder: Path) -> list[Row]:
    """One row per peer that this computer has."""
    machine = loaded(name)
    steps = run_to_the_end(machine)  # translates
    contestants: dict[str, Callable[[], object]] = {"translated": lambda: run_to_the_end(machine)}
    elf = folder / f"{name}.elf"
    elf.write_bytes((FOLDER / f"{name}.elf").read_bytes())
    elf.chmod(0o755)
    if qemu := shutil.which("qemu-riscv64"):
        contestants["qemu-riscv64"] = lambda: subprocess.run([qemu, elf], check=True)
    if compiler := shutil.which("cc"):
        native = folder / name
        subprocess.run([compiler, "-O2", "-o", native, *sources(name)], check=True, capture_output=True)
        contestants["cc -O2"] = lambda: subprocess.run([native], check=True)
    seconds: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    for _ in range(ROUNDS):
        for contestant, run in contestants.items():
            seconds[contestant].append(timed(run))
    rates = {contestant: steps / median(times) / GIGA for contestant, times in seconds.items()}
    rates["interpreter"] = INTERPRETED_STEPS / timed(lambda: interpret(name)) / GIGA
    value = rates.pop("translated")
    return [Row(f"translated {name}", value, "GIPS", peer, rate) for peer, rate in rates.items()]


def loaded(name: str, translate_after_steps: int = 0) -> Machine:
    """A machine with the program in its memory."""
    memory = Memory()
    for address, data in elf_segments((FOLDER / f"{name}.elf").read_bytes()):
        memory.write(address, data)
    return Machine(memory, translate_after_steps)


def run_to_the_end(machine: Machine) -> int:
    """Runs a program from the start; returns how many steps it takes."""
    machine.begin_stage(0)
    steps = machine.run(1 << 40)
    if tuple(machine.status) != (HALTED, 0):
        raise CheckFailed(f"a benchmark program ended with {machine.status}")
    return steps


def interpret(name: str) -> None:
    """Executes the program's first steps without translation."""
    machine = loaded(name, NEVER_TRANSLATE)
    machine.begin_stage(0)
    machine.run(INTERPRETED_STEPS)


def timed(run: Callable[[], object]) -> float:
    """How many seconds the call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
