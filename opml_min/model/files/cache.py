"""The folder of what is kept between runs: images built from source files, and compiled kernels. All of it can be deleted at any time.

The folder is `$XDG_CACHE_HOME/opml` (`~/.cache/opml`).
"""

import hashlib
import os
from pathlib import Path

from opml_min import memory_map

MODEL_FOLDER = Path(__file__).parents[1]
MODEL_SOURCES = (MODEL_FOLDER, Path(memory_map.__file__))
"""All that decides what an image holds and what a check of it finds."""


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opml"


def digest_of_sources(*paths: Path) -> bytes:
    """Of the Python files and of all those in the folders."""
    digest = hashlib.sha256()
    for path in paths:
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(source.read_bytes())
    return digest.digest()
