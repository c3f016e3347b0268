"""Compiled kernels, kept between runs in a folder that is named after the source of all of them.

By itself numba would look only at the file of the compiled function, not at those of the functions that it calls.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserProvidedCacheLocator

from opml_min.model.files.cache import MODEL_FOLDER, MODEL_SOURCES, cache_folder, digest_of_sources

KERNEL_SOURCES = (Path(__file__).parent / "kernels", MODEL_FOLDER / "image", *MODEL_SOURCES[1:])


def kernel_folder() -> Path:
    return cache_folder() / "kernels" / digest_of_sources(*KERNEL_SOURCES).hex()[:16]


def are_kernels_compiled() -> bool:
    """Tell whether native code can start at once; compiling it takes most of a minute."""
    return any(kernel_folder().rglob("*.nbc"))


class _KernelFolder(UserProvidedCacheLocator):
    """Tells numba to keep the code in the kernel folder, whose name alone says whether the code is current."""

    def __init__(self) -> None:
        self._folder = str(kernel_folder())

    @classmethod
    def from_function(cls, function: Callable[..., None], file: str) -> "_KernelFolder | None":
        folder: Any = cls()
        try:
            folder.ensure_cache_path()
        except OSError:  # it cannot be written
            return None
        return cls()

    def get_cache_path(self) -> str:
        return self._folder

    def get_source_stamp(self) -> str:
        return self._folder

    def get_disambiguator(self) -> str:
        return ""


class _KernelCacheFiles(CompileResultCacheImpl):
    _locator_classes: Any = (_KernelFolder,)


class _KernelCache(FunctionCache):
    _impl_class = _KernelCacheFiles


def compiled(function: Callable[..., None]) -> Any:
    """Return the function as native code, compiled on the first call and then loaded from the kernel folder."""
    native: Any = njit(nogil=True)(function)
    cache: Any = _KernelCache
    with suppress(RuntimeError):  # no folder can be written, so every process compiles anew
        native._cache = cache(function)  # what njit(cache=True) does, with another folder
    return native
