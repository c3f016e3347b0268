"""The sweep: it reaches every corner, all implementations agree on a part of it, and each way to be wrong is seen."""

import json
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import pytest
from attrs import evolve
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.fuzz import main
from opml_fuzz.engines.opml_min import translated
from opml_fuzz.engines.specification import SpecWitness
from opml_fuzz.fuzzing.batches import COURT_EVERY, SWEEP_ENDS, batch, goes_to_court, share_of_sweep
from opml_fuzz.fuzzing.difference import compare
from opml_fuzz.machine.case import Step, Witness, edited
from opml_fuzz.machine.edits import ROOT_AT, STATE_BYTES
from opml_fuzz.machine.encodings import ENCODINGS, assemble, decoded
from opml_fuzz.machine.instructions import access_address
from opml_fuzz.machine.numbers import ENTRY, LEAF, QUARTER
from opml_fuzz.machine.simpler import with_word, word_at
from opml_fuzz.sweep.accesses import HEAP, LOADS, SIZES
from opml_fuzz.sweep.borders import BORDERS, at_borders, over_a_border
from opml_fuzz.sweep.coverage import Table
from opml_fuzz.sweep.forgeries import forgeries, originals
from opml_fuzz.sweep.in_a_row import HALVES, in_a_row
from opml_fuzz.sweep.long_runs import long_runs
from opml_fuzz.sweep.order import BATCHES, points, sweep
from opml_fuzz.sweep.pairs import APART, STEPS, accessed_again, far_apart, paired, pairs, triples, zero
from opml_fuzz.sweep.programs import programs
from opml_fuzz.sweep.remembered import begun_alike, remembered, stored_twice
from opml_fuzz.sweep.text_borders import END, PAGE, at_text_borders, over_text_borders
from opml_spec.errors import SpecError
from opml_spec.machine import witness as spec_witness
from opml_spec.machine.merkle import ZERO
from opml_spec.machine.state import PREIMAGE_BYTES, decode_state, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import WitnessMemory, WitnessReader, execute_witness, make_witness

FULL_WITNESS_BYTES = 3_768


def test_no_bin_of_the_coverage_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coverage", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["missing"] == 0
    assert set(ENCODINGS) <= set(report["instructions"])
    assert report["instructions"]["divw"]["cr_rs1_rs2_edges"] == [324, 324]


def test_the_coverage_sees_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    for each in points():
        if not each.about.startswith("sd.cp_border"):
            table.add(each.start)
    assert {(name, point) for name, point, _ in table.missing()} == {("sd", "cp_border")}
    assert main(["coverage", "--random", "200", "--show", "1"]) == 1
    assert "missing: " in capsys.readouterr().out


def test_the_first_batches_are_the_sweep_and_all_of_it() -> None:
    machine = [number for number in range(SWEEP_ENDS) if not goes_to_court(number)]
    assert len(machine) == BATCHES
    for seed, number in ((1, 0), (1, 1), (7, 2), (1, BATCHES - 1)):
        swept = list(sweep(number))
        assert list(batch(seed, machine[number]))[: len(swept)] == swept
    assert next(iter(batch(1, SWEEP_ENDS))) != next(iter(batch(2, SWEEP_ENDS)))
    cases = [case for number in range(BATCHES) for case in sweep(number)]
    starts = {id(case.start) for case in cases if isinstance(case, Step)}
    assert len(starts) == sum(1 for _ in points())
    assert [case.witness for case in cases if isinstance(case, Witness)] == [each.witness for each in forgeries()]
    assert COURT_EVERY > 1
    assert sum(share_of_sweep(number, 10**6) for number in range(2 * SWEEP_ENDS)) == 1
    assert share_of_sweep(0, 1) == Fraction(1, len(cases))
    assert share_of_sweep(1, 400) == 0  # at court


def test_a_witness_that_sends_every_sibling() -> None:
    full = (originals()[name].state() for name in ("ld, full", "sd, full"))
    assert {len(make_witness(state)) for state in full} == {FULL_WITNESS_BYTES}


def test_nearly_every_forgery_is_told_as_edits() -> None:
    told = [each for each in forgeries() if each.start is not None]
    assert len(told) > 0.95 * sum(1 for _ in forgeries())
    for each in told[::7]:
        assert each.start is not None
        assert edited(each.start, each.edits).witness == each.witness


def test_forgeries_reach_every_error() -> None:
    engine = SpecWitness()
    seen = Counter(engine.execute(each.witness) for each in forgeries() if ", few" in each.about)
    assert {f"error {number}" for number in range(101, 107)} <= set(seen)


@pytest.mark.parametrize("number", range(0, BATCHES, 18))
def test_all_implementations_agree(number: int) -> None:
    engines = engine_room().most
    for case in sweep(number):
        assert (found := compare(case, engines)) is None, found


def careless(witness: bytes, reader: WitnessReader) -> bytes:
    before = decode_state(reader.take(PREIMAGE_BYTES))
    return state_hash(step(evolve(before, memory=WitnessMemory(before.memory.tree, reader=reader))))


def believing(witness: bytes, believes: Callable[[list[int]], bool]) -> bytes:
    """Executes a witness, but does not prove some of its leaves. believes: tells by the indices up to this one whether it is believed"""

    class Believing(WitnessReader):
        def access(self, index: int, root: bytes) -> bytes:
            leaf = self.rest[:LEAF]
            indices.append(index)
            try:
                return super().access(index, root)
            except spec_witness.WitnessRoot:
                if not believes(indices):
                    raise
                return leaf

    indices, reader = list[int](), Believing(witness)
    after = careless(witness, reader)
    if reader.rest:
        raise spec_witness.WitnessTrailing
    return after


def accepts_second_access(witness: bytes) -> bytes:
    return believing(witness, lambda indices: len(indices) == 3)


def trusts_its_own_leaf(witness: bytes) -> bytes:
    """Executes a witness, but believes what it says of the leaf from which the instruction was fetched when that is loaded."""
    return believing(witness, lambda indices: len(indices) > 1 and indices[-1] == indices[0])


def takes_the_second_half_in_the_memory_before(witness: bytes) -> bytes:
    """Executes a witness, but takes an access that is true of the memory before the step, though half of a store is done."""

    class Careless(WitnessReader):
        def access(self, index: int, root: bytes) -> bytes:
            rest = self.rest
            try:
                return super().access(index, root)
            except spec_witness.WitnessRoot:
                self.rest = rest
                return super().access(index, witness[ROOT_AT:STATE_BYTES])

    reader = Careless(witness)
    after = careless(witness, reader)
    if reader.rest:
        raise spec_witness.WitnessTrailing
    return after


def ignores_what_is_left(witness: bytes) -> bytes:
    return careless(witness, WitnessReader(witness))


def takes_zero_subtrees(witness: bytes) -> bytes:
    """Executes a witness in which a zero subtree may be sent."""

    class Careless(WitnessReader):
        def sibling(self, height: int, sent: int) -> bytes:
            return self.take(32) if sent >> height & 1 else ZERO[height]

    reader = Careless(witness)
    after = careless(witness, reader)
    if reader.rest:
        raise spec_witness.WitnessTrailing
    return after


def takes_statuses_by_their_low_bits(witness: bytes) -> bytes:
    value = int.from_bytes(witness[257:265], "big") % (1 << 32)
    return execute_witness(witness[:257] + value.to_bytes(8, "big") + witness[265:])[1]


@pytest.mark.parametrize(
    "wrong",
    [
        *(accepts_second_access, takes_the_second_half_in_the_memory_before, trusts_its_own_leaf),
        *(ignores_what_is_left, takes_zero_subtrees, takes_statuses_by_their_low_bits),
    ],
)
def test_a_careless_arbiter_is_seen(wrong: Callable[[bytes], bytes]) -> None:
    engine = SpecWitness()
    for each in forgeries():
        if "full" in each.about:
            continue
        try:
            answer = wrong(each.witness).hex()
        except SpecError as error:
            answer = f"error {error.number}"
        if answer != engine.execute(each.witness):
            return
    pytest.fail("nothing differs")


def test_pairs_read_what_was_written_to_x0() -> None:
    """With another rd, the first instruction has a result that is not 0, in at least one of the pairs that begin with it."""
    results = dict[str, set[bool]]()
    for program in pairs()[: len(tuple(zero()))]:
        word = word_at(program.start, program.start.pc)
        encoding = decoded(word)
        assert encoding is not None
        assert word >> 7 & 31 == 0
        state = step(with_word(program.start, word | 3 << 7).state())
        results.setdefault(encoding.name, set()).add(state.x[3] != 0)
    assert all(True in seen for seen in results.values())
    assert set(results) == {name for name, one in ENCODINGS.items() if one.format in "RI56UJ"}


def test_pairs_access_the_same_bytes_twice_and_go_on() -> None:
    every = sorted(map(id, (*pairs(), *triples(), *at_borders())))
    assert every == sorted(id(program) for number in range(BATCHES) for program in paired(number))
    for program in pairs():
        state = step(step(program.start.state()))
        assert state.pc == program.start.pc + 4 * STEPS
        assert state.status.kind == 0
    stored = [program.start for program in pairs()[-len(tuple(accessed_again())) :]]
    assert all(step(start.state()).memory.tree != start.leaves.memory.tree for start in stored)


def test_long_runs_go_further_than_short_counts_and_lists() -> None:
    programs = [program for number in range(BATCHES) for program in long_runs(number)]
    assert max(stop - before for program in programs for before, stop in pairwise((0, *program.stops))) > 1 << 16
    for program in programs:
        machine = translated()
        assert len(set(machine.run(program.start, program.stops))) > len(program.stops)  # none ends before its last stop
    state = programs[0].start.state()
    changed = set[int]()
    for _ in range(programs[0].stops[-1]):
        word = word_at(programs[0].start, state.pc)
        if decoded(word) == ENCODINGS["sd"]:
            changed.add(access_address(word, list(state.x)) // LEAF)
        state = step(state)
    assert len(changed) > 1 << 10


@pytest.mark.parametrize("bits", range(9))
def test_runs_that_begin_alike_come_to_what_was_decoded_as_many_runs_ago_as_bits_count(bits: int) -> None:
    """Whoever takes what it kept for new, since a number of so many bits has begun anew, executes what an earlier run had there."""
    kept, stale = dict[int, tuple[int, int]](), 0
    for number, program in enumerate(begun_alike()):
        assert word_at(program.start, ENTRY) == assemble("jalr", 0, 1, 0)
        place = program.start.x[1]
        word = word_at(program.start, place)
        last, before = kept.get(place, (-1, word))
        stale += last % (1 << bits) == number % (1 << bits) and word != before
        kept[place] = number, word
    assert stale


def test_every_instruction_comes_after_every_other() -> None:
    """Its two steps are made; in each way to overwrite an operand, halves of products and divisions come in a row."""
    followed, overwritten = set[tuple[str, str]](), set[tuple[str, str, int]]()
    for program in (each for number in range(BATCHES) for each in in_a_row(number)):
        words = [word_at(program.start, program.start.pc + 4 * i) for i in range(2)]
        first, second = (next(name for name, one in ENCODINGS.items() if one is decoded(word)) for word in words)
        followed.add((first, second))
        overwritten |= {(first, second, register) for register in (1, 2) if words[0] >> 7 & 31 == register}
        state = step(step(program.start.state()))
        assert state.status.kind == 0 or second == "jalr" or second in SIZES
    assert len(followed) == 63 * 63
    swept = Counter(id(program.start) for number in range(BATCHES) for program in programs(number) if program.stops == (1, 2))
    assert all(swept[id(program.start)] == 1 for number in range(BATCHES) for program in in_a_row(number)), "with a stop in between"
    assert {(one, other, register) for pair in HALVES for one, other in (pair, pair[::-1]) for register in (1, 2)} <= overwritten


def test_three_stores_through_one_register_go_to_up_to_three_pages() -> None:
    """Nothing traps, and each changes the memory."""
    pages = set[int]()
    for program in triples()[: len(tuple(far_apart()))]:
        state, places = program.start.state(), set[int]()
        for _ in APART[0]:
            places.add(access_address(word_at(program.start, state.pc), list(state.x)) // 1024)
            state, before = step(state), state
            assert state.memory.tree != before.memory.tree
        assert state.status.kind == 0
        pages.add(len(places))
    assert pages == {2, 3}


def test_only_the_second_access_crosses_a_border() -> None:
    """Where it begins in another page, nothing traps; where no such access is allowed, only the second one does."""
    kinds = list[int]()
    for program in at_borders()[: len(tuple(over_a_border()))]:
        first = step(program.start.state())
        assert first.status.kind == 0
        kinds.append(step(first).status.kind)
    assert kinds.count(0) == len(SIZES) * 2 + len(LOADS)
    assert len(kinds) == len(SIZES) * len(BORDERS)


@pytest.mark.parametrize("known", ["sub", "addw", "mulw", "slliw"])
def test_an_illegal_word_that_could_pass_for_a_hint_is_swept(known: str) -> None:
    """It has x0 for all its registers, and each funct3 with which it is illegal."""
    word = assemble(known, 0, 0, 0)
    beside = {word & ~(7 << 12) | funct3 << 12 for funct3 in range(8)}
    illegal = {each for each in beside if decoded(each) is None}
    assert illegal
    assert illegal <= {word_at(each.start, each.start.pc) for each in points() if each.about.startswith("decode")}


@pytest.mark.parametrize(("rd", "rs1", "rs2"), [(1, 0, 1), (1, 1, 0), (1, 1, 1), (1, 2, 2)])
@pytest.mark.parametrize("value", [1 << 63, 1, (1 << 64) - 1])
def test_a_value_that_only_one_way_of_registers_gets_wrong_is_swept(rd: int, rs1: int, rs2: int, value: int) -> None:
    swept = [each.start for each in points() if each.about == "sub.cmp_rd_rs1_rs2"]
    word = assemble("sub", rd, rs1, rs2)
    assert any(word_at(start, start.pc) == word and start.x[rs1 or rs2] == value for start in swept)


def test_pieces_of_a_memory_are_that_memory_and_cross_every_border() -> None:
    """A root is asked of pieces that begin and end anywhere, as the protocol allows."""
    crossed, cut, shared = set[int](), set[int](), 0
    for each in points():
        content, pieces = dict[int, int](), dict[int, bytes]()
        for address, text in json.loads(each.start.leaves.text_in_pieces).items():
            begin, piece = int(address, 16), bytes.fromhex(text)
            crossed |= {border for border in (QUARTER, 2 * QUARTER, 3 * QUARTER) if begin < border < begin + len(piece)}
            shared += any(begin // LEAF == (other + len(before) - 1) // LEAF for other, before in pieces.items())
            pieces[begin] = piece
            cut |= {begin % LEAF}
            content |= {begin + at: byte for at, byte in enumerate(piece) if byte}
        leaves = each.start.leaves.by_index.items()
        assert content == {index * LEAF + at: byte for index, leaf in leaves for at, byte in enumerate(leaf) if byte}
    assert crossed == {QUARTER, 2 * QUARTER, 3 * QUARTER}
    assert cut - {0}
    assert shared > 1000


def test_states_have_nothing_in_them_but_their_corner() -> None:
    assert all(sum(map(bool, each.start.x)) <= 4 for each in points())
    some = next(each.start.state() for each in points() if each.about == "lb.cp_own_leaf")
    assert len(make_witness(some)) < 600


def test_programs_go_over_pages_of_the_text_and_beyond_its_end() -> None:
    """By each instruction: the page after the border is executed, and after the end comes a trap."""
    every = sorted(map(id, over_text_borders()))
    assert every == sorted(id(program) for number in range(BATCHES) for program in at_text_borders(number))
    crossed = Counter[tuple[int, int]]()
    for program in over_text_borders():
        before = state = program.start.state()
        for _ in range(program.stops[-1]):
            before, state = state, step(state)
        assert before.pc % PAGE == 0
        crossed[int(state.status.kind), int(before.pc >= END)] += 1
    assert crossed == {(0, 0): 63, (2, 1): 63}


def test_what_was_read_before_a_store_is_read_again() -> None:
    """Nothing lies at the border before, and over it lies what was stored; so whoever keeps what it read is wrong."""
    changed = 0
    for program in triples()[len(tuple(far_apart())) :]:
        state = step(program.start.state())
        assert state.x[3] == 0
        changed += step(step(state)).x[3] != 0
    assert changed > 20


def test_a_run_without_a_store_follows_each_of_two_stores() -> None:
    """It is about the same memory. If the first store's old bytes are put back before the second's, other bytes are there than at first."""
    runs = [*stored_twice()]
    assert [*remembered()][-len(runs) :] == runs
    wrong = 0
    for stored, after in zip(runs[::2], runs[1::2], strict=True):
        assert stored.start.leaves is after.start.leaves
        memories = [(state := stored.start.state()).memory, (state := step(state)).memory, step(state).memory]
        undone = memories[2]
        for before, then in pairwise(memories):
            for index in (HEAP, HEAP + 1):
                old, new, now = before.leaf(index), then.leaf(index), undone.leaf(index)
                undone = undone.set_leaf(index, bytes(o if o != n else w for o, n, w in zip(old, new, now, strict=True)))
        wrong += undone.root != memories[0].root
        assert step(after.start.state()).memory.root == memories[0].root
    assert wrong > 60
