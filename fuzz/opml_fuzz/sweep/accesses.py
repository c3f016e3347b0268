"""Loads and stores: every alignment, every border, aliased registers, and memories in which no sibling is a zero subtree.

*Source*: spec §2.4 and §2.5.
"""

from collections.abc import Iterator
from itertools import product

from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, QUARTER, TEXT_BYTES, TOP
from opml_fuzz.sweep.edges import TWELVE, VALUES
from opml_fuzz.sweep.point import HEIGHTS, PATTERN, Point, around, point, registers_in_turn

LOADS = {"lb": 1, "lbu": 1, "lh": 2, "lhu": 2, "lw": 4, "lwu": 4, "ld": 8}
STORES = {"sb": 1, "sh": 2, "sw": 4, "sd": 8}
SIZES = LOADS | STORES
HEAP = 12345  # a leaf of the scratch quarter, far from any edge
DATA = 0x8182_8384_8586_8788
BORDERS = (0, QUARTER, 2 * QUARTER, 3 * QUARTER, MEMORY, ENTRY + TEXT_BYTES, TOP)
PAGES = (4096, 1 << 14, 1 << 21)


def access(about: str, name: str, address: int, leaves: dict[int, bytes], rd: int = 3, imm: int = 0, data: int = DATA) -> Point:
    """Accesses an address by way of x1; x2 is what is stored, and rd what is loaded."""
    return point(f"{name}.{about}", assemble(name, rd, 1, 2, imm), {rd: 7, 1: address - imm, 2: data}, leaves)


def filled(address: int) -> dict[int, bytes]:
    """Fills the leaves at an address and after it, as far as they are memory."""
    first = address // LEAF
    reversed_pattern = PATTERN[::-1]
    return {index: leaf for index, leaf in ((first, PATTERN), (first + 1, reversed_pattern)) if 0 <= index < MEMORY // LEAF}


def alignments() -> Iterator[Point]:
    """Yields every place in a leaf, with values whose signs show and with zeros, in registers that change from case to case."""
    for name in SIZES:
        for (offset, is_filled), (rd, rs1, rs2) in zip(product(range(LEAF), (True, False)), registers_in_turn(), strict=False):
            address = LEAF * HEAP + offset
            word = assemble(name, rd, rs1, rs2, -1)
            yield point(f"{name}.cp_align", word, {rd: 7, rs1: address + 1, rs2: DATA}, filled(address) if is_filled else {})


def borders() -> Iterator[Point]:
    """Yields accesses that begin and end around each border of quarters, text, memory and address space, and of pages."""
    for (name, size), border in product(SIZES.items(), BORDERS):
        for distance in range(-size - 1, 3):
            address = (border + distance) % TOP
            yield access("cp_border", name, address, filled(address) if address < MEMORY else {})
    for (name, size), page in product(SIZES.items(), PAGES):
        for distance in sorted({-size, -size // 2, -1, 0}):
            yield access("cp_page", name, page + distance, filled(page + distance))


def operands() -> Iterator[Point]:
    """Yields every immediate, every edge of what is stored or loaded, and the registers that coincide."""
    for name, size in SIZES.items():
        base = LEAF * HEAP
        for imm, (rd, rs1, rs2) in zip(TWELVE, registers_in_turn(), strict=False):
            registers = {rd: 7, rs1: base + 4096, rs2: DATA}
            yield point(f"{name}.cp_imm_edges", assemble(name, rd, rs1, rs2, imm), registers, filled(base + 4096 + imm))
        for value in VALUES:
            leaf = value.to_bytes(8, "little") * 4
            yield access("cp_memval", name, base + 8, {HEAP: leaf}, data=TOP - 1 - value)
        for rd, rs1, rs2 in ((1, 1, 2), (0, 1, 2), (3, 1, 1), (0, 0, 2), (3, 0, 0), (3, 1, 0), (2, 1, 2)):
            word, registers = assemble(name, rd, rs1, rs2, 8), {rd: 7, rs2: DATA, rs1: base}
            yield point(f"{name}.cmp_registers", word, registers, {0: PATTERN} | filled(base))
        yield point(f"{name}.cp_wrap", assemble(name, 3, 1, 2, 16), {1: TOP - 16, 2: DATA}, {0: PATTERN})
        yield access("cp_trap_keeps_rd", name, MEMORY - size + 1, {}, rd=0)


def own_leaf() -> Iterator[Point]:
    """Yields loads from the leaf that holds the load itself, and over two leaves of which it is one."""
    for (name, size), distance in product(LOADS.items(), (0, 8, 28, 31, -1, -3)):
        leaves = {ENTRY // LEAF + 1: PATTERN, ENTRY // LEAF - 1: PATTERN}
        yield access("cp_own_leaf", name, ENTRY + distance, leaves)
        yield point(f"{name}.cp_own_leaf", assemble(name, 3, 1), {1: ENTRY + 64 - size}, leaves, ENTRY + 60)


def dense() -> Iterator[Point]:
    """Yields accesses in memories whose witness sends every sibling, within a leaf and over two that part at each height of the tree."""
    for name, size in SIZES.items():
        yield access("cp_dense", name, LEAF * HEAP + 3, around(HEAP) | around(ENTRY // LEAF) | {HEAP: PATTERN})
        for height in range(HEIGHTS):
            right = 1 << height if height < HEIGHTS - 1 else 3 << height - 1
            leaves = around(right) | around(right - 1) | around(ENTRY // LEAF) | {right - 1: PATTERN, right: PATTERN[::-1]}
            if size > 1:
                yield access("cp_dense_two_leaves", name, LEAF * right - size // 2, leaves)
    for height in range(HEIGHTS):
        yield access("cp_one_sibling", "lw", LEAF * HEAP, {HEAP: PATTERN, HEAP ^ 1 << height: PATTERN})
        yield access("cp_one_sibling", "sw", LEAF * HEAP, {HEAP: PATTERN, HEAP ^ 1 << height: PATTERN})
