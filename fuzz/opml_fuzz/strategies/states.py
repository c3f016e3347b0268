"""Machine states about to execute a word on operands that matter; they shrink to that word at the entry, with few registers and leaves.

*Source*: spec §2.1 to §2.4.
"""

from hypothesis import strategies as st

from opml_fuzz.machine.case import Step
from opml_fuzz.machine.encodings import decoded
from opml_fuzz.machine.instructions import A7, EXIT, access_address, is_access, put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, TEXT_BYTES, TOP
from opml_fuzz.machine.simpler import is_fetchable
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.machine.states import CAUSES
from opml_fuzz.strategies.instructions import words
from opml_fuzz.strategies.numbers import addresses, mostly, numbers

ANY_WORD = words()


def program_counters() -> st.SearchStrategy[int]:
    """Draws a pc: the entry, the last word of the text, one between them, or any number."""
    ends = st.sampled_from((ENTRY, ENTRY + 4, ENTRY + TEXT_BYTES - 4))
    return mostly(ends | st.integers(0, TEXT_BYTES // 4 - 1).map(lambda index: ENTRY + 4 * index), numbers())


def statuses(may_stand: bool) -> st.SearchStrategy[tuple[int, int]]:
    """Draws a status, as kind and value."""
    running: st.SearchStrategy[tuple[int, int]] = st.just((0, 0))
    standing = st.tuples(st.just(1), numbers()) | st.tuples(st.just(2), st.sampled_from(CAUSES))
    return mostly(running, standing, 25) if may_stand else running


@st.composite
def states(draw: st.DrawFn, words: st.SearchStrategy[int] = ANY_WORD, runs: bool = False) -> Start:
    """Draws a state. words: what stands at its pc; runs: it runs, and the word can be fetched"""
    word = draw(words)
    pc = draw(program_counters().filter(is_fetchable) if runs else program_counters())
    x = dict.fromkeys(range(REGISTERS), 0) | draw(st.dictionaries(st.integers(1, REGISTERS - 1), numbers(), max_size=2))
    encoding, rs1, rs2 = decoded(word), word >> 15 & 31, word >> 20 & 31
    x[rs1], x[rs2] = draw(numbers()), draw(numbers())
    if is_access(word):
        x[rs1] = 0
        x[rs1] = (draw(addresses()) - access_address(word, [*x.values()])) % TOP
    elif encoding and encoding.name == "jalr":
        x[rs1] = draw(st.one_of(st.integers(0, 64).map(lambda offset: ENTRY + offset), addresses()))
    elif encoding and encoding.name == "ecall":
        x[A7] = draw(st.one_of(st.just(EXIT), numbers()))
    x[0] = 0
    leaves = dict[int, bytes]()
    touched = access_address(word, [*x.values()]) // LEAF if is_access(word) else MEMORY
    for index in (touched, touched + 1):
        if index < MEMORY // LEAF:
            leaves[index] = draw(st.binary(min_size=LEAF, max_size=LEAF))
    far = st.dictionaries(st.integers(0, MEMORY // LEAF - 1), st.binary(min_size=LEAF, max_size=LEAF), min_size=1, max_size=1)
    leaves |= draw(mostly(st.just(dict[int, bytes]()), far, 4))
    if is_fetchable(pc):
        put_word(leaves, pc, word)
    kind, value = draw(statuses(not runs))
    return Start(pc, tuple(x.values()), Leaves({index: leaf for index, leaf in leaves.items() if any(leaf)}), kind, value)


def steps(words: st.SearchStrategy[int] = ANY_WORD) -> st.SearchStrategy[Step]:
    """Draws a case of one step."""
    return states(words).map(Step)
