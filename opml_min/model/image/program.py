"""The program that every image carries: the guest's text, as its first segment holds it.

*Source*: the ELF-64 specification (program headers); spec/README.md §3.1.
"""

import struct
from importlib.resources import files

from opml_min.memory_map import ENTRY, PROGRAM_BYTES
from opml_min.model.errors import ImageError

LOADABLE = 1  # PT_LOAD


def shipped_program() -> bytes:
    """The text and constants of the shipped guest."""
    return program_of_elf(files("opml_min.guest").joinpath("guest.elf").read_bytes())


def program_of_elf(elf: bytes) -> bytes:
    """What the file puts into the text window, from ENTRY on; anything else that it wants loaded is an error."""
    window = bytearray()
    for address, data in elf_segments(elf):
        start = address - ENTRY
        if not 0 <= start <= start + len(data) < PROGRAM_BYTES:
            raise ImageError(f"the program has initialised data at {address:#x}, outside the text window")
        window.extend(bytes(max(0, start + len(data) - len(window))))
        window[start : start + len(data)] = data
    return bytes(window)


def elf_segments(elf: bytes) -> list[tuple[int, bytes]]:
    """The bytes that the file wants loaded, by address (p_vaddr); what it wants zeroed is zero already."""
    segments = []
    try:
        if elf[:5] != b"\x7fELF\x02":
            raise ImageError("the program is not an ELF-64 file")
        (header_offset,) = struct.unpack_from("<Q", elf, 32)
        entry_bytes, count = struct.unpack_from("<HH", elf, 54)
        for i in range(count):
            kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", elf, header_offset + i * entry_bytes)
            if kind == LOADABLE and length:
                if offset + length > len(elf):
                    raise ImageError("the program's ELF file is truncated")
                segments.append((address, elf[offset : offset + length]))
    except struct.error as error:
        raise ImageError("the program's ELF file is truncated") from error
    return segments
