"""What is known of a large file without reading it again: its hash, or the root of the model in it.

A file is taken for the one that was read if it lies in the same place of the same disk, and its size and both its times are the same: the
system sets the time of the last change at every write, and only the system can. A change within one tick of a file system's clock after the
reading began could pass unseen, so of a file that has just been changed nothing is remembered.

What is remembered is in the cache folder, one file an entry. Like the compiled code there, it is worth as much trust as those who can
write there: its owner. And a root is held against the model before a proof rests on it, so no dispute rests on what is only remembered.
"""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from opml_min.model.errors import WriteFailed
from opml_min.model.files.atomic import written_whole
from opml_min.model.files.cache import cache_folder

LARGE_BYTES = 1 << 24  # a smaller file is as quickly read as remembered
TICK_SECONDS = 2  # of the slowest clock of a file system (FAT's)


class Identity(NamedTuple):
    """Which file it is, and which version of it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, file: Path | int) -> "Identity":
        """file: a path, or the number of an open file"""
        status = os.stat(file)
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def is_settled(self) -> bool:
        """Whether a change from now on changes the identity."""
        return time.time_ns() - max(self.changed_ns, self.modified_ns) > TICK_SECONDS * 10**9


def recalled(what: str, identity: Identity) -> bytes | None:
    """What was remembered of this very file."""
    try:
        return _entry(what, identity).read_bytes() if identity.size >= LARGE_BYTES else None
    except OSError:
        return None


def remembered(what: str, path: Path, identity: Identity, compute: Callable[[], bytes]) -> bytes:
    """What is recalled; else it is computed from the file at `path`, and remembered if the file is still the same."""
    known = recalled(what, identity)
    if known is not None:
        return known
    settled = identity.is_settled()
    value = compute()
    if settled and identity.size >= LARGE_BYTES and Identity.of(path) == identity:
        _keep(_entry(what, identity), value)
    return value


def _entry(what: str, identity: Identity) -> Path:
    return cache_folder() / "known" / hashlib.sha256(f"{what} {tuple(identity)}".encode()).hexdigest()[:32]


def _keep(entry: Path, value: bytes) -> None:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(entry) as file:
            file.write(value)
    except (OSError, WriteFailed):
        pass  # a cache that cannot be written is one that remembers nothing
