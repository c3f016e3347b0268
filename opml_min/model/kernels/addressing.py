"""Arrays at addresses of the machine's memory, and what threads need to meet: an atomic counter and a pause.

`base` is where the 2^40-byte memory is mapped in this process.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

I32 = ir.IntType(32)
I64 = ir.IntType(64)


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """The integer as an untyped pointer."""
    return types.voidptr(types.int64), lambda context, builder, signature, arguments: builder.inttoptr(
        arguments[0], context.get_value_type(types.voidptr)
    )


@njit
def int8s(base, address, count):
    return carray(_pointer(base + address), (count,), np.int8)


@njit
def int16s(base, address, count):
    return carray(_pointer(base + address), (count,), np.int16)


@njit
def int32s(base, address, count):
    return carray(_pointer(base + address), (count,), np.int32)


@njit
def int64s(base, address, count):
    return carray(_pointer(base + address), (count,), np.int64)


@njit
def uint16s(base, address, count):
    return carray(_pointer(base + address), (count,), np.uint16)


@njit
def uint8s(base, address, count):
    return carray(_pointer(base + address), (count,), np.uint8)


# -------------------------------------------------------------------------------------------------------------------- threads


@intrinsic
def _atomic_add(typing: Any, address: Any, amount: Any) -> Any:
    """The i64 at a process address before the addition; sequentially consistent."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", builder.inttoptr(arguments[0], I64.as_pointer()), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


@intrinsic
def _atomic_load(typing: Any, address: Any) -> Any:
    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], I64.as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), code


_sched_yield = types.ExternalFunction("sched_yield", types.int32())
SPINS_BEFORE_YIELD = 2000  # about 0.1 ms: longer than any op leaves a thread waiting, shorter than a time slice


@njit
def wait_for_all(counter, thread, threads, generation):
    """Returns when every thread has called it `generation` times; what they wrote before is visible.

    counter: process address of an i64 that starts at 0."""
    if threads == 1:
        return
    _atomic_add(counter, 1)
    spins = 0
    while _atomic_load(counter) < generation * threads:
        spins += 1
        if spins > SPINS_BEFORE_YIELD:
            _sched_yield()
