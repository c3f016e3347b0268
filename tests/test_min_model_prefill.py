"""Prefill in batches leaves the same bytes as position by position."""

import os
import subprocess
import sys

import numpy as np
import pytest
from attrs import evolve
from gguf import GGMLQuantizationType as Type

from opml_min.model.build.build import build_llama
from opml_min.model.build.tape import LOGIT_FRAC
from opml_min.model.image.image import Image
from opml_min.model.image.ops import WHEN_DRAWN, Opcode, writes
from opml_min.model.image.program import shipped_program
from opml_min.model.image.request import TextRequest
from opml_min.model.image.weights import Q4_0, Q4_1, Q8_0
from opml_min.model.native.batching import copied_buffers
from opml_min.model.native.kernels.batch import BATCH_POSITIONS
from opml_min.model.quality.perplexity import NativeLogits
from opml_min.model.run import Run
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape
from opml_min.model.sources.formats.ggml_blocks import BLOCK_FORMATS
from opml_min.model.sources.matrices import StoredBlocks

CONTEXT = 2 * BATCH_POSITIONS + 20
LENGTHS = (1, 2, 3, 9, BATCH_POSITIONS, BATCH_POSITIONS + 1, BATCH_POSITIONS + 2, 2 * BATCH_POSITIONS + 1, 2 * BATCH_POSITIONS + 6)


def random_matrix(rng, quantisation, rows, columns):
    stored = BLOCK_FORMATS[(Type.Q8_0, Type.Q4_0, Type.Q4_1)[quantisation]]
    groups = rng.integers(0, 256, (rows, columns // 32, stored.block_bytes), np.uint8)
    size = 2.0 if quantisation == Q8_0 else 20.0
    halfs = np.stack([np.full((rows, columns // 32), size / columns), np.full((rows, columns // 32), -7.5 * size / columns)], axis=2)
    width = 4 if quantisation == Q4_1 else 2
    groups[:, :, :width] = halfs.astype("<f2").view(np.uint8)[:, :, :width]
    return StoredBlocks(stored, groups.reshape(rows, -1))


def write_model(path, quantisation, shape=None):
    rng = np.random.default_rng(quantisation)
    shape = shape or Shape(128, 192, 2, 2, 1, 203, CONTEXT, 64)
    dim, hidden, attention, kv = shape.dim, shape.hidden_dim, shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    sizes = (None, (attention, dim), (kv, dim), (kv, dim), (dim, attention), None, (hidden, dim), (hidden, dim), (dim, hidden))
    ones = np.ones(dim, np.float32)
    layers = [Layer(*(ones if size is None else random_matrix(rng, quantisation, *size) for size in sizes)) for _ in range(shape.layers)]
    checkpoint = Checkpoint(shape, random_matrix(rng, quantisation, shape.vocabulary, dim), layers, ones, None)
    build_llama(checkpoint, None, path, shipped_program())
    return Image(path)


def request_of(length):
    return TextRequest(tuple((37 * i + 5) % 203 for i in range(length)), 2).pack()


def carry_roots(image, length):
    """Position by position: the carry root after every position."""
    run = Run(image, request_of(length))
    roots = []
    while run.stage < run.stage_count:
        for _ in image.tape:
            run.run_stage()
        roots.append(run.memory.carry_root())
    return roots


@pytest.mark.parametrize("quantisation", [Q8_0, Q4_0, Q4_1])
def test_batches_leave_what_single_positions_leave(quantisation, tmp_path):
    image = write_model(tmp_path / "model.opml", quantisation)
    ops = len(image.tape)
    for length in LENGTHS:
        expected = carry_roots(image, length)
        assert len(set(expected)) == len(expected)
        for threads in (1, 2):
            run = Run(image, request_of(length), threads=threads)
            run.run_all()
            assert run.memory.carry_root() == expected[-1], (length, threads)
    for stop in (2 * ops, BATCH_POSITIONS * ops, (BATCH_POSITIONS + 7) * ops):  # within a prompt, after batches
        run = Run(image, request_of(LENGTHS[-1]), threads=2)
        run.run_to(3)  # one that begins in the middle of a position
        run.run_to(stop)
        assert run.memory.carry_root() == expected[stop // ops - 1]
        run.run_all()
        assert run.memory.carry_root() == expected[-1]


def test_the_logits_of_every_position(tmp_path):
    image = write_model(tmp_path / "model.opml", Q8_0)
    tokens = TextRequest.unpack(request_of(LENGTHS[-1])).prompt
    place = next(op.operands["logits"] for op in image.ops if op.opcode == Opcode.SAMPLE)
    for threads in (1, 2):
        logits = list(NativeLogits(image, threads)(list(tokens)))
        assert len(logits) == len(tokens)
        for position in (0, 1, 7, BATCH_POSITIONS - 1, BATCH_POSITIONS, len(tokens) - 1):
            run = Run(image, TextRequest(tokens[: position + 1], 1).pack())
            run.run_all()
            assert (run.memory.view(place, 203, np.int32) / 2**LOGIT_FRAC == logits[position]).all(), position


MATMULS = """if True:
    import sys, hashlib
    import numpy as np
    from opml_min.model.native.kernels.fixed.matmul import matmul_tiles, sum_groups
    from opml_min.model.native.kernels.vector.panel import matmul_panel, panel_scratch_bytes
    rng = np.random.default_rng(4)
    digest = hashlib.sha256()
    for quantisation, block_bytes in ((0, 272), (1, 144), (2, 160)):
        weights = rng.integers(0, 255, (3, 2, block_bytes), np.uint8)
        weights[:, :, -32:] = (rng.integers(0, 22528, (3, 2, 16)) | rng.integers(0, 2, (3, 2, 16)) << 15).astype(np.uint16).view(np.uint8)
        x, out = np.zeros((8, 160), np.uint8), np.zeros((2, 8, 40), np.int32)  # the batch: both lie 160 bytes apart
        x[:, 32:], x[:, 0] = rng.integers(0, 256, (8, 128), np.uint8), 14
        sums, scratch = np.zeros((8, 2), np.int32), np.zeros(64, np.int64)
        for i in range(8):
            operands = np.array([out[0, i].ctypes.data, x[i].ctypes.data, weights.ctypes.data, quantisation, 20, 64, 14])
            sum_groups(0, operands, sums[i])
            matmul_tiles(0, operands, 0, 3, sums[i], scratch)
        operands = np.array([out[1].ctypes.data, x.ctypes.data, weights.ctypes.data, quantisation, 20, 64, 14])
        room = np.zeros(panel_scratch_bytes(2), np.uint8)
        matmul_panel(0, operands, 0, 7, 160, sums, room.ctypes.data)
        digest.update(out[0].tobytes())
        assert out[0].any() and (out[0, :7] == out[1, :7]).all()
    print(digest.hexdigest())
"""


ATTENTION = """if True:
    import hashlib
    import numpy as np
    from opml_min.model.native.kernels.fixed.attention import attention_head
    from opml_min.model.native.kernels.fixed.attention_output import attention_output
    from opml_min.model.native.kernels.fixed.batch_attention import attend, attention_scratch_bytes
    from opml_min.model.image.ops import Op, Opcode
    rng = np.random.default_rng(5)
    digest = hashlib.sha256()
    for case, (head_size, heads, kv_heads, context, first, count) in enumerate(
        [(64, 6, 2, 61, 40, 16), (64, 2, 2, 33, 0, 16), (6, 4, 2, 9, 3, 5), (80, 2, 1, 40, 15, 3), (512, 1, 1, 20, 3, 16)] * 3
    ):
        keys, values = rng.integers(-32767, 32768, (2, kv_heads, context, head_size)).astype(np.int16)
        key_exps, value_exps = rng.integers(-3, 29, (2, kv_heads, context)).astype(np.int8)
        if case % 3 == 1:  # products as large as they can be, and exponents that CACHE never writes
            keys[:], key_exps[:, ::2], value_exps[0] = rng.choice([-32767, 32767], keys.shape), 127, 127
            key_exps[:, 1] = -60
        if case % 3 == 2:  # everything of one size, so that many weights count
            key_exps[:], value_exps[:] = 16, 12
        q = rng.integers(-(2**31), 2**31, (count, heads * head_size)) >> rng.integers(0, 31, (count, 1))
        q[-1], q[0] = 0, rng.choice([-(2**31), 2**31 - 1], heads * head_size)
        step = 32 + 2 * heads * head_size
        q, out = q.astype(np.int32), np.zeros((2, count, max(step, 4 * heads * head_size)), np.uint8)
        names = dict(keys=keys, key_exps=key_exps, values=values, value_exps=value_exps)
        operands = {name: array.ctypes.data for name, array in names.items()} | dict(out=0, q=0, heads=heads, kv_heads=kv_heads)
        operands |= dict(head_size=head_size, context=context, scale_q30=round(2**30 * 1.4426950408889634 / head_size**0.5))
        op = Op(Opcode.ATTENTION, 0, operands)
        words = np.array(op.words()[2:])
        o, fractions, weights = np.zeros(heads * head_size, np.int64), np.zeros(heads, np.int64), np.zeros(context, np.int64)
        for i in range(count):
            words[:2] = out[0, i].ctypes.data, q[i].ctypes.data
            for head in range(heads):
                attention_head(0, words, first + i, head, o, fractions, weights, np.zeros(head_size, np.int16))
            attention_output(0, words, o, fractions)
        words[:2] = out[1].ctypes.data, q.ctypes.data
        scratch = np.zeros(attention_scratch_bytes(heads, head_size, context), np.uint8)
        attend(0, words, out.shape[2], first, count, scratch.ctypes.data)
        digest.update(out[0].tobytes())
        assert out[0].any() and (out[0] == out[1]).all(), case
    print(digest.hexdigest())
"""


@pytest.mark.parametrize("script", [MATMULS, ATTENTION], ids=["MATMUL", "ATTENTION"])
def test_the_same_without_the_vector_instructions_of_this_processor(script):
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    found = set()
    for environment in ({}, generic):
        done = subprocess.run([sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


def test_only_tapes_that_carry_nothing_but_the_cache_are_done_in_batches(tmp_path):
    ops = write_model(tmp_path / "model.opml", Q8_0).ops
    copied = copied_buffers(ops)
    assert copied is not None
    for op in ops:
        if op.condition != WHEN_DRAWN and op.opcode != Opcode.CACHE:
            assert all(copied.address <= at and at + length <= copied.address + copied.length for at, length in writes(op))
    kinds = [op.opcode for op in ops]
    swapped = list(ops)  # attention before this position's key and value are there
    cache, attention = kinds.index(Opcode.CACHE), kinds.index(Opcode.ATTENTION)
    swapped[cache], swapped[attention] = ops[attention], ops[cache]
    assert copied_buffers(swapped) is None
    assert copied_buffers(ops[1:]) is None  # without EMBED the residual stream goes on from position to position
    layers = [i for i, kind in enumerate(kinds) if kind == Opcode.CACHE]
    shared = list(ops)  # two layers with one cache
    shared[layers[1]] = ops[layers[0]]
    assert copied_buffers(shared) is None
    behind = list(ops)  # adds to bytes between an activation's exponent and its numbers, which no op but this one ever writes
    first_add = kinds.index(Opcode.ADD)
    out = ops[attention].operands["out"]
    behind[first_add] = evolve(ops[first_add], operands={**ops[first_add].operands, "x": out + 32 - 4 * ops[first_add].operands["length"]})
    assert copied_buffers(behind) is None
    late = list(ops)  # only where a token is drawn, an op reads what an earlier position left
    late[kinds.index(Opcode.MATMUL)] = evolve(ops[kinds.index(Opcode.MATMUL)], condition=WHEN_DRAWN)
    late[0], late[1] = evolve(ops[1], condition=WHEN_DRAWN), ops[0]
    assert copied_buffers(late) is None
    always = [evolve(op, condition=0) for op in ops]  # draws at every position
    assert copied_buffers(always) is None
