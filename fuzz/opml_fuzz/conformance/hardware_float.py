"""binary32 by the processor's floats, for whole arrays of patterns at once.

numpy has no fused multiply-add, so that one is compiled from LLVM's `fma`.

*Source*: the processor.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types, vectorize
from numba.extending import intrinsic
from numpy.typing import NDArray

from opml_fuzz.conformance.integer_float.bit_pattern import NAN

Patterns = NDArray[np.uint32]
Floats = NDArray[np.float32]


def _floats(patterns: Patterns) -> Floats:
    return np.asarray(patterns, np.uint32).view(np.float32)


def _patterns(values: Floats) -> Patterns:
    return np.where(np.isnan(values), np.uint32(NAN), values.view(np.uint32))


@intrinsic
def _fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), code


@vectorize(["float32(float32, float32, float32)"])  # type: ignore[untyped-decorator, no-untyped-call]  # numba ships no types
def _fma_of_arrays(a: Any, b: Any, c: Any) -> Any:
    return _fma(a, b, c)  # type: ignore[call-arg]  # an intrinsic is called without its first, typing argument


def _on_floats(function: Callable[..., Any]) -> Callable[..., Patterns]:
    def on_patterns(*operands: Patterns) -> Patterns:
        with np.errstate(all="ignore"):
            return _patterns(np.asarray(function(*map(_floats, operands)), np.float32))

    return on_patterns


def _relation(function: Callable[..., Any]) -> Callable[..., Patterns]:
    def on_patterns(a: Patterns, b: Patterns) -> Patterns:
        result: Patterns = function(_floats(a), _floats(b)).astype(np.uint32)
        return result

    return on_patterns


def _from_integers(kind: type) -> Callable[..., Patterns]:
    return lambda values: _patterns(np.asarray(values).view(kind).astype(np.float32))


OPERATIONS: dict[str, Callable[..., Patterns]] = {
    "f32_add": _on_floats(np.add),
    "f32_sub": _on_floats(np.subtract),
    "f32_mul": _on_floats(np.multiply),
    "f32_div": _on_floats(np.divide),
    "f32_sqrt": _on_floats(np.sqrt),
    "f32_mulAdd": _on_floats(_fma_of_arrays),
    "f32_eq": _relation(np.equal),
    "f32_le": _relation(np.less_equal),
    "f32_lt": _relation(np.less),
    "i32_to_f32": _from_integers(np.int32),
    "ui32_to_f32": _from_integers(np.uint32),
    "i64_to_f32": _from_integers(np.int64),
    "ui64_to_f32": _from_integers(np.uint64),
}
"""The operations that the processor has, by TestFloat's names."""
