"""Compiled kernels, kept between runs in a folder that is named after the source of all of them.

By itself numba would look only at the file of the compiled function, not at those of the functions that it calls, and it trusts what it
finds. Here an entry carries its hash: one that is damaged counts as absent, and is compiled again.
"""

import hashlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import __version__ as numba_version
from numba import config, njit
from numba.core import compiler, serialize
from numba.core.caching import _Cache

from opml_min.cache_folder import cache_folder, keep, kept
from opml_min.model.errors import CheckFailed
from opml_min.model.files.cache import MODEL_FOLDER, MODEL_SOURCES, digest_of_sources

KERNEL_SOURCES = (Path(__file__).parent / "kernels", MODEL_FOLDER / "image", *MODEL_SOURCES[1:])

Observer = Callable[[bool], None]
CompileResult: Any = compiler.CompileResult
dumps: Any = serialize.dumps
settings: Any = config  # numba sets them when it is imported

observers: list[Observer] = []
"""Called with True when kernels have to be compiled, which takes most of a minute, and with False when they are."""


def kernel_folder(sources: tuple[Path, ...] = KERNEL_SOURCES) -> Path:
    return cache_folder() / "kernels" / digest_of_sources(*sources).hex()[:16]


def are_kernels_compiled(sources: tuple[Path, ...] = KERNEL_SOURCES) -> bool:
    """Tell whether native code can start at once; compiling it takes most of a minute."""
    try:
        return any(kernel_folder(sources).rglob("*.nbc"))
    except OSError:
        return False


class KernelCache(_Cache):
    """The entries of one function, one per signature. Its folder is looked up only when it is used."""

    def __init__(self, function: Callable[..., None], sources: tuple[Path, ...]) -> None:
        self._sources = sources
        self._name = f"{function.__module__}.{function.__qualname__}"

    @property
    def cache_path(self) -> str:
        return str(kernel_folder(self._sources))

    def enable(self) -> None:
        """Do nothing: this cache is always enabled, as are `disable` and `flush` of numba's interface without use here."""

    disable = flush = enable

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()  # as numba's own cache does, so that it is initialised
        content = kept(self._entry(sig, target_context.codegen()))
        if content is None:
            for observe in observers:
                observe(True)
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(content))

    def save_overload(self, sig: Any, data: Any) -> None:
        keep(self._entry(sig, data.codegen), dumps(data._reduce()))
        for observe in observers:
            observe(False)

    def _entry(self, sig: Any, codegen: Any) -> Path:
        key = repr((self._name, sig, codegen.magic_tuple(), sys.implementation.cache_tag, numba_version, settings.OPT))
        return kernel_folder(self._sources) / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.nbc"


def compiled(function: Callable[..., None], sources: tuple[Path, ...] = KERNEL_SOURCES) -> Any:
    """Return the function as native code, compiled on the first call and then loaded from the kernel folder.

    sources: of the function and all that it calls"""
    native: Any = njit(nogil=True)(function)
    if not settings.DISABLE_JIT:
        native._cache = KernelCache(function, sources)  # what njit(cache=True) does, with another cache
    return native


def require_compiler() -> None:
    """Raise CheckFailed if numba has been told to compile nothing."""
    if settings.DISABLE_JIT:
        raise CheckFailed("NUMBA_DISABLE_JIT switches native code off; unset it, or use the machine (--device vm)")
