"""Output files: complete, or not there at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from opml_min.model.errors import WriteFailed


def check_writable(path: Path) -> None:
    """WriteFailed if a file can surely not be written there; for commands that work long before they write."""
    if path.is_dir():
        raise WriteFailed(f"cannot write {path}: it is a folder")
    if not os.access(path.parent, os.W_OK):
        raise WriteFailed(f"cannot write {path}: its folder does not exist or is not writable")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Another path in the same folder to write to. At the end that file takes the place of `path`; after an error nothing is left of it."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
        try:
            yield temporary
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        raise WriteFailed(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at `path` complete or not at all."""
    with whole(path) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
