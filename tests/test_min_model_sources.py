"""Models that others have made: nothing is lost on the way into an image, and the image computes what the original computes."""

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize
from min_sources import (
    CONTEXT,
    DIM,
    HEAD_SIZE,
    HEADS,
    KV_HEADS,
    LAYERS,
    THETA,
    VOCABULARY,
    hugging_face_name,
    random_weights,
    write_gguf,
    write_hugging_face,
)

from opml_min.cli import main
from opml_min.memory_map import MODEL
from opml_min.model.errors import CheckpointError, ModelError
from opml_min.model.image.image import Image
from opml_min.model.image.request import TextRequest
from opml_min.model.native.check import check
from opml_min.model.quality.perplexity import evaluate
from opml_min.model.quality.reference import logits, logits_of_windows
from opml_min.model.resolve import build_source, resolve
from opml_min.model.run import Run
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.model.sources.matrices import floats_of
from opml_min.model.sources.read import read_source

PROMPT = [1, 70, 90, 5, 200, 261, 3, 44]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def stored_matrices(path, **how):
    """The checkpoint of the image built from a source, by the names of GGUF."""
    image_path = path.parent / "built.opml"
    build_source(path, None, image_path, **how)
    image = Image(image_path)
    check(image)
    checkpoint = checkpoint_of_image(image)
    names = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
    found = {"token_embd": checkpoint.embedding, "output_norm": checkpoint.final_norm, "output": checkpoint.classifier}
    for i, layer in enumerate(checkpoint.layers):
        found |= {f"blk.{i}.{name}": values for name, values in zip(names, layer, strict=True)}
    return image, {name: floats_of(values) for name, values in found.items()}


MIXED = {"": Type.Q4_1, "token_embd": Type.Q8_0, "blk.0.attn_q": Type.Q4_0, "blk.1.attn_q": Type.Q8_0, "blk.1.ffn_down": Type.Q4_0}


LOSSLESS = [Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0]


@pytest.mark.parametrize("types", [*({"": kind} for kind in LOSSLESS), MIXED], ids=[*(kind.name for kind in LOSSLESS), "mixed"])
def test_blocks_come_over_without_any_loss(types, tmp_path):
    weights = random_weights()
    image, stored = stored_matrices(write_gguf(tmp_path / "a.gguf", weights, types))
    for name, values in weights.items():
        kind = types.get(name, types[""])
        if values.ndim == 2:
            expected = dequantize(quantize(values, kind), kind)
            assert (stored[name] == expected).all(), name
    bytes_a_weight = {Type.Q8_0: 34 / 32, Type.Q4_0: 18 / 32, Type.Q4_1: 20 / 32, Type.Q5_0: 34 / 32}
    least = sum(values.size * bytes_a_weight[types.get(name, types[""])] for name, values in weights.items() if values.ndim == 2)
    held = sum(len(segment.data) for segment in image.segments if segment.address > MODEL)
    assert held < least + 60_000, "four bits stay four bits"


@pytest.mark.parametrize("kind", [Type.F32, Type.F16, Type.BF16, Type.Q5_1])
def test_other_types_become_q8_0(kind, tmp_path):
    weights = random_weights()
    _, stored = stored_matrices(write_gguf(tmp_path / "a.gguf", weights, {"": kind}))
    for name, values in weights.items():
        if values.ndim == 2:
            expected = dequantize(quantize(values, kind), kind)
            step = np.abs(expected).reshape(len(values), -1, 32).max(axis=2).repeat(32, axis=1) / 127
            assert (np.abs(stored[name] - expected) <= step * 0.57).all(), f"{name}: half a step, and the scale is rounded to a half, too"


def test_weights_from_a_table_are_read_without_any_loss(tmp_path, capsys):
    """IQ4_NL: random nibbles, which name 16 integers, and scales of either sign."""
    rng = np.random.default_rng(7)
    blocks = rng.integers(0, 256, (DIM, 8, 18), np.uint8)
    blocks[:, :, :2] = rng.normal(0, 0.001, (DIM, 8, 1)).astype("<f2").view(np.uint8)
    blocks = blocks.reshape(DIM, -1)
    weights = random_weights() | {"blk.1.ffn_down": blocks}
    source = write_gguf(tmp_path / "a.gguf", weights, {"": Type.Q5_0, "blk.1.ffn_down": Type.IQ4_NL})
    _, stored = stored_matrices(source)
    expected = dequantize(blocks, Type.IQ4_NL)
    assert len(np.unique(np.sign(expected))) == 2
    assert (stored["blk.1.ffn_down"] == expected).all()
    assert main(["model", "show", str(source)]) == 0
    assert "rounded_to_q8_0" not in capsys.readouterr().out


def test_k_quants_are_read(tmp_path):
    """Random Q6_K blocks: 256 weights in 208 bytes, then the scale."""
    blocks = np.random.default_rng(8).integers(0, 256, (DIM, 210), np.uint8)
    blocks[:, 208:] = np.frombuffer(np.float16(0.0003).tobytes(), np.uint8)
    source = write_gguf(tmp_path / "a.gguf", random_weights() | {"blk.1.ffn_down": blocks}, {"blk.1.ffn_down": Type.Q6_K})
    _, stored = stored_matrices(source)
    expected = dequantize(blocks, Type.Q6_K)
    assert expected.std() > 0.1
    assert np.abs(stored["blk.1.ffn_down"] - expected).max() < np.abs(expected).max() / 127


def test_a_tied_classifier_is_the_embedding(tmp_path):
    image, stored = stored_matrices(write_gguf(tmp_path / "a.gguf", random_weights(own_classifier=False), {"": Type.Q8_0}))
    assert (stored["output"] == stored["token_embd"]).all()
    matrices = {words[4] for words in image.tape.tolist() if words[0] == 3} | {words[3] for words in image.tape.tolist() if words[0] == 1}
    assert len(matrices) == 1 + 7 * LAYERS, "the tape names it once"


def hugging_face_logits(weights, tokens, divisors=None):
    """Written after `transformers`' modeling_llama: heads whose halves are turned."""

    def normed(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weights[name]

    def half_turn(x):
        return np.concatenate([-x[..., HEAD_SIZE // 2 :], x[..., : HEAD_SIZE // 2]], axis=-1)

    n = len(tokens)
    frequencies = THETA ** (-np.arange(0, HEAD_SIZE, 2) / HEAD_SIZE) / (np.ones(HEAD_SIZE // 2) if divisors is None else divisors)
    angles = np.arange(n)[:, None] * np.concatenate([frequencies, frequencies])
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    x = weights["model.embed_tokens.weight"][tokens].astype(np.float64)
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        h = normed(x, at + "input_layernorm.weight")
        q = (h @ weights[at + "self_attn.q_proj.weight"].T).reshape(n, HEADS, HEAD_SIZE)
        k = (h @ weights[at + "self_attn.k_proj.weight"].T).reshape(n, KV_HEADS, HEAD_SIZE)
        v = (h @ weights[at + "self_attn.v_proj.weight"].T).reshape(n, KV_HEADS, HEAD_SIZE)
        q, k = q * cos + half_turn(q) * sin, k * cos + half_turn(k) * sin
        out = np.zeros((n, HEADS, HEAD_SIZE))
        for head in range(HEADS):
            scores = q[:, head] @ k[:, head // (HEADS // KV_HEADS)].T / HEAD_SIZE**0.5
            scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
            share = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = share / share.sum(-1, keepdims=True) @ v[:, head // (HEADS // KV_HEADS)]
        x = x + out.reshape(n, -1) @ weights[at + "self_attn.o_proj.weight"].T
        h = normed(x, at + "post_attention_layernorm.weight")
        gate = h @ weights[at + "mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ weights[at + "mlp.up_proj.weight"].T)) @ weights[at + "mlp.down_proj.weight"].T
    return normed(x, "model.norm.weight") @ weights["lm_head.weight"].T


def loaded(folder):
    """The tensors of a folder as its library gives them."""
    from safetensors.numpy import load_file

    return {name: values for path in sorted(folder.glob("*.safetensors")) for name, values in load_file(path).items()}


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 40}
SCALINGS = {"plain": {}, "linear": {"rope_scaling": {"type": "linear", "factor": 2.5}}, "llama3": {"rope_scaling": LLAMA3}}


def expected_divisors(name):
    if name == "linear":
        return np.full(HEAD_SIZE // 2, 2.5)
    divisors = np.ones(HEAD_SIZE // 2)
    for j in range(HEAD_SIZE // 2 if name == "llama3" else 0):
        wavelength = 2 * np.pi * THETA ** (2 * j / HEAD_SIZE)
        if wavelength > 40 / 1.0:
            divisors[j] = 8
        elif wavelength >= 40 / 4.0:
            smooth = (40 / wavelength - 1.0) / (4.0 - 1.0)
            divisors[j] = 1 / ((1 - smooth) / 8 + smooth)
    return divisors


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_hugging_face_model_means_what_it_meant(scaling, tmp_path):
    folder = write_hugging_face(tmp_path / "model", random_weights(), config=SCALINGS[scaling])
    expected = hugging_face_logits(loaded(folder), PROMPT, expected_divisors(scaling))
    assert np.abs(logits(read_source(folder, None).checkpoint, PROMPT) - expected).max() < 1e-4
    image, _ = stored_matrices(folder)
    stored = checkpoint_of_image(image)
    frequencies = stored.shape.theta ** (-np.arange(0, HEAD_SIZE, 2) / HEAD_SIZE) / np.array(stored.shape.frequency_divisors)
    assert np.allclose(frequencies, THETA ** (-np.arange(0, HEAD_SIZE, 2) / HEAD_SIZE) / expected_divisors(scaling), rtol=1e-6, atol=1e-10)
    on_image = logits(stored, PROMPT)
    assert np.abs(on_image - expected).std() < 0.05
    assert np.abs(on_image - expected).std() > 0, "Q8_0 rounds"


@pytest.mark.parametrize("scaling", SCALINGS)
def test_gguf_and_safetensors_of_one_model_give_the_same_image(scaling, tmp_path):
    """Both hold float32 here; only tokenizers may be written differently."""
    weights = random_weights()
    folder = write_hugging_face(tmp_path / "model", weights, config=SCALINGS[scaling])
    metadata = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.5} if scaling == "linear" else {}
    more = {"rope_freqs": expected_divisors(scaling).astype(np.float32)} if scaling == "llama3" else {}
    file = write_gguf(tmp_path / "a.gguf", weights | more, metadata=metadata)
    (first, one), (second, other) = stored_matrices(folder), stored_matrices(file)
    assert all((one[name] == other[name]).all() for name in one)
    request = TextRequest(tuple(PROMPT), 20).pack()
    outputs = []
    for image in (first, second):
        run = Run(image, request)
        run.run_all()
        outputs.append(run.tokens())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_are_read_exactly(dtype, tmp_path):
    weights = random_weights()
    folder = write_hugging_face(tmp_path / "model", weights, dtype)
    checkpoint = read_source(folder, None).checkpoint
    original = weights["blk.1.attn_q"]
    cut = (original.view(np.uint32) >> 16 << 16).view(np.float32)
    short = original.astype(np.float16).astype(np.float32) if dtype == "float16" else cut
    assert (floats_of(checkpoint.layers[1].wq) == short).all()
    stored_matrices(folder)


def test_float_arithmetic_keeps_every_weight(tmp_path):
    weights = random_weights()
    folder = write_hugging_face(tmp_path / "model", weights)
    image, stored = stored_matrices(folder, arithmetic="float")
    assert all((stored[name] == values).all() for name, values in weights.items())
    expected = hugging_face_logits(loaded(folder), PROMPT)
    run = Run(image, TextRequest(tuple(PROMPT), 1).pack())
    run.run_all()
    assert run.tokens() == [int(expected[-1].argmax())]


def test_the_integer_model_follows_the_reference(tmp_path):
    source = write_gguf(tmp_path / "a.gguf", random_weights(), MIXED)
    image, _ = stored_matrices(source)
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, 90).tolist()
    result = evaluate(image, read_source(source, None).checkpoint, tokens, 40, 1)
    assert result.tokens == 87
    assert result.perplexity == pytest.approx(result.reference_perplexity, rel=1e-3)
    assert result.nll_rms_difference < 0.01


def test_windows_know_nothing_of_one_another(tmp_path):
    checkpoint = read_source(write_gguf(tmp_path / "a.gguf", random_weights()), None).checkpoint
    windows = [PROMPT, PROMPT[3:5], [9]]
    for window, found in zip(windows, logits_of_windows(checkpoint, windows), strict=True):
        assert np.abs(found - logits(checkpoint, window)).max() < 1e-9


def test_weights_are_streamed(tmp_path, monkeypatch):
    """Parts of 8 rows give the same file."""
    source = write_gguf(tmp_path / "a.gguf", random_weights(), MIXED)
    build_source(source, None, tmp_path / "whole.opml")
    monkeypatch.setattr("opml_min.model.sources.matrices.SLICE_WEIGHTS", 1)
    build_source(source, None, tmp_path / "parts.opml")
    assert (tmp_path / "whole.opml").read_bytes() == (tmp_path / "parts.opml").read_bytes()


def test_a_shorter_context(tmp_path):
    image, _ = stored_matrices(write_gguf(tmp_path / "a.gguf", random_weights()), context=7)
    assert image.header.context == 7
    with pytest.raises(CheckpointError, match="context"):
        build_source(tmp_path / "a.gguf", None, tmp_path / "b.opml", context=CONTEXT + 1)


# ------------------------------------------------------------------------------------------------------------------ bad input


def with_nan_scale(path):
    """The first half of some Q8_0 block becomes a NaN."""
    import gguf

    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == "blk.0.attn_v.weight")
    data = bytearray(path.read_bytes())
    data[tensor.data_offset : tensor.data_offset + 2] = b"\x01\x7e"
    path.write_bytes(bytes(data))
    return path


def bad_gguf(name, folder):
    path, weights = folder / "bad.gguf", random_weights()
    match name:
        case "truncated":
            data = write_gguf(path, weights).read_bytes()
            path.write_bytes(data[:-100])
        case "truncated in the metadata":
            data = write_gguf(path, weights).read_bytes()
            path.write_bytes(data[:3000])
        case "nothing but the magic":
            path.write_bytes(b"GGUF")
        case "noise after the magic":
            path.write_bytes(b"GGUF" + np.random.default_rng(2).bytes(5000))
        case "another architecture":
            write_gguf(path, weights, architecture="qwen2")
        case "a mixture of experts":
            write_gguf(path, weights, metadata={"llama.expert_count": 8})
        case "no head count":
            write_gguf(path, weights, metadata={"llama.attention.head_count": None})
        case "a head count of 0":
            write_gguf(path, weights, metadata={"llama.attention.head_count": 0})
        case "another head size":
            write_gguf(path, weights, metadata={"llama.rope.dimension_count": 8})
        case "an unknown rotary scaling":
            write_gguf(path, weights, metadata={"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0})
        case "a missing tensor":
            del weights["blk.1.ffn_up"]
            write_gguf(path, weights)
        case "a bias":
            write_gguf(path, weights | {"blk.0.attn_q_bias": np.ones(64, np.float32)})
        case "a wrong size":
            write_gguf(path, weights | {"blk.1.ffn_up": weights["blk.1.ffn_down"]})
        case "an infinite weight":
            weights["blk.0.ffn_up"][3, 4] = np.inf
            write_gguf(path, weights)
        case "an infinite norm":
            weights["blk.0.ffn_norm"][3] = np.nan
            write_gguf(path, weights)
        case "a scale that is no number":
            with_nan_scale(write_gguf(path, weights, {"": Type.Q8_0}))
        case "an unknown split":
            write_gguf(path, weights, metadata={"tokenizer.ggml.pre": "martian"})
        case "an unknown tokenizer":
            write_gguf(path, weights, metadata={"tokenizer.ggml.model": "bert"})
        case "no merges":
            write_gguf(path, weights, metadata={"tokenizer.ggml.merges": None})
        case "a BOS beyond the vocabulary":
            write_gguf(path, weights, metadata={"tokenizer.ggml.bos_token_id": 9999, "tokenizer.ggml.add_bos_token": True})
        case "too many tokens":
            more = ["extra"]
            write_gguf(path, weights | {"token_embd": weights["token_embd"][:-1], "output": weights["output"][:-1]}, metadata={"x": more})
    return path


BAD_GGUF = (
    "truncated", "truncated in the metadata", "nothing but the magic", "noise after the magic", "another architecture",
    "a mixture of experts", "no head count", "a head count of 0", "another head size", "an unknown rotary scaling", "a missing tensor",
    "a bias", "a wrong size", "an infinite weight", "an infinite norm", "a scale that is no number", "an unknown split",
    "an unknown tokenizer", "no merges", "a BOS beyond the vocabulary", "too many tokens",
)  # fmt: skip


def assert_refused(path, tmp_path, capsys):
    code = main(["model", "build", str(path), "-o", str(tmp_path / "out.opml")])
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert len(err.splitlines()) == 1
    assert len(err) < 320
    assert not (tmp_path / "out.opml").exists()
    with pytest.raises(ModelError):
        resolve(str(path))


@pytest.mark.parametrize("name", BAD_GGUF)
def test_a_bad_gguf_is_refused_in_one_line(name, tmp_path, capsys):
    assert_refused(bad_gguf(name, tmp_path), tmp_path, capsys)


BAD_CONFIGS = {
    "another architecture": {"architectures": ["MistralForCausalLM"]},
    "biases": {"attention_bias": True},
    "another activation": {"hidden_act": "gelu"},
    "dynamic scaling": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    "a scaling without factor": {"rope_scaling": {"rope_type": "linear"}},
    "no heads": {"num_attention_heads": 0},
    "text for a number": {"hidden_size": "wide"},
    "another size": {"intermediate_size": 128},
    "more layers": {"num_hidden_layers": 3},
    "fewer layers": {"num_hidden_layers": 1},
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_bad_config_is_refused_in_one_line(name, tmp_path, capsys):
    assert_refused(write_hugging_face(tmp_path / "model", random_weights(), config=BAD_CONFIGS[name]), tmp_path, capsys)


def test_damaged_folders_are_refused_in_one_line(tmp_path, capsys):
    folder = write_hugging_face(tmp_path / "model", random_weights())
    weights = folder / "model-1.safetensors"
    good = weights.read_bytes()
    for data in (good[:-8], good[:20], b"", b"\xff" * 64):
        weights.write_bytes(data)
        assert_refused(folder, tmp_path, capsys)
    weights.write_bytes(good)
    for name, text in (("tokenizer.json", "{}"), ("config.json", "[1]"), ("config.json", "{")):
        before = (folder / name).read_text()
        (folder / name).write_text(text)
        assert_refused(folder, tmp_path, capsys)
        (folder / name).write_text(before)
    resolve(str(folder))


def test_hugging_face_names_are_complete():
    assert len({hugging_face_name(name) for name in random_weights()}) == len(random_weights())
