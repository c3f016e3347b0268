"""The machine's memory: 2^40 bytes of address space, of which only what is touched exists.

One anonymous mapping holds it all, so guest address `a` is host address `base + a` and native code (translated guest code, the
model's kernels) works on it directly. Whoever writes must say so, because the Merkle tree and the snapshots only look at what was
written: `write` and translated code do it themselves, native code calls `mark_written`. What is written is recorded in blocks
of 1 KiB: one flag byte a block, and a list of the blocks whose flag was set since the list was last drained. A store thus costs one look
at a flag. Flags of the model quarter are never set: to translated code "flag set" means "a store here is legal and recorded".
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from mmap import PAGESIZE

import numpy as np
import numpy.typing as npt

from opml_min.machine.memory.address_space import make_writable, map_file, reserve, reserve_table
from opml_min.machine.memory.keccak import BLOCK_BYTES, BLOCK_HEIGHT, Indices, keccak256
from opml_min.machine.memory.merkle import Tree, roots_of
from opml_min.machine.memory.page_set import BlockSet, union
from opml_min.machine.memory.snapshot import MemorySnapshot, changed_between, holders
from opml_min.memory_map import ENTRY, MEMORY_BYTES, PROGRAM_BYTES, QUARTER_BYTES, Quarter

WRITABLE = (Quarter.SCRATCH, Quarter.IO, Quarter.STATE)
BLOCKS = MEMORY_BYTES // BLOCK_BYTES
QUARTER_BLOCKS = QUARTER_BYTES // BLOCK_BYTES
RESTORED_AT_ONCE = 1 << 10  # blocks (= 1 MiB, which stays in the cache)
LEAST_HASHED_LATER = 1 << 8  # blocks: hashing fewer takes less time than handing them over
MOST_HASHED_LATER = 3 << 16  # blocks (= 192 MiB): more are not copied to be hashed
COPIED_AT_ONCE = 1 << 26  # bytes of a file


@cache
def _background() -> ThreadPoolExecutor:
    """Does one job after the other."""
    return ThreadPoolExecutor(1)


class Memory:
    """All 2^40 bytes, the record of what was written, and the Merkle tree over it."""

    def __init__(self) -> None:
        self._raw = memoryview(reserve(MEMORY_BYTES))
        self._bytes = np.frombuffer(self._raw, dtype=np.uint8)
        self._blocks = self._bytes.reshape(BLOCKS, BLOCK_BYTES)
        self._raw_flags = memoryview(reserve_table(BLOCKS))
        self._flags = np.frombuffer(self._raw_flags, dtype=np.uint8)
        self._list = np.frombuffer(reserve_table(8 * BLOCKS), dtype=np.int64)
        self.control = np.zeros(2, dtype=np.uint64)  # what native code needs to record a write: length of the list, its address
        self.control[1] = self._list.ctypes.data
        self.base_address = int(self._bytes.ctypes.data)
        self.flags_address = int(self._flags.ctypes.data)
        self.tree = Tree(self._blocks)
        self.text_version = 0
        """Changes whenever bytes of the text window may have changed."""
        self.model_version = 0
        """Changes whenever bytes of the model quarter may have changed."""
        self._not_hashed = [BlockSet() for _ in range(4)]  # by quarter
        self._not_joined = [BlockSet() for _ in range(4)]  # hashed, but what lies above them is not
        self._hashing: Future[bytes] | Future[None] | None = None  # in the background, on the tree
        self._hashing_copies: Future[bytes] | None = None  # the last job that hashes what is in `_copied`
        self._copied: npt.NDArray[np.uint8] | None = None
        self._not_in_snapshot = BlockSet()
        self._scratch_used = BlockSet()
        self._scratch_hashed = BlockSet()
        self._assumed_model_root: bytes | None = None
        self._latest: MemorySnapshot | None = None  # the snapshot that the memory was last equal to

    # Bytes -----------------------------------------------------------------------------------------------------------

    def view(self, address: int, count: int, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """`count` elements at `address` as an array on the memory itself. Who writes into it calls `mark_written`."""
        end = address + count * np.dtype(dtype).itemsize
        if address < 0 or count < 0 or end > MEMORY_BYTES:
            raise ValueError(f"{address:#x} … {end:#x} is not in the memory")
        return self._bytes[address:end].view(dtype)

    def read(self, address: int, length: int) -> bytes:
        return self.view(address, length, np.uint8).tobytes()

    def write(self, address: int, data: bytes) -> None:
        """Any quarter: this is the loader's and the host's way to write, not the program's."""
        if data and address < ENTRY + QUARTER_BYTES and address + len(data) > ENTRY:
            make_writable(self.base_address + address, len(data))
        self.view(address, len(data), np.uint8)[:] = np.frombuffer(data, dtype=np.uint8)
        self.mark_written(address, len(data))

    def map_file(self, address: int, file: int, offset: int, length: int) -> None:
        """Bytes of an open file appear at an address of the model quarter, and are read when they are touched. Whoever changes the file
        changes what is here. Of the host's code only `write` may write there."""
        aligned = (self.base_address + address) % PAGESIZE == offset % PAGESIZE == 0
        whole = length // PAGESIZE * PAGESIZE if aligned else 0
        if whole:
            map_file(self.base_address + address, file, offset, whole)
            self.mark_written(address, whole)
        for done in range(whole, length, COPIED_AT_ONCE):
            self.write(address + done, os.pread(file, min(COPIED_AT_ONCE, length - done), offset + done))

    # One access of the interpreter, which has checked the range -------------------------------------------------------

    def load(self, address: int, size: int) -> int:
        return int.from_bytes(self._raw[address : address + size], "little")

    def store(self, address: int, data: bytes) -> None:
        self._raw[address : address + len(data)] = data
        if not self._raw_flags[address // BLOCK_BYTES] or not self._raw_flags[(address + len(data) - 1) // BLOCK_BYTES]:
            self.mark_written(address, len(data))

    # The record of writes ----------------------------------------------------------------------------------------------

    def mark_written(self, address: int, length: int) -> None:
        """Tells that bytes `[address, address + length)` may have changed."""
        if length <= 0:
            return
        first, end = address // BLOCK_BYTES, (address + length - 1) // BLOCK_BYTES + 1
        model_first, model_end = Quarter.MODEL * QUARTER_BLOCKS, (Quarter.MODEL + 1) * QUARTER_BLOCKS
        if first < model_end and end > model_first:  # meets the model quarter: no flags there
            self._assumed_model_root = None
            self.model_version += 1
            self._not_hashed[Quarter.MODEL].add(np.arange(max(first, model_first), min(end, model_end)))
            if address < ENTRY + PROGRAM_BYTES:
                self.text_version += 1
            if first < model_first:
                self._flag(first, model_first)
            if end > model_end:
                self._flag(model_end, end)
        else:
            self._flag(first, end)

    def _flag(self, first: int, end: int) -> None:
        flags = self._flags[first:end]
        new = np.flatnonzero(flags == 0) + first
        flags[:] = 1
        length = int(self.control[0])
        self._list[length : length + len(new)] = new
        self.control[0] = length + len(new)

    def _drain(self) -> None:
        """Hands the list of written blocks to everybody who wants to know, and clears it."""
        length = int(self.control[0])
        if length == 0:
            return
        blocks = np.sort(self._list[:length])
        self._flags[blocks] = 0
        self.control[0] = 0
        self._not_in_snapshot.add(blocks)
        self._put_down(blocks, self._not_hashed)

    def _put_down(self, blocks: Indices, what_to_do: list[BlockSet]) -> None:
        """These blocks have changed, and this is what is left to do with them."""
        edges = np.searchsorted(blocks, np.arange(5) * QUARTER_BLOCKS)
        for quarter in WRITABLE:
            what_to_do[quarter].add(blocks[edges[quarter] : edges[quarter + 1]])
        self._scratch_used.add(blocks[: edges[1]])

    def forget_scratch(self) -> None:
        """The scratch quarter is all zero again."""
        self._finish_hashing()
        self._drain()
        self._not_hashed[Quarter.SCRATCH].take()
        self._scratch_hashed.add(self._not_joined[Quarter.SCRATCH].take())
        used = self._scratch_used.take()
        self._blocks[used] = 0
        self.tree.forget(self._scratch_hashed.take())
        self._not_in_snapshot.add(used)

    # Snapshots: the writable quarters, by blocks -----------------------------------------------------------------------

    def snapshot(self) -> MemorySnapshot:
        """This point of the run; costs what was written since the last snapshot."""
        self._drain()
        blocks = self._not_in_snapshot.take()
        self._latest = MemorySnapshot(self._latest, blocks, self._blocks[blocks])
        if not self._is_hashing() and not any(self._not_hashed[quarter] for quarter in WRITABLE):
            self._latest.roots = self.tree.block_roots(blocks)
        return self._latest

    def snapshot_bytes(self) -> int:
        """What a snapshot at this point would hold."""
        self._drain()
        return BLOCK_BYTES * len(self._not_in_snapshot.blocks())

    def forget_snapshots_after(self, snapshot: MemorySnapshot) -> None:
        """What the memory came through since an earlier snapshot is no longer kept apart: to the next snapshot it is one difference."""
        while self._latest is not snapshot:
            if self._latest is None:
                raise ValueError("the memory did not come through this snapshot")
            self._not_in_snapshot.add(self._latest.blocks)
            self._latest = self._latest.before

    def restore(self, snapshot: MemorySnapshot) -> None:
        """Makes scratch, io and state what they were at a snapshot of this memory, earlier or later."""
        self._finish_hashing()
        self._drain()
        changed = union([changed_between(self._latest, snapshot), self._not_in_snapshot.take()])
        for holder, blocks, places in holders(snapshot, changed):
            if holder is None:
                self._blocks[blocks] = 0
                self.tree.put_block_roots(blocks, np.zeros((len(blocks), 32), dtype=np.uint8))
            else:
                for first in range(0, len(blocks), RESTORED_AT_ONCE):
                    piece = slice(first, first + RESTORED_AT_ONCE)
                    self._blocks[blocks[piece]] = holder.contents[places[piece]]
                if holder.roots is not None:
                    self.tree.put_block_roots(blocks, holder.roots[places])
            self._put_down(blocks, self._not_hashed if holder and holder.roots is None else self._not_joined)
        self._latest = snapshot

    # The Merkle tree -----------------------------------------------------------------------------------------------------

    def _take_not_hashed(self, quarters: Sequence[int]) -> tuple[Indices, Indices]:
        """Which blocks of the quarters (ascending) to hash, and which ones to join, for the tree's `update`."""
        hashed = np.concatenate([self._not_hashed[quarter].take() for quarter in quarters])
        joined = np.concatenate([self._not_joined[quarter].take() for quarter in quarters])
        for blocks in (hashed, joined):
            self._scratch_hashed.add(blocks[: np.searchsorted(blocks, QUARTER_BLOCKS)])
        return hashed, joined

    def quarter_root(self, quarter: int) -> bytes:
        if quarter == Quarter.MODEL and self._assumed_model_root is not None:
            return self._assumed_model_root
        self._finish_hashing()
        self._drain()
        self.tree.update(*self._take_not_hashed([quarter]))
        return self.tree.node(33, quarter)

    def assume_model_root(self, root: bytes) -> None:
        """The model quarter, as it is now, has this root; the caller knows, and it is hashed only when a proof needs its inner nodes."""
        self._assumed_model_root = root

    def _hash_model(self) -> None:
        """Makes the model quarter's inner nodes valid, and holds an assumed root against them."""
        assumed, self._assumed_model_root = self._assumed_model_root, None
        if assumed is not None and assumed != self.quarter_root(Quarter.MODEL):
            raise ValueError(f"the model quarter's root is not {assumed.hex()}, as was assumed")

    def carry_root(self) -> bytes:
        """`H(io_root, state_root)`: what lives from stage to stage."""
        return keccak256(self.quarter_root(Quarter.IO) + self.quarter_root(Quarter.STATE))

    def root(self) -> bytes:
        model_root = self.quarter_root(Quarter.MODEL)
        self._finish_hashing()
        self._drain()
        self.tree.update(*self._take_not_hashed(WRITABLE))
        return self._root_found(model_root, None if self._not_in_snapshot else self._latest)

    def _root_found(self, model_root: bytes, here: MemorySnapshot | None) -> bytes:
        """The root, all below being hashed. here: a snapshot of this very point, which can have its blocks' roots now."""
        if here is not None and here.roots is None:
            here.roots = self.tree.block_roots(here.blocks)
        scratch, io, state = (self.tree.node(33, quarter) for quarter in WRITABLE)
        return keccak256(keccak256(scratch + model_root) + keccak256(io + state))

    # Hashing while the machine goes on -----------------------------------------------------------------------------------

    def _is_hashing(self) -> bool:
        return self._hashing is not None and not self._hashing.done()

    def _finish_hashing(self) -> None:
        """Call before looking at the writable quarters' tree."""
        for job in (self._hashing_copies, self._hashing):
            if job is not None:
                job.result()
        self._hashing_copies = self._hashing = None

    def root_later(self) -> Future[bytes]:
        """What `root` gives now; costs a copy of what was written since the last hashing, unless a snapshot was just taken of the same."""
        self._drain()
        count = sum(len(self._not_hashed[quarter].blocks()) for quarter in WRITABLE)
        if count > MOST_HASHED_LATER or (count < LEAST_HASHED_LATER and not self._is_hashing()):
            now: Future[bytes] = Future()
            now.set_result(self.root())
            return now
        unknown = self._assumed_model_root is None and self._not_hashed[Quarter.MODEL]
        model_root = self.quarter_root(Quarter.MODEL) if unknown else self._assumed_model_root or self.tree.node(33, Quarter.MODEL)
        hashed, joined = self._take_not_hashed(WRITABLE)
        here = None if self._not_in_snapshot else self._latest
        shared = here is not None and np.array_equal(here.blocks, hashed)
        contents = here.contents if here is not None and shared else self._copies(hashed)

        def hash_copies() -> bytes:
            self.tree.put_block_roots(hashed, roots_of(contents))
            self.tree.join(union([hashed, joined]))
            return self._root_found(model_root, here)

        self._hashing = later = _background().submit(hash_copies)
        if not shared:
            self._hashing_copies = later
        return later

    def _copies(self, blocks: Indices) -> npt.NDArray[np.uint8]:
        """(blocks, 1024), at the same place each time, as new memory is slow."""
        if self._hashing_copies is not None:
            self._hashing_copies.result()
        if self._copied is None:
            self._copied = np.frombuffer(reserve(BLOCK_BYTES * MOST_HASHED_LATER), dtype=np.uint8).reshape(-1, BLOCK_BYTES)
        return np.take(self._blocks, blocks, axis=0, out=self._copied[: len(blocks)], mode="clip")  # the default mode makes one more copy

    def begin_hashing(self) -> None:
        """Begins what `root` will do; best called when nothing will be written before that."""
        self._finish_hashing()
        self._drain()
        self._hashing = _background().submit(self.tree.update, *self._take_not_hashed(WRITABLE))

    def hash_ahead(self) -> bool:
        """Begins to hash what was written before the last call and not since then: it may well stay as it is. False if little was so.

        What is written while it is hashed is on the list of written blocks, and will be hashed again.
        """
        if self._is_hashing():
            return True
        hashed, joined = self._take_not_hashed(WRITABLE)
        left_alone = hashed[self._flags[hashed] == 0]  # the others are on the list of written blocks
        self._drain()
        self._hashing = _background().submit(self.tree.update, left_alone, joined)
        return 2 * len(left_alone) >= len(hashed)

    def leaf(self, index: int) -> bytes:
        return self.read(32 * index, 32)

    def proof(self, leaf_index: int) -> list[bytes]:
        """The 35 siblings on the way from a leaf to the root, lowest first."""
        quarter = leaf_index >> 33
        if quarter == Quarter.MODEL:
            self._hash_model()
        roots = [self.quarter_root(each) for each in range(4)]
        block = leaf_index >> BLOCK_HEIGHT
        siblings, nodes = [], [self.leaf(32 * block + i) for i in range(32)]
        position = leaf_index % 32
        while len(nodes) > 1:
            siblings.append(nodes[position ^ 1])
            nodes = [keccak256(nodes[i] + nodes[i + 1]) for i in range(0, len(nodes), 2)]
            position //= 2
        siblings += [self.tree.node(height, (leaf_index >> height) ^ 1) for height in range(BLOCK_HEIGHT, 33)]
        other_half = roots[2:] if quarter < 2 else roots[:2]
        return [*siblings, roots[quarter ^ 1], keccak256(b"".join(other_half))]
