"""Facts remembered about large files, such as a hash or a model root, so that the files need not be read again.

A file counts as unchanged if its device, inode, size and both its times are unchanged. The system sets the time of the last change at every
write, and programs cannot. A change within one tick of the file system's clock could go unnoticed, so nothing is remembered about a file
that has just changed.

Every fact is one file in the cache folder. Like the compiled code there, it deserves as much trust as those who can write to the folder. No
dispute rests on a remembered root: it is compared with the model before the first proof.
"""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from attrs import astuple, frozen

from opml_min.cache_folder import cache_folder
from opml_min.model.errors import WriteFailed
from opml_min.model.files.atomic import written_whole

LARGE_BYTES = 1 << 24  # smaller files are read again
TICK_SECONDS = 2  # FAT's, the slowest clock of any file system


@frozen
class Identity:
    """Which file this is, and which version of it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, file: Path | int) -> "Identity":
        """Look up a file by its path or the descriptor of an open file."""
        status = os.stat(file)
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def is_settled(self) -> bool:
        """Tell whether any later change would change the identity."""
        return time.time_ns() - max(self.changed_ns, self.modified_ns) > TICK_SECONDS * 10**9


def recalled(what: str, identity: Identity, length: int | None = None) -> bytes | None:
    """Return what was remembered about this version of the file. With another length than it must have, it is damaged and forgotten."""
    entry = _entry(what, identity)
    try:
        value = entry.read_bytes() if identity.size >= LARGE_BYTES else None
        if value is None or length in (None, len(value)):
            return value
        entry.unlink()
    except OSError:
        pass
    return None


def remembered(what: str, path: Path, identity: Identity, compute: Callable[[], bytes], length: int | None = None) -> bytes:
    """Return the remembered value, or else compute it from the file at `path`. It is remembered unless the file changed meanwhile."""
    known = recalled(what, identity, length)
    if known is not None:
        return known
    settled = identity.is_settled()
    value = compute()
    if settled and identity.size >= LARGE_BYTES and Identity.of(path) == identity:
        _keep(_entry(what, identity), value)
    return value


def _entry(what: str, identity: Identity) -> Path:
    return cache_folder() / "known" / hashlib.sha256(f"{what} {astuple(identity)}".encode()).hexdigest()[:32]


def _keep(entry: Path, value: bytes) -> None:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(entry) as file:
            file.write(value)
    except (OSError, WriteFailed):
        pass  # without a writable cache nothing is remembered
