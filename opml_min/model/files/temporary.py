"""A folder for files that a command needs only for a moment, where there may be no ordinary one: the root of a container can be read-only.

*Source*: Filesystem Hierarchy Standard (`/tmp`); POSIX shared memory, which Linux keeps in `/dev/shm`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from opml_min.model.errors import WriteFailed

PARENTS = (None, "/dev/shm")  # None: as the environment says, or else /tmp


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder that is deleted at the end."""
    for parent in PARENTS:
        try:
            folder = TemporaryDirectory(dir=parent)
        except OSError:
            continue
        with folder as name:
            yield Path(name)
        return
    raise WriteFailed("there is no folder in which temporary files can be written; TMPDIR names one")
