"""Compiled kernels are kept between runs, in a folder that is named after the source of all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit

from opml_min.model.files.cache import MODEL_FOLDER, MODEL_SOURCES, cache_folder, digest_of_sources

KERNEL_SOURCES = (Path(__file__).parent / "kernels", MODEL_FOLDER / "image", *MODEL_SOURCES[1:])


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
