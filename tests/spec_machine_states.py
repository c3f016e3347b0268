"""Machine states to test on: any status, pc and registers, often at edge cases, and an instruction at the pc."""

from hypothesis import strategies as st
from opml_spec.machine.decode import INSTRUCTIONS
from opml_spec.machine.memory import ENTRY, IO, MODEL, SCRATCH, STATE, Memory
from opml_spec.machine.start import start_state
from opml_spec.machine.state import Cause, Kind, MachineState, Status
from opml_spec.machine.step import LAST_PC

BORDERS = (SCRATCH, MODEL, IO, STATE, 1 << 40, 1 << 63, 1 << 64)

# Something on both sides of each border, so that accesses there read more than zeros and proofs there have siblings.
DATA = Memory.from_segments(
    {border - 64: bytes(range(1, 129)) for border in BORDERS[1:4]} | {0: bytes(range(64)), (1 << 40) - 64: bytes(range(64))}
)

numbers = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.builds(lambda border, offset: (border + offset) % (1 << 64), st.sampled_from(BORDERS), st.integers(-40, 40)),
    st.builds(lambda power, offset: ((1 << power) + offset) % (1 << 64), st.integers(0, 63), st.integers(-2, 2)),
)
legal_words = st.builds(lambda row, rest: rest & ~row.mask | row.match, st.sampled_from(INSTRUCTIONS), st.integers(0, (1 << 32) - 1))
words = st.one_of(legal_words, legal_words, st.integers(0, (1 << 32) - 1))
registers = st.dictionaries(st.integers(1, 31), numbers, max_size=31)
text_pcs = st.integers(0, (1 << 26) - 1).map(lambda i: ENTRY + 4 * i) | st.sampled_from((ENTRY, LAST_PC))
pcs = st.one_of(text_pcs, text_pcs, text_pcs, numbers)
statuses = st.one_of(st.builds(Status, st.just(Kind.HALTED), numbers), st.builds(Status, st.just(Kind.TRAPPED), st.sampled_from(Cause)))


@st.composite
def running_states(draw: st.DrawFn, words: st.SearchStrategy[int] = words, pcs: st.SearchStrategy[int] = pcs) -> MachineState:
    """A running machine, about to execute one of these words (if it can be fetched)."""
    pc = draw(pcs)
    fetchable = pc % 4 == 0 and ENTRY <= pc <= LAST_PC
    memory = DATA.store(pc, 4, draw(words)) if fetchable else DATA
    return start_state(memory, pc, draw(registers))
