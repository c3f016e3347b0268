"""Stages: a whole small LLaMA against the textbook, requests refused, phases, ops that are skipped."""

import struct

import numpy as np
import pytest
from attrs import evolve
from opml_spec.errors import ImageOp, MatrixFormat
from opml_spec.machine.memory import STATE, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import BYTES, HEADER, OUTPUT_DONE, SINGLE_PHASE, TEXT, Header, Record, encode_tape, encode_words
from opml_spec.model.llama import llama_tape
from opml_spec.model.llama import output as output_ops
from opml_spec.model.operations.fixed import MatMul, Sample
from opml_spec.model.operations.table import decode_operation
from opml_spec.model.stage import run_stage
from opml_spec.model.tensors import load_vector
from spec_llama import SMALL, Llama, float_logits, make_llama, output, random_tokens, text_request, with_request


@pytest.fixture(scope="module")
def llama() -> Llama:
    return make_llama(form=lambda name: hash_free(name) % 3)


def hash_free(name: str) -> int:
    return sum(name.encode())


def run(memory: Memory, stages: int) -> Memory:
    for stage in range(stages):
        memory, exit_code = run_stage(memory, stage)
        assert exit_code == 0
    return memory


def test_a_llama_gives_the_logits_of_the_textbook(llama: Llama) -> None:
    """All three matrix formats in one model; the fixed point costs less than 0.002 of logits that spread over ±4."""
    prompt, new = random_tokens(4, llama.shape.vocabulary, 1), 3
    memory = with_request(llama.memory, llama.ops * 6, text_request(prompt, new))
    logits = []
    for stage in range(llama.ops * 6):
        memory, exit_code = run_stage(memory, stage)
        assert exit_code == 0
        if stage % llama.ops == llama.ops - 1 and stage // llama.ops >= 3:
            logits.append(np.array(load_vector(memory, llama.addresses.logits, llama.shape.vocabulary)) / 4096)
    tokens, done = output(memory)
    assert len(tokens) == new
    assert not done
    reference = float_logits(llama, prompt + tokens[:-1])[3:]
    assert np.abs(np.array(logits) - reference).max() < 0.002
    assert np.abs(reference).max() > 2
    assert tokens == reference.argmax(axis=1).tolist()


def test_single_phase_is_the_same_in_one_stage(llama: Llama) -> None:
    request = text_request([5, 6], 2, temperature_q16=1 << 16, seed=7)
    many = run(with_request(llama.memory, 3 * llama.ops, request), 3 * llama.ops)
    single = make_llama(form=lambda name: hash_free(name) % 3, flags=SINGLE_PHASE)
    one = run(with_request(single.memory, 1, request), 1)
    assert output(one) == output(many)
    assert hash_of(one.subtree(33, 3)) == hash_of(many.subtree(33, 3)), "the whole state quarter"


def test_a_stop_token_ends_the_run(llama: Llama) -> None:
    request = text_request([5, 6], 4)
    free = run(with_request(llama.memory, 5 * llama.ops, request), 5 * llama.ops)
    second = output(free)[0][1]
    for flags, stages in ((0, 5 * llama.ops), (SINGLE_PHASE, 1)):
        stopping = make_llama(form=lambda name: hash_free(name) % 3, stop_tokens=1, stop_0=second, flags=flags)
        end = run(with_request(stopping.memory, stages, request), stages)
        assert output(end) == (output(free)[0][:2], 1)
    after, exit_code = run_stage(end, 3)
    assert (after, exit_code) == (end, 0)


def test_stages_beyond_the_last_position_change_nothing(llama: Llama) -> None:
    memory = with_request(llama.memory, 0, text_request([1], 1))
    assert run_stage(memory, llama.ops) == (memory, 0)
    assert run_stage(memory, 1 << 63) == (memory, 0)


def test_the_last_ops_wait_for_the_end_of_the_prompt(llama: Llama) -> None:
    memory = with_request(llama.memory, 0, text_request([1, 2], 1))
    assert run_stage(memory, llama.ops - 1) == (memory, 0)
    assert output(run_stage(memory, 2 * llama.ops - 1)[0]) == ([0], 0)


GOOD = struct.pack("<IIIIQ", 2, 3, 0, 0, 9) + struct.pack("<II", 1, 39)


def changed(offset: int, value: int, size: int = 4) -> bytes:
    return GOOD[:offset] + value.to_bytes(size, "little") + GOOD[offset + size :]


@pytest.mark.parametrize(
    ("request_bytes", "stages", "accepted"),
    [
        (GOOD, 4, True),
        (changed(16, (1 << 64) - 1, 8), 4, True),
        (changed(8, 1 << 10), 4, True),
        (changed(8, 1 << 22), 4, True),
        (changed(8, (1 << 10) - 1), 4, False),
        (changed(8, (1 << 22) + 1), 4, False),
        (GOOD, 3, False),
        (GOOD, 5, False),
        (GOOD + b"\0", 4, False),
        (GOOD[:-1], 4, False),
        (b"", 4, False),
        (changed(12, 1), 4, False),
        (changed(28, 40), 4, False),
        (changed(24, (1 << 32) - 1), 4, False),
        (changed(4, 0), 1, False),
        (changed(4, 14), 15, True),
        (changed(4, 15), 16, False),
        (struct.pack("<IIIIQ", 0, 3, 0, 0, 9), 2, False),
        (changed(0, (1 << 32) - 1), 4, False),
    ],
)
def test_stage_0_checks_the_request(llama: Llama, request_bytes: bytes, stages: int, accepted: bool) -> None:
    memory = with_request(llama.memory, stages * llama.ops, request_bytes)
    after, exit_code = run_stage(memory, 0)
    assert exit_code == (0 if accepted else 1)
    assert (after == memory) is not accepted
    single = make_llama(flags=SINGLE_PHASE)
    if not accepted and stages == 4:
        assert run_stage(with_request(single.memory, 1, request_bytes), 0)[1] == 1


def bytes_model(tape: list[Record], **header: int) -> Memory:
    words = Header(ops=len(tape), tape=HEADER + 4096, context=3, request_kind=BYTES)
    return Memory.from_segments({HEADER: encode_words(evolve(words, **header).words), HEADER + 4096: encode_tape(tape)})


def test_a_bytes_request_has_one_position() -> None:
    model = bytes_model([Sample(STATE, 5).record(condition=1)])
    good = with_request(model, 1, b"abc")
    after, exit_code = run_stage(good, 0)
    assert (output(after), exit_code) == (([0], 1), 0)
    assert run_stage(with_request(model, 2, b"abc"), 0)[1] == 1
    assert run_stage(with_request(model, 1, b"abcd"), 0)[1] == 1


def test_an_unknown_op_ends_with_2_unless_it_is_skipped() -> None:
    good = with_request(bytes_model([Record(12, 0, ())]), 1, b"abc")
    assert run_stage(good, 0) == (good, 2)
    text = with_request(bytes_model([Record(12, 1, ())], request_kind=TEXT, context=9, vocabulary=9), 2, text_request([1, 2], 1))
    assert run_stage(text, 0) == (text, 0)
    assert run_stage(text, 1) == (text, 2)
    single = with_request(bytes_model([Record(12, 0, ())], flags=SINGLE_PHASE), 1, b"abc")
    assert run_stage(single, 0) == (single, 2)
    with pytest.raises(ImageOp):
        decode_operation(Record(12, 0, ()))


def test_there_are_three_matrix_formats() -> None:
    with pytest.raises(MatrixFormat):
        MatMul(STATE, STATE, STATE, 3, 8, 32, 14).execute(Memory(), 0)


def test_records_carry_their_operands_in_order() -> None:
    operation = MatMul(out=1, x=2, matrix=3, quantisation=0, rows=5, columns=6, out_frac=7)
    assert operation.record(1).words == (3, 1, 1, 2, 3, 0, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0)
    assert decode_operation(Record(3, 1, operation.record().words[2:])) == operation


def test_the_tape_of_a_llama(llama: Llama) -> None:
    tape = llama_tape(llama.shape, llama.addresses)
    layer = [2, 3, 3, 3, 4, 5, 6, 3, 8, 2, 3, 3, 7, 3, 8]
    assert [record.opcode for record in tape] == [1, *layer * llama.shape.layers, 2, 3, 9]
    assert [record.condition for record in tape] == [0] * (1 + 15 * llama.shape.layers) + [1] * 3
    assert Header.read(llama.memory).ops == len(tape)


def test_large_logits_take_several_ops(llama: Llama) -> None:
    shape = evolve(SMALL, vocabulary=600_001, dim=60)
    parts = [op for op in output_ops(shape, llama.addresses) if isinstance(op, MatMul)]
    assert [op.rows for op in parts] == [262144, 262144, 75713]
    assert parts[1].out == llama.addresses.logits + 4 * 262144
    tile = 2 * {0: 272, 1: 144, 2: 160}[parts[0].quantisation]
    assert parts[2].matrix == llama.addresses.classifier.address + 2 * 262144 // 8 * tile


def test_done_is_any_number_but_zero(llama: Llama) -> None:
    memory = with_request(llama.memory, 0, text_request([1], 1)).store(OUTPUT_DONE, 8, 1 << 40)
    assert run_stage(memory, 1) == (memory, 0)
