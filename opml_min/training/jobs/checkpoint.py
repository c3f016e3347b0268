"""Checkpoints: all that a training run has written so far, in a file from which the run goes on to the same run hashes.

The file is `"OPMLCKP1"`, u64 updates done, u64 number of pages, the numbers of the pages as u64, ascending, and the pages' 1024 bytes each.
Only tensors that ops write can have changed. So the state quarter's pages of these are kept, and those of io that are not all zero.

*Source*: spec §6.1 (the io quarter is zero at first, beside the request).
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opml_min.memory_map import PAGE_BYTES, STATE
from opml_min.model.files.atomic import written_whole
from opml_min.training.jobs.errors import JobError
from opml_min.training.operations import TrainingOp
from opml_min.training.run import TrainingRun

MAGIC = b"OPMLCKP1"
HEADER_BYTES = 24
AT_ONCE = 1 << 14  # pages (= 16 MiB)

Pages = NDArray[np.int64]


def writable_pages(ops: list[TrainingOp]) -> list[tuple[int, int]]:
    """Return the pages that ops can write: spans [first, end), ascending and apart from one another."""
    found = {(t.address // PAGE_BYTES, -(-t.end // PAGE_BYTES)) for op in ops for t in op.tensors() if t.written}
    spans: list[tuple[int, int]] = []
    for first, end in sorted(found):
        if spans and first <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], end)
        else:
            spans.append((first, end))
    return spans


def _pieces(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for first, end in spans:
        for start in range(first, end, AT_ONCE):
            yield start, min(start + AT_ONCE, end)


def _kept(run: TrainingRun, first: int, end: int) -> Pages:
    words = run.memory.view(first * PAGE_BYTES, (end - first) * PAGE_BYTES // 8, np.uint64).reshape(end - first, -1)
    pages = np.arange(first, end)
    kept: Pages = pages[words.any(axis=1) | (pages >= STATE // PAGE_BYTES)]
    return kept


def save_checkpoint(path: Path, run: TrainingRun) -> None:
    """Write the state of a run that has just finished an update."""
    spans = writable_pages(run.ops)
    pages = np.concatenate([_kept(run, first, end) for first, end in _pieces(spans)])
    with written_whole(path) as file:
        file.write(MAGIC + struct.pack("<QQ", run.stage // len(run.ops), len(pages)) + pages.astype("<u8").tobytes())
        for first, end in _pieces(spans):
            here = pages[np.searchsorted(pages, first) : np.searchsorted(pages, end)] - first
            contents = run.memory.view(first * PAGE_BYTES, (end - first) * PAGE_BYTES, np.uint8).reshape(end - first, PAGE_BYTES)
            file.write(contents[here].tobytes())


def load_checkpoint(path: Path, run: TrainingRun, updates: int) -> None:
    """Bring a run that has done nothing to where a checkpoint after so many updates was written.

    It may come from a stranger, so afterwards compare the run hash."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(HEADER_BYTES)
            done, count = struct.unpack_from("<QQ", head, 8) if len(head) == HEADER_BYTES else (0, 0)
            if head[:8] != MAGIC or done != updates or size != HEADER_BYTES + count * (8 + PAGE_BYTES):
                raise JobError(f"{path} is no checkpoint after {updates} updates")
            spans = writable_pages(run.ops)
            few = count <= sum(end - first for first, end in spans)
            pages = np.frombuffer(file.read(8 * count if few else 0), "<u8").astype(np.int64)
            if not few or not _can_have_changed(pages, spans):
                raise JobError(f"{path} is damaged: it holds pages that the job does not write")
            for together in np.split(pages, np.flatnonzero(np.diff(pages) != 1) + 1):
                for start in range(0, len(together), AT_ONCE):
                    piece = together[start : start + AT_ONCE]
                    run.memory.write(int(piece[0]) * PAGE_BYTES, file.read(PAGE_BYTES * len(piece)))
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror}") from error
    run.stage = updates * len(run.ops)


def _can_have_changed(pages: Pages, spans: list[tuple[int, int]]) -> bool:
    firsts, ends = (np.array(edges) for edges in zip(*spans, strict=True))
    span = np.maximum(np.searchsorted(firsts, pages, side="right") - 1, 0)
    return bool((np.diff(pages) > 0).all() and (pages >= firsts[span]).all() and (pages < ends[span]).all())
