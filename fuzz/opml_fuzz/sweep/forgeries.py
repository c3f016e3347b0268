"""Forged witnesses: each field of each access changed in turn, right before and after the true one, and every error before every other;
then a few of each instruction.

*Source*: spec §2.5.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise, product

from attrs import evolve, frozen
from opml_spec.machine.merkle import DEPTH, ZERO
from opml_spec.machine.step import step
from opml_spec.machine.witness import RecordingMemory, encode_access, make_witness

from opml_fuzz.machine.edits import KIND_AT, LEAF_BYTES, ROOT_AT, SENT_BYTES, STATE_BYTES, Edit, accesses
from opml_fuzz.machine.edits_between import edits_between
from opml_fuzz.machine.encodings import ENCODINGS, assemble
from opml_fuzz.machine.numbers import ENTRY, LEAF, QUARTER
from opml_fuzz.machine.start import Start
from opml_fuzz.machine.wrong_witnesses import cut
from opml_fuzz.sweep.accesses import SIZES
from opml_fuzz.sweep.point import PATTERN, around, point

HASH = 32
FAR = 1 << DEPTH - 1 | 5
"""Index of a leaf in the last quarter that no instruction here touches."""

STATUSES = (
    *((kind, value) for kind in (0, 1, 2, 3, 4, 128, 255) for value in (0, 1, 4, 6, 9, 63)),
    *((0, 1 << 32), (0, 1 << 63), (2, 256), (2, 258), (2, (1 << 32) + 2), (2, (1 << 63) + 2), (2, (1 << 64) - 1), (1, (1 << 64) - 1)),
)


@frozen
class Forgery:
    """A witness and what was done to it; also as edits of the witness of a state, where it can be told so."""

    about: str
    witness: bytes
    start: Start | None = None
    edits: tuple[Edit, ...] = ()


def originals() -> dict[str, Start]:
    """Makes states whose witnesses have one, two and three accesses, in an almost empty memory and in one that sends every sibling.

    One loads from the leaf that holds the instruction, which has just been proved."""
    text = ENTRY // LEAF
    right = QUARTER // LEAF // 2
    full = around(text) | around(right) | around(right - 1) | {right - 1: PATTERN, right: PATTERN[::-1]}
    few = {right - 1: PATTERN, right: PATTERN[::-1], text + 1: PATTERN}
    registers = {1: LEAF * right - 4, 2: 0x8182_8384_8586_8788, 3: 7}
    made = {}
    for memory, leaves in (("few", few), ("full", full)):
        for name in ("addi", "ld", "sd"):
            made[f"{name}, {memory}"] = point("", assemble(name, 3, 1, 2), registers, leaves).start
        inside = {**registers, 1: LEAF * right + 8}
        made[f"sw, {memory}"] = point("", assemble("sw", 3, 1, 2), inside, leaves).start
    made["ld, few, its own leaf"] = point("", assemble("ld", 3, 1), {1: ENTRY + 8}, few).start
    return made


def forgeries() -> Iterator[Forgery]:
    """Yields everything, each original before and after the forgeries of it."""
    for name, start in originals().items():
        witness = make_witness(start.state())
        true = Forgery(f"{name}: true", witness)
        yield from told(start, witness, (true, *spoiled(name, witness), true, *statuses(name, witness)))
        if "few" in name:
            yield from told(start, witness, other_leaves(name, start, witness))
            yield from told(start, witness, of_other_memories(name, start, witness))
    yield from of_every_instruction()


def told(start: Start, witness: bytes, forged: Iterable[Forgery]) -> Iterator[Forgery]:
    """Adds the edits of the witness of a state, where they are found."""
    for each in forged:
        edits = edits_between(witness, each.witness)
        yield each if edits is None else evolve(each, start=start, edits=edits)


def other_leaves(name: str, start: Start, witness: bytes) -> Iterator[Forgery]:
    """Yields the witness with a true access to another leaf in place of each access: the index differs in one bit."""
    first, places = start.x[1] // LEAF, [*accesses(witness), len(witness)]
    memory = RecordingMemory(start.leaves.memory.tree)
    for index, (at, end) in zip((start.pc // LEAF, first, first + 1), pairwise(places), strict=False):
        for height in range(DEPTH):
            memory.leaf(index ^ 1 << height)
            yield Forgery(f"another leaf, {name}: height {height}", witness[:at] + memory.accesses[-1] + witness[end:])


def of_other_memories(name: str, start: Start, witness: bytes) -> Iterator[Forgery]:
    """Yields the witness with accesses that are true of some memory: the one before the step, halfway, after it, or one with another leaf
    far away. Every choice of them is made."""
    first, true = start.x[1] // LEAF, [witness[at:end] for at, end in pairwise([*accesses(witness), len(witness)])]
    now, then = start.leaves.memory, step(start.state()).memory
    every = now, now.set_leaf(first, then.leaf(first)), then, now.set_leaf(FAR, PATTERN)
    memories = {memory.root: memory for memory in every}.values()
    for chosen in product(memories, repeat=len(true)):
        at = zip(chosen, (start.pc // LEAF, first, first + 1), strict=False)
        shown = [encode_access(memory.leaf(index), memory.siblings(index)) for memory, index in at]
        if wrong := sum(one != other for one, other in zip(shown, true, strict=True)):
            yield Forgery(f"{wrong} of other memories, {name}: accesses", witness[:STATE_BYTES] + b"".join(shown))


def of_every_instruction() -> Iterator[Forgery]:
    """Yields few forgeries of each instruction, of loads and stores in one leaf and in two: it may be one alone that trusts a witness."""
    right = QUARTER // LEAF // 2
    leaves = {right - 1: PATTERN, right: PATTERN[::-1], ENTRY // LEAF + 1: PATTERN}
    for name, distance in product(ENCODINGS, (8, -1)):
        if distance < 0 and SIZES.get(name, 1) == 1:
            continue
        about, registers = f"{name} at {distance}", {1: LEAF * right + distance, 2: 0x8182_8384_8586_8788, 3: 7}
        start = point("", assemble(name, 3, 1, 2), registers, leaves).start
        witness = make_witness(start.state())
        edits = [("truncated", cut(witness, len(witness) - 1)), ("trailing", Edit("add", data=b"\0"))]
        edits.append(("another root", Edit("flip", 0, ROOT_AT, b"\1")))
        for part in range(1, 1 + len(accesses(witness))):
            unread = LEAF_BYTES - 1 if part == 1 else LEAF_BYTES // 2
            edits += [("leaf", Edit("flip", part, unread, b"\1")), ("sibling", Edit("flip", part, LEAF_BYTES + SENT_BYTES, b"\1"))]
        for what, edit in edits:
            yield Forgery(f"{about}: {what}", edit.apply(witness), start, (edit,))


def spoiled(name: str, witness: bytes) -> Iterator[Forgery]:
    starts = accesses(witness)
    for number, start in enumerate(starts, 1):
        for about, forged in changed_accesses(witness, start):
            yield Forgery(f"{name}: access {number}, {about}", forged)
    parts = (at for start in starts for at in (start, start + LEAF_BYTES, start + LEAF_BYTES + SENT_BYTES))
    for at in sorted({STATE_BYTES - 1, *parts, len(witness) - 1}):
        yield Forgery(f"{name}: truncated", witness[:at])
    for extra in (b"\0", bytes(LEAF_BYTES + SENT_BYTES), witness[starts[-1] :]):
        yield Forgery(f"{name}: trailing", witness + extra)
    for left, right in combinations([*starts, len(witness)], 2):
        yield Forgery(f"{name}: an access left out", witness[:left] + witness[right:])
        yield Forgery(f"{name}: an access twice", witness[:right] + witness[left:])
    yield from orders(name, witness, starts)
    for at in (0, 7, 8, 255, ROOT_AT, ROOT_AT + 31):
        yield Forgery(f"{name}: another state", witness[:at] + bytes([witness[at] ^ 1]) + witness[at + 1 :])


def changed_accesses(witness: bytes, start: int) -> Iterator[tuple[str, bytes]]:
    """Yields the witness with one thing changed in the access that starts there."""
    sent_at = start + LEAF_BYTES
    sent = int.from_bytes(witness[sent_at : sent_at + SENT_BYTES], "big")
    first = sent_at + SENT_BYTES

    def with_sent(bits: int, before: bytes, after: bytes) -> bytes:
        return witness[:sent_at] + bits.to_bytes(SENT_BYTES, "big") + before + after

    for at in (start, start + 15, start + 31):
        yield "leaf", witness[:at] + bytes([witness[at] ^ 0x80]) + witness[at + 1 :]
    for bit in range(DEPTH, 8 * SENT_BYTES):
        yield "bit too high", with_sent(sent | 1 << bit, witness[first:], b"")
        yield "bit too high", with_sent(sent | 1 << bit, b"", b"")
    for height in range(DEPTH):
        place = first + HASH * (sent & (1 << height) - 1).bit_count()
        before, after = witness[first:place], witness[place:]
        if sent >> height & 1:
            yield "sibling", witness[:place] + bytes([witness[place] ^ 1]) + witness[place + 1 :]
            yield "sibling left out", with_sent(sent ^ 1 << height, before, after[HASH:])
            yield "sibling as zero subtree", with_sent(sent, before, ZERO[height] + after[HASH:])
            yield "sibling of another height", with_sent(sent, before, ZERO[(height + 1) % DEPTH] + after[HASH:])
        else:
            yield "zero subtree sent", with_sent(sent | 1 << height, before, ZERO[height] + after)
            yield "zero subtree of another height", with_sent(sent | 1 << height, before, ZERO[(height + 1) % DEPTH] + after)
            yield "bit without sibling", with_sent(sent | 1 << height, before, after)


def orders(name: str, witness: bytes, starts: list[int]) -> Iterator[Forgery]:
    """Yields two faults at once: of those in the bytes, the one further to the left must be named."""
    kinds = ("leaf", "bit too high", "sibling", "zero subtree sent", "sibling left out", "bit without sibling")
    for left, right in combinations(starts, 2):
        later = {about: forged for about, forged in changed_accesses(witness, right) if about in kinds}
        for about, forged in later.items():
            earlier = {each: both for each, both in changed_accesses(forged, left) if each in kinds}
            for each, both in earlier.items():
                yield Forgery(f"{name}: {each}, then {about}", both)
    for start in starts[1:]:
        for about, forged in changed_accesses(witness, start):
            if about in ("leaf", "sibling"):
                yield Forgery(f"{name}: {about}, then truncated", forged[:-1])
                yield Forgery(f"{name}: {about}, then trailing", forged + b"\0")
    for start in starts:
        for about, forged in changed_accesses(witness, start):
            if about == "zero subtree sent":
                yield Forgery(f"within an access, {name}: {about}, then truncated", forged[:-1])


def statuses(name: str, witness: bytes) -> Iterator[Forgery]:
    """Yields states of every kind and value near the legal ones, with and without the accesses of a machine that runs."""
    for (kind, value), rest in product(STATUSES, (witness[STATE_BYTES:], b"")):
        state = witness[:KIND_AT] + bytes([kind]) + value.to_bytes(8, "big") + witness[ROOT_AT:STATE_BYTES]
        yield Forgery(f"{name}: status {kind}", state + rest)
