"""The step: total; traps and halts exactly as the tables say; results equal those of an independent emulator (QEMU, through unicorn)."""

import random

import pytest
from attrs import evolve
from hypothesis import given
from opml_spec.errors import StateUndecodable
from opml_spec.hashing import keccak256
from opml_spec.machine.decode import INSTRUCTIONS, decode, disassemble
from opml_spec.machine.memory import ENTRY, IO, MODEL, STATE, Memory
from opml_spec.machine.start import start_state
from opml_spec.machine.state import RUNNING, Cause, Kind, MachineState, Status, decode_state, encode, state_hash
from opml_spec.machine.step import LAST_PC, step
from spec_machine_states import DATA, running_states, statuses

BY_NAME = {row.name: row for row in INSTRUCTIONS}
TOP = 1 << 64


def after(word: int, registers: dict[int, int] | None = None, pc: int = ENTRY) -> MachineState:
    """The state after this one instruction."""
    return step(start_state(DATA.store(pc, 4, word), pc, registers))


def trapped(cause: Cause) -> Status:
    return Status(Kind.TRAPPED, cause)


# The state and its bytes ---------------------------------------------------------------------------------------------------------


def test_the_preimage_is_laid_out_as_the_table_says() -> None:
    state = evolve(start_state({}, pc=0x0102, registers={1: 3, 31: TOP - 1, 0: 7}), status=Status(Kind.HALTED, 9))
    expected = (
        (0x0102).to_bytes(8, "big")
        + (3).to_bytes(8, "big")
        + bytes(29 * 8)
        + b"\xff" * 8
        + b"\x01"
        + (9).to_bytes(8, "big")
        + Memory().root
    )
    assert len(expected) == 297
    assert encode(state) == expected
    assert state_hash(state) == keccak256(expected)


@given(running_states(), statuses)
def test_a_preimage_decodes_to_the_state(state: MachineState, status: Status) -> None:
    for machine in (state, evolve(state, status=status)):
        assert decode_state(encode(machine)) == machine


@pytest.mark.parametrize(("kind", "value"), [(0, 1), (3, 0), (255, 0), (2, 4), (2, 6), (2, 9), (2, 1 << 63)])
def test_a_status_that_does_not_exist(kind: int, value: int) -> None:
    preimage = encode(start_state({}))
    with pytest.raises(StateUndecodable):
        decode_state(preimage[:256] + bytes([kind]) + value.to_bytes(8, "big") + preimage[265:])


@pytest.mark.parametrize("length", [0, 33, 64, 296, 298])
def test_a_preimage_of_another_length(length: int) -> None:
    with pytest.raises(StateUndecodable):
        decode_state(bytes(length))


# What always holds ---------------------------------------------------------------------------------------------------------------


@given(running_states(), statuses)
def test_a_step_is_total_and_gives_a_state(state: MachineState, status: Status) -> None:
    result = step(state)
    assert result.x[0] == 0
    assert len(result.x) == 32
    assert all(0 <= value < TOP for value in (result.pc, *result.x))
    assert decode_state(encode(result)) == result
    changed = [i for i in range(32) if result.x[i] != state.x[i]]
    assert len(changed) <= 1
    if result.status != RUNNING:
        assert evolve(result, status=RUNNING) == state, "on a trap or halt only the status changes"
    assert result.memory.subtree(33, 1) == state.memory.subtree(33, 1) or result.memory == state.memory, "the model does not change"
    stopped = evolve(state, status=status)
    assert step(stopped) is stopped


def test_running_without_asking_for_the_root_does_not_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    state = start_state({ENTRY: b"".join(w.to_bytes(4, "little") for w in (0x00B53023, 0x00850513, 0xFF9FF06F))}, registers={10: IO, 11: 5})

    def refuse(left: bytes, right: bytes) -> bytes:
        raise AssertionError("hashed")

    monkeypatch.setattr("opml_spec.machine.merkle.hash_pair", refuse)
    for _ in range(300):
        state = step(state)
    assert (state.x[10], state.status) == (IO + 800, RUNNING)


# Traps and halts -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pc", [ENTRY - 4, 0, LAST_PC + 4, IO, TOP - 4])
def test_fetch_outside_the_window(pc: int) -> None:
    assert step(start_state({}, pc)).status == trapped(Cause.INSTRUCTION_ACCESS_FAULT)


@pytest.mark.parametrize("pc", [ENTRY + 1, ENTRY + 2, ENTRY - 2, 3, TOP - 1])
def test_misalignment_is_tested_before_the_window(pc: int) -> None:
    assert step(start_state({}, pc)).status == trapped(Cause.INSTRUCTION_ADDRESS_MISALIGNED)


def test_the_window_ends_at_the_next_step() -> None:
    state = after(0x00000013, pc=LAST_PC)
    assert (state.pc, state.status) == (LAST_PC + 4, RUNNING)
    assert step(state).status == trapped(Cause.INSTRUCTION_ACCESS_FAULT)


def test_ecall_ebreak_and_illegal() -> None:
    assert after(0x00000073, {17: 93, 10: TOP - 1}).status == Status(Kind.HALTED, TOP - 1)
    assert after(0x00000073, {17: 93 + (1 << 32), 10: 5}).status == trapped(Cause.ENVIRONMENT_CALL)
    assert after(0x00100073).status == trapped(Cause.BREAKPOINT)
    assert after(0x00000000).status == trapped(Cause.ILLEGAL_INSTRUCTION)
    assert after(0x0FF0000F) == evolve(start_state(DATA.store(ENTRY, 4, 0x0FF0000F)), pc=ENTRY + 4)


def test_a_jump_to_a_misaligned_target_links_nothing() -> None:
    for word, registers in ((0x002000EF, {}), (0x002100E7, {2: ENTRY}), (0x00208163, {})):  # jal ra, 2; jalr ra, 2(sp); beq ra, sp, 2
        state = after(word, registers)
        assert (state.pc, state.x[1], state.status) == (ENTRY, 0, trapped(Cause.INSTRUCTION_ADDRESS_MISALIGNED)), disassemble(word)
    not_taken = after(0x00208163, {1: 1})
    assert (not_taken.pc, not_taken.status) == (ENTRY + 4, RUNNING)


def test_jumps_wrap_and_clear_bit_0() -> None:
    assert after(0x001080E7, {1: ENTRY + 8}).pc == ENTRY + 8  # jalr ra, 1(ra)
    assert after(0x001080E7, {1: ENTRY + 8}).x[1] == ENTRY + 4
    assert after(0x005080E7, {1: TOP - 1}).pc == 4
    assert after(0xFFC080E7, {1: 0}).pc == TOP - 4


ACCESSES = [  # address, size, whether a load and whether a store is legal
    (0, 8, True, True),
    ((1 << 40) - 8, 8, True, True),
    ((1 << 40) - 7, 8, False, False),
    ((1 << 40) - 1, 1, True, True),
    (1 << 40, 1, False, False),
    (TOP - 1, 1, False, False),
    (TOP - 4, 8, False, False),
    (MODEL - 8, 8, True, True),
    (MODEL - 7, 8, True, False),
    (MODEL, 1, True, False),
    (IO - 1, 2, True, False),
    (IO - 1, 1, True, False),
    (IO, 8, True, True),
    (STATE - 3, 8, True, True),
]


@pytest.mark.parametrize(("address", "size", "load", "store"), ACCESSES)
@pytest.mark.parametrize("displacement", [0, 2047, -2048])
def test_borders_of_accesses(address: int, size: int, load: bool, store: bool, displacement: int) -> None:
    base = {5: (address - displacement) % TOP, 6: 0x1122334455667788}
    load_name, store_name = {1: ("lbu", "sb"), 2: ("lhu", "sh"), 4: ("lwu", "sw"), 8: ("ld", "sd")}[size]
    imm = displacement % 4096
    for rd in (7, 0):
        loaded = after(BY_NAME[load_name].match | imm << 20 | 5 << 15 | rd << 7, base, pc=ENTRY + 4096)
        assert loaded.status == (RUNNING if load else trapped(Cause.LOAD_ACCESS_FAULT))
        if load and rd:
            assert loaded.x[rd] == int.from_bytes(DATA.load_bytes(address, size), "little")
    stored = after(BY_NAME[store_name].match | imm >> 5 << 25 | 6 << 20 | 5 << 15 | (imm & 31) << 7, base, pc=ENTRY + 4096)
    assert stored.status == (RUNNING if store else trapped(Cause.STORE_ACCESS_FAULT))
    if store:
        assert stored.memory.load_bytes(address, size) == (0x1122334455667788).to_bytes(8, "little")[:size]
    else:
        assert stored.memory.subtree(34, 1) == DATA.subtree(34, 1)
        assert stored.memory.load_bytes(MODEL - 64, 128) == DATA.load_bytes(MODEL - 64, 128)


@pytest.mark.parametrize(
    ("name", "a", "b", "result"),
    [  # the manual's table of special cases, and the shifts that other machines got wrong
        ("div", 7, 0, TOP - 1), ("divu", 7, 0, TOP - 1), ("rem", TOP - 7, 0, TOP - 7), ("remu", 7, 0, 7),
        ("div", 1 << 63, TOP - 1, 1 << 63), ("rem", 1 << 63, TOP - 1, 0),
        ("divw", 1 << 31, TOP - 1, TOP - (1 << 31)), ("remw", 1 << 31, TOP - 1, 0),
        ("divw", 7, 1 << 32, TOP - 1), ("divuw", 7, 0, TOP - 1), ("remw", TOP - 7, 0, TOP - 7), ("remuw", 1 << 31, 0, TOP - (1 << 31)),
        ("div", TOP - 7, 2, TOP - 3), ("rem", TOP - 7, 2, TOP - 1), ("div", 7, TOP - 2, TOP - 3), ("rem", 7, TOP - 2, 1),
        ("sll", 1, 64, 1), ("srl", 2, 65, 1), ("sra", 1 << 63, 127, TOP - 1), ("sllw", 1, 32, 1), ("srlw", 1 << 31, 33, 1 << 30),
        ("srlw", 1 << 31, 0, TOP - (1 << 31)), ("sraw", 1 << 31, 31, TOP - 1), ("sraw", 1 << 40, 4, 0),
        ("mulh", 1 << 63, 1 << 63, 1 << 62), ("mulhsu", TOP - 1, TOP - 1, TOP - 1), ("mulhu", TOP - 1, TOP - 1, TOP - 2),
    ],
)  # fmt: skip
def test_arithmetic_at_its_corners(name: str, a: int, b: int, result: int) -> None:
    assert after(BY_NAME[name].match | 2 << 20 | 1 << 15 | 3 << 7, {1: a, 2: b}).x[3] == result
    assert after(BY_NAME[name].match | 2 << 20 | 1 << 15, {1: a, 2: b}).x[0] == 0, "a write to x0 has no effect"


# An outside witness --------------------------------------------------------------------------------------------------------------


def test_registers_and_pc_are_those_of_qemu() -> None:
    """About 2,000 random words of all rows, on random registers; loads and stores on a page of random bytes."""
    unicorn = pytest.importorskip("unicorn")
    riscv = pytest.importorskip("unicorn.riscv_const")
    draw = random.Random(7)
    x_ids = [getattr(riscv, f"UC_RISCV_REG_X{number}") for number in range(32)]
    page = draw.randbytes(8192)
    data = Memory.from_segments({IO: page})
    qemu = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
    qemu.mem_map(ENTRY - (1 << 20), 1 << 22)
    qemu.mem_map(IO, len(page))

    def number() -> int:
        near = draw.choice((0, 1 << 31, 1 << 32, 1 << 63)) + draw.randrange(-3, 4)
        return draw.choice((draw.getrandbits(64), near % TOP, 1 << draw.randrange(64)))

    compared = dict.fromkeys(BY_NAME, 0)
    for count, name in enumerate(list(BY_NAME) * 40):
        row = BY_NAME[name]
        pc = ENTRY + 4 * count  # a fresh address, because QEMU keeps what it translated
        word = draw.getrandbits(32) & ~row.mask | row.match
        op = row.operands(word)
        registers = {i: number() for i in range(1, 32)}
        if row.format == "S" or name in ("lb", "lh", "lw", "ld", "lbu", "lhu", "lwu"):
            if op.rs1 == 0:
                continue  # there is no memory around address 0 there
            registers[op.rs1] = IO + draw.randrange(2048, len(page) - 2048 - 8)
        if name == "jalr" and op.rs1:
            registers[op.rs1] = ENTRY + draw.randrange(1 << 18)
        if name in ("beq", "bge", "bgeu") and draw.random() < 0.5:
            registers[op.rs2 or 1] = registers.get(op.rs1, 0)
        ours = step(start_state(data.store(pc, 4, word), pc, registers))
        if ours.status != RUNNING:  # traps and halts go to an operating system there
            continue
        qemu.mem_write(pc, word.to_bytes(4, "little"))
        qemu.mem_write(IO, page)
        for i, value in registers.items():
            qemu.reg_write(x_ids[i], value)
        try:
            qemu.emu_start(pc, ours.pc, count=1)
        except unicorn.UcError as error:
            if error.errno != unicorn.UC_ERR_FETCH_UNMAPPED:  # a jump to where nothing is mapped has jumped all the same
                raise
        theirs = tuple(qemu.reg_read(x_id) for x_id in x_ids)
        assert (theirs, qemu.reg_read(riscv.UC_RISCV_REG_PC)) == (ours.x, ours.pc), disassemble(word)
        assert bytes(qemu.mem_read(IO, len(page))) == ours.memory.load_bytes(IO, len(page)), disassemble(word)
        compared[name] += 1
    assert {name for name, times in compared.items() if times < 10} == {"ecall", "ebreak"}, compared
    assert decode(0) is None
