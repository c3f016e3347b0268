"""What the cache folder holds of models depends on sources, by which it is named."""

import hashlib
from pathlib import Path

from opml_min import memory_map

MODEL_FOLDER = Path(__file__).parents[1]
MODEL_SOURCES = (MODEL_FOLDER, Path(memory_map.__file__))
"""The sources that decide what an image holds and what a check of it finds."""


def digest_of_sources(*paths: Path) -> bytes:
    """Hash the Python files, and all those in the folders."""
    digest = hashlib.sha256()
    for path in paths:
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(source.read_bytes())
    return digest.digest()
