"""The signature of an architecture test, as QEMU computes it: `python -m opml_fuzz.conformance.signature FILE.elf` prints it.

The RISC-V architecture tests are compiled twice. The first program writes its results into memory between two symbols, the *signature*.
The second one contains the signature that a reference wrote, and compares. Their own reference is the Sail model of RISC-V. This one is
QEMU, through unicorn, a developer extra. It has nothing in common with the implementations here.

*Source*: RISC-V Architecture Test Framework (ACT4); ELF 1.2, "Symbol Table"; spec §2.1.
"""

import struct
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from opml_fuzz.conformance.elf import load
from opml_fuzz.errors import FuzzError, InputError

SYMBOL_TABLE, SECTION_BYTES, SYMBOL_BYTES = 2, 64, 24  # sh_type, and the size of an entry in the tables
BEGIN, END = "begin_signature", "end_signature"
PAGE, MARGIN, MOST_STEPS, EXIT = 4096, 64, 10_000_000, 93
"""Memory is mapped so many pages before and behind what the file has, for data that starts as zero."""


def symbols(data: bytes) -> dict[str, int]:
    """Reads the values of all symbols of an ELF file that `load` accepts."""
    (sections_at,) = struct.unpack_from("<Q", data, 40)
    (count,) = struct.unpack_from("<H", data, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, sections_at + SECTION_BYTES * i) for i in range(count)]
    found = {}
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind == SYMBOL_TABLE:
            names = data[sections[link][4] :]
            for at in range(offset, offset + size, SYMBOL_BYTES):
                name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", data, at)
                found[names[name : names.index(b"\0", name)].decode()] = value
    return found


def signature(path: Path) -> bytes:
    """Runs a program in QEMU and returns what it left between the two symbols; it must end by ECALL 93 with a0 = 0."""
    unicorn, registers = cast(Any, import_module("unicorn")), cast(Any, import_module("unicorn.riscv_const"))  # which have no types
    executable, data = load(path), path.read_bytes()
    try:
        named = symbols(data)
        first, last = named[BEGIN], named[END]
    except (KeyError, struct.error, IndexError, ValueError) as error:
        raise InputError(f"{path} has no symbols {BEGIN} and {END}") from error
    processor = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
    ends = [(address, address + len(content)) for address, content in executable.segments.items()] + [(first, last)]
    around = {page for begin, end in ends for page in range(begin // PAGE - MARGIN, end // PAGE + MARGIN + 1)}
    for page in sorted(around):
        processor.mem_map(page * PAGE, PAGE)
    for address, content in executable.segments.items():
        processor.mem_write(address, content)
    processor.hook_add(unicorn.UC_HOOK_INTR, lambda machine, *_: machine.emu_stop())
    try:
        processor.emu_start(executable.entry, 0, count=MOST_STEPS)
    except unicorn.UcError as error:
        raise FuzzError(f"{path} ends in QEMU with {error}") from error
    a0, a7 = (processor.reg_read(each) for each in (registers.UC_RISCV_REG_A0, registers.UC_RISCV_REG_A7))
    if (a0, a7) != (0, EXIT):
        raise FuzzError(f"{path} ends in QEMU with a0 = {a0} and a7 = {a7}")
    return bytes(processor.mem_read(first, last - first))


def directives(content: bytes) -> str:
    """Writes a signature as assembly, a double word a line; what is left over at the end is no result."""
    return "".join(f".dword {value:#018x}\n" for (value,) in struct.iter_unpack("<Q", content[: len(content) // 8 * 8]))


if __name__ == "__main__":
    print(directives(signature(Path(sys.argv[1]))), end="")
