"""Arrays at addresses of the machine's memory.

`base` is where the 2^40-byte memory is mapped in this process.
"""

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """Convert the integer to an untyped pointer."""
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


@njit
def float32s(base, address, count):
    return carray(_pointer(base + address), (count,), np.float32)
