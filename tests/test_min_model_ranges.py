"""What fixed point can hold: fraction bits from the weights, and saturation that is noticed where the weights did not tell."""

import json

import numpy as np
import pytest
from min_sources import HIDDEN, random_weights, write_gguf

from opml_min.cli import main
from opml_min.model.build.ranges import fit
from opml_min.model.build.tape import SCORE_LIMIT, VECTOR_FRAC, Fractions, query_frac, scale_q30
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Opcode
from opml_min.model.resolve import build_source
from opml_min.model.sources.gguf import read_gguf


def scaled(**factors):
    weights = random_weights()
    return {name: (values * factors.get(name.split(".")[-1], 1)).astype(np.float32) for name, values in weights.items()}


def operands(path, kind):
    return [op.operands for op in Image(path).ops if op.opcode == kind]


@pytest.mark.parametrize(("factor", "bits"), [(1, 14), (30, 14), (300, 12), (3000, 9)])
def test_the_residual_stream_gets_the_fraction_bits_that_its_size_leaves(factor, bits, tmp_path):
    source = write_gguf(tmp_path / "a.gguf", scaled(token_embd=factor, ffn_up=factor))
    build_source(source, None, tmp_path / "a.opml")
    residual = {o["r"] for o in operands(tmp_path / "a.opml", Opcode.NORM) + operands(tmp_path / "a.opml", Opcode.EMBED)}
    assert residual == {bits}
    outputs = operands(tmp_path / "a.opml", Opcode.MATMUL)
    assert {o["out_frac"] for o in outputs if o["columns"] == HIDDEN} == {bits}, "what is added has the same fraction bits"


@pytest.mark.parametrize("head_size", [2, 64, 128, 256, 480, 512, 1024, 4096, 1 << 15])
def test_scores_of_heads_of_any_size_stay_below_the_limit(head_size):
    bits = query_frac(head_size)
    assert head_size * 8191 * 32767 * scale_q30(head_size, bits) < SCORE_LIMIT
    assert bits == VECTOR_FRAC or head_size * 8191 * 32767 * scale_q30(head_size, bits - 1) >= SCORE_LIMIT
    assert scale_q30(head_size, bits) * 2 ** (bits - VECTOR_FRAC) == pytest.approx(2**30 * np.log2(np.e) / head_size**0.5, rel=1e-6)


def test_a_bound_on_what_a_row_gives_holds(tmp_path):
    """The largest input that RMSNorm can give, in the direction of the row."""
    checkpoint = read_gguf(write_gguf(tmp_path / "a.gguf", random_weights())).checkpoint
    row = checkpoint.layers[0].wq.floats(slice(0, 1))[0] * checkpoint.layers[0].attention_norm
    worst = row / np.linalg.norm(row) * len(row) ** 0.5
    assert worst @ row == pytest.approx(len(row) ** 0.5 * np.linalg.norm(row))
    assert fit(checkpoint).fractions == Fractions()


def test_what_is_rounded_again_is_said(tmp_path, capsys):
    source = write_gguf(tmp_path / "a.gguf", random_weights())
    assert main(["model", "build", str(source), "-o", str(tmp_path / "a.opml"), "--json"]) == 0
    assert "16 matrices of the type F32 were rounded to Q8_0" in capsys.readouterr().err
    assert main(["model", "show", str(source), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rounded_to_q8_0"] == {"F32": 16}
