"""Hugging Face's model folders: `config.json`, `*.safetensors`, `tokenizer.json`, and files that describe chats.

Query and key rows are permuted: these checkpoints pair a row of a head with the one half a head further on, an image pairs neighbours.

*Source*: github.com/huggingface/safetensors, "Format"; `transformers`, `modeling_llama.py` (names, `rotate_half`) and
`modeling_rope_utils.py` (`_compute_llama3_parameters`).
"""

import json
import struct
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray
from safetensors import safe_open

from opml_min.model.errors import CheckpointError
from opml_min.model.image.header import NO_TOKEN, TOKENIZER_HUGGING_FACE
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape, check_shape
from opml_min.model.sources.matrices import Floats, Rows, StoredMatrix
from opml_min.model.sources.source import Source
from opml_min.model.sources.tokenizers.hugging_face import JsonTokenizer
from opml_min.model.sources.tokenizers.text import Text, stop_tokens

CONFIG = "config.json"
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja")
LAYER_TENSORS = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
"""The names of a layer's tensors, in the order of the fields of `Layer`."""
DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
NOT_WEIGHTS = "rotary_emb.inv_freq"


def weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def read_hugging_face(folder: Path, tokenizer: Path | None = None) -> Source:
    """Read the LLaMA in a folder; its matrices stay in the files. tokenizer: a tokenizer.json to use instead of its own"""
    config = _json(folder / CONFIG)
    try:
        checkpoint = _checkpoint(config, _Tensors(weight_files(folder)))
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    path = tokenizer or folder / "tokenizer.json"
    return Source(checkpoint, _text(folder, path, config, checkpoint.shape.vocabulary) if path.is_file() else None)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes()) if path.exists() else {}
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} does not hold an object")
    return value


class _Tensors:
    """The tensors of a model that have not been read yet, by name."""

    def __init__(self, paths: list[Path]) -> None:
        self.unused: dict[str, NDArray[Any]] = {}
        if not paths:
            raise CheckpointError("it has no *.safetensors")
        for path in paths:
            try:
                with safe_open(path, "numpy") as file:  # checks the whole header; numpy itself has no bfloat16
                    self.unused |= _mapped(path, set(file.keys()))
            except CheckpointError:
                raise
            except Exception as error:  # the library raises its own kind and several others
                raise CheckpointError(f"{path.name} is truncated or corrupted: {str(error)[:100]}") from error

    def take(self, name: str, *shape: int) -> NDArray[Any]:
        tensor = self.unused.pop(name, None)
        if tensor is None or tensor.shape != shape:
            found = "missing" if tensor is None else f"of shape {list(tensor.shape)}"
            raise CheckpointError(f"the tensor {name} is {found}; it should be of shape {list(shape)}")
        return tensor

    def vector(self, name: str, length: int) -> Floats:
        values = _floats(self.take(name, length))
        if not np.isfinite(values).all():
            raise CheckpointError(f"the tensor {name} holds a number that is not finite")
        return values

    def matrix(self, name: str, rows: int, columns: int, order: NDArray[np.int64] | None = None) -> StoredMatrix:
        """Return a matrix that stays in the file. order: the row of the file for each row of the matrix"""
        tensor = self.take(name, rows, columns)

        def read(wanted: Rows) -> Floats:
            return _floats(tensor[wanted if order is None else order[wanted]])

        return StoredMatrix((rows, columns), read)


def _mapped(path: Path, names: set[str]) -> dict[str, NDArray[Any]]:
    """Map the tensors of a file into memory."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    data = np.memmap(path, np.uint8, "r", offset=8 + length)
    tensors = {}
    for name in names:
        entry = header[name]
        if entry["dtype"] not in DTYPES:
            raise CheckpointError(f"the tensor {name} has the type {entry['dtype']}, which cannot be read")
        first, end = entry["data_offsets"]
        tensors[name] = data[first:end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def _floats(values: NDArray[Any]) -> Floats:
    """Convert exactly to float32. A bfloat16 is the upper half of a float32."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def _checkpoint(config: dict[str, Any], tensors: _Tensors) -> Checkpoint:
    if config.get("architectures") != ["LlamaForCausalLM"]:
        raise CheckpointError(f"its architecture is {config.get('architectures')}; only LlamaForCausalLM can be built")
    for key, plain in (("attention_bias", False), ("mlp_bias", False), ("hidden_act", "silu")):
        if config.get(key, plain) != plain:
            raise CheckpointError(f"its {key} is {config[key]}; only {plain} is possible")
    try:
        shape = _shape(config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"its config.json lacks something, or holds a wrong value: {error}") from error
    check_shape(shape)
    dim, hidden_dim, width, kv_width = shape.dim, shape.hidden_dim, shape.heads * shape.head_size, shape.kv_heads * shape.head_size

    def layer(index: int) -> Layer:
        names = [f"model.layers.{index}.{name}.weight" for name in LAYER_TENSORS]
        return Layer(
            tensors.vector(names[0], dim),
            tensors.matrix(names[1], width, dim, _neighbours(shape.heads, shape.head_size)),
            tensors.matrix(names[2], kv_width, dim, _neighbours(shape.kv_heads, shape.head_size)),
            tensors.matrix(names[3], kv_width, dim),
            tensors.matrix(names[4], dim, width),
            tensors.vector(names[5], dim),
            tensors.matrix(names[6], hidden_dim, dim),
            tensors.matrix(names[7], hidden_dim, dim),
            tensors.matrix(names[8], dim, hidden_dim),
        )

    layers = [layer(index) for index in range(shape.layers)]
    embedding = tensors.matrix("model.embed_tokens.weight", shape.vocabulary, dim)
    final_norm = tensors.vector("model.norm.weight", dim)
    tied = config.get("tie_word_embeddings", False)
    if tied:
        tensors.unused.pop("lm_head.weight", None)
    classifier = None if tied else tensors.matrix("lm_head.weight", shape.vocabulary, dim)
    unknown = [name for name in sorted(tensors.unused) if not name.endswith(NOT_WEIGHTS)]
    if unknown:
        raise CheckpointError(f"it has tensors that no plain LLaMA has, for example {unknown[0]}")
    return Checkpoint(shape, embedding, layers, final_norm, classifier)


def _neighbours(heads: int, head_size: int) -> NDArray[np.int64]:
    """Return the order of rows in which pair j of each head, rows j and j + head_size/2, are neighbours."""
    within = np.arange(head_size).reshape(2, -1).T.reshape(-1)
    return (np.arange(heads)[:, None] * head_size + within).reshape(-1)


def _shape(config: dict[str, Any]) -> Shape:
    heads = int(config["num_attention_heads"])
    head_size = int(config.get("head_dim") or config["hidden_size"] // heads)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = float(config.get("rope_theta") or rope.get("rope_theta", 10000.0))
    shape = Shape(
        dim=int(config["hidden_size"]),
        hidden_dim=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        vocabulary=int(config["vocab_size"]),
        context=int(config["max_position_embeddings"]),
        head_size=head_size,
        epsilon=float(config["rms_norm_eps"]),
        theta=theta,
    )
    wavelengths = 2 * pi * theta ** (np.arange(0, head_size, 2) / head_size)
    return evolve(shape, frequency_divisors=_frequency_divisors(rope, wavelengths))


def _frequency_divisors(rope: dict[str, Any], wavelengths: NDArray[np.float64]) -> tuple[float, ...]:
    """Return what divides each rotary frequency. wavelengths: positions per full turn, unscaled"""
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return ()
    factor = float(rope["factor"])
    if kind == "linear":
        return (factor,) * len(wavelengths)
    if kind != "llama3":
        raise CheckpointError(f"its rotary embedding is scaled in an unknown way, {kind}")
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    turns = float(rope["original_max_position_embeddings"]) / wavelengths  # over the context that the model was first trained on
    kept = np.clip((turns - low) / (high - low), 0, 1)  # the share of the frequency that is not divided
    return tuple((1 / (kept + (1 - kept) / factor)).tolist())


def _text(folder: Path, path: Path, config: dict[str, Any], vocabulary: int) -> Text:
    """Read the text side of the model."""
    data = path.read_bytes()
    settings, generation = _json(folder / "tokenizer_config.json"), _json(folder / "generation_config.json")
    tokenizer = JsonTokenizer(data, vocabulary)

    def named(key: str) -> int | None:
        name = settings.get(key)
        return tokenizer.token(name["content"] if isinstance(name, dict) else name) if name else None

    ends = generation.get("eos_token_id", config.get("eos_token_id"))
    stops = stop_tokens(named("eos_token"), *(ends if isinstance(ends, list) else [ends]))
    bos = next((token for token in (named("bos_token"), config.get("bos_token_id")) if token is not None), NO_TOKEN)
    return Text(data, TOKENIZER_HUGGING_FACE, bos, stops, _template(folder, settings))


def _template(folder: Path, settings: dict[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    template = settings.get("chat_template") or ""
    if isinstance(template, list):  # several templates with names
        template = next((each["template"] for each in template if each.get("name") == "default"), "")
    return str(template)
