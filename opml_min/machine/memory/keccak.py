"""Keccak-256 of many 64-byte messages at once, one message per vector lane.

A tree node is the hash of two 32-byte children, so every message is 64 bytes and every hash is one permutation: words 0 … 7 of the
sponge are the message, word 8 holds the padding's first bit, word 16 its last, the rest is zero. The permutation is written once on
vectors of 64-bit words; lane i of all the vectors is the sponge of message i. Only loads and stores know about lanes.

*Source*: The Keccak reference, version 3.0, sections 1.2 and 2.3; keccak-256 as Ethereum has it (padding byte 0x01).
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from opml_min.machine import native
from opml_min.machine.memory.page_set import Indices
from opml_min.memory_map import LEAF_BYTES, PAGE_BYTES

PAGE_HEIGHT = (PAGE_BYTES // LEAF_BYTES).bit_length() - 1
"""The height of a page's root above its leaves."""
PARALLEL_FROM = 2048  # hashes; for fewer, a second thread costs more than it saves


def rotations() -> list[int]:
    """Rho's offsets by position x + 5y: (t+1)(t+2)/2 along the orbit of (1, 0)."""
    offsets = [0] * 25
    x, y = 1, 0
    for t in range(24):
        offsets[x + 5 * y] = (t + 1) * (t + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return offsets


def round_constants() -> list[int]:
    """Iota's constants: bit 2^j − 1 of constant i is bit j + 7i of the LFSR x^8 + x^6 + x^5 + x^4 + 1."""
    bits, lfsr = [], 1
    for _ in range(24 * 7):
        bits.append(lfsr & 1)
        lfsr <<= 1
        lfsr ^= 0x171 if lfsr & 0x100 else 0
    return [sum(bits[7 * i + j] << (2**j - 1) for j in range(7)) for i in range(24)]


class _Writer:
    """Collects lines of IR and makes up names for values."""

    def __init__(self, lanes: int) -> None:
        self.lines: list[str] = []
        self.vector = f"<{lanes} x i64>"
        self.lanes = lanes
        self._names = 0

    def value(self, expression: str) -> str:
        self._names += 1
        self.lines.append(f"  %v{self._names} = {expression}")
        return f"%v{self._names}"

    def splat(self, word: int) -> str:
        """The word in every lane."""
        return f"splat (i64 {word - 2**64 if word >= 2**63 else word})"

    def element(self, kind: str, pointer: str, index: int | str) -> str:
        return self.value(f"getelementptr {kind}, ptr {pointer}, i64 {index}")

    def xor(self, *terms: str) -> str:
        result = terms[0]
        for term in terms[1:]:
            result = self.value(f"xor {self.vector} {result}, {term}")
        return result

    def rotate(self, term: str, amount: int) -> str:
        if amount == 0:
            return term
        name = f"@llvm.fshl.v{self.lanes}i64"
        return self.value(f"call {self.vector} {name}({self.vector} {term}, {self.vector} {term}, {self.vector} {self.splat(amount)})")

    def and_not(self, inverted: str, term: str) -> str:
        complement = self.value(f"xor {self.vector} {inverted}, {self.splat(2**64 - 1)}")
        return self.value(f"and {self.vector} {complement}, {term}")


def _round(w: _Writer, a: list[str], constant: int) -> list[str]:
    """theta, rho and pi, chi, iota; `a[x + 5y]` as in the reference. Row by row, so that few values are alive at a time."""
    columns = [w.xor(*(a[x + 5 * y] for y in range(5))) for x in range(5)]
    parity = [w.xor(columns[(x - 1) % 5], w.rotate(columns[(x + 1) % 5], 1)) for x in range(5)]
    result = []
    for row in range(5):
        sources = [((row - 3 * y) * 3 % 5, y) for y in range(5)]  # pi takes (x, y) to (y, 2x + 3y)
        b = [w.rotate(w.xor(a[x + 5 * y], parity[x]), rotations()[x + 5 * y]) for x, y in sources]
        result += [w.xor(b[x], w.and_not(b[(x + 1) % 5], b[(x + 2) % 5])) for x in range(5)]
    result[0] = w.xor(result[0], w.splat(constant))
    return result


def _permute_ir(lanes: int) -> str:
    """`permute(in, out)`: 8 vectors of message words to 4 vectors of hash words; `in` and `out` may overlap.

    All rounds are written out, so that the compiler can shorten the first, whose words are mostly constants, and the last, of which only
    four words are used.
    """
    w = _Writer(lanes)
    loaded = [w.value(f"load {w.vector}, ptr {w.element(w.vector, '%in', i)}") for i in range(8)]
    a = [*loaded, w.splat(1), *["zeroinitializer"] * 7, w.splat(1 << 63), *["zeroinitializer"] * 8]
    for constant in round_constants():
        a = _round(w, a, constant)
    for i in range(4):
        w.lines.append(f"  store {w.vector} {a[i]}, ptr {w.element(w.vector, '%out', i)}")
    body = "\n".join(w.lines)
    return f"""
declare {w.vector} @llvm.fshl.v{lanes}i64({w.vector}, {w.vector}, {w.vector})
define internal void @permute(ptr %in, ptr %out) noinline {{
{body}
  ret void
}}"""


def _transpose_in(w: _Writer, pointers: list[str], words: int, buffer: str, first: int) -> None:
    """Copies words 0 … words − 1 from one pointer per lane into vectors first, first + 1, … of the buffer."""
    for word in range(words):
        vector = "poison"
        for lane, pointer in enumerate(pointers):
            loaded = w.value(f"load i64, ptr {w.element('i64', pointer, word)}, align 1")
            vector = w.value(f"insertelement {w.vector} {vector}, i64 {loaded}, i32 {lane}")
        w.lines.append(f"  store {w.vector} {vector}, ptr {w.element(w.vector, buffer, first + word)}")


def _transpose_out(w: _Writer, buffer: str, pointers: list[str]) -> None:
    """Copies vectors 0 … 3 of the buffer into 32 bytes behind each lane's pointer."""
    for word in range(4):
        vector = w.value(f"load {w.vector}, ptr {w.element(w.vector, buffer, word)}")
        for lane, pointer in enumerate(pointers):
            element = w.value(f"extractelement {w.vector} {vector}, i32 {lane}")
            w.lines.append(f"  store i64 {element}, ptr {w.element('i64', pointer, word)}, align 1")


def _lane_indices(w: _Writer) -> list[str]:
    """Each lane's element of `indices`; lanes beyond the end repeat the last element."""
    result = []
    for lane in range(w.lanes):
        wanted = w.value(f"add i64 %i, {lane}")
        place = w.value(f"call i64 @llvm.umin.i64(i64 {wanted}, i64 %last)")
        result.append(w.value(f"load i64, ptr {w.element('i64', '%indices', place)}"))
    return result


def _loop_ir(w: _Writer, name: str, parameters: str, buffer_vectors: int) -> str:
    body = "\n".join(w.lines)
    return f"""
define void @{name}({parameters}, ptr %indices, i64 %count) {{
entry:
  %buffer = alloca [{buffer_vectors} x {w.vector}], align 64
  %last = sub i64 %count, 1
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
{body}
  %next = add i64 %i, {w.lanes}
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}}"""


def _hash_nodes_ir(lanes: int) -> str:
    """`hash_nodes(children, parents, zero, indices, count)`: `parents[i] = H(children[2i], children[2i + 1])`.

    A child of 32 zero bytes stands for a subtree that was never written; its hash is `zero`.
    """
    w = _Writer(lanes)
    indices = _lane_indices(w)
    for side in range(2):
        pointers = []
        for index in indices:
            pair = w.element("[8 x i64]", "%children", index)
            child = w.element("i64", pair, 4 * side)
            unwritten = w.value(f"icmp eq i256 {w.value(f'load i256, ptr {child}, align 1')}, 0")
            pointers.append(w.value(f"select i1 {unwritten}, ptr %zero, ptr {child}"))
        _transpose_in(w, pointers, 4, "%buffer", 4 * side)
    w.lines.append("  call void @permute(ptr %buffer, ptr %buffer)")
    _transpose_out(w, "%buffer", [w.element("[4 x i64]", "%parents", index) for index in indices])
    return _loop_ir(w, "hash_nodes", "ptr %children, ptr %parents, ptr %zero", 8)


def _hash_pages_ir(lanes: int) -> str:
    """`hash_pages(memory, roots, indices, count)`: `roots[i]` = root of the 32 leaves of page i of the memory."""
    w = _Writer(lanes)
    indices = _lane_indices(w)
    pairs = PAGE_BYTES // 64
    pages = [w.element(f"[{PAGE_BYTES} x i8]", "%memory", index) for index in indices]
    for pair in range(pairs):
        _transpose_in(w, [w.element("i8", page, 64 * pair) for page in pages], 8, "%buffer", 8 * pair)

    def slot(vector: int) -> str:
        return w.element(w.vector, "%buffer", vector)

    width = pairs
    while width:  # each level packs its hashes to the front: two neighbours are the next level's message
        for i in range(width):
            w.lines.append(f"  call void @permute(ptr {slot(8 * i)}, ptr {slot(4 * i)})")
        width //= 2
    _transpose_out(w, "%buffer", [w.element("[4 x i64]", "%roots", index) for index in indices])
    return _loop_ir(w, "hash_pages", "ptr %memory, ptr %roots", 8 * pairs)


def _module_ir() -> str:
    lanes = native.vector_lanes()
    return "\n".join([_permute_ir(lanes), "declare i64 @llvm.umin.i64(i64, i64)", _hash_nodes_ir(lanes), _hash_pages_ir(lanes)])


@cache
def _code() -> native.Code:
    return native.load(f"{PAGE_BYTES} {Path(__file__).read_text(encoding='utf-8')}", _module_ir)


@cache
def _functions() -> tuple[Callable[..., None], Callable[..., None]]:
    p, i64 = ctypes.c_void_p, ctypes.c_int64
    code = _code()
    return code.function("hash_nodes", None, p, p, p, p, i64), code.function("hash_pages", None, p, p, p, i64)


@cache
def _threads() -> tuple[ThreadPoolExecutor, int]:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(count), count


def _over_all_cores(work: Callable[[int, int], None], indices: Indices, hashes_per_index: int) -> None:
    """Calls `work(address of indices, count)` on slices that cover `indices`."""
    count = len(indices)
    if count * hashes_per_index < PARALLEL_FROM:
        if count:
            work(indices.ctypes.data, count)
        return
    pool, threads = _threads()
    piece = min(-(-count // threads), max(64, (1 << 18) // hashes_per_index))
    list(pool.map(lambda first: work(indices.ctypes.data + 8 * first, min(piece, count - first)), range(0, count, piece)))


def hash_nodes(children: int, parents: int, zero: bytes, indices: Indices) -> None:
    """Sets `parents[i] = H(children[2i], children[2i + 1])` for each i of `indices`; for a child of 32 zero bytes, `zero` is hashed.

    `children` and `parents` are addresses of arrays of 32-byte nodes; `indices` is contiguous.
    """
    native_hash_nodes = _functions()[0]
    _over_all_cores(lambda address, count: native_hash_nodes(children, parents, zero, address, count), indices, 1)


def hash_pages(memory: int, roots: int, indices: Indices) -> None:
    """Sets `roots[i]` to the Merkle root of page i of the memory for each i of the contiguous `indices`; both are addresses."""
    native_hash_pages = _functions()[1]
    _over_all_cores(lambda address, count: native_hash_pages(memory, roots, address, count), indices, 2**PAGE_HEIGHT - 1)
