"""Files in the cache that are large: each has its SHA-256 in a small file beside it, which tells whether it is damaged.

The hash of a large file is computed once for each version of the file, so that looking costs nothing when nothing has changed. A damaged
file stays until it is replaced, because another process may be using it.
"""

import hashlib
from functools import partial
from pathlib import Path

from opml_min.cache_folder import keep, kept
from opml_min.model.files.file_memo import Identity, remembered

SUFFIX = ".sha256"


def sha256_of(path: Path) -> bytes:
    """Return the hash of a file's contents. That of a large file is remembered until the file changes."""
    return remembered("SHA-256", path, Identity.of(path), partial(_computed, path), 32)


def seal(path: Path) -> None:
    """Keep the hash beside the file. A file without one counts as damaged."""
    keep(_beside(path), _computed(path))


def is_intact(path: Path) -> bool:
    """Tell whether the file is as it was when it was sealed."""
    try:
        return kept(_beside(path)) == sha256_of(path)
    except OSError:
        return False


def _beside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _computed(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
