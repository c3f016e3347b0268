"""Writes `sigmoid_table.h`: T[k] = the integer nearest to 2^30 / (1 + e^(-k/256)), k = 0 … 4096.

Eighty decimal digits are far more than needed: no 2^30·σ(k/256) lies within 10^-6 of a tie, which is checked.
"""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path

ENTRIES = 4097
ENTRIES_PER_LINE = 8


def sigmoid_q30(k: int) -> int:
    """Computes T[k] exactly."""
    exact = 2**30 / (1 + (Decimal(-k) / 256).exp())
    nearest = exact.to_integral_value(ROUND_HALF_EVEN)
    if k and abs(abs(exact - nearest) - Decimal("0.5")) < Decimal("1e-6"):
        raise ArithmeticError(f"T[{k}] is too close to a tie")
    return int(nearest)


def sigmoid_header() -> str:
    """The text of the header file."""
    with localcontext(prec=80):
        table = [sigmoid_q30(k) for k in range(ENTRIES)]
    lines = [", ".join(map(str, table[i : i + ENTRIES_PER_LINE])) for i in range(0, ENTRIES, ENTRIES_PER_LINE)]
    body = ",\n    ".join(lines)
    return (
        "/* Written by generate_tables.py: the integer nearest to 2^30 / (1 + e^(-k/256)). */\n"
        f"#include <stdint.h>\n\nstatic const int32_t sigmoid_table[{ENTRIES}] = {{\n    {body},\n}};\n"
    )


if __name__ == "__main__":
    (Path(__file__).parent / "sigmoid_table.h").write_text(sigmoid_header(), encoding="utf-8")
