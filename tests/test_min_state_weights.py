"""Weights in the state quarter: every engine computes the same as with weights in the model quarter, and a tape that could write into a
weight runs in the machine only."""

import random

import numpy as np
import pytest
from attrs import evolve
from min_gpu_emulator import EmulatedCard
from min_model import write_source
from min_state_weights import in_state

from opml_min.memory_map import ENTRY, HEADER, IO, STATE, Quarter
from opml_min.model.devices import Device
from opml_min.model.errors import CheckFailed
from opml_min.model.gpu import card
from opml_min.model.image.image import Image
from opml_min.model.image.ops import BUFFERS, Op, Opcode, activation_bytes, align, writes
from opml_min.model.image.request import TextRequest
from opml_min.model.image.segments import write_image
from opml_min.model.native.check import check, tensors
from opml_min.model.resolve import build_source
from opml_min.model.run import Run
from opml_min.model.run_batch import finished_runs
from opml_min.players.computation import Computation

REQUEST = TextRequest((1, 260, 77, 5, 9), 3, 1 << 16, 99).pack()
DEVICES: tuple[Device, ...] = ("cpu", "gpu", "xla", "vm")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("tiny")
    build_source(write_source(folder, own_classifier=True), folder / "tok300.bin", folder / "tiny.opml")
    return Image(folder / "tiny.opml")


@pytest.fixture(scope="module")
def image(built: Image) -> Image:
    """All weights but the rotary table lie in the state quarter."""
    return in_state(built, built.path.with_name("state.opml"))


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> EmulatedCard:
    found = EmulatedCard()
    monkeypatch.setattr(card, "open_card", lambda: found)
    return found


def ended(image: Image, request: bytes, **how: object) -> Run:
    run = Run(image, request, **how)  # type: ignore[arg-type]
    run.run_all()
    return run


# What it computes -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_the_tokens_of_the_same_model_in_the_model_quarter(device: Device, built: Image, image: Image, emulated: EmulatedCard) -> None:
    if device == "xla":
        pytest.importorskip("jax")
    check(image)
    assert all(address >= STATE for op in image.ops if op.opcode != Opcode.ROPE for address, _ in tensors(op, image.header))
    run, native = ended(image, REQUEST, device=device), ended(image, REQUEST, threads=2)
    assert run.run_hash() == native.run_hash()
    assert run.tokens() == ended(built, REQUEST).tokens()
    weights = image.segments[-1]
    assert run.memory.read(STATE, len(weights.data)) == weights.data.tobytes()


@pytest.mark.parametrize("device", ["gpu", "xla"])
def test_every_stage_and_who_computes_it_may_change(device: Device, image: Image, emulated: EmulatedCard) -> None:
    if device == "xla":
        pytest.importorskip("jax")
    run, native = Run(image, REQUEST, device=device), Run(image, REQUEST)
    turns = [Run.run_stage, in_machine]
    for stage in range(0, run.stage_count, 7):
        for each in (run, native):
            each.run_to(stage)
        turns[stage % 2](run)
        native.run_stage()
        assert run.state() == native.state(), image.ops[stage % len(image.ops)]


def in_machine(run: Run) -> None:
    run.machine.begin_stage(run.stage)
    run.machine.run(1 << 40)
    run.stage += 1


def test_the_rotary_table_may_lie_there_too(image: Image) -> None:
    ((address, length),) = tensors(image.ops[index_of(image, Opcode.ROPE)], image.header)
    ops = [with_operand(op, "table", LATER) if op.opcode == Opcode.ROPE else op for op in image.ops]
    moved = retaped(image, ops, {LATER: image.read(address, length)})
    check(moved)
    natively, in_the_machine = ended(moved, REQUEST), ended(moved, REQUEST, device="vm")
    assert natively.run_hash() == in_the_machine.run_hash()
    assert natively.tokens() == ended(image, REQUEST).tokens()


@pytest.mark.parametrize("gap", [1 << 14, 1 << 24])
def test_a_weight_between_the_buffers(gap: int, image: Image) -> None:
    """Batches of prompt positions copy it along with the buffers, or are not formed. Either way it is read where it is."""
    index = index_of(image, Opcode.MATMUL, 4)
    (address, length), cut = tensors(image.ops[index], image.header)[0], image.ops[index_of(image, Opcode.SWIGLU)].operands["out"]
    ops = [shifted(op, cut, gap) for op in image.ops]
    ops[index] = with_operand(ops[index], "matrix", align(cut, 4096) + 4096)
    moved = retaped(image, ops, {align(cut, 4096) + 4096: image.read(address, length)})
    check(moved)
    natively = ended(moved, REQUEST, threads=2)
    assert natively.run_hash() == ended(moved, REQUEST, device="vm").run_hash()
    assert natively.tokens() == ended(image, REQUEST).tokens()


def test_requests_at_once_on_a_card(image: Image, emulated: EmulatedCard) -> None:
    requests = [TextRequest((1, 5, 9)[: 1 + i % 3], 2 + i, 1 << 16, i).pack() for i in range(4)]
    for run, request in zip(finished_runs(image, requests, device="gpu"), requests, strict=True):
        assert run.run_hash() == ended(image, request).run_hash()


@pytest.mark.parametrize("device", ["cpu", "gpu", "xla"])
def test_what_the_host_changes_is_this_run_s_own(device: Device, image: Image, emulated: EmulatedCard) -> None:
    """A liar changes weights in the middle of a run. Another run of the image keeps those of the image."""
    if device == "xla":
        pytest.importorskip("jax")
    lying, honest, machine = (Run(image, REQUEST, device=each) for each in (device, device, "vm"))
    matrix = next(op["matrix"] for op in (op.operands for op in image.ops) if "rows" in op)
    for run in (lying, machine):
        run.run_to(70)
        run.memory.write(matrix + 64, bytes(range(100)))
        run.run_to(100)
        run.memory.write(matrix + 64, bytes(range(90)))
        run.run_all()
    honest.run_all()
    assert lying.run_hash() == machine.run_hash()
    assert honest.run_hash() == ended(image, REQUEST).run_hash()
    assert lying.run_hash() != honest.run_hash()


# Players ----------------------------------------------------------------------------------------------------------------------------------


def test_a_player_holds_no_copy_of_the_weights(built: Image) -> None:
    large = in_state(built, built.path.with_name("large.opml"), gap=1 << 23)
    computation, other = Computation(large, REQUEST, len(large.ops) * 7, device="cpu"), Run(large, REQUEST)
    for stage in (60, 3, 61):
        other = Run(large, REQUEST)
        other.run_to(stage)
        assert computation.run_state(stage) == other.state()
    assert len(large.segments[-1].data) > 1 << 24
    assert computation.held_bytes() < 1 << 20
    assert computation.state_root == Run(large, REQUEST).memory.quarter_root(Quarter.STATE)


# Attacks on the rule ----------------------------------------------------------------------------------------------------------------------

LATER = STATE + (1 << 26)  # far behind all buffers and weights


def retaped(image: Image, ops: list[Op], more: dict[int, bytes] | None = None, tape_address: int | None = None) -> Image:
    """The image with another tape, and with more segments."""
    header = evolve(image.header, op_count=len(ops), tape_address=tape_address or image.header.tape_address)
    tape = np.array([op.words() for op in ops], np.int64).tobytes()
    segments = {segment.address: segment.data.tobytes() for segment in image.segments} | (more or {})
    if tape_address is not None:
        segments[tape_address] = tape
    start, rest = image.header.tape_address - HEADER, segments[HEADER]
    segments[HEADER] = header.pack().ljust(start, b"\0") + (tape if tape_address is None else bytes(len(tape))) + rest[start + len(tape) :]
    path = image.path.with_name("other.opml")
    write_image(path, [(address, [data]) for address, data in sorted(segments.items())])
    return Image(path)


def with_operand(op: Op, name: str, value: int) -> Op:
    return evolve(op, operands={**op.operands, name: value})


def shifted(op: Op, first: int, distance: int) -> Op:
    """The op with all buffers from an address on farther away."""
    return evolve(op, operands={k: v + distance if k in BUFFERS and v >= first else v for k, v in op.operands.items()})


def index_of(image: Image, opcode: Opcode, number: int = 0) -> int:
    return [index for index, op in enumerate(image.ops) if op.opcode == opcode][number]


def attacked(image: Image, writer: int, operand: str, reader: int, offset: int) -> Image:
    """The image in which an op has a buffer so far from the weight of another op."""
    ops = list(image.ops)
    address = tensors(ops[reader], image.header)[0][0]
    ops[writer] = with_operand(ops[writer], operand, address + offset)
    return retaped(image, ops)


LAST = -1
FROM_END = 1 << 20  # stands for the end of the weight
ATTACKS = {
    "a product over a norm": (Opcode.MATMUL, 0, "out", Opcode.NORM, 1, 0),
    "a product whose last numbers reach a matrix": (Opcode.MATMUL, 0, "out", Opcode.MATMUL, 5, 32 - 4 * 24),
    "a product that begins in the last leaf of a matrix": (Opcode.MATMUL, 3, "out", Opcode.MATMUL, 2, FROM_END - 32),
    "a product over the matrix that it reads itself": (Opcode.MATMUL, 1, "out", Opcode.MATMUL, 1, 64),
    "an op that is done only where a token is drawn": (Opcode.MATMUL, LAST, "out", Opcode.EMBED, 0, 4096),
    "logits over the weights of the final norm": (Opcode.MATMUL, LAST, "out", Opcode.NORM, LAST, 32 - align(4 * 300)),
    "an embedding over a later matrix": (Opcode.EMBED, 0, "out", Opcode.MATMUL, 6, 96),
    "an activation": (Opcode.NORM, 2, "out", Opcode.MATMUL, 8, -64),
    "the padding of an activation, which no op writes": (Opcode.SWIGLU, 0, "out", Opcode.MATMUL, 8, 32 - activation_bytes(40)),
    "a sum": (Opcode.ADD, 1, "x", Opcode.NORM, 0, 32),
    "the rotation of a vector": (Opcode.ROPE, 0, "vector", Opcode.NORM, 3, 64),
    "keys that reach it with the first head": (Opcode.CACHE, 0, "keys", Opcode.MATMUL, 9, 0),
    "keys that reach it at the last position of the last head": (Opcode.CACHE, 0, "keys", Opcode.MATMUL, 9, 32 - 2 * 2 * 32 * 6),
    "values": (Opcode.CACHE, 1, "values", Opcode.MATMUL, 3, 64 - 2 * 2 * 32 * 6),
    "exponents at the last positions": (Opcode.CACHE, 1, "value_exps", Opcode.NORM, 2, 32 - 2 * 32),
    "exponents of keys": (Opcode.CACHE, 0, "key_exps", Opcode.EMBED, 0, 0),
    "attention": (Opcode.ATTENTION, 0, "out", Opcode.EMBED, 0, FROM_END - 64),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_tape_that_could_write_into_a_weight_does_not_run_natively(name: str, image: Image) -> None:
    kind, number, operand, of_kind, of_number, offset = ATTACKS[name]
    writer, reader = index_of(image, kind, number), index_of(image, of_kind, of_number)
    if offset > FROM_END // 2:
        offset += tensors(image.ops[reader], image.header)[0][1] - FROM_END
    with pytest.raises(CheckFailed, match=r"op \d+ of the tape: an op writes into its tensor at 0xc0"):
        check(attacked(image, writer, operand, reader, offset))


def test_such_a_tape_runs_in_the_machine(image: Image) -> None:
    """There the weight changes, and with it what later positions compute: the reason for the rule."""
    cache, reader = image.ops[index_of(image, Opcode.CACHE)], index_of(image, Opcode.EMBED)
    attack = attacked(image, index_of(image, Opcode.CACHE), "keys", reader, 64)
    computation = Computation(attack, REQUEST, len(image.ops) * 7)
    assert computation.run_state(len(image.ops) * 7).status == 0
    run = ended(attack, REQUEST, device="vm")
    assert run.run_hash() == computation.run_hash()
    row = writes(evolve(cache, operands=attack.ops[index_of(image, Opcode.CACHE)].operands), 3)[0]
    assert run.memory.read(*row) != attack.read(*row)
    with pytest.raises(CheckFailed):
        Run(attack, REQUEST)


def problem_of(image: Image) -> str:
    try:
        check(image)
    except CheckFailed as error:
        return str(error)
    return ""


def test_the_rule_refuses_nothing_else(image: Image) -> None:
    """Buffers near weights: refused if and only if they share a byte. What is accepted runs alike natively and in the machine."""
    rng, accepted, refused = random.Random(5), 0, 0
    weights = {buffer for op in image.ops for buffer in tensors(op, image.header) if buffer[0] >= STATE}
    writers = [index_of(image, kind, number) for kind in (Opcode.MATMUL, Opcode.CACHE, Opcode.SWIGLU, Opcode.NORM) for number in (0, 1)]
    for _ in range(60):
        index = rng.choice(writers)
        operand = rng.choice(["keys", "key_exps", "values"] if image.ops[index].opcode == Opcode.CACHE else ["out"])
        address, length = rng.choice(sorted(weights))
        place = address + rng.choice([0, align(length)]) + 32 * rng.randrange(-30, 30)
        op = with_operand(image.ops[index], operand, place)
        whole = [buffer for position in range(image.header.context) for buffer in writes(op, position)]
        if op.opcode in (Opcode.SWIGLU, Opcode.NORM):
            whole = [(place, activation_bytes(op.operands["length"]))]
        meets = any(a < b + m and b < a + n for a, n in whole for b, m in weights)
        ops = [*image.ops[:index], op, *image.ops[index + 1 :]]
        other = retaped(image, ops)
        problem = problem_of(other)
        assert meets == ("an op writes into its tensor" in problem), problem
        accepted, refused = accepted + (not problem), refused + bool(problem)
        if not problem and accepted % 5 == 1:
            short = TextRequest((1, 260), 2).pack()
            assert ended(other, short).run_hash() == ended(other, short, device="vm").run_hash()
    assert accepted > 5
    assert refused > 5


@pytest.mark.parametrize("place", [IO + (1 << 29), STATE - 32, STATE + (1 << 38) - 32, 64, LATER, ENTRY + (1 << 37)])
def test_weights_elsewhere_or_that_no_segment_holds_are_refused(place: int, image: Image) -> None:
    for opcode, operand in ((Opcode.MATMUL, "matrix"), (Opcode.NORM, "weights"), (Opcode.EMBED, "matrix")):
        ops = list(image.ops)
        index = index_of(image, opcode)
        ops[index] = with_operand(ops[index], operand, place)
        if opcode == Opcode.NORM and place in (LATER, ENTRY + (1 << 37)):
            continue  # any four bytes are a weight, and zeros lie there
        with pytest.raises(CheckFailed):
            check(retaped(image, ops))


@pytest.mark.parametrize("pattern", [0x7C00, 0xFE00, 0x5800])
def test_scales_are_checked_on_what_the_state_quarter_begins_with(pattern: int, image: Image) -> None:
    matrix = image.ops[index_of(image, Opcode.MATMUL, 2)].operands["matrix"]
    data = bytearray(image.segments[-1].data.tobytes())
    data[matrix - STATE + 256 : matrix - STATE + 258] = pattern.to_bytes(2, "little")
    with pytest.raises(CheckFailed, match="scale"):
        check(retaped(image, list(image.ops), {STATE: bytes(data)}))


def test_a_tape_that_ops_could_write_to_is_refused(image: Image) -> None:
    other = retaped(image, list(image.ops), tape_address=LATER)
    with pytest.raises(CheckFailed, match="the tape is outside the model quarter"):
        check(other)
    assert ended(other, REQUEST, device="vm").tokens() == ended(image, REQUEST).tokens()
