"""Witnesses, right and wrong; wrong ones shrink to one plain edit of the witness of a plain state.

*Source*: spec §2.5.
"""

from hypothesis import strategies as st
from opml_spec.machine.merkle import DEPTH
from opml_spec.machine.witness import make_witness

from opml_fuzz.machine.case import Witness, edited
from opml_fuzz.machine.edits import END, KIND_AT, LEAF_BYTES, ROOT_AT, SENT_BYTES, STATE_BYTES, Edit
from opml_fuzz.machine.start import Start
from opml_fuzz.machine.wrong_witnesses import place
from opml_fuzz.strategies.states import states

ACCESSES = 3
ANY_STATE = states()


def edits(witness: bytes) -> st.SearchStrategy[Edit]:
    """Draws one change of this witness; on a witness without accesses some of them change nothing."""
    places: st.SearchStrategy[tuple[int, int]] = st.integers(0, len(witness) - 1).map(lambda at: place(witness, at))
    accesses = st.integers(1, ACCESSES)
    hashes = st.one_of(st.just(b""), st.binary(min_size=32, max_size=32))
    kinds = st.builds(lambda kind, value: bytes([kind]) + value.to_bytes(8, "big"), st.integers(0, 3), st.integers(0, (1 << 64) - 1))
    high_bits = st.integers(3, 7).map(lambda bit: bytes([1 << bit]))
    return st.one_of(
        st.builds(lambda at, bit: Edit("flip", at[0], at[1], bytes([1 << bit])), places, st.integers(0, 7)),
        st.builds(lambda part, offset: Edit("flip", part, offset, b"\1"), accesses, st.integers(0, LEAF_BYTES + SENT_BYTES)),
        st.builds(lambda offset: Edit("flip", 0, offset, b"\1"), st.integers(KIND_AT, ROOT_AT)),
        st.builds(lambda part, height, data: Edit("send", part, height, data), accesses, st.integers(0, DEPTH - 1), hashes),
        st.builds(lambda part, height: Edit("omit", part, height), accesses, st.integers(0, DEPTH - 1)),
        st.builds(lambda part, bit: Edit("flip", part, LEAF_BYTES, bit), accesses, high_bits),
        st.builds(lambda data: Edit("put", 0, KIND_AT, data), kinds),
        st.builds(lambda at: Edit("cut", *at), places),
        st.builds(lambda part: Edit("cut", part, 0), accesses),
        st.just(Edit("cut", 0, STATE_BYTES - 1)),
        st.builds(lambda data: Edit("add", END, 0, data), st.binary(min_size=1, max_size=37)),
        st.builds(lambda part, name: Edit(name, part), accesses, st.sampled_from(("repeat", "swap"))),
    )


def witnesses(states: st.SearchStrategy[Start] = ANY_STATE) -> st.SearchStrategy[Witness]:
    """Draws valid witnesses."""
    return states.map(lambda start: edited(start, ()))


@st.composite
def wrong_witnesses(draw: st.DrawFn, states: st.SearchStrategy[Start] = ANY_STATE) -> Witness:
    """Draws witnesses with one edit or two; few of them are valid all the same."""
    start = draw(states)
    made = draw(st.lists(edits(make_witness(start.state())), min_size=1, max_size=2))
    return edited(start, made)
