"""Small model files of many kinds: each is either computed rightly or refused by name, and none is silently wrong.

The right logits come from a LLaMA in float64 that this file writes down itself, on the weights as the file stores them.

*Source*: LLaMA (arXiv:2302.13971); `transformers`, `modeling_llama.py` and `modeling_rope_utils.py`; llama.cpp, `llama-model.cpp`.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from attrs import field, frozen
from gguf import GGMLQuantizationType as Type
from min_sources import (
    CONTEXT,
    HEAD_SIZE,
    HEADS,
    HIDDEN,
    KV_HEADS,
    LAYERS,
    THETA,
    VOCABULARY,
    byte_level_metadata,
    random_weights,
    shape_metadata,
    write_gguf,
    write_hugging_face,
)
from safetensors.numpy import load_file, save_file

from opml_min.model.errors import ModelError
from opml_min.model.image.image import Image
from opml_min.model.quality.perplexity import NativeLogits
from opml_min.model.resolve import build_source

PROMPT = [1, 70, 5, 200, 33, 7, 99, 12, 150, 61, 8, 40, 0, 222, 18]
TOLERANCE = 0.05  # of the logits' root mean square. Rounding float weights to Q8_0 gives 0.01 to 0.02
HALF = HEAD_SIZE // 2
FREQUENCIES = np.linspace(1, 4, HALF).astype(np.float32)  # of a rope_freqs tensor
Weights = dict[str, np.ndarray]


@frozen
class Meaning:
    """What a model means beyond its weights."""

    heads: int = HEADS
    kv_heads: int = KV_HEADS
    epsilon: float = 1e-5
    theta: float = THETA
    divisors: Any = 1.0


def reference(w: Weights, m: Meaning) -> np.ndarray:
    """The logits at every position of PROMPT, in float64: (positions, vocabulary)."""
    w = {name: values.astype(np.float64) for name, values in w.items()}
    head_size = w["blk.0.attn_q"].shape[0] // m.heads
    angle = np.arange(len(PROMPT))[:, None, None] * (m.theta ** (-np.arange(0, head_size, 2) / head_size) / m.divisors)

    def norm(x, weights):
        return x / np.sqrt((x**2).mean(1, keepdims=True) + m.epsilon) * weights

    def turned(x):
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], -1).reshape(x.shape)

    x = w["token_embd"][PROMPT]
    for i in range(sum(name.endswith("attn_q") for name in w)):
        layer = {name.split(".")[2]: values for name, values in w.items() if name.startswith(f"blk.{i}.")}
        h = norm(x, layer["attn_norm"])
        q, k, v = ((h @ layer[f"attn_{n}"].T).reshape(len(x), -1, head_size) for n in "qkv")
        k, v = (np.repeat(each, m.heads // m.kv_heads, axis=1) for each in (turned(k), v))
        scores = np.einsum("ihd,jhd->hij", turned(q), k) / np.sqrt(head_size)
        scores = np.where(np.tril(np.ones((len(x), len(x)), bool)), scores, -np.inf)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        x = x + np.einsum("hij,jhd->ihd", share, v).reshape(len(x), -1) @ layer["attn_output"].T
        h = norm(x, layer["ffn_norm"])
        gate = h @ layer["ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ layer["ffn_up"].T)) @ layer["ffn_down"].T
    return norm(x, w["output_norm"]) @ w.get("output", w["token_embd"]).T


@frozen
class Kind:
    """A model file, what it means, and the part of the error that names what cannot be built."""

    write: Callable[[Path, Weights], Path]
    refused: str | None = None
    meaning: Meaning = field(factory=Meaning)
    weights: Callable[[], Weights] = random_weights
    stored: Callable[[Weights], Weights] = lambda weights: weights  # what the file makes of the weights
    arithmetic: str = "fixed"


def as_gguf(types: dict[str, Type] | None = None, architecture: str = "llama", **metadata: Any) -> Callable[[Path, Weights], Path]:
    """metadata: by key without "llama.", with __ for a dot; a key with two leading __ is one outside "llama." """

    def write(folder: Path, weights: Weights) -> Path:
        named = {f"llama.{key.replace('__', '.')}": value for key, value in metadata.items()}
        return write_gguf(folder / "model.gguf", weights, types, named, architecture)

    return write


def plain_gguf(**metadata: Any) -> Callable[[Path, Weights], Path]:
    """metadata: by whole keys"""
    return lambda folder, weights: write_gguf(folder / "model.gguf", weights, None, metadata)


def as_folder(dtype: str = "float32", **config: Any) -> Callable[[Path, Weights], Path]:
    def write(folder: Path, weights: Weights) -> Path:
        path = write_hugging_face(folder / "model", weights, dtype)
        settings = json.loads((path / "config.json").read_text()) | config
        (path / "config.json").write_text(json.dumps({key: value for key, value in settings.items() if value != "absent"}))
        return path

    return write


def rounded(kind: Type) -> Callable[[Weights], Weights]:
    def stored(weights: Weights) -> Weights:
        return {
            name: gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind) if values.ndim == 2 else values
            for name, values in weights.items()
        }

    return stored


def norms_rounded(kind: Type) -> Callable[[Weights], Weights]:
    def stored(weights: Weights) -> Weights:
        return {
            name: gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind) if values.ndim == 1 else values
            for name, values in weights.items()
        }

    return stored


def scaled(**factors: float) -> Callable[[], Weights]:
    """Random weights, with some multiplied."""
    return lambda: {
        name: (values * factors.get(name.split(".")[-1], 1)).astype(np.float32) for name, values in random_weights().items()
    }


def tied() -> Weights:
    return random_weights(own_classifier=False)


def with_frequencies() -> Weights:
    return random_weights() | {"rope_freqs": FREQUENCIES}


def of_shape(dim: int, heads: int, kv_heads: int, head_size: int, hidden: int = 64) -> Callable[[], Weights]:
    def weights() -> Weights:
        rng = np.random.default_rng(2)
        sizes = {
            "attn_q": (heads * head_size, dim), "attn_k": (kv_heads * head_size, dim), "attn_v": (kv_heads * head_size, dim),
            "attn_output": (dim, heads * head_size), "ffn_gate": (hidden, dim), "ffn_up": (hidden, dim), "ffn_down": (dim, hidden),
        }  # fmt: skip
        made = {f"blk.0.{name}": rng.normal(0, size[1] ** -0.5, size).astype(np.float32) for name, size in sizes.items()}
        made |= {f"blk.0.{name}": np.ones(dim, np.float32) for name in ("attn_norm", "ffn_norm")}
        return made | {
            "token_embd": rng.normal(0, 1, (VOCABULARY, dim)).astype(np.float32), "output_norm": np.ones(dim, np.float32),
            "output": rng.normal(0, dim**-0.5, (VOCABULARY, dim)).astype(np.float32),
        }  # fmt: skip

    return weights


def shape_gguf(dim: int, heads: int, kv_heads: int, head_size: int, hidden: int = 64) -> Callable[[Path, Weights], Path]:
    return as_gguf(
        embedding_length=dim, block_count=1, feed_forward_length=hidden, attention__head_count=heads, attention__head_count_kv=kv_heads,
        attention__key_length=head_size, attention__value_length=head_size, rope__dimension_count=head_size,
    )  # fmt: skip


def one_weight(name: str, value: float) -> Callable[[], Weights]:
    def weights() -> Weights:
        made = random_weights()
        made[name].flat[3] = value
        return made

    return weights


def damaged_block(kind: Type, at: int = 0) -> Callable[[Path, Weights], Path]:
    """In one block of one matrix the number at this byte is infinite, or NaN."""

    def write(folder: Path, weights: Weights) -> Path:
        blocks = gguf.quants.quantize(weights["blk.1.ffn_up"], kind)
        blocks[3, at : at + 2] = [1 if kind == Type.Q8_0 else 0, 0x7C]
        return write_gguf(folder / "model.gguf", weights | {"blk.1.ffn_up": blocks}, {"blk.1.ffn_up": kind})

    return write


def big_endian(folder: Path, weights: Weights) -> Path:
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    for key, value in (shape_metadata() | byte_level_metadata()).items():
        if type(value) is int:
            writer.add_uint32(key, value)
    for name, values in weights.items():
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "model.gguf"


def files(change: Callable[[Path], None], **config: Any) -> Callable[[Path, Weights], Path]:
    """A folder whose files are changed afterwards."""

    def write(folder: Path, weights: Weights) -> Path:
        path = as_folder(**config)(folder, weights)
        change(path)
        return path

    return write


def one_file(path: Path) -> dict[str, np.ndarray]:
    """Put all tensors into model.safetensors."""
    tensors: dict[str, np.ndarray] = {}
    for part in path.glob("*.safetensors"):
        tensors |= load_file(part)
        part.unlink()
    save_file(tensors, path / "model.safetensors")
    return tensors


def copy_beside(path: Path) -> None:
    tensors = one_file(path)
    save_file({name: values * 2 for name, values in tensors.items()}, path / "old-copy.safetensors")


def index(path: Path) -> None:
    places = {name: part.name for part in path.glob("*.safetensors") for name in load_file(part)}
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def index_and_copy(path: Path) -> None:
    index(path)
    tensors = load_file(path / "model-0.safetensors")
    save_file({name: values * 2 for name, values in tensors.items()}, path / "old-copy.safetensors")
    save_file({"adapter": np.zeros(3, np.float32)}, path / "adapter_model.safetensors")


def stale_shard(path: Path) -> None:
    index(path)
    tensors = load_file(path / "model-0.safetensors")
    save_file(tensors | {"model.layers.7.mlp.up_proj.weight": np.zeros(3, np.float32)}, path / "model-0.safetensors")


def shard_without_tensor(path: Path) -> None:
    index(path)
    tensors = load_file(path / "model-0.safetensors")
    tensors.popitem()
    save_file(tensors, path / "model-0.safetensors")


def missing_shard(path: Path) -> None:
    index(path)
    (path / "model-1.safetensors").unlink()


def adapter_beside(path: Path) -> None:
    one_file(path)
    save_file({"adapter": np.zeros(3, np.float32)}, path / "adapter_model.safetensors")


def same_classifier(path: Path) -> None:
    tensors = one_file(path)
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].copy()}, path / "model.safetensors")


def doubles(path: Path) -> None:
    tensors = one_file(path)
    save_file(tensors | {"model.norm.weight": tensors["model.norm.weight"].astype(np.float64)}, path / "model.safetensors")


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


def llama3_divisors() -> np.ndarray:
    """What divides each frequency, one pair at a time."""
    divisors = []
    for pair in range(HALF):
        wavelength = 2 * np.pi * THETA ** (2 * pair / HEAD_SIZE)
        turns = 64 / wavelength
        kept = min(max((turns - 1) / (4 - 1), 0), 1)
        divisors.append(1 / ((1 - kept) / 8 + kept))
    return np.array(divisors)


Q8 = rounded(Type.Q8_0)
GGUF_KINDS = {
    "F32": Kind(as_gguf()),
    "F32, float": Kind(as_gguf(), arithmetic="float"),
    "F16": Kind(as_gguf({"": Type.F16})),
    "BF16": Kind(as_gguf({"": Type.BF16})),
    "Q8_0": Kind(as_gguf({"": Type.Q8_0}), stored=Q8),
    "Q4_0": Kind(as_gguf({"": Type.Q4_0}), stored=rounded(Type.Q4_0)),
    "Q4_1": Kind(as_gguf({"": Type.Q4_1}), stored=rounded(Type.Q4_1)),
    "Q5_0": Kind(as_gguf({"": Type.Q5_0}), stored=rounded(Type.Q5_0)),
    "Q5_1": Kind(as_gguf({"": Type.Q5_1}), stored=rounded(Type.Q5_1)),
    "tied": Kind(as_gguf(), weights=tied),
    "norms in F16": Kind(as_gguf(dict.fromkeys(("blk.0.attn_norm", "output_norm"), Type.F16))),
    "norms in BF16": Kind(as_gguf(dict.fromkeys(("blk.0.attn_norm", "output_norm"), Type.BF16))),
    "norms in Q8_0": Kind(as_gguf(dict.fromkeys(("blk.0.ffn_norm", "output_norm"), Type.Q8_0))),
    "linear rope": Kind(as_gguf(rope__scaling__type="linear", rope__scaling__factor=4.0), meaning=Meaning(divisors=4.0)),
    "rope scaling of an older name": Kind(as_gguf(rope__scale_linear=2.0), meaning=Meaning(divisors=2.0)),
    "rope scaling none": Kind(as_gguf(rope__scaling__type="none", rope__scaling__factor=4.0)),
    "rope_freqs": Kind(as_gguf(), weights=with_frequencies, meaning=Meaning(divisors=FREQUENCIES)),
    "rope_freqs and linear": Kind(
        as_gguf(rope__scaling__type="linear", rope__scaling__factor=4.0),
        weights=with_frequencies, meaning=Meaning(divisors=4 * FREQUENCIES),
    ),
    "rope_freqs and yarn": Kind(as_gguf(rope__scaling__type="yarn", rope__scaling__factor=4.0), "yarn", weights=with_frequencies),
    "yarn": Kind(as_gguf(rope__scaling__type="yarn", rope__scaling__factor=4.0), "yarn"),
    "longrope": Kind(as_gguf(rope__scaling__type="longrope"), "longrope"),
    "attn_factor": Kind(as_gguf(rope__scaling__attn_factor=1.5), "attn_factor"),
    "attn_factor 1": Kind(as_gguf(rope__scaling__attn_factor=1.0)),
    "not causal": Kind(as_gguf(attention__causal=False), "causal"),
    "causal": Kind(as_gguf(attention__causal=True)),
    "sliding window": Kind(as_gguf(attention__sliding_window=8), "sliding_window"),
    "experts": Kind(as_gguf(expert_count=4), "expert_count"),
    "logit scale": Kind(as_gguf(logit_scale=0.5), "logit_scale"),
    "embedding scale": Kind(as_gguf(embedding_scale=12.0), "embedding_scale"),
    "attention scale": Kind(as_gguf(attention__scale=0.5), "attention.scale"),
    "an unknown key": Kind(as_gguf(attention__temperature_length=4096), "temperature_length"),
    "keys that say nothing": Kind(
        as_gguf(
            tensor_data_layout="Meta AI original pth", vocab_size=VOCABULARY, attention__layer_norm_epsilon=0.5, expert_count=0,
            expert_feed_forward_length=7, rope__scaling__original_context_length=7, rope__scaling__finetuned=True,
            rope__scaling__yarn_beta_fast=32.0, rope__freq_base_swa=5.0, use_parallel_residual=False, hidden_activation="silu",
        )
    ),
    "scales that are not used": Kind(as_gguf(logit_scale=0.0, embedding_scale=0.0, residual_scale=0.0, attention__scale=0.0)),
    "the attention scale of a LLaMA": Kind(as_gguf(attention__scale=HEAD_SIZE**-0.5)),
    "a window as long as the context": Kind(as_gguf(attention__sliding_window=CONTEXT)),
    "another vocabulary": Kind(as_gguf(vocab_size=VOCABULARY + 1), "vocab_size"),
    "parallel residuals": Kind(as_gguf(use_parallel_residual=True), "use_parallel_residual"),
    "gelu": Kind(as_gguf(hidden_activation="gelu"), "hidden_activation"),
    "extrapolated as by yarn": Kind(as_gguf(rope__scaling__yarn_ext_factor=1.0), "yarn_ext_factor"),
    "layers that predict further tokens": Kind(as_gguf(nextn_predict_layers=1), "nextn_predict_layers"),
    "an adapter": Kind(plain_gguf(**{"general.type": "adapter"}), "general.type"),
    "blocks of an older version": Kind(plain_gguf(**{"general.quantization_version": 1}), "quantization_version"),
    "a text without its spaces": Kind(plain_gguf(**{"tokenizer.ggml.remove_extra_whitespaces": True}), "remove_extra_whitespaces"),
    "a bias": Kind(as_gguf(), "attn_q.bias", weights=lambda: random_weights() | {"blk.0.attn_q.bias": np.ones(64, np.float32)}),
    "another architecture": Kind(as_gguf(architecture="qwen2"), "qwen2"),
    "value_length": Kind(as_gguf(attention__key_length=HEAD_SIZE, attention__value_length=8), "value_length"),
    "half of a head rotated": Kind(as_gguf(rope__dimension_count=HALF), "dimension_count"),
    "equal sizes by layer": Kind(as_gguf(feed_forward_length=[HIDDEN] * LAYERS, attention__head_count=[HEADS] * LAYERS)),
    "different sizes by layer": Kind(as_gguf(feed_forward_length=[HIDDEN, 128]), "feed_forward_length"),
    "one part of two": Kind(plain_gguf(**{"split.count": 2, "split.no": 0}), "split"),
    "theta 0": Kind(as_gguf(rope__freq_base=0.0), "theta"),
    "theta NaN": Kind(as_gguf(rope__freq_base=float("nan")), "freq_base"),
    "epsilon NaN": Kind(as_gguf(attention__layer_norm_rms_epsilon=float("nan")), "epsilon"),
    "epsilon missing": Kind(as_gguf(attention__layer_norm_rms_epsilon=None), "epsilon"),
    "epsilon 1e-12": Kind(as_gguf(attention__layer_norm_rms_epsilon=1e-12), meaning=Meaning(epsilon=1e-12)),
    "epsilon 0.1": Kind(as_gguf(attention__layer_norm_rms_epsilon=0.1), "--arithmetic float"),
    "epsilon 0.1, float": Kind(as_gguf(attention__layer_norm_rms_epsilon=0.1), meaning=Meaning(epsilon=0.1), arithmetic="float"),
    "big-endian": Kind(big_endian, "big-endian"),
    "heads of 512": Kind(shape_gguf(64, 2, 1, 512), weights=of_shape(64, 2, 1, 512), meaning=Meaning(2, 1)),
    "heads of 1024": Kind(shape_gguf(64, 1, 1, 1024), weights=of_shape(64, 1, 1, 1024), meaning=Meaning(1, 1)),
    "heads of 2": Kind(shape_gguf(32, 8, 4, 2), weights=of_shape(32, 8, 4, 2), meaning=Meaning(8, 4)),
    "a width of 36": Kind(shape_gguf(36, 2, 2, 18), "multiple of 8", weights=of_shape(36, 2, 2, 18), meaning=Meaning(2, 2)),
    "a hidden width of 33": Kind(shape_gguf(32, 4, 4, 8, 33), weights=of_shape(32, 4, 4, 8, 33), meaning=Meaning(4, 4)),
    "a NaN": Kind(as_gguf(), "blk.1.ffn_up", weights=one_weight("blk.1.ffn_up", np.nan)),
    "a NaN, float": Kind(as_gguf(), "blk.1.ffn_up", weights=one_weight("blk.1.ffn_up", np.nan), arithmetic="float"),
    "a scale that is NaN": Kind(damaged_block(Type.Q8_0), "blk.1.ffn_up"),
    "a scale that is infinite": Kind(damaged_block(Type.Q5_0), "blk.1.ffn_up"),
    "a minimum that is infinite": Kind(damaged_block(Type.Q4_1, 2), "blk.1.ffn_up", arithmetic="float"),
    "an infinity": Kind(as_gguf(), "attn_q", weights=one_weight("blk.0.attn_q", np.inf)),
    "a weight of 10^6": Kind(as_gguf(), "attn_q", weights=one_weight("blk.0.attn_q", 1e6)),
    "an embedding of 0.01": Kind(as_gguf(), weights=scaled(token_embd=0.0025)),
    "an embedding of 1e-5": Kind(as_gguf(), "the embedding", weights=scaled(token_embd=2.5e-6)),
    "an embedding of 1e-5, float": Kind(as_gguf(), weights=scaled(token_embd=2.5e-6), arithmetic="float"),
    "an embedding of 1000": Kind(as_gguf(), weights=scaled(token_embd=250)),
    "large queries and keys": Kind(as_gguf(), "scores", weights=scaled(attn_q=60, attn_k=60)),
    "huge queries and keys": Kind(as_gguf(), "too large for fixed point", weights=scaled(attn_q=5000, attn_k=5000)),
    "tiny queries and keys": Kind(as_gguf(), weights=scaled(attn_q=1e-3, attn_k=1e-3)),
    "large up × down": Kind(as_gguf(), weights=scaled(ffn_up=100, ffn_down=30)),
    "huge up × down": Kind(as_gguf(), "--arithmetic float", weights=scaled(ffn_up=2000, ffn_down=2000)),
    "tiny up": Kind(as_gguf(), weights=scaled(ffn_up=1e-3)),
    "tiny values and a large output": Kind(as_gguf(), weights=scaled(attn_v=1e-4, attn_output=1e4)),
    "a tiny classifier": Kind(as_gguf(), "--arithmetic float", weights=scaled(output=1e-4)),
    "tiny norms": Kind(as_gguf(), weights=scaled(attn_norm=1e-8, ffn_norm=1e-8)),  # the layers then add nothing
    "a tiny last norm": Kind(as_gguf(), "most of it in the logits", weights=scaled(output_norm=2e-8, output=1e4)),
    "large norms": Kind(as_gguf(), weights=scaled(ffn_norm=300, ffn_gate=0.003, ffn_up=0.003)),
    "scales below a half": Kind(as_gguf(), weights=scaled(attn_v=1e-7, attn_output=1e7)),
}  # fmt: skip
FOLDER_KINDS = {
    "float32": Kind(as_folder()),
    "float16": Kind(as_folder("float16")),
    "bfloat16": Kind(as_folder("bfloat16")),
    "float32, float": Kind(as_folder(), arithmetic="float"),
    "tied": Kind(as_folder(), weights=tied),
    "tied, with the same lm_head": Kind(files(same_classifier), weights=tied),
    "tied, with another lm_head": Kind(as_folder(tie_word_embeddings=True), "lm_head"),
    "not tied, without lm_head": Kind(as_folder(tie_word_embeddings=False), "lm_head", weights=tied),
    "linear": Kind(as_folder(rope_scaling={"type": "linear", "factor": 4.0}), meaning=Meaning(divisors=4.0)),
    "llama3": Kind(as_folder(rope_scaling=LLAMA3), meaning=Meaning(divisors=llama3_divisors())),
    "llama3 in rope_parameters": Kind(
        as_folder(rope_parameters=LLAMA3 | {"rope_theta": THETA}), meaning=Meaning(divisors=llama3_divisors())
    ),
    "dynamic": Kind(as_folder(rope_scaling={"type": "dynamic", "factor": 4.0}), "dynamic"),
    "yarn": Kind(as_folder(rope_scaling={"rope_type": "yarn", "factor": 4.0}), "yarn"),
    "longrope": Kind(as_folder(rope_scaling={"rope_type": "longrope"}), "longrope"),
    "rope_scaling a text": Kind(as_folder(rope_scaling="linear"), "rope_scaling"),
    "rope_scaling beside other rope_parameters": Kind(
        as_folder(rope_parameters={"rope_type": "default"}, rope_scaling={"rope_type": "linear", "factor": 4.0}), "differ"
    ),
    "a factor of 0": Kind(as_folder(rope_scaling={"rope_type": "linear", "factor": 0}), "factor"),
    "an inner theta": Kind(as_folder(rope_parameters={"rope_type": "default", "rope_theta": 500.0}), meaning=Meaning(theta=500.0)),
    "half of a head rotated": Kind(as_folder(partial_rotary_factor=0.5), "partial_rotary_factor"),
    "attention bias": Kind(as_folder(attention_bias=True), "attention_bias"),
    "mlp bias": Kind(as_folder(mlp_bias=True), "mlp_bias"),
    "gelu": Kind(as_folder(hidden_act="gelu"), "hidden_act"),
    "swish": Kind(as_folder(hidden_act="swish")),
    "sliding window": Kind(as_folder(sliding_window=8), "sliding_window"),
    "no sliding window": Kind(as_folder(sliding_window=None)),
    "layers with windows": Kind(as_folder(layer_types=["sliding_attention", "full_attention"]), "layer_types"),
    "quantised": Kind(as_folder(quantization_config={"quant_method": "gptq"}), "quantization_config"),
    "mistral": Kind(as_folder(model_type="mistral"), "mistral"),
    "another architecture": Kind(as_folder(architectures=["MistralForCausalLM"]), "MistralForCausalLM"),
    "no epsilon": Kind(as_folder(rms_norm_eps="absent"), meaning=Meaning(epsilon=1e-6)),
    "epsilon 1e5": Kind(as_folder(rms_norm_eps=1e5), "epsilon"),
    "no theta": Kind(as_folder(rope_theta="absent"), meaning=Meaning(theta=10000.0)),
    "theta of 0": Kind(as_folder(rope_theta=0), "theta"),
    "layers as text": Kind(as_folder(num_hidden_layers="2"), "num_hidden_layers"),
    "a model and its copy": Kind(files(copy_beside), "old-copy.safetensors"),
    "an index, a copy and an adapter": Kind(files(index_and_copy)),
    "a stale shard": Kind(files(stale_shard), "another version"),
    "a shard without a tensor": Kind(files(shard_without_tensor), "another version"),
    "a missing shard": Kind(files(missing_shard), "model-1.safetensors"),
    "an adapter beside": Kind(files(adapter_beside)),
    "float64": Kind(files(doubles), "F64"),
}  # fmt: skip
KINDS = {f"GGUF: {name}": kind for name, kind in GGUF_KINDS.items()} | {f"folder: {name}": kind for name, kind in FOLDER_KINDS.items()}


def outcome(kind: Kind, folder: Path) -> tuple[float | None, str]:
    """The relative error of the logits if the file is accepted, and else the refusal."""
    weights = kind.weights()
    path = kind.write(folder, weights)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build_source(path, None, folder / "model.opml", arithmetic=kind.arithmetic)
    except ModelError as error:
        return None, str(error)
    found = np.array(list(NativeLogits(Image(folder / "model.opml"), 1)(PROMPT)))
    named = {name: values for name, values in kind.stored(weights).items() if name != "rope_freqs"}
    expected = reference(named, kind.meaning)
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean())), ""


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_computed_rightly_or_refused_by_name(name, tmp_path):
    kind = KINDS[name]
    error, refusal = outcome(kind, tmp_path)
    if kind.refused is None:
        assert error is not None, refusal
        assert error < TOLERANCE
    else:
        assert error is None, f"accepted, with an error of {error}"
        assert kind.refused in refusal
        assert str(tmp_path) in refusal
        assert "\n" not in refusal


def test_these_are_many_kinds():
    assert len(KINDS) >= 60
