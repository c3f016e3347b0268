"""Atomic operations on 64-bit words at process addresses, sequentially consistent, and a way to wait for one to change."""

import platform
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

I64 = ir.IntType(64)
HAS_PAUSE = platform.machine() in ("x86_64", "AMD64")
SPINS_BEFORE_YIELD = 5000  # about 0.1 ms: longer than a thread usually waits for an op, shorter than a time slice


@intrinsic
def atomic_add(typing: Any, address: Any, amount: Any) -> Any:
    """Add to the word, and return the value before."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", builder.inttoptr(arguments[0], I64.as_pointer()), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


@intrinsic
def atomic_load(typing: Any, address: Any) -> Any:
    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], I64.as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), code


@intrinsic
def atomic_store(typing: Any, address: Any, value: Any) -> Any:
    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], builder.inttoptr(arguments[0], I64.as_pointer()), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def _pause(typing: Any) -> Any:
    """Leave the core to its other hardware thread for a moment."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        if HAS_PAUSE:
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", fnty=ir.FunctionType(ir.VoidType(), [])), [])
        return context.get_dummy_value()

    return types.void(), code


_sched_yield = types.ExternalFunction("sched_yield", types.int32())


@njit
def wait_a_moment(times):
    """Wait for a moment, in a loop that counts its calls in `times`."""
    _pause()
    if times > SPINS_BEFORE_YIELD:
        _sched_yield()
