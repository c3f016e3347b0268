"""What each operation is in LLVM: the templates that the translator fills in.

`{d}` is the result, `{a}` and `{b}` are the operands, 64 bits each; `{t}` to `{z}` are names for values in between. LLVM leaves shifts by
too much and some divisions undefined. So shift amounts are masked here, and the divisor is replaced where RISC-V defines a result.

*Source*: RISC-V Unprivileged ISA, chapters RV32I, RV64I and M; LLVM Language Reference.
"""

SHIFT = "{t} = and i64 {b}, 63\n{d} = %s i64 {a}, {t}"
SET_IF = "{t} = icmp %s i64 {a}, {b}\n{d} = zext i1 {t} to i64"
WORD = "{t} = %s i64 {a}, {b}\n{u} = trunc i64 {t} to i32\n{d} = sext i32 {u} to i64"
WORD_SHIFT = (
    "{t} = trunc i64 {a} to i32\n{u} = trunc i64 {b} to i32\n{v} = and i32 {u}, 31\n{w} = %s i32 {t}, {v}\n{d} = sext i32 {w} to i64"
)
MULTIPLY_HIGH = (
    "{t} = %s i64 {a} to i128\n{u} = %s i64 {b} to i128\n{v} = mul i128 {t}, {u}\n{w} = lshr i128 {v}, 64\n{d} = trunc i128 {w} to i64"
)
# Division by 1 in place of the two cases in which the host has no result; it gives the overflow's result, and {d} picks the other.
SIGNED_SAFE = """{t} = icmp eq {i} {b}, 0
{u} = icmp eq {i} {b}, -1
{v} = icmp eq {i} {a}, {min}
{w} = and i1 {u}, {v}
{x} = or i1 {t}, {w}
{y} = select i1 {x}, {i} 1, {i} {b}
"""
UNSIGNED_SAFE = "{t} = icmp eq {i} {b}, 0\n{y} = select i1 {t}, {i} 1, {i} {b}\n"
QUOTIENT = "{z} = %s {i} {a}, {y}\n{d} = select i1 {t}, {i} -1, {i} {z}"
REMAINDER = "{z} = %s {i} {a}, {y}\n{d} = select i1 {t}, {i} {a}, {i} {z}"
DIVISION = {
    "div": SIGNED_SAFE + QUOTIENT % "sdiv",
    "divu": UNSIGNED_SAFE + QUOTIENT % "udiv",
    "rem": SIGNED_SAFE + REMAINDER % "srem",
    "remu": UNSIGNED_SAFE + REMAINDER % "urem",
}


def _on_64_bits(division: str) -> str:
    return division.replace("{i}", "i64").replace("{min}", str(-(2**63)))


def _on_32_bits(division: str) -> str:
    """Makes a division one between the truncated operands, with a sign-extended result."""
    inner = division.replace("{i}", "i32").replace("{min}", str(-(2**31)))
    inner = inner.replace("{a}", "{a}.word").replace("{b}", "{b}.word").replace("{d}", "{d}.word")
    return "{a}.word = trunc i64 {a_} to i32\n{b}.word = trunc i64 {b_} to i32\n" + inner + "\n{d} = sext i32 {d}.word to i64"


ARITHMETIC = {
    "add": "{d} = add i64 {a}, {b}",
    "sub": "{d} = sub i64 {a}, {b}",
    "sll": SHIFT % "shl",
    "slt": SET_IF % "slt",
    "sltu": SET_IF % "ult",
    "xor": "{d} = xor i64 {a}, {b}",
    "srl": SHIFT % "lshr",
    "sra": SHIFT % "ashr",
    "or": "{d} = or i64 {a}, {b}",
    "and": "{d} = and i64 {a}, {b}",
    "addw": WORD % "add",
    "subw": WORD % "sub",
    "sllw": WORD_SHIFT % "shl",
    "srlw": WORD_SHIFT % "lshr",
    "sraw": WORD_SHIFT % "ashr",
    "mul": "{d} = mul i64 {a}, {b}",
    "mulh": MULTIPLY_HIGH % ("sext", "sext"),
    "mulhsu": MULTIPLY_HIGH % ("sext", "zext"),
    "mulhu": MULTIPLY_HIGH % ("zext", "zext"),
    "mulw": WORD % "mul",
    **{name: _on_64_bits(division) for name, division in DIVISION.items()},
    "divw": _on_32_bits(DIVISION["div"]),
    "divuw": _on_32_bits(DIVISION["divu"]),
    "remw": _on_32_bits(DIVISION["rem"]),
    "remuw": _on_32_bits(DIVISION["remu"]),
}
WORD_DIVISIONS = {"divw", "divuw", "remw", "remuw"}
"""Their templates name the 64-bit operands `{a_}` and `{b_}`; `{a}` and `{b}` are the truncated ones."""
CONDITIONS = {"beq": "eq", "bne": "ne", "blt": "slt", "bge": "sge", "bltu": "ult", "bgeu": "uge"}
