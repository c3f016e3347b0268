"""The image: the file that carries a model's memory.

*Source*: spec §3.1.
"""

from collections.abc import Mapping

from opml_spec.errors import ImageFile
from opml_spec.machine.memory import ENTRY, IO, MEMORY_BYTES, MODEL, STATE, TEXT_BYTES

FILE_MAGIC = b"OPMLIMG1"
SEGMENT_ALIGNMENT = 4096  # of addresses and file offsets
TABLE_BYTES = 16  # magic, u32 number of segments, u32 0
QUARTERS = (MODEL, IO), (STATE, MEMORY_BYTES)  # in which segments lie
ENTRY_BYTES = 24  # of the table, for each segment: u64 address, file offset, length


def encode_image(segments: Mapping[int, bytes]) -> bytes:
    """The file with these segments, bytes by address."""
    table, data = FILE_MAGIC + len(segments).to_bytes(8, "little"), b""
    start = aligned(TABLE_BYTES + ENTRY_BYTES * len(segments))
    for address, segment in sorted(segments.items()):
        data += bytes(aligned(len(data)) - len(data))
        table += b"".join(word.to_bytes(8, "little") for word in (address, start + len(data), len(segment)))
        data += segment
    return table.ljust(start, b"\0") + data


def aligned(offset: int) -> int:
    """The next multiple of 4096."""
    return -(-offset // SEGMENT_ALIGNMENT) * SEGMENT_ALIGNMENT


def decode_image(file: bytes) -> dict[int, bytes]:
    """The segments of an image file; raise if it is not laid out as one."""
    if file[: len(FILE_MAGIC)] != FILE_MAGIC or int.from_bytes(file[12:16], "little") != 0:
        raise ImageFile("it does not begin with the magic bytes")
    count = int.from_bytes(file[8:12], "little")
    end_of_table = TABLE_BYTES + ENTRY_BYTES * count
    if count == 0 or len(file) < end_of_table:
        raise ImageFile("it ends before its table does, or has no segment")
    words = [int.from_bytes(file[i : i + 8], "little") for i in range(TABLE_BYTES, end_of_table, 8)]
    segments: dict[int, bytes] = {}
    free_from, data_from = MODEL, end_of_table
    for address, offset, length in zip(*[iter(words)] * 3, strict=True):
        end = address + length
        if address % SEGMENT_ALIGNMENT or offset % SEGMENT_ALIGNMENT:
            raise ImageFile(f"the segment at {address:#x} is not aligned")
        if address < free_from or not any(start <= address < stop and end <= stop for start, stop in QUARTERS):
            raise ImageFile(f"the segment at {address:#x} overlaps the one before, or leaves the model or the state quarter")
        if offset < data_from or offset + length > len(file):
            raise ImageFile(f"the bytes of the segment at {address:#x} are not behind those of the one before, or not in the file")
        segments[address] = file[offset : offset + length]
        free_from, data_from = end, offset + length
    if data_from != len(file):
        raise ImageFile("bytes follow the last segment")
    if len(segments.get(ENTRY, bytes(TEXT_BYTES))) >= TEXT_BYTES:
        raise ImageFile("the first segment is no program: it begins elsewhere, or is too long")
    return segments
