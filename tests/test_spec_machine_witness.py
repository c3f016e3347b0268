"""The witness: it proves exactly the step, and no other bytes prove anything."""

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.errors import (
    SpecError,
    StateUndecodable,
    WitnessBitmap,
    WitnessRoot,
    WitnessTrailing,
    WitnessTruncated,
    WitnessZeroSibling,
)
from opml_spec.machine.decode import INSTRUCTIONS
from opml_spec.machine.memory import ENTRY, IO, MODEL, STATE
from opml_spec.machine.merkle import ZERO
from opml_spec.machine.start import start_state
from opml_spec.machine.state import MachineState, Status, encode, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import execute_witness, make_witness
from spec_machine_states import DATA, running_states, statuses, text_pcs

LEGAL = st.sampled_from(INSTRUCTIONS).flatmap(lambda row: st.integers(0, (1 << 32) - 1).map(lambda rest: rest & ~row.mask | row.match))
SD = 0x00B53023  # sd a1, 0(a0)
LD = 0x00053583  # ld a1, 0(a0)
fetching = running_states(words=LEGAL, pcs=text_pcs)


@frozen
class Access:
    """Where the parts of an access lie in a witness; read here a second time, from spec §2.5."""

    leaf: int
    sent: int
    siblings: dict[int, int]  # height: where
    end: int


def accesses(witness: bytes) -> list[Access]:
    found, at = [], 297
    while at < len(witness):
        bitmap = int.from_bytes(witness[at + 32 : at + 37], "big")
        heights = [height for height in range(40) if bitmap & 1 << height]
        siblings = {height: at + 37 + 32 * i for i, height in enumerate(heights)}
        found.append(Access(at, at + 32, siblings, at + 37 + 32 * len(heights)))
        at = found[-1].end
    assert at == len(witness)
    return found


def with_bitmap(witness: bytes, access: Access, bitmap: int) -> bytes:
    return witness[: access.sent] + bitmap.to_bytes(5, "big") + witness[access.sent + 5 :]


def bitmap_of(witness: bytes, access: Access) -> int:
    return int.from_bytes(witness[access.sent : access.sent + 5], "big")


def state_for(word: int, address: int) -> MachineState:
    return start_state(DATA.store(ENTRY + 4096, 4, word), ENTRY + 4096, {10: address, 11: 0x0102030405060708})


# What it proves ------------------------------------------------------------------------------------------------------------------


@given(running_states())
def test_executing_a_witness_is_the_step(state: MachineState) -> None:
    assert execute_witness(make_witness(state)) == (state_hash(state), state_hash(step(state)))


@given(running_states(), statuses)
def test_a_machine_that_does_not_run_makes_no_access(state: MachineState, status: Status) -> None:
    stopped = evolve(state, status=status)
    assert make_witness(stopped) == encode(stopped)
    assert execute_witness(encode(stopped)) == (state_hash(stopped),) * 2


@pytest.mark.parametrize(
    ("word", "address", "count"),
    [
        (0x00000013, 0, 1),  # fetch alone
        (0x00000000, 0, 1),  # illegal: it was fetched
        (LD, IO, 2), (LD, IO + 24, 2), (LD, IO + 25, 3), (LD, IO + 31, 3),  # one leaf or two
        (SD, IO, 2), (SD, IO + 24, 2), (SD, IO + 25, 3), (SD, STATE - 1, 3), (SD, MODEL - 8, 2),
        (LD, 1 << 40, 1), (SD, MODEL - 7, 1), (LD, (1 << 40) - 7, 1),  # a trap touches nothing
        (LD, ENTRY + 4096, 2),  # the leaf that was fetched is shown again
        (0x00053003, IO + 31, 3),  # ld into x0 makes its accesses
    ],
)  # fmt: skip
def test_the_accesses_are_those_of_the_step(word: int, address: int, count: int) -> None:
    state = state_for(word, address)
    witness = make_witness(state)
    assert len(accesses(witness)) == count
    assert execute_witness(witness) == (state_hash(state), state_hash(step(state)))
    before = state.memory
    for access, index in zip(accesses(witness), ((ENTRY + 4096) // 32, address // 32, address // 32 + 1), strict=False):
        assert witness[access.leaf : access.leaf + 32] == before.leaf(index)


def test_the_second_leaf_of_a_store_is_against_the_root_after_the_first() -> None:
    """Two leaves under one node: the proof of the second has the first, already written, as its lowest sibling."""
    state = state_for(SD, IO + 29)
    after = step(state).memory
    witness = make_witness(state)
    lower, upper = accesses(witness)[1:]
    assert witness[upper.siblings[0] :][:32] == after.leaf(IO // 32) != DATA.leaf(IO // 32)
    assert witness[lower.siblings[0] :][:32] == DATA.leaf(IO // 32 + 1)
    stale = witness[: upper.siblings[0]] + DATA.leaf(IO // 32) + witness[upper.siblings[0] + 32 :]
    with pytest.raises(WitnessRoot):
        execute_witness(stale)


# What is refused -----------------------------------------------------------------------------------------------------------------


@given(running_states(), st.data())
def test_101_cut_anywhere(state: MachineState, data: st.DataObject) -> None:
    witness = make_witness(state)
    with pytest.raises(WitnessTruncated):
        execute_witness(witness[: data.draw(st.integers(0, len(witness) - 1))])


@given(running_states(), st.sampled_from([(0, 1), (0, 1 << 63), (3, 0), (255, 0), (2, 4), (2, 6), (2, 9), (2, 256)]), st.binary(max_size=2))
def test_102_a_status_that_does_not_exist(state: MachineState, status: tuple[int, int], rest: bytes) -> None:
    """It is told as soon as the state is read, whatever follows."""
    witness = encode(state)
    with pytest.raises(StateUndecodable):
        execute_witness(witness[:256] + bytes([status[0]]) + status[1].to_bytes(8, "big") + witness[265:] + rest)


@given(fetching, st.integers(35, 39), st.data())
def test_103_a_sibling_above_the_root(state: MachineState, height: int, data: st.DataObject) -> None:
    """It is told before any sibling is read: they may even be missing."""
    witness = make_witness(state)
    access = data.draw(st.sampled_from(accesses(witness)))
    bad = with_bitmap(witness, access, bitmap_of(witness, access) | 1 << height)
    for wrong in (bad, bad[: access.sent + 5]):
        with pytest.raises(WitnessBitmap):
            execute_witness(wrong)


@given(fetching, st.data())
def test_104_a_zero_sibling_that_is_sent(state: MachineState, data: st.DataObject) -> None:
    """It is told as soon as it is read: what follows may be missing."""
    witness = make_witness(state)
    access = data.draw(st.sampled_from(accesses(witness)))
    height = data.draw(st.sampled_from(sorted(set(range(35)) - set(access.siblings))))
    at = access.sent + 5 + 32 * sum(other < height for other in access.siblings)
    longer = with_bitmap(witness, access, bitmap_of(witness, access) | 1 << height)
    for wrong in (longer[:at] + ZERO[height] + longer[at:], longer[:at] + ZERO[height]):
        with pytest.raises(WitnessZeroSibling):
            execute_witness(wrong)


@given(fetching, st.data())
def test_105_a_leaf_or_sibling_that_is_another(state: MachineState, data: st.DataObject) -> None:
    """One bit flipped in a leaf or a sibling, a sibling left out, or one invented."""
    witness = make_witness(state)
    access = data.draw(st.sampled_from(accesses(witness)))
    where = data.draw(st.sampled_from((access.leaf, *access.siblings.values()))) + data.draw(st.integers(0, 31))
    flipped = witness[:where] + bytes([witness[where] ^ 1 << data.draw(st.integers(0, 7))]) + witness[where + 1 :]
    height, at = data.draw(st.sampled_from(sorted(access.siblings.items())))
    omitted = with_bitmap(witness, access, bitmap_of(witness, access) ^ 1 << height)
    omitted = omitted[:at] + omitted[at + 32 :]
    new = min(set(range(35)) - set(access.siblings))
    at = access.sent + 5 + 32 * sum(other < new for other in access.siblings)
    invented = with_bitmap(witness, access, bitmap_of(witness, access) | 1 << new)
    invented = invented[:at] + b"\x01" * 32 + invented[at:]
    for wrong in (flipped, omitted, invented, flipped + b"\x00"):
        with pytest.raises(WitnessRoot):
            execute_witness(wrong)


@given(running_states(), st.binary(min_size=1, max_size=40))
def test_106_something_left_over(state: MachineState, rest: bytes) -> None:
    with pytest.raises(WitnessTrailing):
        execute_witness(make_witness(state) + rest)


@given(fetching, st.data())
def test_no_other_bytes_prove_a_step_from_the_same_state(state: MachineState, data: st.DataObject) -> None:
    """Whatever bit is flipped: it is refused, or it is about another state."""
    witness = make_witness(state)
    bit = data.draw(st.integers(0, 8 * len(witness) - 1))
    other = bytearray(witness)
    other[bit // 8] ^= 1 << bit % 8
    try:
        before, _ = execute_witness(bytes(other))
    except SpecError:
        return
    assert bit // 8 < 297
    assert before != state_hash(state)


def test_the_errors_have_the_names_and_numbers_of_the_table() -> None:
    table = (WitnessTruncated, StateUndecodable, WitnessBitmap, WitnessZeroSibling, WitnessRoot, WitnessTrailing)
    names = ("WITNESS_TRUNCATED", "STATE_UNDECODABLE", "WITNESS_BITMAP", "WITNESS_ZERO_SIBLING", "WITNESS_ROOT", "WITNESS_TRAILING")
    assert [(error.number, error.name) for error in table] == list(zip(range(101, 107), names, strict=True))
    assert str(WitnessRoot("leaf 0x1")) == "105 WITNESS_ROOT leaf 0x1"
