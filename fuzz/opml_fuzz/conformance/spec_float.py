"""The specification's binary32 as tables of operations: how many operands each takes, and its function."""

from collections.abc import Callable

from opml_spec.arithmetic import binary32

Operations = dict[str, tuple[int, Callable[..., int]]]

ROUNDED: Operations = {  # by the direction in the function's argument `mode`
    "add": (2, binary32.add),
    "sub": (2, binary32.sub),
    "mul": (2, binary32.mul),
    "div": (2, binary32.div),
    "sqrt": (1, binary32.sqrt),
    "fma": (3, binary32.fma),
}
COMPARISONS: Operations = {
    "eq": (2, binary32.eq),
    "lt": (2, binary32.lt),
    "le": (2, binary32.le),
}
