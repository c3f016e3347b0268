"""Simpler states: the same question with fewer and rounder values in it, such as a person would have chosen.

Each function yields variants of a state, the boldest first. Whoever asks keeps the first variant that still shows what it is looking for,
and asks again about that one. Nothing here knows what is looked for, so a variant may execute something else entirely.

*Source*: delta debugging: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from attrs import evolve

from opml_fuzz.machine.encodings import assemble, decoded, immediate_of
from opml_fuzz.machine.instructions import access_address, is_access, put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, QUARTER, TEXT_BYTES, TOP
from opml_fuzz.machine.start import REGISTERS, Leaves, Start

CHOSEN = (0, 1, 2, 3, TOP - 1, 1 << 63, (1 << 63) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 31) - 1, TOP - (1 << 31), TOP - 2)
"""Numbers that a person tries first."""
DATA_AT = (0x1000, 2 * QUARTER, 3 * QUARTER)
ONE = (1).to_bytes(LEAF, "little")
MOST_WORDS = 64  # of a program from which single instructions are left out
T = TypeVar("T")
RD, RS1, RS2 = 3, 1, 2  # the registers that a person would write
SIMPLE_IMMEDIATES = (0, 1, -1, 4, 8, 16, -4, -8, 2047, -2048)


def complexity(value: int) -> int:
    """Tells how far a number is from one that a person would choose."""
    if value in CHOSEN:
        return CHOSEN.index(value)
    digits = f"{value:x}"
    return len(CHOSEN) + min(len(digits.rstrip(digits[-1])), len(digits.rstrip("0"))) + value.bit_count() // 8


def simpler_numbers(value: int, bits: int = 64) -> Iterator[int]:
    """Yields simpler numbers than this one, the simplest first."""
    middle, top = bits // 2, 1 << bits
    rounded = [value >> shift << shift for shift in range(bits - 4, 0, -4)]
    low = [value % (1 << shift) for shift in range(4, bits, 4)]
    near = [1 << max(value.bit_length() - 1, 0), value >> middle << middle, *rounded, *low]
    known = complexity(value)
    for other in dict.fromkeys((*(each for each in CHOSEN if each < top), *sorted(near, key=complexity))):
        if complexity(other) < known:
            yield other


def parts(whole: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """Yields parts that might be left out: everything, then halves, quarters and so on, at last each one alone."""
    size = len(whole)
    while size:
        yield from (tuple(whole[at : at + size]) for at in range(0, len(whole), size))
        size //= 2


def simpler_starts(start: Start) -> Iterator[Start]:
    """Yields simpler states, the boldest variants first."""
    yield from running(start)
    yield from fewer_registers(start)
    yield from fewer_leaves(start)
    yield from nearer_to_entry(start)
    yield from plainer_instruction(start)
    yield from plainer_access(start)
    yield from rounder_registers(start)
    yield from plainer_leaves(start)


def running(start: Start) -> Iterator[Start]:
    """Yields the state as a machine that runs, or with a simpler exit code."""
    if start.kind:
        yield evolve(start, kind=0, value=0)
    if start.kind == 1:
        yield from (evolve(start, value=value) for value in simpler_numbers(start.value))


def with_registers(start: Start, values: Mapping[int, int]) -> Start:
    return evolve(start, x=tuple(values.get(i, value) if i else 0 for i, value in enumerate(start.x)))


def fewer_registers(start: Start) -> Iterator[Start]:
    for zeroed in parts([i for i in range(1, REGISTERS) if start.x[i]]):
        yield with_registers(start, dict.fromkeys(zeroed, 0))


def fewer_leaves(start: Start) -> Iterator[Start]:
    """Yields the state without some leaves: without those that do not hold the instruction, then without fewer of them."""
    leaves = start.leaves.by_index
    for left_out in (*parts([index for index in leaves if index != start.pc // LEAF]), (start.pc // LEAF,)):
        if not leaves.keys().isdisjoint(left_out):
            yield with_leaves(start, {index: leaf for index, leaf in leaves.items() if index not in left_out})


def with_leaves(start: Start, leaves: Mapping[int, bytes]) -> Start:
    return evolve(start, leaves=Leaves({index: leaf for index, leaf in leaves.items() if any(leaf)}))


def is_fetchable(pc: int) -> bool:
    return pc % 4 == 0 and ENTRY <= pc < ENTRY + TEXT_BYTES


def word_at(start: Start, address: int) -> int:
    leaf = start.leaves.by_index.get(address // LEAF, bytes(LEAF))
    return int.from_bytes(leaf[address % LEAF :][:4], "little")


def nearer_to_entry(start: Start) -> Iterator[Start]:
    """Yields the state with the whole text moved so that the pc is its first address; a pc that cannot be fetched is rounded."""
    if not is_fetchable(start.pc):
        plain = (2, 0, ENTRY + 2, ENTRY - 4, ENTRY + TEXT_BYTES)
        at = plain.index(start.pc) if start.pc in plain else len(plain)
        yield from (evolve(start, pc=pc) for pc in plain[:at])
    elif start.pc != ENTRY:
        moved: dict[int, bytes] = {}
        for index, leaf in start.leaves.by_index.items():
            if not ENTRY <= LEAF * index < ENTRY + TEXT_BYTES:
                moved[index] = leaf
                continue
            for offset in range(0, LEAF, 4):
                address, word = LEAF * index + offset - (start.pc - ENTRY), int.from_bytes(leaf[offset : offset + 4], "little")
                if word and ENTRY <= address < ENTRY + TEXT_BYTES:
                    put_word(moved, address, word)
        yield with_leaves(evolve(start, pc=ENTRY), moved)


def with_word(start: Start, word: int) -> Start:
    leaves = dict(start.leaves.by_index)
    put_word(leaves, start.pc, word)
    return with_leaves(start, leaves)


def fewer_words(start: Start, steps: int) -> Iterator[tuple[Start, int]]:
    """Yields the text from the pc on without some words that so many steps may execute, and how many; what follows takes their place."""
    if not is_fetchable(start.pc) or steps > MOST_WORDS:
        return
    words = [word_at(start, start.pc + 4 * i) for i in range(steps)]
    for left_out in parts(range(steps - 1)):
        leaves = dict(start.leaves.by_index)
        kept = [word for i, word in enumerate(words) if i not in left_out]
        for i, word in enumerate(kept + [0] * len(left_out)):
            put_word(leaves, start.pc + 4 * i, word)
        yield with_leaves(start, leaves), len(left_out)


def plainer_instruction(start: Start) -> Iterator[Start]:
    """Yields the state with its instruction rewritten: on the registers that a person would take, with a rounder immediate."""
    if start.kind or not is_fetchable(start.pc):
        return
    word = word_at(start, start.pc)
    encoding = decoded(word)
    if encoding is None or encoding.format == "F":  # an illegal word, or fields without a meaning: fewer bits in them
        for field in (0xFFFFFF80, 0xFFFF8F80, 0xFFF00000, 0x0FF00000, 0x000F8000, 0x00000F80, 0x7000):
            if word & field:
                yield with_word(start, word & ~field)
        return
    rd, rs1, rs2, imm = word >> 7 & 31, word >> 15 & 31, word >> 20 & 31, immediate_of(encoding.format, word)
    uses = [(rs1, RS1, encoding.format not in "UJW"), (rs2, RS2, encoding.format in "RSB"), (rd, RD, encoding.format not in "SBW")]
    names = {0: 0}
    for old, new, is_used in uses:
        if is_used:
            names.setdefault(old, new)
    renamed = assemble(encoding.name, names.get(rd, 0), names.get(rs1, 0), names.get(rs2, 0), imm)
    if renamed != word:
        values = {new: start.x[old] for old, new in names.items() if old}
        yield with_word(with_registers(start, dict.fromkeys(names.keys() - values.keys(), 0) | values), renamed)
    scale = 1 << 12 if encoding.format == "U" else 1
    amounts = {"5": 1 << 5, "6": 1 << 6}.get(encoding.format)
    imm = imm % amounts if amounts else imm
    for simple in (each for each in SIMPLE_IMMEDIATES if not amounts or 0 <= each < amounts):
        if simple * scale == imm:
            return
        changed = assemble(encoding.name, rd, rs1, rs2, simple * scale)
        if changed != word:
            if is_access(word) and rs1:  # the same address
                yield with_word(with_registers(start, {rs1: (start.x[rs1] + imm - simple) % TOP}), changed)
            yield with_word(start, changed)


def plainer_access(start: Start) -> Iterator[Start]:
    """Yields the state with what is loaded or overwritten moved, with its neighbour, to the first bytes of a quarter."""
    word = word_at(start, start.pc) if is_fetchable(start.pc) else 0
    base = word >> 15 & 31
    if not is_access(word) or not base:
        return
    address = access_address(word, list(start.x))
    index, offset = divmod(address, LEAF)
    leaves = dict(start.leaves.by_index)
    if address >= MEMORY - LEAF or index in (start.pc // LEAF, start.pc // LEAF - 1) or address in DATA_AT:
        return
    first, second = leaves.pop(index, bytes(LEAF)), leaves.pop(index + 1, bytes(LEAF))
    for target in DATA_AT:
        alone = (first + second)[offset : offset + 8].ljust(LEAF, b"\0")
        pairs = ((target, {target // LEAF: alone}), (target + offset, {target // LEAF: first, target // LEAF + 1: second}))
        for place, content in pairs:
            if place != address:
                value = (start.x[base] + place - address) % TOP
                yield with_leaves(with_registers(start, {base: value}), leaves | content)


def rounder_registers(start: Start) -> Iterator[Start]:
    for i, value in enumerate(start.x):
        if value:
            yield from (with_registers(start, {i: simpler}) for simpler in simpler_numbers(value))


def plainer_leaves(start: Start) -> Iterator[Start]:
    """Yields the state with 1 in all leaves but the instruction's; with zeros in part of a leaf: in halves, words, at last in single bytes,
    which else become 1 or 128."""
    ones = {index: ONE if index != start.pc // LEAF else leaf for index, leaf in start.leaves.by_index.items()}
    if ones != start.leaves.by_index:
        yield with_leaves(start, ones)
    for index, leaf in start.leaves.by_index.items():
        here = range(start.pc % LEAF, start.pc % LEAF + 4) if index == start.pc // LEAF else ()
        for size in (LEAF, 16, 8, 4, 1):
            for at in range(0, LEAF, size):
                erased = bytes(byte if at <= i < at + size and i in here else 0 for i, byte in enumerate(leaf[at : at + size], at))
                if leaf[at : at + size] != erased:
                    yield with_leaves(start, {**start.leaves.by_index, index: leaf[:at] + erased + leaf[at + size :]})
        for at, byte in enumerate(leaf):
            if byte not in (0, 1, 0x80) and at not in here:
                for plain in (b"\1", b"\x80"):
                    yield with_leaves(start, {**start.leaves.by_index, index: leaf[:at] + plain + leaf[at + 1 :]})
