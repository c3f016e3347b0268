"""What fixed point can hold: fraction bits from the weights or from a text, weights times a power of two, and what is refused."""

import json
import sys

import numpy as np
import pytest
from min_sources import CONTEXT, HIDDEN, LAYERS, TOKENS, random_weights, write_gguf

from opml_min.cli import main
from opml_min.model.build.ranges import fit
from opml_min.model.build.tape import SCORE_LIMIT, VECTOR_FRAC, Fractions, LayerFractions, query_frac, scale_q30
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.quality import reference
from opml_min.model.quality.perplexity import NativeLogits
from opml_min.model.resolve import CALIBRATION_BYTES, build_source, resolve
from opml_min.model.run import Run
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.model.sources.gguf import read_gguf
from opml_min.model.sources.read import read_source
from opml_min.model.sources.tokenizers.hugging_face import JsonTokenizer


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
    scores = bits + VECTOR_FRAC
    assert head_size * 8191 * 32768 * scale_q30(head_size, scores) < SCORE_LIMIT
    assert bits == VECTOR_FRAC or head_size * 8191 * 32768 * scale_q30(head_size, scores - 1) >= SCORE_LIMIT
    assert scale_q30(head_size, scores) * 2 ** (bits - VECTOR_FRAC) == pytest.approx(2**30 * np.log2(np.e) / head_size**0.5, rel=1e-6)


def test_a_bound_on_what_a_row_gives_holds(tmp_path):
    """The largest input that RMSNorm can give, in the direction of the row."""
    checkpoint = read_gguf(write_gguf(tmp_path / "a.gguf", random_weights())).checkpoint
    row = checkpoint.layers[0].wq.floats(slice(0, 1))[0] * checkpoint.layers[0].attention_norm
    worst = row / np.linalg.norm(row) * len(row) ** 0.5
    assert worst @ row == pytest.approx(len(row) ** 0.5 * np.linalg.norm(row))
    assert fit(checkpoint).fractions == Fractions(layers=(LayerFractions(),) * LAYERS)


TEXT = "the inner thing and then a 1999 café " * 40
PROMPT = [70, 90, 5, 200, 261, 44, 33, 7, 99, 12, 150, 61]


def relative_error(found, expected):
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))


def errors(source, image_path):
    """The relative errors of the logits: of the image against its own weights, and of these against the source's."""
    image = Image(image_path)
    logits = NativeLogits(image, 1)
    found = np.array(list(logits(PROMPT)))
    assert logits.losses().warnings == []
    held, meant = reference.logits(checkpoint_of_image(image), PROMPT), reference.logits(read_source(source, None).checkpoint, PROMPT)
    return relative_error(found, held), relative_error(held, meant)


EXTREMES = {
    "usual": {},
    "large queries, tiny keys": {"attn_q": 1e5, "attn_k": 1e-5},
    "tiny queries, large keys": {"attn_q": 1e-6, "attn_k": 1e6},
    "tiny queries and keys": {"attn_q": 1e-7, "attn_k": 1e-7},
    "tiny values, large output": {"attn_v": 1e-7, "attn_output": 1e7},
    "large values, tiny output": {"attn_v": 1e5, "attn_output": 1e-5},
    "large up, tiny down": {"ffn_up": 1e6, "ffn_down": 1e-6},
    "tiny up, large down": {"ffn_up": 1e-7, "ffn_down": 1e7},
    "large up × down": {"ffn_up": 300, "ffn_down": 30},
    "large norms": {"attn_norm": 1000, "ffn_norm": 2000, "attn_q": 1e-3, "attn_k": 1e-3, "attn_v": 1e-3, "ffn_gate": 5e-4, "ffn_up": 5e-4},
    "tiny norms": {"attn_norm": 1e-6, "attn_v": 1e3, "attn_output": 1e3, "output_norm": 1e-3, "output": 1e3},
    "large embeddings": {"token_embd": 1000},
    "small outputs": {"output": 0.03},
}


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("name", EXTREMES)
def test_sizes_that_multiply_to_usual_ones_are_computed_rightly(name, calibrated, tmp_path, capsys):
    source = write_gguf(tmp_path / "a.gguf", scaled(**EXTREMES[name]))
    (tmp_path / "text").write_text(TEXT)
    calibrate = ["--calibrate", str(tmp_path / "text")] if calibrated else []
    assert main(["model", "build", str(source), "-o", str(tmp_path / "a.opml"), *calibrate]) == 0, capsys.readouterr().err
    of_arithmetic, of_weights = errors(source, tmp_path / "a.opml")
    assert of_arithmetic < (0.005 if calibrated else 0.02)
    assert of_weights < 0.05, "rounding to Q8_0 alone"


REFUSED = {
    "tiny embeddings": ({"token_embd": 1e-6}, "most of it in the embedding"),
    "tiny outputs": ({"output": 1e-4}, "most of it in the logits"),
    "large outputs": ({"output": 1e6}, "the logits may give numbers"),
    "large gates": ({"ffn_gate": 1e6, "ffn_down": 1e-6}, "blk.0.ffn_gate.weight may give numbers"),
    "large queries and keys": ({"attn_q": 100, "attn_k": 100}, "blk.0.attn_q.weight and blk.0.attn_k.weight give attention scores"),
    "huge queries and keys": ({"attn_q": 1e6, "attn_k": 1e6}, "blk.0.attn_q.weight and blk.0.attn_k.weight give numbers"),
    "scores that small errors decide": (
        {"token_embd": 0.003, "attn_norm": 10}, "give attention scores too large for what is lost before them",
    ),
    "a huge stream": ({"ffn_up": 1e5, "ffn_down": 1e5}, "the residual stream would reach"),
}


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_represented_is_refused(name, calibrated, tmp_path, capsys):
    factors, problem = REFUSED[name]
    source = write_gguf(tmp_path / "a.gguf", scaled(**factors))
    (tmp_path / "text").write_text(TEXT)
    calibrate = ["--calibrate", str(tmp_path / "text")] if calibrated else []
    assert main(["model", "build", str(source), "-o", str(tmp_path / "a.opml"), *calibrate]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert "--arithmetic float" in error
    assert ("--calibrate TEXT" in error) == (not calibrated)
    assert not (tmp_path / "a.opml").exists()


def with_a_hidden_direction(loud_token):
    """A model whose first gate listens to one number of the stream, which only this token's embedding sets."""
    weights = random_weights()
    for name, values in weights.items():
        if name.endswith(("attn_output", "ffn_down")):
            values[0] = 0
    weights["token_embd"][:, 0] = 0
    weights["token_embd"][loud_token] = 0
    weights["token_embd"][loud_token, 0] = 1
    weights["blk.0.ffn_gate"][0] = 0
    weights["blk.0.ffn_gate"][0, 0] = 1e5
    return weights


def test_a_text_tells_more_than_the_weights(tmp_path, capsys):
    """By its weights a gate could saturate; on texts without a certain token it is 0. With that token it is noticed."""
    loud = TOKENS.index("Q")
    source, image = write_gguf(tmp_path / "a.gguf", with_a_hidden_direction(loud)), tmp_path / "a.opml"
    for name, text in (("quiet", TEXT), ("loud", TEXT + "Q" + TEXT)):
        (tmp_path / name).write_text(text)
    build = ["model", "build", str(source), "-o", str(image)]
    assert main(build) == 2
    assert "blk.0.ffn_gate.weight" in capsys.readouterr().err
    assert main([*build, "--calibrate", str(tmp_path / "loud")]) == 2
    assert "blk.0.ffn_gate.weight" in capsys.readouterr().err
    assert main([*build, "--calibrate", str(tmp_path / "quiet")]) == 0
    first = image.read_bytes()
    assert main([*build, "--calibrate", str(tmp_path / "quiet")]) == 0
    assert image.read_bytes() == first, "one text gives one image"
    assert errors(source, image)[0] < 0.005
    for prompt, saturates in (("the", False), ("the Q", True)):
        capsys.readouterr()
        assert main(["run", str(image), "--raw", "--prompt", prompt, "--max-tokens", "1"]) == 0
        assert ("numbers saturated, most of them in gate of layer 0" in capsys.readouterr().err) == saturates


def test_the_machine_computes_unusual_fraction_bits_likewise(tmp_path):
    factors = EXTREMES["tiny values, large output"] | EXTREMES["large up, tiny down"]
    build_source(write_gguf(tmp_path / "a.gguf", scaled(**factors)), None, tmp_path / "a.opml")
    image = Image(tmp_path / "a.opml")
    assert len({o["out_frac"] for o in operands(image.path, Opcode.MATMUL)}) > 4
    runs = [Run(image, TextRequest((70, 90), 2).pack(), device=device) for device in ("cpu", "vm")]
    for run in runs:
        run.run_all()
    assert runs[0].run_hash() == runs[1].run_hash()


def test_a_calibrated_image_means_the_same_in_float_arithmetic(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = write_gguf(tmp_path / "a.gguf", scaled(attn_v=1e-7, attn_output=1e7, ffn_up=1e4, ffn_down=1e-4))
    (tmp_path / "text").write_text(TEXT)
    build_source(source, None, tmp_path / "a.opml", calibrate=tmp_path / "text")
    fixed = resolve(str(tmp_path / "a.opml"))
    floats = resolve(str(tmp_path / "a.opml"), arithmetic="float")
    found = np.array(list(NativeLogits(floats.image, 1)(PROMPT)))
    assert relative_error(found, reference.logits(fixed.checkpoint(), PROMPT)) < 1e-5


@pytest.mark.parametrize(
    ("text", "more", "problem"),
    [
        (None, [], "cannot read"),
        ("", [], "fewer than two tokens"),
        (b"the \xe9t\xe9", [], "byte 4 is not UTF-8"),
        (b"the text \xc3", [], "byte 9 is not UTF-8"),
        (b"\x89PNG" * CALIBRATION_BYTES, [], "byte 0 is not UTF-8"),
        ("the text", ["--arithmetic", "float"], "float arithmetic has none"),
    ],
)
def test_a_text_that_is_no_help_is_refused(text, more, problem, tmp_path, capsys):
    source = write_gguf(tmp_path / "a.gguf", random_weights())
    if text is not None:
        (tmp_path / "text").write_bytes(text if isinstance(text, bytes) else text.encode())
    build = ["model", "build", str(source), "-o", str(tmp_path / "a.opml"), "--calibrate", str(tmp_path / "text"), *more]
    assert main(build) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("up", "down"), [(300, 30), (1000, 100)])
def test_a_text_gives_the_stream_the_fraction_bits_that_its_largest_number_leaves(up, down, tmp_path):
    """It must hold eight times the largest number on the text. By the weights alone it could be much larger."""
    source = write_gguf(tmp_path / "a.gguf", scaled(ffn_up=up, ffn_down=down))
    (tmp_path / "text").write_text(TEXT)
    bits, lost = [], []
    for calibrate in (None, tmp_path / "text"):
        build_source(source, None, tmp_path / "a.opml", calibrate=calibrate)
        bits.append({o["r"] for o in operands(tmp_path / "a.opml", Opcode.NORM)})
        lost.append(errors(source, tmp_path / "a.opml")[0])
    model, stream = read_source(source, None), []
    tokens = JsonTokenizer(model.text.tokenizer, len(TOKENS)).prompt(TEXT)
    windows = [tokens[first : first + CONTEXT] for first in range(0, len(tokens), CONTEXT)]
    list(reference.logits_of_windows(model.checkpoint, windows, lambda name, x: stream.append(x) if name == "stream" else None))
    (chosen,) = bits[1]
    assert 2 ** (30 - chosen) <= 8 * max(np.abs(x).max() for x in stream) < 2 ** (31 - chosen)
    assert max(bits[0]) < chosen
    assert lost[1] < lost[0]


def test_it_is_told_how_far_the_measuring_is(tmp_path, monkeypatch, capsys):
    source, told = write_gguf(tmp_path / "a.gguf", random_weights()), []
    (tmp_path / "text").write_text(TEXT)
    build_source(source, None, tmp_path / "a.opml", calibrate=tmp_path / "text", show=lambda *how_far: told.append(how_far))
    assert told == [(0, LAYERS), (1, LAYERS), (LAYERS, LAYERS)]
    capsys.readouterr()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["model", "build", str(source), "-o", str(tmp_path / "a.opml"), "--calibrate", str(tmp_path / "text")]) == 0
    assert "measuring the model on" in capsys.readouterr().err


def test_a_text_that_is_cut_within_a_character_is_read(tmp_path):
    source = write_gguf(tmp_path / "a.gguf", random_weights())
    (tmp_path / "text").write_text("a" + "é" * CALIBRATION_BYTES)
    build_source(source, None, tmp_path / "a.opml", calibrate=tmp_path / "text")


def test_what_is_rounded_again_is_said(tmp_path, capsys):
    source = write_gguf(tmp_path / "a.gguf", random_weights())
    assert main(["model", "build", str(source), "-o", str(tmp_path / "a.opml"), "--json"]) == 0
    assert "16 matrices of the type F32 were rounded to Q8_0" in capsys.readouterr().err
    assert main(["model", "show", str(source), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rounded_to_q8_0"] == {"F32": 16}
