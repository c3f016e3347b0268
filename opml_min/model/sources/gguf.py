"""GGUF: the files of llama.cpp.

Matrices in Q8_0, Q4_0 and Q4_1 keep their bits. Other types are dequantised, and become Q8_0 when an image is built. The two rows of a
rotary pair are neighbours in these files.

*Source*: ggml's `docs/gguf.md`; llama.cpp's `convert_hf_to_gguf.py` for the names.
"""

from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

from opml_min.model.errors import CheckpointError
from opml_min.model.image.weights import Q4_0, Q4_1, Q8_0
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape, check_shape
from opml_min.model.sources.matrices import Floats, Rows, StoredBlocks, StoredMatrix
from opml_min.model.sources.source import Source
from opml_min.model.sources.tokenizers.gguf import text_of_metadata

MAGIC = b"GGUF"
KEPT = {GGMLQuantizationType.Q8_0: Q8_0, GGMLQuantizationType.Q4_0: Q4_0, GGMLQuantizationType.Q4_1: Q4_1}
LAYER_TENSORS = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
"""The names of a layer's tensors, in the order of the fields of `Layer`."""


def layer_sizes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Return the sizes of a layer's tensors by name."""
    dim, hidden_dim = shape.dim, shape.hidden_dim
    width, kv_width = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    attention = ((dim,), (width, dim), (kv_width, dim), (kv_width, dim), (dim, width))
    feed_forward = ((dim,), (hidden_dim, dim), (hidden_dim, dim), (dim, hidden_dim))
    return dict(zip(LAYER_TENSORS, attention + feed_forward, strict=True))


def read_gguf(path: Path, tokenizer: bytes | None = None) -> Source:
    """Read the LLaMA in a GGUF file; its matrices stay in the file. tokenizer: a tokenizer.json to use instead of its own"""
    try:
        reader = GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # the library raises many kinds
        raise CheckpointError(f"{path} is truncated, corrupted or no GGUF file: {str(error)[:100]}") from error
    try:
        return _Contents(metadata, {tensor.name: tensor for tensor in reader.tensors}).source(tokenizer)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


class _Contents:
    """The metadata and tensors that the library found in a file."""

    def __init__(self, metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
        self._metadata, self._tensors = metadata, tensors
        self._used: set[str] = set()

    def source(self, tokenizer: bytes | None) -> Source:
        shape = self._shape()
        dim, sizes = shape.dim, layer_sizes(shape)
        layers = [
            Layer(*(self._weights(f"blk.{index}.{name}.weight", *size) for name, size in sizes.items())) for index in range(shape.layers)
        ]
        embedding = self._weights("token_embd.weight", shape.vocabulary, dim)
        final_norm = self._weights("output_norm.weight", dim)
        own_classifier = "output.weight" in self._tensors
        classifier = self._weights("output.weight", shape.vocabulary, dim) if own_classifier else None
        unknown = sorted(set(self._tensors) - self._used)
        if unknown:
            raise CheckpointError(f"it has tensors that no plain LLaMA has, for example {unknown[0]}")
        checkpoint = Checkpoint(shape, embedding, layers, final_norm, classifier)
        return Source(checkpoint, text_of_metadata(self._metadata, tokenizer))

    def _shape(self) -> Shape:
        architecture = self._metadata.get("general.architecture")
        if architecture != "llama":
            raise CheckpointError(f"its architecture is {architecture}; only llama can be built")
        if "token_embd.weight" not in self._tensors:
            raise CheckpointError("it has no tensor token_embd.weight (one part of a split model?)")
        if self._number("llama.expert_count", 0):
            raise CheckpointError("it is a mixture of experts; only plain LLaMAs can be built")
        dim, heads = self._integer("llama.embedding_length"), self._integer("llama.attention.head_count")
        head_size = self._integer("llama.attention.key_length", dim // max(heads, 1))
        shape = Shape(
            dim,
            self._integer("llama.feed_forward_length"),
            self._integer("llama.block_count"),
            heads,
            self._integer("llama.attention.head_count_kv", heads),
            int(self._tensors["token_embd.weight"].shape[-1]),
            self._integer("llama.context_length"),
            head_size,
            self._number("llama.attention.layer_norm_rms_epsilon"),
            self._number("llama.rope.freq_base", 10000.0),
        )
        check_shape(shape)
        same = {"llama.attention.value_length": head_size, "llama.rope.dimension_count": head_size}
        for key, expected in same.items():
            if self._integer(key, expected) != expected:
                raise CheckpointError(f"{key} is {self._metadata[key]}; only the head size, {expected}, is possible")
        return evolve(shape, frequency_divisors=self._frequency_divisors(head_size // 2))

    def _frequency_divisors(self, pairs: int) -> tuple[float, ...]:
        if "rope_freqs.weight" in self._tensors:
            divisors = self._weights("rope_freqs.weight", pairs)
            if divisors.min() <= 0:
                raise CheckpointError("the tensor rope_freqs.weight holds a number that is not positive")
            return tuple(divisors.tolist())
        scaling = self._metadata.get("llama.rope.scaling.type", "linear")
        factor = self._number("llama.rope.scaling.factor", self._number("llama.rope.scale_linear", 1.0))
        if scaling not in ("none", "linear"):
            raise CheckpointError(f"its rotary embedding is scaled in an unknown way, {scaling}")
        return (factor,) * pairs if scaling == "linear" and factor not in (0, 1) else ()

    def _number(self, key: str, default: float | None = None) -> float:
        value = self._metadata.get(key, default)
        if not isinstance(value, int | float) or not np.isfinite(value) or value < 0:
            raise CheckpointError(f"its metadata has no usable {key}")
        return value

    def _integer(self, key: str, default: int | None = None) -> int:
        value = self._number(key, default)
        if not isinstance(value, int):
            raise CheckpointError(f"its metadata has no usable {key}")
        return value

    def _weights(self, name: str, *shape: int) -> Any:
        """Return a matrix, or a vector as floats."""
        tensor = self._tensors.get(name)
        if tensor is None or tuple(tensor.shape[::-1].tolist()) != shape:
            found = "missing" if tensor is None else f"of shape {tensor.shape[::-1].tolist()}"
            raise CheckpointError(f"the tensor {name} is {found}; it should be of shape {list(shape)}")
        self._used.add(name)
        kind, data = tensor.tensor_type, tensor.data

        def floats(rows: Rows = slice(None)) -> Floats:
            return np.asarray(dequantize(data[rows], kind), np.float32)

        try:
            floats(slice(0, 1))
        except NotImplementedError as error:
            raise CheckpointError(f"the tensor {name} has the type {kind.name}, which cannot be read") from error
        if len(shape) == 1:
            if not np.isfinite(floats()).all():
                raise CheckpointError(f"the tensor {name} holds a number that is not finite")
            return floats()
        return StoredBlocks(KEPT[kind], data) if kind in KEPT else StoredMatrix(shape, floats)  # type: ignore[arg-type]
