"""What is kept between runs: images built from source files, and compiled kernels. All of it can be deleted at any time.

The folder is `$XDG_CACHE_HOME/opml` (`~/.cache/opml`).
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit

MODEL_SOURCES = Path(__file__).parent
KERNEL_SOURCES = (MODEL_SOURCES / "kernels", MODEL_SOURCES / "layout.py")


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opml"


def digest_of_sources(*paths: Path) -> bytes:
    """Of the Python files and of all those in the folders."""
    digest = hashlib.sha256()
    for path in paths:
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(source.read_bytes())
    return digest.digest()


def kernel_folder() -> Path:
    return cache_folder() / "kernels" / digest_of_sources(*KERNEL_SOURCES).hex()[:16]


def are_kernels_compiled() -> bool:
    """Whether native code can begin at once; compiling it takes the better part of a minute."""
    return any(kernel_folder().rglob("*.nbc"))


def compiled(function: Callable[..., None]) -> Any:
    """The function as native code, compiled on the first call and kept in a folder named after the source of all kernels.

    (numba by itself looks only at the file of the function, not at those of the functions that it calls.)"""
    config: Any = numba.config  # its attributes come and go at run time
    before = config.CACHE_DIR
    config.CACHE_DIR = str(kernel_folder())
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # there is no place that can be written
        return njit(nogil=True)(function)
    finally:
        config.CACHE_DIR = before
