"""The edges of operands and immediates, by the formats that have them.

*Source*: the edge values of the RISC-V architecture tests (coverpoints `cp_rs1_edges`, `cp_imm_edges`); spec §2.3.
"""

TOP = 1 << 64

VALUES = tuple(
    value % TOP
    for value in (
        *(0, 1, 2, -1, -2, -(1 << 63), 1 - (1 << 63), (1 << 63) - 1, (1 << 63) - 2),
        *(-(1 << 31), (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, -1 - (1 << 31)),
        *(0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA, 0x0123_4567_8000_0000),
    )
)
"""Of a register: the smallest and largest of 64 and of 32 bits and their neighbours, alternating bits, a word with bits above it."""

TWELVE = (0, 1, 2, -1, -2, 2047, 2046, -2048, -2047, 0x555, -0x556, 1024)
"""Immediates of 12 bits."""

UPPER = tuple(high << 12 for high in (0, 1, 2, 0x7FFFF, 0x80000, 0x80001, 0xFFFFF, 0x55555, 0xAAAAA))
"""Immediates of format U."""

BRANCH = (0, 4, 8, -4, 2, -2, 4094, 4092, -4096, -4094, 0x554, -0x554, 1 << 11, 1 << 5, 16)
"""Distances of a branch. Those that are no multiple of 4 lead to a misaligned instruction."""

JUMP = (0, 4, 8, -4, 2, -2, (1 << 20) - 2, (1 << 20) - 4, -(1 << 20), 2 - (1 << 20), 1 << 11, 1 << 12, 1 << 19, 0x55554, -0x55554)
"""Distances of a jump."""
