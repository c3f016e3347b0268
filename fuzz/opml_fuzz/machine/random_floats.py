"""Random operations on binary32: operands of similar size, at the edges of the format, and of any bits.

The operations have TestFloat's names.

*Source*: IEEE 754; John Hauser, Berkeley TestFloat, release 3e.
"""

from random import Random

from opml_fuzz.machine.model_case import FloatOperation

ROUNDED = {"f32_add": 2, "f32_sub": 2, "f32_mul": 2, "f32_div": 2, "f32_sqrt": 1, "f32_mulAdd": 3}
"""Operations whose result is rounded, with the number of their operands."""

COMPARING = {"f32_eq": 2, "f32_le": 2, "f32_lt": 2}
INTEGERS = {"i32": 32, "ui32": 32, "i64": 64, "ui64": 64}
CONVERTING = {f"f32_to_{kind}": 32 for kind in INTEGERS} | {f"{kind}_to_f32": bits for kind, bits in INTEGERS.items()}
"""Conversions, with the width of what is converted."""

NAMES = (*ROUNDED, *COMPARING, *CONVERTING)
ROUNDINGS = ("RNE", "RTZ", "RDN", "RUP", "RMM")
EDGES = (0, 1, 0x007FFFFF, 0x00800000, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x4B800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x7F800001)


def operand_bits(name: str) -> tuple[int, ...]:
    """The width of each operand; raises ValueError if there is no operation of this name."""
    if name not in NAMES:
        raise ValueError(f"no operation {name[:50]!r}")
    return (CONVERTING[name],) if name in CONVERTING else (32,) * {**ROUNDED, **COMPARING}[name]


def random_float_operation(rng: Random) -> FloatOperation:
    """Draws an operation, its operands and, where the result is rounded, a direction; half of them to nearest."""
    name = rng.choice(NAMES)
    rounding = "RNE" if name in COMPARING or rng.random() < 0.5 else rng.choice(ROUNDINGS)
    if name.endswith("_to_f32"):
        return FloatOperation(name, (rng.getrandbits(rng.randrange(1, CONVERTING[name] + 1)),), rounding)
    around = rng.choice((rng.randrange(256), rng.randrange(110, 165)))
    count = {**ROUNDED, **COMPARING}.get(name, 1)
    return FloatOperation(name, tuple(pattern(rng, around) for _ in range(count)), rounding)


def pattern(rng: Random, around: int) -> int:
    """Draws the bits of a float whose exponent lies near this one, or of one at the edge of the format."""
    sign = rng.getrandbits(1) << 31
    match rng.randrange(8):
        case 0:
            return sign | rng.choice(EDGES)
        case 1:
            return rng.getrandbits(32)
    exponent = min(max(around + rng.randrange(-26, 27), 0), 254)
    return sign | exponent << 23 | rng.getrandbits(23) & -1 << rng.choice((0, 0, 11, 20, 22))
