"""Image files at edges: the specification and opml_min take the same ones, whatever a field of the table says."""

from itertools import product
from pathlib import Path

import pytest
from opml_spec.errors import ImageFile
from opml_spec.machine.memory import ENTRY, IO, MEMORY_BYTES, MODEL, STATE
from opml_spec.model.image import ENTRY_BYTES, TABLE_BYTES, decode_image, encode_image
from opml_spec.model.layout import HEADER

from opml_min.model.errors import ImageError
from opml_min.model.image.segments import SegmentFile

SEGMENTS = {ENTRY: b"program", HEADER: bytes(range(32)), HEADER + (1 << 28): b"", STATE: b"x" * 5000}
FILE = encode_image(SEGMENTS)
BORDERS = 0, 4096, 8192, 12_288, MODEL, *SEGMENTS, IO, MEMORY_BYTES, len(FILE), 1 << 28, (1 << 64) - 4096
VALUES = sorted({border + by for border in BORDERS for by in (-4096, -1, 0, 1, 4096) if 0 <= border + by < 1 << 64})


def is_taken_by_both(file: bytes, folder: Path) -> bool:
    """Whether an image is taken; fails if the two disagree."""
    (folder / "image").write_bytes(file)
    answers = []
    for read, refusal in ((lambda: decode_image(file), ImageFile), (lambda: SegmentFile(folder / "image"), ImageError)):
        try:
            read()
            answers.append(True)
        except refusal:
            answers.append(False)
    assert answers[0] == answers[1], answers
    return answers[0]


@pytest.mark.parametrize("field", range(3), ids=["address", "file offset", "length"])
def test_every_edge_in_the_table(field: int, tmp_path: Path) -> None:
    taken = 0
    for entry, value in product(range(len(SEGMENTS)), VALUES):
        start = TABLE_BYTES + ENTRY_BYTES * entry + 8 * field
        taken += is_taken_by_both(FILE[:start] + value.to_bytes(8, "little") + FILE[start + 8 :], tmp_path)
    assert 0 < taken < len(SEGMENTS) * len(VALUES)


def test_the_beginning_and_the_end(tmp_path: Path) -> None:
    assert is_taken_by_both(FILE, tmp_path)
    assert not any(is_taken_by_both(FILE[:size], tmp_path) for size in (*range(0, TABLE_BYTES + ENTRY_BYTES * 5, 7), len(FILE) - 1))
    assert not any(is_taken_by_both(FILE[:at] + b"\7" + FILE[at + 1 :], tmp_path) for at in range(TABLE_BYTES))


def test_an_empty_segment_lies_in_a_quarter_too(tmp_path: Path) -> None:
    """Behind its last byte the quarter has ended."""
    for border in (IO, MEMORY_BYTES):
        assert is_taken_by_both(encode_image(SEGMENTS | {border - 4096: bytes(4096)}), tmp_path)
        assert not is_taken_by_both(encode_image(SEGMENTS | {border: b""}), tmp_path)
