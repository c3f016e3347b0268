"""Output files that are complete or absent, never half written, and that replace nothing but a file.

A symbolic link stays, and the file that it leads to is replaced. A device or a pipe is written into or refused.
"""

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from opml_min.model.errors import WriteFailed

TEMPORARY_NAME = 40  # characters of the name that the temporary file's name begins with, as names may not be long

OPEN_FILES = ("/dev/std", "/dev/fd/", "/proc/")
"""How paths begin that may name a file that a process has open, such as the output of this one."""


def check_writable(path: Path, reads: Iterable[Path] = ()) -> None:
    """Raise WriteFailed if a file certainly cannot be written there. Commands call it before long work.

    reads: files that the command reads, which it must not overwrite"""
    try:
        if os.path.isdir(path):
            raise WriteFailed(f"cannot write {path}: it is a folder")
        if is_written_into(path):
            return
        for read in reads:
            if os.path.exists(path) and os.path.exists(read) and os.path.samefile(path, read):
                raise WriteFailed(f"cannot write {path}: it is read by this command")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _failed(path, error) from error
    if not os.access(Path(os.path.realpath(path)).parent, os.W_OK):
        raise WriteFailed(f"cannot write {path}: its folder does not exist or is not writable")


def is_written_into(path: Path) -> bool:
    """Tell whether there is something that must not be replaced: a device, a pipe or a socket, or a name for an open file of a process."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    is_special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or str(path.absolute()).startswith(OPEN_FILES)
    return is_special or _standard_stream(path) is not None


def _standard_stream(path: Path) -> int | None:
    """Return the descriptor of this process's output or error stream if the path leads to the same file."""
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                return descriptor
    return None


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder. At the end that file replaces `path`; after an error it is deleted."""
    try:
        if is_written_into(path):
            raise WriteFailed(f"cannot write {path}: it is not a regular file")
        real = Path(os.path.realpath(path))
        with tempfile.NamedTemporaryFile(dir=real.parent, prefix=f".{real.name[:TEMPORARY_NAME]}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                yield temporary
                temporary.chmod(0o644)
                temporary.replace(real)
            except BaseException:
                with suppress(FileNotFoundError):
                    temporary.unlink()
                raise
    except OSError as error:
        raise _failed(path, error) from error


@contextmanager
def written_whole(path: Path, *, also_into: bool = False) -> Iterator[IO[bytes]]:
    """Give an open file that appears at `path` complete or not at all.

    also_into: write into a device or a pipe if that is there, instead of refusing it"""
    try:
        into = also_into and is_written_into(path)
        if into:
            stream = _standard_stream(path)
            with path.open("ab") if stream is None else os.fdopen(os.dup(stream), "wb") as file:
                yield file
    except OSError as error:
        raise _failed(path, error) from error
    if into:
        return
    with whole(path) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _failed(path: Path, error: OSError) -> WriteFailed:
    return WriteFailed(f"cannot write {path}: {error.strerror or f'{error}; is the disk full?'}")
