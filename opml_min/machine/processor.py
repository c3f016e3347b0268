"""The processor that native code is made for: this computer's, or a lesser one.

numba's two settings name another one, for all native code of this part: `NUMBA_CPU_NAME=x86-64 NUMBA_CPU_FEATURES=` is a computer without
any vector instruction that came after 2003, `NUMBA_CPU_FEATURES=` followed by LLVM's list of features takes and gives single ones. What
is computed does not depend on it.

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
    """LLVM's list, `+avx2,-avx512f,…`; what it does not name goes by the processor's name."""
    given = os.environ.get("NUMBA_CPU_FEATURES", "" if name() == "generic" else None)
    return llvm.get_host_cpu_features().flatten() if given is None else given


def has(feature: str) -> bool:
    """Whether code may rely on it: the list says so, and this computer has it, too."""
    return f"+{feature}" in features().split(",") and bool(llvm.get_host_cpu_features().get(feature))
