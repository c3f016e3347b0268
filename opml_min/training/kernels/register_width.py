"""Loops as vector code that fills the processor's registers.

By itself LLVM stops at 256 bits where there are 512, because older processors lowered their clock for them. The products here do so anyway.

*Source*: LLVM's language reference, "Function Attributes"; LLVM's attribute `prefer-vector-width`.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def use_whole_registers(typing: Any) -> Any:
    """Set the attribute for the function that calls this, and for all that LLVM inlines into it."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # its own `add` knows only attributes without a value
        return context.get_dummy_value()

    return types.void(), code
