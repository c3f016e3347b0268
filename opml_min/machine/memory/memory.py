"""The machine's memory: 2^40 bytes of address space, of which only what is touched exists.

One anonymous mapping holds it all, so guest address `a` is host address `base + a` and native code (translated guest code, the
model's kernels) works on it directly. The Merkle tree and the snapshots look only at pages of 1 KiB that were reported as written:
`write` and translated code report by themselves, other native code calls `mark_written`.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future
from mmap import MAP_PRIVATE, PROT_READ, mmap
from mmap import PAGESIZE as SYSTEM_PAGE_BYTES

import numpy as np
import numpy.typing as npt

from opml_min.machine.hashing import keccak256
from opml_min.machine.memory.address_space import make_writable, map_file, reserve
from opml_min.machine.memory.background_hashing import BackgroundHashing
from opml_min.machine.memory.merkle import QUARTER_HEIGHT, Tree, roots_of
from opml_min.machine.memory.page_set import QUARTER_PAGES, Indices, PagesByQuarter, PageSet, union
from opml_min.machine.memory.snapshot import MemorySnapshot, changed_between, holders
from opml_min.machine.memory.written_pages import WrittenPages
from opml_min.memory_map import ENTRY, LEAF_BYTES, MEMORY_BYTES, PAGE_BYTES, PROGRAM_BYTES, QUARTER_BYTES, Quarter

WRITABLE = (Quarter.SCRATCH, Quarter.IO, Quarter.STATE)
RESTORED_AT_ONCE = 1 << 10  # pages (= 1 MiB, which stays in the cache)
COPIED_AT_ONCE = 1 << 26  # bytes of a file


class Memory:
    """All 2^40 bytes, the record of what was written, and the Merkle tree over it."""

    def __init__(self) -> None:
        self._raw = memoryview(reserve(MEMORY_BYTES))
        self._bytes = np.frombuffer(self._raw, dtype=np.uint8)
        self._pages = self._bytes.reshape(-1, PAGE_BYTES)
        self.base_address = int(self._bytes.ctypes.data)
        self.written = WrittenPages()
        self._raw_flags = self.written.raw_flags
        self.text_version = 0
        """Changes whenever bytes of the program's text may have changed."""
        self.model_version = 0
        """Changes whenever bytes of the model quarter may have changed."""
        self._tree = Tree(self._pages)
        self._background = BackgroundHashing()
        self._not_hashed = PagesByQuarter()
        self._not_joined = PagesByQuarter()  # hashed, but what lies above them is not
        self._not_in_snapshot = PageSet()
        self._changed: PageSet | None = None  # for `take_changed`, once somebody calls it
        self._scratch_used = PageSet()
        self._scratch_hashed = PageSet()
        self._assumed_model_root: bytes | None = None
        self._latest: MemorySnapshot | None = None  # the snapshot that the memory was last equal to
        self._first_contents: list[tuple[int, npt.NDArray[np.uint8]]] = []  # pages that began as those of a file: the first one, and all

    # Bytes -----------------------------------------------------------------------------------------------------------

    def view(self, address: int, count: int, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """`count` elements at `address` as an array on the memory itself. After writing into it, call `mark_written`."""
        end = address + count * np.dtype(dtype).itemsize
        if address < 0 or count < 0 or end > MEMORY_BYTES:
            raise ValueError(f"{address:#x} … {end:#x} is not in the memory")
        return self._bytes[address:end].view(dtype)

    def read(self, address: int, length: int) -> bytes:
        return self.view(address, length, np.uint8).tobytes()

    def write(self, address: int, data: bytes) -> None:
        """Writes to any quarter, as only the host may."""
        if data and address < ENTRY + QUARTER_BYTES and address + len(data) > ENTRY:
            make_writable(self.base_address + address, len(data))
        self.view(address, len(data), np.uint8)[:] = np.frombuffer(data, dtype=np.uint8)
        self.mark_written(address, len(data))

    def map_file(self, address: int, file: int, offset: int, length: int) -> None:
        """Makes bytes of an open file appear at an address of the model or state quarter; they are read when they are touched.

        Changing the file changes the memory. The host may write to the model quarter only with `write`. In the state quarter, where nothing
        has been written yet and no snapshot taken, the bytes count as what the memory begins with: no snapshot holds a copy of them.
        """
        aligned = (self.base_address + address) % SYSTEM_PAGE_BYTES == offset % SYSTEM_PAGE_BYTES == 0
        mapped = length // SYSTEM_PAGE_BYTES * SYSTEM_PAGE_BYTES if aligned else 0
        in_model = address < ENTRY + QUARTER_BYTES
        if mapped:
            map_file(self.base_address + address, file, offset, mapped, writable=not in_model)
        if mapped and in_model:
            self.mark_written(address, mapped)
        elif mapped:
            begin = mmap(file, mapped, flags=MAP_PRIVATE, prot=PROT_READ, offset=offset)
            contents = np.frombuffer(begin, np.uint8).reshape(-1, PAGE_BYTES)
            self._first_contents.append((address // PAGE_BYTES, contents))
            self._note_changed(np.arange(len(contents)) + address // PAGE_BYTES, self._not_hashed)
        for done in range(mapped, length, COPIED_AT_ONCE):
            self.write(address + done, os.pread(file, min(COPIED_AT_ONCE, length - done), offset + done))

    # One access of the interpreter, which has checked the range -------------------------------------------------------

    def load(self, address: int, size: int) -> int:
        return int.from_bytes(self._raw[address : address + size], "little")

    def store(self, address: int, data: bytes) -> None:
        self._raw[address : address + len(data)] = data
        if not self._raw_flags[address // PAGE_BYTES] or not self._raw_flags[(address + len(data) - 1) // PAGE_BYTES]:
            self.mark_written(address, len(data))

    # The record of writes ----------------------------------------------------------------------------------------------

    def mark_written(self, address: int, length: int) -> None:
        """Reports that bytes `[address, address + length)` may have changed."""
        if length <= 0:
            return
        first, end = address // PAGE_BYTES, (address + length - 1) // PAGE_BYTES + 1
        model_first, model_end = Quarter.MODEL * QUARTER_PAGES, (Quarter.MODEL + 1) * QUARTER_PAGES
        if first < model_end and end > model_first:  # meets the model quarter: no flags there
            self._assumed_model_root = None
            self.model_version += 1
            self._not_hashed[Quarter.MODEL].add(np.arange(max(first, model_first), min(end, model_end)))
            if address < ENTRY + PROGRAM_BYTES:
                self.text_version += 1
            if first < model_first:
                self.written.add(first, model_first)
            if end > model_end:
                self.written.add(model_end, end)
        else:
            self.written.add(first, end)

    def _note_written(self) -> None:
        """Takes the record of written pages, and notes them as neither hashed nor in a snapshot."""
        pages = self.written.take()
        if len(pages):
            self._not_in_snapshot.add(pages)
            self._note_changed(pages, self._not_hashed)

    def _note_changed(self, pages: Indices, work: PagesByQuarter) -> None:
        """Notes pages that have changed, and the work on the tree that is left to do for them."""
        work.add(pages)
        if self._changed is not None:
            self._changed.add(pages)
        self._scratch_used.add(pages[: np.searchsorted(pages, QUARTER_PAGES)])

    def take_changed(self) -> Indices:
        """Returns the pages of the writable quarters that have changed since the last call. The first call begins this record."""
        self._note_written()
        if self._changed is None:
            self._changed = PageSet()
        return self._changed.take()

    def forget_scratch(self) -> None:
        """Makes the scratch quarter all zero again."""
        self._background.wait()
        self._note_written()
        self._not_hashed[Quarter.SCRATCH].take()
        self._scratch_hashed.add(self._not_joined[Quarter.SCRATCH].take())
        used = self._scratch_used.take()
        self._pages[used] = 0
        self._tree.forget(self._scratch_hashed.take())
        self._not_in_snapshot.add(used)

    # Snapshots of the writable quarters --------------------------------------------------------------------------------

    def snapshot(self) -> MemorySnapshot:
        """Records this point of the run; the cost grows with what was written since the last snapshot."""
        self._note_written()
        pages = self._not_in_snapshot.take()
        self._latest = MemorySnapshot(self._latest, pages, self._pages[pages])
        if not self._background.is_running() and not any(self._not_hashed[quarter] for quarter in WRITABLE):
            self._latest.roots = self._tree.page_roots(pages)
        return self._latest

    def snapshot_bytes(self) -> int:
        """The size that a snapshot would have if it were taken now."""
        self._note_written()
        return PAGE_BYTES * len(self._not_in_snapshot.pages())

    def forget_snapshots_after(self, snapshot: MemorySnapshot) -> None:
        """Discards all snapshots taken after an earlier one; the next snapshot holds the whole difference from that one."""
        while self._latest is not snapshot:
            if self._latest is None:
                raise ValueError("the memory did not come through this snapshot")
            self._not_in_snapshot.add(self._latest.pages)
            self._latest = self._latest.before

    def restore(self, snapshot: MemorySnapshot) -> None:
        """Makes scratch, io and state what they were at a snapshot of this memory, earlier or later."""
        self._background.wait()
        self._note_written()
        changed = union([changed_between(self._latest, snapshot), self._not_in_snapshot.take()])
        for holder, pages, places in holders(snapshot, changed):
            if holder is None:
                pages = self._begin_again(pages)
                self._tree.put_page_roots(pages, np.zeros((len(pages), 32), dtype=np.uint8))
            else:
                for first in range(0, len(pages), RESTORED_AT_ONCE):
                    piece = slice(first, first + RESTORED_AT_ONCE)
                    self._pages[pages[piece]] = holder.contents[places[piece]]
                if holder.roots is not None:
                    self._tree.put_page_roots(pages, holder.roots[places])
            self._note_changed(pages, self._not_hashed if holder and holder.roots is None else self._not_joined)
        self._latest = snapshot

    def _begin_again(self, pages: Indices) -> Indices:
        """Makes pages what the memory began with, and returns those of them that are zero."""
        for first, contents in self._first_contents:
            of_file = (pages >= first) & (pages < first + len(contents))
            self._pages[pages[of_file]] = contents[pages[of_file] - first]
            self._note_changed(pages[of_file], self._not_hashed)
            pages = pages[~of_file]
        self._pages[pages] = 0
        return pages

    # The Merkle tree -----------------------------------------------------------------------------------------------------

    def _take_work(self, quarters: Sequence[int]) -> tuple[Indices, Indices]:
        """Which pages of the quarters (ascending) to hash and which ones to join, for the tree's `update`."""
        hashed, joined = self._not_hashed.take(quarters), self._not_joined.take(quarters)
        for pages in (hashed, joined):
            self._scratch_hashed.add(pages[: np.searchsorted(pages, QUARTER_PAGES)])
        return hashed, joined

    def _update(self, quarters: Sequence[int]) -> None:
        """Hashes what is not hashed in these quarters."""
        self._background.wait()
        self._note_written()
        self._tree.update(*self._take_work(quarters))

    def quarter_root(self, quarter: int) -> bytes:
        if quarter == Quarter.MODEL and self._assumed_model_root is not None:
            return self._assumed_model_root
        self._update([quarter])
        return self._tree.node(QUARTER_HEIGHT, quarter)

    def carry_pages_to_hash(self) -> Indices:
        """Returns the pages of io and state that the next `carry_root` has to hash, ascending."""
        self._background.wait()
        self._note_written()
        return np.concatenate([self._not_hashed[quarter].pages() for quarter in (Quarter.IO, Quarter.STATE)])

    def put_carry_roots(self, pages: Indices, roots: npt.NDArray[np.uint8]) -> None:
        """Takes the caller's word for the roots, (pages, 32), of some of those pages; nothing was written since they were asked for."""
        remaining = self._not_hashed.take((Quarter.IO, Quarter.STATE))
        self._not_hashed.add(np.setdiff1d(remaining, pages, assume_unique=True))
        self._tree.put_page_roots(pages, roots)
        self._not_joined.add(pages)

    def assume_model_root(self, root: bytes) -> None:
        """Takes the caller's word for the model quarter's root; the quarter is hashed only when a proof needs its inner nodes."""
        self._assumed_model_root = root

    def _check_model_root(self) -> None:
        """Hashes the model quarter and compares its root with the assumed one, if there is one."""
        assumed, self._assumed_model_root = self._assumed_model_root, None
        if assumed is not None and assumed != self.quarter_root(Quarter.MODEL):
            raise ValueError(f"the model quarter's root is not {assumed.hex()}, as was assumed")

    def carry_root(self) -> bytes:
        """`H(io_root, state_root)`: what lives from stage to stage."""
        return keccak256(self.quarter_root(Quarter.IO) + self.quarter_root(Quarter.STATE))

    def root(self) -> bytes:
        model_root = self.quarter_root(Quarter.MODEL)
        self._update(WRITABLE)
        return self._joined_root(model_root, self._snapshot_of_now())

    def _snapshot_of_now(self) -> MemorySnapshot | None:
        """The latest snapshot, if nothing was written since."""
        return None if self._not_in_snapshot else self._latest

    def _joined_root(self, model_root: bytes, now: MemorySnapshot | None) -> bytes:
        """The root from the quarters' roots, which must be up to date. A snapshot of this point gets its pages' roots, too."""
        if now is not None and now.roots is None:
            now.roots = self._tree.page_roots(now.pages)
        scratch, io, state = (self._tree.node(QUARTER_HEIGHT, quarter) for quarter in WRITABLE)
        return keccak256(keccak256(scratch + model_root) + keccak256(io + state))

    def root_later(self) -> Future[bytes]:
        """Starts to compute what `root` gives now, while the machine goes on.

        Copies what was written since the last hashing, unless a snapshot of this point was just taken.
        """
        self._note_written()
        if not self._background.is_worthwhile(sum(len(self._not_hashed[quarter].pages()) for quarter in WRITABLE)):
            known: Future[bytes] = Future()
            known.set_result(self.root())
            return known
        if self._assumed_model_root is None and self._not_hashed[Quarter.MODEL]:
            model_root = self.quarter_root(Quarter.MODEL)
        else:  # without waiting for jobs
            model_root = self._assumed_model_root or self._tree.node(QUARTER_HEIGHT, Quarter.MODEL)
        hashed, joined = self._take_work(WRITABLE)
        now = self._snapshot_of_now()
        is_held = now is not None and np.array_equal(now.pages, hashed)
        contents = now.contents if now is not None and is_held else self._background.copies(self._pages, hashed)

        def hash_contents() -> bytes:
            self._tree.put_page_roots(hashed, roots_of(contents))
            self._tree.join(union([hashed, joined]))
            return self._joined_root(model_root, now)

        return self._background.start(hash_contents) if is_held else self._background.start_on_copies(hash_contents)

    def begin_hashing(self) -> None:
        """Starts what `root` will do, in the background; best called when nothing will be written before that."""
        self._background.wait()
        self._note_written()
        self._background.start(self._tree.update, *self._take_work(WRITABLE))

    def hash_ahead(self) -> bool:
        """Starts hashing, in the background, pages not written since the last call: they are probably final. Returns False if they are few.

        A page that is written while it is hashed is on the record of written pages, so it will be hashed again.
        """
        if self._background.is_running():
            return True
        hashed, joined = self._take_work(WRITABLE)
        left_alone = hashed[self.written.flags[hashed] == 0]  # the others are on the record of written pages
        self._note_written()
        self._background.start(self._tree.update, left_alone, joined)
        return 2 * len(left_alone) >= len(hashed)

    def leaf(self, index: int) -> bytes:
        return self.read(LEAF_BYTES * index, LEAF_BYTES)

    def proof(self, leaf_index: int) -> list[bytes]:
        """The 35 siblings on the way from a leaf to the root, lowest first."""
        quarter = leaf_index >> QUARTER_HEIGHT
        if quarter == Quarter.MODEL:
            self._check_model_root()
        roots = [self.quarter_root(each) for each in Quarter]
        other_half = roots[2:] if quarter < 2 else roots[:2]
        return [*self._tree.siblings(leaf_index), roots[quarter ^ 1], keccak256(b"".join(other_half))]
