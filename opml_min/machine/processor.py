"""The processor that native code is compiled for: this computer's, or a lesser one.

numba's two settings choose another one, for all native code of this package. `NUMBA_CPU_NAME=x86-64 NUMBA_CPU_FEATURES=` is a processor
without any vector instruction younger than 2003. `NUMBA_CPU_FEATURES=` followed by a list in LLVM's notation adds and removes single
features. What is computed does not depend on it.

*Source*: Numba's documentation, "Environment variables" (Compilation options).
"""

import os
from functools import cache

import llvmlite.binding as llvm


@cache
def name() -> str:
    return os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()


@cache
def features() -> str:
    """A list in LLVM's notation, `+avx2,-avx512f,…`; the processor's name decides about features that are not in it."""
    given = os.environ.get("NUMBA_CPU_FEATURES", "" if name() == "generic" else None)
    return llvm.get_host_cpu_features().flatten() if given is None else given


def has(feature: str) -> bool:
    """Whether code may rely on a feature: it is in the list, and this computer has it, too."""
    return f"+{feature}" in features().split(",") and bool(llvm.get_host_cpu_features().get(feature))
