"""Budgets, traps and control flow: translated code must stop exactly where single steps do."""

import random
from pathlib import Path

import numpy as np
import pytest

from opml_min.machine import HALTED, NEVER_TRANSLATE, RUNNING, TRAPPED, Machine, Memory
from opml_min.machine.translator import hot_regions
from opml_min.machine.translator.control_flow import scan
from opml_min.memory_map import ENTRY

TO_THE_END = 10**12  # steps
M64 = 2**64
EDGES = [0, 2**38, 2**39, 3 * 2**38, 2**40, 2**63, M64]


def i_type(opcode: int, funct3: int, rd: int, rs1: int, immediate: int) -> int:
    return (immediate % 4096) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def s_type(funct3: int, rs1: int, rs2: int, immediate: int) -> int:
    immediate %= 4096
    return (immediate >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (immediate % 32) << 7 | 0x23


def b_type(funct3: int, rs1: int, rs2: int, distance: int) -> int:
    bits = distance % 8192
    high = (bits >> 12) << 6 | (bits >> 5) % 64
    return high << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | ((bits >> 1) % 16) << 8 | ((bits >> 11) % 2) << 7 | 0x63


def jal(rd: int, distance: int) -> int:
    bits = distance % 2**21
    return (bits >> 20) << 31 | ((bits >> 1) % 1024) << 21 | ((bits >> 11) % 2) << 20 | ((bits >> 12) % 256) << 12 | rd << 7 | 0x6F


def image(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def machine_with(words: list[int], translate_after_steps: int, at: int = ENTRY) -> Machine:
    memory = Memory()
    memory.write(at, image(words))
    return Machine(memory, translate_after_steps)


def same_state(a: Machine, b: Machine) -> None:
    assert (a.pc, a.status, a.registers.tolist()) == (b.pc, b.status, b.registers.tolist())
    assert a.state_hash() == b.state_hash()


def random_program(rng: random.Random, length: int) -> list[int]:
    """Arithmetic, short branches, calls, computed jumps and accesses around x8 … x15, which point near edges."""
    words = []
    for index in range(length):
        kind = rng.random()
        rd, rs1, rs2 = rng.choice([0, 1, 5, 6, 7]), rng.randrange(32), rng.randrange(32)
        if kind < 0.10:
            words.append(i_type(0x13, 0, base := rng.randrange(8, 16), base, rng.randrange(-900, 900)))
        elif kind < 0.30:
            words.append(rng.randrange(2**25) << 7 & 0x01FFF000 | rd << 7 | rng.choice([0x33, 0x3B]) | rng.choice([0, 1, 32]) << 25)
        elif kind < 0.45:
            words.append(i_type(0x13, rng.choice([0, 2, 3, 4, 6, 7]), rd, rs1, rng.randrange(4096)))
        elif kind < 0.62:
            words.append(i_type(0x03, rng.randrange(7), rd, rng.randrange(8, 16), rng.randrange(-20, 20)))
        elif kind < 0.80:
            words.append(
                s_type(rng.randrange(4), rng.randrange(8, 16), rs2, rng.choice([rng.randrange(-20, 20), rng.randrange(-2048, 2048)]))
            )
        elif kind < 0.92:
            words.append(b_type(rng.choice([0, 1, 4, 5, 6, 7]), rs1, rs2, 4 * rng.randrange(-min(index, 12), 12)))
        elif kind < 0.95:
            words.append(jal(rng.choice([0, 1]), 4 * rng.randrange(-min(index, 5), 20)))
        elif kind < 0.98:
            words.append(i_type(0x67, 0, rd, 16, 4 * rng.randrange(length) % 2048 + rng.choice([0, 0, 0, 1, 2])))
        else:
            words.append(rng.choice([0x0000000F, 0x00000073, 0x00100073, rng.randrange(2**32)]))
    return words


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_agree_with_single_steps(seed: int) -> None:
    """Odd seeds: most accesses are near an edge, and runs are short. Even seeds: none is, and the hashes see what stores have marked."""
    rng = random.Random(seed)
    words = random_program(rng, 120)
    fast, slow = machine_with(words, 0), machine_with(words, NEVER_TRANSLATE)
    for _ in range(25):
        values = [rng.choice([rng.randrange(M64), rng.randrange(64), M64 - 1]) for _ in range(32)]
        for register in range(8, 16):
            inside = rng.choice([0x4000, 2**39 + 0x4000, 3 * 2**38 + 0x7FC, 2**40 - 0x4000])
            values[register] = (rng.choice([*EDGES, *[inside] * 12] if seed % 2 else [inside]) + rng.randrange(-24, 24)) % M64
        values[0], values[16], values[17] = 0, ENTRY, 93
        start = ENTRY + 4 * rng.randrange(len(words))
        for machine in (fast, slow):
            machine.begin_stage(0)
            machine.registers[:] = values
            machine.pc = start
        for _ in range(6):
            budget = rng.choice([1, 2, 3, 7, 40, 200])
            assert fast.run(budget) == slow.run(budget)
            same_state(fast, slow)
    assert fast._text.entries, "nothing was translated"
    assert not slow._text.entries, "a program was not interpreted"


@pytest.mark.parametrize("after_steps", [0, NEVER_TRANSLATE])
def test_every_page_that_a_store_touches_is_recorded(after_steps: int) -> None:
    """Two stores with one base, at any distance, across pages or not: all that they wrote must be in the root."""
    rng = random.Random(1)
    for _ in range(60):
        first, second, size_log = rng.randrange(-2048, 2048), rng.randrange(-2048, 2048), rng.randrange(4)
        words = [s_type(size_log, 5, 6, first), s_type(3, 5, 6, second), i_type(0x03, 3, 7, 5, second), jal(0, 4)]
        machine = machine_with(words, after_steps)
        machine.memory.write(2**39 + 4096, b"\1")  # one flagged page among those around
        machine.registers[5], machine.registers[6] = 2**39 + 4096 + rng.randrange(2048), 0x1122334455667788
        assert machine.run(4) == 4
        replay = Memory()
        replay.write(ENTRY, image(words))
        replay.write(2**39, machine.memory.read(2**39, 16384))
        assert machine.memory.root() == replay.root()
        assert int(machine.registers[7]) == 0x1122334455667788


def random_loop(rng: random.Random) -> tuple[list[int], dict[int, int]]:
    """One basic block that jumps to itself, and the strides of x8 and x9; x5 counts down, sometimes something else ends the loop."""
    words, strides = [], {8: 0, 9: 0}
    for _ in range(rng.randrange(2, 8)):
        base, other, kind = rng.choice([8, 8, 9]), rng.choice([6, 7, 7, 28]), rng.random()
        if kind < 0.35:
            by = rng.choice([1, 2, 4, 8, 8, -1, -4, -8, 24, -40, 400, -600])
            words.append(i_type(0x13, 0, base, base, by))
            strides[base] += by
        elif kind < 0.55:
            words.append(i_type(0x03, rng.randrange(7), other, base, rng.randrange(-20, 20)))
        elif kind < 0.85:
            words.append(
                s_type(rng.randrange(4), base, other, rng.choice([rng.randrange(-20, 20), rng.choice([-2000, -900, 0, 900, 2000])]))
            )
        elif kind < 0.88:
            words.append(other << 20 | 7 << 15 | 7 << 7 | 0x33)  # add x7, x7, other
        elif kind < 0.97:
            words.append(i_type(0x13, 0, base, 29, rng.randrange(-8, 8)))  # a base that does not move by a constant
        else:
            words.append(i_type(0x03, 3, base, base, 0))
    words.append(i_type(0x13, 0, 5, 5, -1))
    words.append(b_type(rng.choice([1, 1, 1, 5, 6]), 5, rng.choice([0, 0, 0, 28]), -4 * len(words)))
    return [*words, i_type(0x13, 0, 31, 31, 1), jal(0, 0)], strides


@pytest.mark.parametrize("seed", range(150))
def test_loops_agree_with_single_steps(seed: int) -> None:
    """Loops run without checks for as long as none can fail; edges, pages and budgets must end that in time."""
    rng = random.Random(seed)
    words, strides = random_loop(rng)
    fast, slow = machine_with(words, 0), machine_with(words, NEVER_TRANSLATE)
    edges = [2**39 + 2**20, 3 * 2**38 + 5 * 2**10, *EDGES]
    for _ in range(8):
        values = [0] * 32
        values[5], values[6], values[28] = rng.choice([1, 5, 30, 200]), rng.randrange(M64), rng.randrange(10)
        values[29] = rng.choice(edges) % M64
        for base in (8, 9):  # reaches an edge after some iterations
            values[base] = (rng.choice(edges) - strides[base] * rng.randrange(60) + rng.randrange(-24, 24)) % M64
        for machine in (fast, slow):
            machine.begin_stage(0)
            machine.registers[:] = values
        for _ in range(2):
            budget = rng.choice([10, 50, 150, 400])
            assert fast.run(budget) == slow.run(budget)
            same_state(fast, slow)


@pytest.mark.parametrize(
    "body",
    [
        [i_type(0x03, 3, 7, 8, 0), 9 << 20 | 8 << 15 | 8 << 7 | 0x33],  # ld x7, (x8); add x8, x8, x9
        [i_type(0x03, 3, 7, 8, 0), i_type(0x13, 0, 8, 29, 8), 29 << 20 | 29 << 15 | 29 << 7 | 0x33],  # …; addi x8, x29, 8; x29 doubles
        [
            s_type(3, 8, 6, -2000),
            s_type(3, 8, 6, 2000),
            s_type(3, 8, 6, 0),
            i_type(0x13, 0, 8, 8, 8),
        ],  # the middle one enters a new page first
    ],
)
def test_loops_that_cannot_be_planned(body: list[int]) -> None:
    words = [*body, i_type(0x13, 0, 5, 5, -1), b_type(1, 5, 0, -4 * (len(body) + 1)), jal(0, 0)]
    fast, slow = machine_with(words, 0), machine_with(words, NEVER_TRANSLATE)
    for machine in (fast, slow):
        machine.registers[5], machine.registers[6], machine.registers[9], machine.registers[29] = 12, 1, 2**36, 2**30
        machine.registers[8] = 2**39 + 4096 - 64
        machine.run(1000)
    same_state(fast, slow)


@pytest.mark.parametrize("after_steps", [0, NEVER_TRANSLATE])
def test_a_changed_base_is_a_new_address(after_steps: int) -> None:
    """`sd; add to the base; sd` records both places, and the same with loads traps at the second."""
    add = 8 << 20 | 5 << 15 | 5 << 7 | 0x33  # add x5, x5, x8
    machine = machine_with([s_type(3, 5, 6, 0), add, s_type(3, 5, 6, 0), jal(0, 4)], after_steps)
    machine.registers[5], machine.registers[6], machine.registers[8] = 2**39, 1, 5000
    machine.run(4)
    replay = machine_with([s_type(3, 5, 6, 0), add, s_type(3, 5, 6, 0), jal(0, 4)], after_steps)
    for address in (2**39, 2**39 + 5000):
        replay.memory.write(address, b"\1")
    assert machine.memory.root() == replay.memory.root()
    machine = machine_with([i_type(0x03, 3, 7, 5, 0), add, i_type(0x03, 3, 7, 5, 0), jal(0, 4)], after_steps)
    machine.registers[5], machine.registers[8] = 2**39, 2**50
    assert machine.run(4) == 3
    assert (machine.status, machine.pc) == ((TRAPPED, 5), ENTRY + 8)


@pytest.mark.parametrize("after_steps", [0, NEVER_TRANSLATE])
def test_a_store_between_two_recorded_pages_is_recorded(after_steps: int) -> None:
    machine = machine_with([s_type(3, 5, 6, offset) for offset in (-2000, 2000, 0)] + [jal(0, 4)], after_steps)
    replay = machine_with([s_type(3, 5, 6, offset) for offset in (-2000, 2000, 0)] + [jal(0, 4)], after_steps)
    machine.registers[5], machine.registers[6] = 2**39 + 4096, 1
    for offset in (-2000, 2000):
        machine.memory.write(2**39 + 4096 + offset, b"\1")
    machine.run(4)
    for offset in (-2000, 2000, 0):
        replay.memory.write(2**39 + 4096 + offset, b"\1")
    assert machine.memory.root() == replay.memory.root()


def counting_loop(count: int) -> list[int]:
    """Adds 1 … count into a0 with a store and a load in the loop, then exits with it."""
    return [
        i_type(0x13, 0, 5, 0, count),
        i_type(0x13, 0, 6, 0, 1),
        i_type(0x13, 1, 6, 6, 39),  # slli x6, x6, 39: the io quarter
        i_type(0x13, 0, 10, 0, 0),
        0x0000000F,
        0x00550533,  # loop: add a0, a0, x5
        s_type(3, 6, 10, 8),
        i_type(0x03, 3, 10, 6, 8),
        i_type(0x13, 0, 5, 5, -1),
        b_type(1, 5, 0, -16),
        i_type(0x13, 0, 17, 0, 93),
        0x00000073,
    ]


def test_every_budget_stops_exactly() -> None:
    slow, fast = machine_with(counting_loop(5), NEVER_TRANSLATE), machine_with(counting_loop(5), 0)
    slow.begin_stage(0)
    length = 5 + 5 * 5 + 2
    for budget in range(length + 3):
        fast.begin_stage(0)
        fast.memory.write(2**39, bytes(64))
        assert fast.run(budget) == fast.steps == min(budget, length)
        same_state(fast, slow)
        slow.run(1)
    assert fast.status == (HALTED, 15)


def test_a_machine_that_never_translates_uses_no_code_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("opml_min.machine.native.KEEP_FROM_SECONDS", 0.0)
    for after_steps, is_translated in ((0, True), (10**12, True), (NEVER_TRANSLATE, False)):
        machine = machine_with(counting_loop(20), after_steps)
        machine.run(TO_THE_END)
        assert bool(machine._text.entries) == is_translated


def test_a_long_run_is_translated_and_exact() -> None:
    machine = machine_with(counting_loop(2000), 1000)
    assert machine.run(TO_THE_END) == 5 + 5 * 2000 + 2
    assert machine.status == (HALTED, 2000 * 2001 // 2)
    assert machine._text.entries


@pytest.mark.parametrize("after_steps", [0, NEVER_TRANSLATE])
@pytest.mark.parametrize("size_log", range(4))
@pytest.mark.parametrize("is_store", [False, True])
def test_access_faults_at_every_edge(size_log: int, is_store: bool, after_steps: int) -> None:
    size = 1 << size_log
    word = s_type(size_log, 5, 6, 0) if is_store else i_type(0x03, size_log, 7, 5, 0)
    machine = machine_with([0x00000013, word, 0x0040006F], after_steps)
    for edge in EDGES:
        for distance in range(-9, 10):
            address = (edge + distance) % M64
            last = address + size - 1
            faults = last >= 2**40 or (is_store and last >= 2**38 and address < 2**39)
            machine.begin_stage(0)
            machine.registers[5], machine.registers[6] = address, 0xA5A5A5A5A5A5A5A5
            executed = machine.run(3)
            if faults:
                assert (executed, machine.status, machine.pc) == (2, (TRAPPED, 7 if is_store else 5), ENTRY + 4)
                assert int(machine.registers[7]) == 0
            else:
                assert (executed, machine.status, machine.pc) == (3, (RUNNING, 0), ENTRY + 12)
                if is_store:
                    assert machine.memory.read(address, size) == b"\xa5" * size


@pytest.mark.parametrize("after_steps", [0, NEVER_TRANSLATE])
def test_misaligned_targets_trap_at_the_jump(after_steps: int) -> None:
    for word, x5 in [(jal(1, 6), 0), (b_type(0, 0, 0, 10), 0), (i_type(0x67, 0, 1, 5, 0), ENTRY + 2), (i_type(0x67, 0, 1, 5, 3), ENTRY)]:
        machine = machine_with([0x00000013, word], after_steps)
        machine.registers[5] = x5
        assert machine.run(9) == 2
        assert (machine.status, machine.pc, int(machine.registers[1])) == ((TRAPPED, 0), ENTRY + 4, 0)
    machine = machine_with([0x00000013, b_type(1, 0, 0, 10)], after_steps)  # not taken
    assert machine.run(2) == 2
    assert machine.status == (RUNNING, 0)
    machine = machine_with([i_type(0x67, 0, 1, 5, 1)], after_steps)  # bit 0 is cleared
    machine.registers[5] = ENTRY + 8
    machine.run(1)
    assert machine.pc == ENTRY + 8


@pytest.mark.parametrize("after_steps", [0, NEVER_TRANSLATE])
def test_leaving_the_text_traps_at_the_next_step(after_steps: int) -> None:
    last = ENTRY + 2**28 - 4
    machine = machine_with([0x00000013], after_steps, last)
    machine.pc = last
    assert machine.run(1) == 1
    assert (machine.pc, machine.status) == (ENTRY + 2**28, (RUNNING, 0))
    assert machine.run(5) == 1
    assert machine.status == (TRAPPED, 1)
    for pc, cause in [(ENTRY - 4, 1), (ENTRY + 1, 0), (2, 0), (0, 1), (M64 - 4, 1)]:
        machine.begin_stage(0)
        machine.pc = pc
        assert machine.run(5) == 1
        assert (machine.status, machine.pc) == ((TRAPPED, cause), pc)


def test_only_exit_halts() -> None:
    for a7, status in [(93, (HALTED, M64 - 5)), (94, (TRAPPED, 8)), (93 + 2**32, (TRAPPED, 8)), (0, (TRAPPED, 8))]:
        machine = machine_with([0x00000073], 0)
        machine.registers[17], machine.registers[10] = a7, M64 - 5
        assert machine.run(10) == 1
        assert machine.status == status
    machine = machine_with([0x00100073], 0)
    assert machine.run(10) == 1
    assert machine.status == (TRAPPED, 3)


def test_another_program_in_the_same_memory_replaces_the_translation() -> None:
    machine = machine_with([i_type(0x13, 0, 5, 0, 1), jal(0, 0)], 0)
    machine.run(10)
    machine.memory.write(ENTRY, image([i_type(0x13, 0, 5, 0, 2)]))
    machine.begin_stage(0)
    machine.run(10)
    assert int(machine.registers[5]) == 2


def test_translated_code_does_not_jump_into_a_program_that_is_gone() -> None:
    """Two sections of text; both are replaced, but only the first is translated again before it jumps to the second."""
    far = 1 << 16
    machine = machine_with([i_type(0x13, 0, 5, 0, 1), jal(0, far - 4)], 30)
    machine.memory.write(ENTRY + far, image([i_type(0x13, 0, 6, 0, 1), jal(0, -far - 4)]))
    machine.run(1000)
    assert {ENTRY, ENTRY + far} <= machine._text.entries
    machine.memory.write(ENTRY + far, image([i_type(0x13, 0, 6, 0, 2), jal(0, -far - 4)]))
    machine.begin_stage(0)
    machine.pc = ENTRY
    machine._text.forget_unless(machine.memory.text_version)
    machine._text.was_interpreted(ENTRY, 1000)
    machine.run(4)
    assert int(machine.registers[6]) == 2


def test_x0_is_zero_whoever_wrote_to_it() -> None:
    for after_steps in (0, NEVER_TRANSLATE):
        machine = machine_with([i_type(0x13, 0, 5, 0, 1), jal(0, 4)], after_steps)
        machine.registers[0] = 7
        machine.run(2)
        assert (int(machine.registers[0]), int(machine.registers[5])) == (0, 1)


def test_computed_jumps_into_a_block_become_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """x5 counts up; each iteration jumps by register to the fourth word of a straight run."""
    monkeypatch.setattr(hot_regions, "MISSES_BEFORE_RETRANSLATION", 100)
    words = [*[i_type(0x13, 0, 5, 5, 1)] * 8, i_type(0x67, 0, 0, 6, 0)]
    fast, slow = machine_with(words, 0), machine_with(words, NEVER_TRANSLATE)
    for machine in (fast, slow):
        machine.registers[6] = ENTRY + 12
        assert machine.run(5000) == 5000
    same_state(fast, slow)
    assert ENTRY + 12 in fast._text.entries


def test_regions_cover_the_text_and_never_cut_a_short_function() -> None:
    rng = random.Random(7)
    words: list[int] = []
    ends = []
    for _ in range(60):
        length = rng.randrange(20, 90)
        body = [i_type(0x13, 0, 5, 5, 1)] * length
        body[length // 2] = b_type(1, 5, 0, -4 * (length // 2))
        words += [*body, i_type(0x67, 0, 0, 1, 0)]
        ends.append(len(words))
    regions = scan(ENTRY, np.array(words, dtype=np.int64))
    assert [word for region in regions for word in region.words] == words
    assert {(region.start - ENTRY) // 4 for region in regions} <= {0, *ends}
    assert len(regions) > 3


def test_damaged_and_unwritable_caches_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("opml_min.machine.native.KEEP_FROM_SECONDS", 0.0)
    expected = (HALTED, 40 * 41 // 2)
    for damage in (None, b"", b"no object", None):
        machine = machine_with(counting_loop(40), 0)
        machine.run(TO_THE_END)
        assert machine.status == expected
        files = list((tmp_path / "opml" / "code").iterdir())
        assert files
        if damage is not None:
            for file in files:
                file.write_bytes(damage + file.read_bytes()[len(damage) : -1])
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    machine = machine_with(counting_loop(40), 0)
    machine.run(TO_THE_END)
    assert machine.status == expected
