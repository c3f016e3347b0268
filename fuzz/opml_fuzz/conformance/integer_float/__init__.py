"""IEEE 754 binary32 on bit patterns, by integer algorithms: digits, guard bits and a sticky bit, as in hardware.

It rounds to nearest, ties to even, keeps subnormals, and makes every NaN result the canonical one. `OPERATIONS` lists the operations by
their names in Berkeley TestFloat. Operands and results are patterns, unsigned integers of the width in the name; comparisons give 0 or 1.

*Source*: IEEE 754-2019, clauses 4 to 6; the RISC-V unprivileged manual, chapter F (conversions, the canonical NaN).
"""

from collections.abc import Callable

from opml_fuzz.conformance.integer_float import arithmetic, comparison, conversion

OPERATIONS: dict[str, Callable[..., int]] = {
    "f32_add": arithmetic.add,
    "f32_sub": arithmetic.sub,
    "f32_mul": arithmetic.mul,
    "f32_div": arithmetic.div,
    "f32_sqrt": arithmetic.sqrt,
    "f32_mulAdd": arithmetic.fma,
    "f32_min": comparison.minimum,
    "f32_max": comparison.maximum,
    "f32_eq": comparison.equal,
    "f32_le": comparison.less_or_equal,
    "f32_lt": comparison.less,
    "f32_to_i32": conversion.to_i32,
    "f32_to_ui32": conversion.to_u32,
    "f32_to_i64": conversion.to_i64,
    "f32_to_ui64": conversion.to_u64,
    "i32_to_f32": conversion.from_i32,
    "ui32_to_f32": conversion.from_u32,
    "i64_to_f32": conversion.from_i64,
    "ui64_to_f32": conversion.from_u64,
}
