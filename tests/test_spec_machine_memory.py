"""The memory of the spec: bytes under a Merkle root, and the persistent tree below it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.errors import MemoryOutside, SegmentOverlap, SubtreeUnknown
from opml_spec.hashing import keccak256
from opml_spec.machine import merkle
from opml_spec.machine.memory import CARRY_HEIGHT, IO, MEMORY_BYTES, MODEL, QUARTER_HEIGHT, SCRATCH, STATE, Memory

QUARTERS = (SCRATCH, MODEL, IO, STATE)
addresses = st.builds(lambda base, offset: (base + offset) % (MEMORY_BYTES - 8), st.sampled_from(QUARTERS), st.integers(-70, 70))
sizes = st.sampled_from((1, 2, 4, 8))


def naive_root(leaves: dict[int, bytes]) -> bytes:
    """The root by the definition, level by level."""
    zero = bytes(32)
    for _ in range(35):
        parents = {index // 2 for index in leaves}
        leaves = {i: keccak256(leaves.get(2 * i, zero) + leaves.get(2 * i + 1, zero)) for i in parents}
        zero = keccak256(zero + zero)
    return leaves.get(0, zero)


def test_keccak_is_ethereums() -> None:
    """The hash of nothing, as in the Yellow Paper, and of 64 zero bytes, as every Solidity mapping at slot 0 has it for key 0."""
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert merkle.ZERO[1].hex() == "ad3228b676f7d3cd4284a5443f17f1962b36e491b30a40b2405849e597ba5fb5"


def test_the_empty_memory() -> None:
    assert Memory().root == naive_root({}) == merkle.ZERO[35]
    assert Memory().leaf(12345) == bytes(32)


@given(st.dictionaries(addresses.map(lambda a: a // 32), st.binary(min_size=32, max_size=32), max_size=6))
def test_the_root_is_the_one_of_the_definition(leaves: dict[int, bytes]) -> None:
    one_by_one = Memory()
    for index, leaf in leaves.items():
        one_by_one = one_by_one.set_leaf(index, leaf)
    assert one_by_one.root == naive_root(leaves)
    assert Memory.from_segments({32 * index: leaf for index, leaf in leaves.items()}) == one_by_one


@given(st.lists(st.tuples(addresses, sizes, st.integers(0, (1 << 64) - 1)), max_size=12), addresses, sizes)
def test_load_and_store_are_those_of_a_dictionary_of_bytes(stores: list[tuple[int, int, int]], address: int, size: int) -> None:
    memory, bytes_by_address, before = Memory(), {}, Memory()
    for where, count, value in stores:
        before, memory = memory, memory.store(where, count, value)
        bytes_by_address |= {where + i: value >> 8 * i & 0xFF for i in range(count)}
    for where in (address, *(where for where, _, _ in stores)):
        expected = bytes(bytes_by_address.get(where + i, 0) for i in range(size))
        assert memory.load(where, size) == int.from_bytes(expected, "little")
        assert memory.load_bytes(where, size) == expected
    if stores:
        assert before.store(*stores[-1]) == memory, "storing does not change the memory stored into"


@given(addresses, st.binary(max_size=200), addresses, st.integers(0, 300))
def test_many_bytes_at_once(address: int, data: bytes, start: int, size: int) -> None:
    address, start = min(address, MEMORY_BYTES - len(data)), min(start, MEMORY_BYTES - size)
    memory = Memory().store_bytes(address, data)
    byte_by_byte = Memory()
    for i, byte in enumerate(data):
        byte_by_byte = byte_by_byte.store(address + i, 1, byte)
    assert memory == byte_by_byte == Memory.from_segments({address: data})
    assert memory.load_bytes(start, size) == bytes(memory.load(start + i, 1) for i in range(size))


@given(st.lists(addresses, min_size=1, max_size=5), addresses)
def test_siblings_prove_a_leaf(written: list[int], address: int) -> None:
    memory = Memory()
    for where in written:
        memory = memory.store(where, 8, 0x1122334455667788)
    index = address // 32
    node, siblings = memory.leaf(index), memory.siblings(index)
    assert merkle.hash_of(merkle.graft(node, index, siblings)) == memory.root
    for height, sibling in enumerate(siblings):
        node = keccak256(sibling + node) if index >> height & 1 else keccak256(node + sibling)
    assert node == memory.root


def test_the_quarters_make_the_root() -> None:
    memory = Memory.from_segments({base + 100: b"quarter" for base in QUARTERS[1:]})
    scratch, model, io, state = (merkle.hash_of(memory.subtree(QUARTER_HEIGHT, i)) for i in range(4))
    assert scratch == merkle.ZERO[33]
    assert model == io == state != scratch
    carry = merkle.hash_of(memory.subtree(CARRY_HEIGHT, 1))
    assert carry == keccak256(io + state)
    assert memory.root == keccak256(keccak256(scratch + model) + carry)


def test_a_part_may_be_a_mere_hash() -> None:
    """The model's root and the carry's root make the memory's, as in the contract, and nothing can be read below them."""
    whole = Memory.from_segments({MODEL: b"text", IO: b"request"})
    known = Memory().set_subtree(QUARTER_HEIGHT, 1, merkle.hash_of(whole.subtree(QUARTER_HEIGHT, 1)))
    known = known.set_subtree(CARRY_HEIGHT, 1, whole.subtree(CARRY_HEIGHT, 1))
    assert known == whole
    assert known.load(IO, 4) == int.from_bytes(b"requ", "little")
    assert known.store(0, 8, 1).root == whole.store(0, 8, 1).root
    with pytest.raises(SubtreeUnknown, match="112 SUBTREE_UNKNOWN"):
        known.load(MODEL, 4)


def test_what_is_outside() -> None:
    for segments in ({-1: b"a"}, {MEMORY_BYTES - 2: b"abc"}):
        with pytest.raises(MemoryOutside):
            Memory.from_segments(segments)
    for index in (-1, 1 << 35):
        with pytest.raises(MemoryOutside):
            Memory().leaf(index)
        with pytest.raises(MemoryOutside):
            Memory().set_leaf(index, bytes(32))
        with pytest.raises(MemoryOutside):
            Memory().siblings(index)
    with pytest.raises(SegmentOverlap):
        Memory.from_segments({100: b"abc", 102: b"d"})
    assert Memory.from_segments({100: b"ab", 102: b"d"}).load_bytes(100, 3) == b"abd"
    assert Memory.from_segments({MEMORY_BYTES - 3: b"end"}).load_bytes(MEMORY_BYTES - 3, 3) == b"end"
