"""Hashes, the Merkle tree, snapshots and witnesses of the fast machine, against slow and obvious versions."""

import random
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import sha3

from opml_min.machine import Machine, Memory, Snapshot, execute_single
from opml_min.machine.memory.keccak import hash_nodes, hash_pages
from opml_min.machine.memory.snapshot import MemorySnapshot
from opml_min.machine.sparse import sparse_root
from opml_min.memory_map import ENTRY, STATE, Quarter


def keccak(data: bytes) -> bytes:
    return bytes(sha3.keccak_256(data).digest())


ZERO = [bytes(32)]
for _ in range(35):
    ZERO.append(keccak(ZERO[-1] * 2))


def naive_node(leaves: dict[int, bytes], height: int, index: int) -> bytes:
    """The node by its definition, recursively; subtrees without a leaf are zero subtrees."""
    inside = {leaf: data for leaf, data in leaves.items() if leaf >> height == index}
    if not inside:
        return ZERO[height]
    if height == 0:
        return inside[index]
    return keccak(naive_node(inside, height - 1, 2 * index) + naive_node(inside, height - 1, 2 * index + 1))


def leaves_of(contents: dict[int, bytes]) -> dict[int, bytes]:
    """Leaves of a memory in which these bytes were written, address by address."""
    flat: dict[int, bytearray] = {}
    for address, data in contents.items():
        for offset, byte in enumerate(data):
            leaf = flat.setdefault((address + offset) // 32, bytearray(32))
            leaf[(address + offset) % 32] = byte
    return {index: bytes(leaf) for index, leaf in flat.items()}


@pytest.mark.parametrize("count", [1, 3, 8, 9, 100])
def test_vector_hashes_are_keccak(count: int) -> None:
    rng = np.random.default_rng(count)
    pages = rng.integers(0, 256, (count, 1024), dtype=np.uint8)
    roots = np.zeros((count, 32), dtype=np.uint8)
    order = np.flip(np.arange(count)).copy()
    hash_pages(pages.ctypes.data, roots.ctypes.data, order)
    for page, root in zip(pages, roots, strict=True):
        nodes = [page[i : i + 32].tobytes() for i in range(0, 1024, 32)]
        while len(nodes) > 1:
            nodes = [keccak(nodes[i] + nodes[i + 1]) for i in range(0, len(nodes), 2)]
        assert root.tobytes() == nodes[0]


def test_vector_hashes_put_the_zero_subtree_for_unwritten_children() -> None:
    children = np.random.default_rng(1).integers(1, 256, (6, 32), dtype=np.uint8)
    children[1] = children[4] = children[5] = 0
    parents = np.zeros((3, 32), dtype=np.uint8)
    hash_nodes(children.ctypes.data, parents.ctypes.data, ZERO[7], np.array([0, 2]))
    assert parents[0].tobytes() == keccak(children[0].tobytes() + ZERO[7])
    assert parents[1].tobytes() == bytes(32)
    assert parents[2].tobytes() == keccak(ZERO[7] + ZERO[7])


def test_many_hashes_on_all_cores() -> None:
    data = np.random.default_rng(2).integers(0, 256, (40_000, 64), dtype=np.uint8)
    out = np.zeros((40_000, 32), dtype=np.uint8)
    hash_nodes(data.ctypes.data, out.ctypes.data, ZERO[0], np.arange(40_000))
    for index in (0, 1, 19_999, 20_000, 39_999):
        assert out[index].tobytes() == keccak(data[index].tobytes())
    assert not np.any(np.all(out == 0, axis=1))


def scattered(rng: random.Random) -> dict[int, bytes]:
    """A few writes in every quarter, some across leaves and pages."""
    bases = [0, 2**38 - 4096, ENTRY, ENTRY + 2**30, 2**39, 2**39 + 1000, 3 * 2**38 + 12345, 2**40 - 2048]
    return {base + 64 * rng.randrange(10): rng.randbytes(rng.randrange(1, 60)) for base in bases}


def test_root_and_proofs_against_the_definition() -> None:
    rng = random.Random(3)
    memory = Memory()
    assert memory.root() == ZERO[35]
    contents: dict[int, bytes] = {}
    for _ in range(4):
        for address, data in scattered(rng).items():
            contents[address] = data + memory.read(address + len(data), 60 - len(data))
            memory.write(address, data)
        contents = {address: memory.read(address, 60) for address in contents}
        leaves = leaves_of(contents)
        assert memory.root() == naive_node(leaves, 35, 0) == sparse_root(leaves)
        assert [memory.quarter_root(q) for q in Quarter] == [naive_node(leaves, 33, q) for q in range(4)]
        assert memory.carry_root() == keccak(memory.quarter_root(Quarter.IO) + memory.quarter_root(Quarter.STATE))
        for index in [*rng.sample(sorted(leaves), 4), 5, 2**35 - 1, ENTRY // 32 + 999]:
            expected = [naive_node(leaves, height, (index >> height) ^ 1) for height in range(35)]
            assert memory.proof(index) == expected


def test_native_code_must_say_what_it_wrote() -> None:
    memory = Memory()
    numbers = memory.view(2**39 + 4096, 1000, np.int32)
    numbers[:] = np.arange(1000)
    memory.mark_written(2**39 + 4096, 4000)
    leaves = leaves_of({2**39 + 4096: np.arange(1000, dtype="<i4").tobytes()})
    assert memory.root() == naive_node(leaves, 35, 0)
    numbers[7] = -1
    memory.mark_written(2**39 + 4096 + 28, 4)
    leaves = leaves_of({2**39 + 4096: numbers.tobytes()})
    assert memory.root() == naive_node(leaves, 35, 0)
    with pytest.raises(ValueError, match="not in the memory"):
        memory.view(2**40 - 4, 2, np.int32)


def test_changed_pages_are_told_once_whoever_changed_them() -> None:
    memory, state = Memory(), Quarter.STATE << 38
    memory.write(state, b"before the record begins")
    assert memory.take_changed().tolist() == []
    snapshot = memory.snapshot()
    memory.write(state + 5000, bytes([1]))
    memory.write((Quarter.IO << 38) + 1023, bytes([2, 3]))
    io, first = Quarter.IO << 28, Quarter.STATE << 28
    assert memory.take_changed().tolist() == [io, io + 1, first + 4]
    memory.write(state, bytes([4]))
    memory.root()  # the record of writes is used up for the tree
    assert memory.take_changed().tolist() == [first]
    memory.restore(snapshot)
    assert memory.take_changed().tolist() == [io, io + 1, first, first + 4]
    assert memory.take_changed().tolist() == []


def test_marks_across_the_model_quarter() -> None:
    memory = Memory()
    for edge in (ENTRY, 2 * ENTRY):
        memory.write(edge - 40, bytes(range(1, 81)))
    leaves = leaves_of({edge - 40: bytes(range(1, 81)) for edge in (ENTRY, 2 * ENTRY)})
    assert memory.root() == naive_node(leaves, 35, 0)


def test_an_assumed_model_root_is_held_against_the_model_before_it_proves_anything() -> None:
    memory = Memory()
    memory.write(ENTRY, b"model")
    memory.write(2**39, b"io")
    leaves = leaves_of({ENTRY: b"model", 2**39: b"io"})
    memory.assume_model_root(naive_node(leaves, 33, Quarter.MODEL))
    assert memory.root() == naive_node(leaves, 35, 0)
    assert memory.proof(2**39 // 32)[34] == naive_node(leaves, 34, 0)
    assert memory.proof(ENTRY // 32)[5:33] == ZERO[5:33]
    memory.assume_model_root(ZERO[33])
    with pytest.raises(ValueError, match="assumed"):
        memory.proof(ENTRY // 32)
    memory.assume_model_root(ZERO[33])
    memory.write(ENTRY + 1, b"changes")
    assert memory.quarter_root(Quarter.MODEL) == naive_node(leaves_of({ENTRY: b"mchanges"}), 33, Quarter.MODEL)


def test_scratch_is_forgotten_between_stages() -> None:
    memory = Memory()
    machine = Machine(memory)
    memory.write(2**39, b"carried")
    before = memory.root()
    for hashed in (True, False):
        memory.write(100, b"temporary" * 1000)
        memory.write(2**38 - 8, b"on stack")
        if hashed:
            assert memory.root() != before
        machine.begin_stage(5)
        assert machine.registers.tolist() == [5 if i == 10 else 0 for i in range(32)]
        assert (machine.pc, machine.status, machine.steps) == (ENTRY, (0, 0), 0)
        assert memory.read(90, 10_000) == bytes(10_000)
        assert memory.root() == before
    memory.write(100, b"again")
    assert memory.root() == naive_node(leaves_of({2**39: b"carried", 100: b"again"}), 35, 0)


def test_snapshots_form_a_tree() -> None:
    """Random writes, snapshots and restores; the memory must always be what a plain dictionary says."""
    rng = random.Random(11)
    memory = Memory()
    machine = Machine(memory)
    memory.write(ENTRY, b"text")
    places = [0, 1000, 2**38 - 700, 2**39, 2**39 + 1020, 3 * 2**38 + 2**30]
    state = {place: bytes(300) for place in places}
    taken: list[tuple[Snapshot, dict[int, bytes], int, bytes]] = []
    for turn in range(60):
        place, offset = rng.choice(places), rng.randrange(250)
        data = rng.randbytes(rng.randrange(1, 50))
        memory.write(place + offset, data)
        state[place] = state[place][:offset] + data + state[place][offset + len(data) :]
        action = rng.random()
        if action < 0.3:
            machine.pc = ENTRY + 4 * turn
            machine.registers[3] = turn
            taken.append((machine.snapshot(), dict(state), turn, machine.state_hash()))
        elif action < 0.6 and taken:
            snapshot, state_then, turn_then, hash_then = rng.choice(taken)
            machine.restore(snapshot)
            state = dict(state_then)
            assert (machine.pc, int(machine.registers[3])) == (ENTRY + 4 * turn_then, turn_then)
            assert machine.state_hash() == hash_then
        elif action < 0.65:
            machine.begin_stage(0)
            state.update({place: bytes(300) for place in places if place < 2**38})
        assert {place: memory.read(place, 300) for place in places} == state
    leaves = leaves_of({**state, ENTRY: b"text"})
    assert memory.root() == naive_node(leaves, 35, 0)


@pytest.fixture
def everything_is_hashed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opml_min.machine.memory.background_hashing.LEAST_PAGES", 0)


@pytest.mark.usefixtures("everything_is_hashed_later")
def test_what_is_hashed_later_is_hashed_as_it_was() -> None:
    """Roots asked for while writing goes on, with and without snapshots, against a memory that is hashed at once."""
    rng = random.Random(12)
    memory, plain = Memory(), Memory()
    places = [0, 5000, 2**38 - 3000, 2**39, 2**39 + 1020, 3 * 2**38 + 2**30]
    taken: list[tuple[MemorySnapshot, dict[int, bytes], bytes]] = []
    asked: list[tuple[Future[bytes], bytes]] = []
    for turn in range(150):
        for place in rng.sample(places, 3):
            data = rng.choice([rng.randbytes(rng.randrange(1, 3000)), bytes(2000)])
            memory.write(place, data)
            plain.write(place, data)
        action = rng.randrange(6)
        if action == 0:
            memory.hash_ahead()
        elif action == 1 and taken:
            snapshot, contents, root = rng.choice(taken)
            memory.restore(snapshot)
            for place, data in contents.items():
                plain.write(place, data)
            assert plain.root() == root
        elif action == 2:
            taken.append((memory.snapshot(), {place: plain.read(place, 3000) for place in places}, plain.root()))
        elif action == 3:
            memory.begin_hashing()
            memory.snapshot()
            assert memory.root() == plain.root()
        elif turn == 100:
            memory.forget_scratch()
            plain.forget_scratch()
        asked.append((memory.root_later(), plain.root()))
        if action == 4:
            assert memory.root() == plain.root()
            assert memory.proof(2**39 // 32) == plain.proof(2**39 // 32)
    assert [later.result() for later, _ in asked] == [root for _, root in asked]


def test_pages_that_are_hashed_ahead_may_be_written_meanwhile() -> None:
    memory = Memory()
    words = memory.view(3 * 2**38, 1 << 20, np.uint64)
    for turn in range(4):
        words[:] = np.arange(turn, turn + len(words), dtype=np.uint64)
        memory.mark_written(3 * 2**38, words.nbytes)
        memory.hash_ahead()
        memory.hash_ahead()
        for address in range(3 * 2**38, 3 * 2**38 + words.nbytes, 1 << 16):
            memory.write(address, bytes([turn + 1]))
    hashed_at_once = Memory()
    hashed_at_once.write(3 * 2**38, memory.read(3 * 2**38, words.nbytes))
    assert memory.root() == hashed_at_once.root()


class Reader:
    """Reads a witness from left to right, checking every path."""

    def __init__(self, witness: bytes) -> None:
        self.rest = witness

    def take(self, length: int) -> bytes:
        taken, self.rest = self.rest[:length], self.rest[length:]
        assert len(taken) == length
        return taken

    def access(self, index: int, root: bytes) -> tuple[bytes, list[bytes]]:
        leaf, sent = self.take(32), int.from_bytes(self.take(5), "big")
        assert sent < 2**35
        siblings = []
        for height in range(35):
            siblings.append(self.take(32) if sent >> height & 1 else ZERO[height])
            assert not sent >> height & 1 or siblings[-1] != ZERO[height]
        assert fold(leaf, siblings, index) == root
        return leaf, siblings


def fold(leaf: bytes, siblings: list[bytes], index: int) -> bytes:
    node = leaf
    for height, sibling in enumerate(siblings):
        node = keccak(sibling + node) if index >> height & 1 else keccak(node + sibling)
    return node


ADDRESSES = [64, 80, 92, 2**38 - 8, 2**38 - 9, 2**39, 2**39 + 1020, 2**40 - 8, 2**40 - 7, 2**38 + 40, 3 * 2**38 - 4]


def witness_cases() -> Iterator[tuple[int, int]]:
    yield from [(0x00100013, 0), (0x00000073, 0), (0xFFFFFFFF, 0)]  # addi, ecall, illegal
    for address in ADDRESSES:
        yield from [(0x0002B303, address), (0x0072B023, address), (0x00729023, address)]  # ld x6, (x5); sd x7, (x5); sh x7, (x5)


@pytest.mark.parametrize("filled", [False, True])
def test_witnesses_lead_to_the_next_state(filled: bool) -> None:
    rng = random.Random(5)
    for word, address in witness_cases():
        memory = Memory()
        memory.write(ENTRY + 28, word.to_bytes(4, "little"))
        if filled:
            for around in ADDRESSES:
                memory.write(around - 40, rng.randbytes(47))
            memory.write(ENTRY + 28, word.to_bytes(4, "little"))
        machine = Machine(memory)
        machine.pc = ENTRY + 28
        machine.registers[5], machine.registers[7], machine.registers[17] = address, rng.randrange(2**64), 94
        x7 = int(machine.registers[7])
        root = memory.root()
        reader = Reader(machine.witness())
        assert reader.take(297) == machine.state_bytes()
        leaf, _ = reader.access(ENTRY // 32, root)
        assert leaf[28:] == word.to_bytes(4, "little")
        is_store, is_load = word & 0x7F == 0x23, word & 0x7F == 0x03
        size = 2 if word == 0x00729023 else 8
        last = address + size - 1
        traps = last >= 2**40 or (is_store and last >= 2**38 and address < 2**39)
        data = (x7 % 2 ** (8 * size)).to_bytes(size, "little")
        if (is_load or is_store) and not traps:
            for index in dict.fromkeys([address // 32, last // 32]):
                leaf, siblings = reader.access(index, root)
                new = bytearray(leaf)
                for position in range(address, last + 1):
                    if is_store and position // 32 == index:
                        new[position % 32] = data[position - address]
                root = fold(bytes(new), siblings, index)
        assert reader.rest == b""
        machine.run(1)
        assert machine.memory.root() == root
    for pc in (ENTRY + 2, 8):
        machine.pc = pc
        assert machine.witness() == machine.state_bytes()
        machine.status = type(machine.status)(1, 7)
        assert machine.witness() == machine.state_bytes()


def test_single_steps_on_a_few_leaves_agree_with_the_machine() -> None:
    rng = random.Random(9)
    for word, address in witness_cases():
        contents = {ENTRY: rng.randbytes(28) + word.to_bytes(4, "little"), **{around // 32 * 32: rng.randbytes(32) for around in ADDRESSES}}
        contents.pop(2**38 + 32)
        memory = Memory()
        for at, data in contents.items():
            memory.write(at, data)
        machine = Machine(memory)
        machine.pc = ENTRY + 28
        machine.registers[1:] = np.array([rng.randrange(2**64) for _ in range(31)], dtype=np.uint64)
        machine.registers[5] = address
        leaves = leaves_of(contents)
        unchanged = dict(leaves)
        after = execute_single(machine.pc, machine.registers.tolist(), machine.status, leaves)
        assert leaves == unchanged
        machine.run(1)
        assert machine.state_bytes() == after


def test_a_file_in_the_state_quarter_is_where_the_memory_begins(tmp_path: Path) -> None:
    data = np.random.default_rng(3).bytes(4 * 4096 + 77)
    (tmp_path / "file").write_bytes(bytes(4096) + data)
    mapped, written = Memory(), Memory()
    with (tmp_path / "file").open("rb") as file:
        mapped.map_file(STATE, file.fileno(), 4096, len(data))
    written.write(STATE, data)
    memories = (mapped, written)
    assert mapped.carry_root() == written.carry_root()
    begin = [memory.snapshot() for memory in memories]
    assert [snapshot.contents.nbytes for snapshot in begin] == [1024, 17408]  # of the mapped one only what was copied: the last 77 bytes
    roots = []
    for address, length in ((STATE + 5000, 3000), (STATE + 4 * 4096 - 9, 100), (STATE + 9 * 4096, 9)):
        for memory in memories:
            memory.write(address, b"\7" * length)
        assert mapped.carry_root() == written.carry_root()
        roots.append(([memory.snapshot() for memory in memories], written.carry_root()))
    for snapshots, root in (roots[0], roots[2], roots[1]):
        for memory, snapshot, first in zip(memories, snapshots, begin, strict=True):
            memory.restore(first)
            assert memory.read(STATE, len(data) + 5000) == data + bytes(5000)
            memory.restore(snapshot)
        assert mapped.carry_root() == written.carry_root() == root
    assert (tmp_path / "file").read_bytes() == bytes(4096) + data
