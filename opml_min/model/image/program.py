"""The program that every image carries in its first segment: a guest's code and constants.

*Source*: the ELF-64 specification (program headers); spec §3.1.
"""

import struct
from importlib.resources import files

from opml_min.memory_map import ENTRY, PROGRAM_BYTES
from opml_min.model.errors import ImageError

LOADABLE = 1  # PT_LOAD
HEADER_BYTES, ENTRY_BYTES = 64, 56  # of the file, and of its table of segments


def shipped_program() -> bytes:
    """Return the code and constants of the shipped guest."""
    return _program_of("guest.elf")


def shipped_training_program() -> bytes:
    """Return the code and constants of the shipped guest of training."""
    return _program_of("training.elf")


def _program_of(name: str) -> bytes:
    return program_of_elf(files("opml_min.guest").joinpath(name).read_bytes())


def program_of_elf(elf: bytes) -> bytes:
    """Return the bytes that the file loads from ENTRY on. Bytes for any other place are an error."""
    program = bytearray()
    for address, data in elf_segments(elf):
        start = address - ENTRY
        if not 0 <= start <= start + len(data) < PROGRAM_BYTES:
            raise ImageError(f"the program has initialised data at {address:#x}, outside the memory that holds programs")
        if start < len(program):
            raise ImageError(f"the program's segment at {address:#x} overlaps another one, or does not ascend")
        program.extend(bytes(start - len(program)))
        program.extend(data)
    return bytes(program)


def elf_segments(elf: bytes) -> list[tuple[int, bytes]]:
    """Return the loadable bytes with their addresses (p_vaddr). Memory that the file wants zeroed is zero already."""
    if elf[:6] != b"\x7fELF\x02\x01" or len(elf) < HEADER_BYTES:
        raise ImageError("the program is not a little-endian ELF-64 file")
    (header_offset,) = struct.unpack_from("<Q", elf, 32)
    entry_bytes, count = struct.unpack_from("<HH", elf, 54)
    if count and (entry_bytes != ENTRY_BYTES or header_offset + count * entry_bytes > len(elf)):
        raise ImageError("the program's ELF file is truncated, or its table of segments is impossible")
    segments = []
    for i in range(count):
        kind, _, offset, address, _, length, memory = struct.unpack_from("<IIQQQQQ", elf, header_offset + i * entry_bytes)
        if kind == LOADABLE and length:
            if offset + length > len(elf) or length > memory:
                raise ImageError(f"the program's segment at {address:#x} ends beyond the file, or is larger than in memory")
            segments.append((address, elf[offset : offset + length]))
    return segments
