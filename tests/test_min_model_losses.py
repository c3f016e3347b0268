"""What fixed point loses is counted: every number at the end of i32, and every number that rounding made 0, at every position."""

import json
import shutil

import gguf
import numpy as np
import pytest
from min_model import write_source
from min_sources import random_weights, write_gguf

from opml_min.cli import main
from opml_min.memory_map import OUTPUT
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Op, Opcode, writes
from opml_min.model.image.request import TextRequest
from opml_min.model.image.weights import Q4_0, matrix_bytes, unpack
from opml_min.model.quality.losses import losses_of
from opml_min.model.resolve import build_source
from opml_min.model.run import Run

ENDS = (2**31 - 1, -(2**31))
PROMPT = tuple((37 * i + 5) % 256 for i in range(21))
MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
SATURATING = {"q": 30, "k": 29, "v": 31, "gate": 28, "down": 27, "logits": 31}  # too many fraction bits
LOSING = {"up": 2, "q": 4, "o": 5, "logits": 1}  # and too few


def changed(image, path, fractions, queries=0):
    """The image with other fraction bits of its matrix products, and queries that mean 2^queries as much."""
    matmuls, words = 0, []
    for op in image.ops:
        operands = dict(op.operands)
        if op.opcode == Opcode.MATMUL:
            name = MATRICES[matmuls % 7] if matmuls < 7 * image.header.layers else "logits"
            operands["out_frac"] = fractions.get(name, operands["out_frac"])
            matmuls += 1
        if op.opcode == Opcode.ATTENTION:
            operands["scale_q30"] <<= queries
        words += Op(op.opcode, op.condition, operands).words()
    shutil.copy(image.path, path)
    with path.open("r+b") as file:
        file.seek(image.segments[1].offset + image.header.tape_address - image.segments[1].address)
        file.write(np.array(words, "<u8").tobytes())
    return Image(path)


@pytest.fixture(params=["Q8_0", "Q4_0"])
def image(request, tmp_path):
    """A model with incomplete tiles and short rows, and one with nibbles."""
    if request.param == "Q8_0":
        source = write_source(tmp_path)
    else:
        source = write_gguf(tmp_path / "model.gguf", random_weights(), {"": gguf.GGMLQuantizationType.Q4_0})
    build_source(source, None, tmp_path / "model.opml")
    return Image(tmp_path / "model.opml")


def exact(image, memory, op, token):
    """What an op rounds: the sums of a MATMUL, and the weights of an EMBED."""
    o = op.operands
    rows = o.get("rows", image.header.vocabulary)
    groups = unpack(image.view(o["matrix"], matrix_bytes(o["quantisation"], rows, o["columns"])), o["quantisation"], rows, o["columns"])
    halfs = np.rint(groups.scales.view(np.float16).astype(np.float64) * 2**24).astype(np.int64)
    weights = groups.weights.astype(np.int64) - (8 if o["quantisation"] == Q4_0 else 0)
    if op.opcode == Opcode.EMBED:
        return (weights[token] * halfs[token][:, None]).reshape(-1)[: o["length"]]
    q = memory.view(o["x"] + 32, o["columns"], np.int16).astype(np.int64).reshape(1, -1, 32)
    return ((weights * q).sum(axis=2) * halfs).sum(axis=1)


def saturated_scores(memory, op, position):
    """Scores that reach the ends of i32, on Python's integers."""
    o, found = op.operands, 0
    for head in range(o["heads"]):
        size, row = o["head_size"], head // (o["heads"] // o["kv_heads"]) * o["context"]
        q = memory.view(o["q"] + 4 * head * size, size, np.int32).tolist()
        shift = max(map(abs, q)).bit_length() - 13
        q = [max(-8191, min(8191, (v + (1 << shift >> 1)) >> shift if shift > 0 else v << -shift)) for v in q]
        exponents = memory.view(o["key_exps"] + row, position + 1, np.int8).tolist()
        for t, exponent in enumerate(exponents):
            key = memory.view(o["keys"] + 2 * (row + t) * size, size, np.int16).tolist()
            score, places = sum(a * b for a, b in zip(q, key, strict=True)) * o["scale_q30"], 28 - shift + exponent
            score = (score + (1 << places >> 1)) >> places if places > 0 else score << -places
            found += not ENDS[1] < score < ENDS[0]
    return found


def counted_again(run, image):
    """Runs to the end, and counts after every stage what its op has lost: (ops, 2)."""
    found = np.zeros((len(image.ops), 2), np.int64)
    for stage in range(run.stage_count):
        position, index = divmod(stage, len(image.ops))
        if run.memory.view(OUTPUT, 2, np.uint64)[1]:  # after a stop token
            break
        op, tokens = image.ops[index], [*PROMPT, *run.tokens()]
        rounds = op.opcode in (Opcode.EMBED, Opcode.MATMUL)
        before = exact(image, run.memory, op, tokens[position]) if rounds else None
        run.run_stage()
        if op.condition == 1 and position < len(PROMPT) - 1:
            continue
        if rounds or op.opcode in (Opcode.ROPE, Opcode.ADD):
            ((address, length),) = writes(op)
            out = run.memory.view(address, length // 4, np.int32).view(np.int32)
            found[index, 0] += np.isin(out, ENDS).sum()
            found[index, 1] += 0 if before is None else ((out == 0) & (before != 0)).sum()
        if op.opcode == Opcode.ATTENTION:
            found[index, 0] += saturated_scores(run.memory, op, position)
    return found


@pytest.mark.parametrize(("fractions", "queries"), [(SATURATING, 0), (LOSING, 0), ({"q": 28, "k": 28}, 1), ({}, 0)])
def test_every_lost_number_is_counted(image, fractions, queries, tmp_path):
    """Threads and batches count the same."""
    image = changed(image, tmp_path / "changed.opml", fractions, queries)
    request = TextRequest(PROMPT, 3).pack()
    run = Run(image, request)
    expected = counted_again(run, image)
    assert expected[:, 0].any() == (fractions not in (LOSING, {}))
    assert (expected[:, 1].sum() > 100) == (fractions is LOSING)
    if queries:
        assert expected[[op.opcode == Opcode.ATTENTION for op in image.ops], 0].all()
    for threads in (1, 2, 3):
        again = Run(image, request, threads=threads)
        again.run_all()
        assert again.run_hash() == run.run_hash()
        losses = again.losses()
        assert losses == losses_of(image, expected, len(PROMPT) - 1 + len(run.tokens()), len(run.tokens())), threads


def test_the_machine_counts_nothing(image, tmp_path, capsys):
    assert main(["run", str(image.path), "--raw", "--max-tokens", "1", "--device", "vm", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["saturated"] is shown["lost"] is shown["notable"] is None


@pytest.mark.parametrize(
    ("fractions", "warning"),
    [
        ({}, ""),
        ({"v": 31}, "numbers saturated, most of them in v of layer"),
        ({"up": 2}, "% of the numbers of up of layer"),
        ({"o": 1, "k": 1}, ""),  # what is added to the stream may be small beside it, and so may scores
    ],
)
def test_run_and_eval_report_what_was_lost(fractions, warning, tmp_path, capsys):
    build_source(write_gguf(tmp_path / "model.gguf", random_weights()), None, tmp_path / "model.opml")
    image = changed(Image(tmp_path / "model.opml"), tmp_path / "changed.opml", fractions)
    (tmp_path / "text").write_text("the text of a stranger")
    run = ["run", str(image.path), "--prompt", "the text", "--raw", "--max-tokens", "2"]
    for command in (run, ["eval", str(image.path), str(tmp_path / "text")]):
        assert main([*command, "--json"]) == 0
        out, err = capsys.readouterr()
        shown = json.loads(out)
        assert warning in err
        assert bool(err) == bool(warning)
        assert (shown["saturated"] > 0) == ("saturated" in warning)
        assert bool(shown["notable"]) == bool(warning)
        assert all(loss["saturated"] or loss["lost"] > 0.05 * loss["numbers"] for loss in shown["notable"])
        if "o" in fractions:
            assert shown["lost"] > 100
