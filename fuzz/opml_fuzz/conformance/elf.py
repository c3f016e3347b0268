"""ELF conformance: a program for RV64IM runs on all implementations in lockstep, and must end with exit code 0.

The official RISC-V tests end like this if they pass. The specification executes each step, opml_min interprets it, and the bytecode
executes its witness; all state hashes must be equal. At the end opml_min runs the program once more, translated.

*Source*: Tool Interface Standard, ELF 1.2; RISC-V ELF psABI; spec §2.1 and §2.2.
"""

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import frozen
from opml_spec.errors import SpecError
from opml_spec.machine.memory import Memory
from opml_spec.machine.start import start_state
from opml_spec.machine.state import Kind, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import make_witness

from opml_fuzz.engines.opml_min import FullMachine, interpreted, translated
from opml_fuzz.engines.protocol import WitnessEngine
from opml_fuzz.errors import InputError
from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, TEXT_BYTES
from opml_fuzz.machine.start import REGISTERS, Leaves, Start

RISC_V, EXECUTABLE = 243, 2  # e_machine, e_type
LOAD, INTERPRETER, EXECUTE = 1, 3, 1  # p_type, p_type, p_flags
HEADER_BYTES = 56  # of a segment, in the table
HOT_STEPS = 5_000  # that are interpreted before a region is translated
LINK = (
    f"link it static, its text within [{ENTRY:#x}, {ENTRY + TEXT_BYTES:#x}), "
    f"its data anywhere below {MEMORY:#x}, what it writes outside [{ENTRY:#x}, {2 * ENTRY:#x})"
)


@frozen
class Executable:
    """The loaded content of an ELF file: its segments by address, and where it starts."""

    entry: int
    segments: dict[int, bytes]

    @property
    def start(self) -> Start:
        """The machine state at the start: all registers 0."""
        memory, indices = Memory.from_segments(self.segments), set[int]()
        for address, data in self.segments.items():
            indices.update(range(address // LEAF, (address + len(data) - 1) // LEAF + 1))
        leaves = {index: memory.leaf(index) for index in sorted(indices)}
        return Start(self.entry, (0,) * REGISTERS, Leaves({index: leaf for index, leaf in leaves.items() if leaf != bytes(LEAF)}))


def load(path: Path) -> Executable:
    """Reads a file; refuses one that this machine cannot run."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        return parse(data)
    except (struct.error, IndexError) as error:
        raise InputError(f"{path} is a broken ELF file") from error
    except SpecError as error:
        raise InputError(f"{path}: its segments overlap or leave memory ({error}); {LINK}") from error
    except ValueError as error:
        raise InputError(f"{path} {error}") from error


def parse(data: bytes) -> Executable:
    """Reads headers and segments; raises ValueError with a message that follows the file's name in a sentence."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("is not a 64-bit little-endian ELF file")
    kind, machine, _, entry, headers_at = struct.unpack_from("<HHIQQ", data, 16)
    size, count = struct.unpack_from("<HH", data, 54)
    if machine != RISC_V:
        raise ValueError(f"is for machine {machine}, not for RISC-V ({RISC_V})")
    if count and (size != HEADER_BYTES or headers_at + count * size > len(data)):
        raise ValueError(f"has an impossible table of segments: {count} of {size} bytes at {headers_at:#x}")
    headers = [struct.unpack_from("<IIQQQQQ", data, headers_at + i * size) for i in range(count)]
    if kind != EXECUTABLE or any(header[0] == INTERPRETER for header in headers):
        raise ValueError(f"is not a static executable: {LINK}")
    segments = {}
    used_memory: list[tuple[int, int]] = []
    used_file: list[tuple[int, int]] = []
    for p_type, flags, offset, address, _, file_bytes, memory_bytes in headers:
        if p_type != LOAD or memory_bytes == file_bytes == 0:
            continue
        if file_bytes > memory_bytes:
            raise ValueError(f"has a segment at {address:#x} with {file_bytes} bytes in the file, more than its {memory_bytes} in memory")
        if offset + file_bytes > len(data):
            raise IndexError("a segment ends beyond the file")
        if address + memory_bytes > MEMORY or (flags & EXECUTE and not ENTRY <= address <= ENTRY + TEXT_BYTES - memory_bytes):
            raise ValueError(f"has a segment at {address:#x} that does not fit: {LINK}")
        used_memory.append((address, memory_bytes))
        if file_bytes:
            used_file.append((offset, file_bytes))
            segments[address] = data[offset : offset + file_bytes]
    for used in (used_memory, used_file):
        used.sort()
        if any(first + length > following for (first, length), (following, _) in pairwise(used)):
            raise ValueError(f"has segments that overlap: {LINK}")
    if not any(address <= entry < address + len(content) for address, content in segments.items()):
        raise ValueError(f"starts at {entry:#x}, where it has loaded nothing: {LINK}")
    Memory.from_segments(segments)  # raises if they overlap
    return Executable(entry, segments)


@frozen
class Outcome:
    """The result for one file."""

    file: str
    passed: bool
    steps: int
    detail: str

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "passed": self.passed, "steps": self.steps, "detail": self.detail}


def run(path: Path, engines: set[str], arbiter: WitnessEngine | None, most_steps: int) -> Outcome:
    """Runs a program in lockstep, on the specification and on the engines named."""
    start, steps, detail = load(path).start, 0, ""
    state = start_state(start.leaves.memory, start.pc)
    fast = interpreted() if "min" in engines else None
    machine = fast.machine_at(start) if fast else None
    while state.status.kind == Kind.RUNNING and steps < most_steps and not detail:
        pc, witness = state.pc, make_witness(state) if arbiter else b""
        state, steps = step(state), steps + 1
        answers = {"spec": state_hash(state).hex()}
        if machine:
            machine.run(1)
            answers["opml_min"] = machine.state_hash().hex()
        if arbiter:
            answers["evm"] = arbiter.execute(witness)
        if len(set(answers.values())) > 1:
            detail = f"step {steps} at {pc:#x}: " + ", ".join(f"{name} {answer}" for name, answer in answers.items())
    if not detail and fast and translated().run(start, (steps,))[0] != state_hash(state).hex():
        detail = f"after {steps} steps opml_min, translated, has another state"
    return ended(path, state.status.kind, state.status.value, state.pc, steps, detail)


def run_fast(path: Path, most_steps: int) -> Outcome:
    """Runs a program on opml_min alone, at its own speed."""
    machine = FullMachine("opml_min", HOT_STEPS).machine_at(load(path).start)
    steps = machine.run(most_steps)
    return ended(path, machine.status.kind, machine.status.value, machine.pc, steps, "")


def ended(path: Path, kind: int, value: int, pc: int, steps: int, detail: str) -> Outcome:
    """Makes the outcome: passed if there is no difference and the exit code is 0."""
    how = ("still running", f"exit code {value}", f"trapped with cause {value} at {pc:#x}")
    return Outcome(str(path), not detail and (kind, value) == (Kind.HALTED, 0), steps, detail or how[kind])
