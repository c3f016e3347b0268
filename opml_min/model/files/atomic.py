"""Output files that are complete or absent, never half written."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from opml_min.model.errors import WriteFailed


def check_writable(path: Path) -> None:
    """Raise WriteFailed if a file certainly cannot be written there. Commands call it before long work."""
    if path.is_dir():
        raise WriteFailed(f"cannot write {path}: it is a folder")
    if not os.access(path.parent, os.W_OK):
        raise WriteFailed(f"cannot write {path}: its folder does not exist or is not writable")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder. At the end that file replaces `path`; after an error it is deleted."""
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
    """Give an open file that appears at `path` complete or not at all."""
    with whole(path) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
