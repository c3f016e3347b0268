"""GGUF: the files of llama.cpp.

Matrices in Q8_0, Q4_0, Q4_1, Q5_0 and IQ4_NL are read without loss. Other types are dequantised, and rounded to Q8_0 when an image is
built. The two rows of a rotary pair are neighbours in these files.

*Source*: ggml's `docs/gguf.md`; llama.cpp's `convert_hf_to_gguf.py` for the names, `llama-model.cpp` and `llama-context.cpp` for what the
metadata mean. `gguf_metadata.py` says which of them a plain LLaMA may have.
"""

from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from gguf.quants import dequantize

from opml_min.model.errors import CheckpointError, TokenizerError
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape, check_shape
from opml_min.model.sources.formats.ggml_blocks import BLOCK_FORMATS
from opml_min.model.sources.formats.gguf_file import GgufFile, read_gguf_file
from opml_min.model.sources.gguf_metadata import ARCHITECTURE, notes_on, refuse_what_is_not_plain
from opml_min.model.sources.matrices import Floats, Rows, StoredBlocks, StoredMatrix
from opml_min.model.sources.source import Source
from opml_min.model.sources.tokenizers.gguf import text_of_metadata

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
    file = read_gguf_file(path)
    try:
        checkpoint = _Contents(file).checkpoint()
        text = text_of_metadata(file.metadata, tokenizer, checkpoint.shape.vocabulary)
        return Source(checkpoint, text, (*notes_on(file.metadata), *(() if text is None else text.notes)))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from error


class _Contents:
    """The metadata and tensors of a file, as a checkpoint."""

    def __init__(self, file: GgufFile) -> None:
        self._metadata, self._tensors = file.metadata, file.tensors
        self._used: set[str] = set()

    def checkpoint(self) -> Checkpoint:
        self._refuse_what_is_no_whole_llama()
        shape = self._shape()
        refuse_what_is_not_plain(self._metadata, shape.head_size, shape.context)
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
            raise CheckpointError(f"it has tensors that no plain LLaMA has, for example {unknown[0][:80]}")
        return Checkpoint(shape, embedding, layers, final_norm, classifier)

    def _refuse_what_is_no_whole_llama(self) -> None:
        architecture = self._metadata.get("general.architecture")
        if architecture != ARCHITECTURE:
            raise CheckpointError(f"its architecture is {str(architecture)[:80]}; only {ARCHITECTURE} can be built")
        parts = self._metadata.get("split.count", 0)
        if parts not in (0, 1):
            raise CheckpointError(f"it is one of {str(parts)[:20]} parts of a split model (split.count); merge them first")
        if "token_embd.weight" not in self._tensors:
            raise CheckpointError("it has no tensor token_embd.weight (one part of a split model?)")

    def _shape(self) -> Shape:
        dim, heads = self._integer("embedding_length"), self._integer("attention.head_count")
        head_size = self._integer("attention.key_length", dim // max(heads, 1))
        embedding = self._tensors["token_embd.weight"]
        shape = Shape(
            dim,
            self._integer("feed_forward_length"),
            self._integer("block_count"),
            heads,
            self._integer("attention.head_count_kv", heads),
            embedding.shape[0],
            self._integer("context_length"),
            head_size,
            self._number("attention.layer_norm_rms_epsilon"),
            self._number("rope.freq_base", 10000.0),
        )
        check_shape(shape)
        for key in ("attention.value_length", "rope.dimension_count"):
            if self._integer(key, head_size) != head_size:
                raise CheckpointError(f"{ARCHITECTURE}.{key} is {self._integer(key)}; only the head size, {head_size}, is possible")
        if self._integer("vocab_size", shape.vocabulary) != shape.vocabulary:
            raise CheckpointError(f"{ARCHITECTURE}.vocab_size is {self._integer('vocab_size')}; the embedding has {shape.vocabulary} rows")
        return evolve(shape, frequency_divisors=self._frequency_divisors(head_size // 2))

    def _frequency_divisors(self, pairs: int) -> tuple[float, ...]:
        """Return what divides each rotary frequency: a tensor, or a factor for all, or both multiplied."""
        divisors = np.ones(pairs)
        if "rope_freqs.weight" in self._tensors:
            divisors = self._weights("rope_freqs.weight", pairs).astype(np.float64)
            if divisors.min() <= 0:
                raise CheckpointError("the tensor rope_freqs.weight holds a number that is not positive")
        scaling = self._metadata.get(f"{ARCHITECTURE}.rope.scaling.type", "linear")
        if scaling not in ("none", "linear"):
            raise CheckpointError(f"its rotary embedding is scaled in an unknown way, {str(scaling)[:50]}")
        factor = self._number("rope.scaling.factor", self._number("rope.scale_linear", 1.0)) or 1.0
        if not 1e-30 < factor < 1e30:
            raise CheckpointError(f"its rotary embedding is scaled by an impossible factor, {factor:.6g}")
        divisors = divisors * (factor if scaling == "linear" else 1.0)
        return () if (divisors == 1).all() else tuple(divisors.tolist())

    def _number(self, name: str, default: float | None = None) -> float:
        """Return a number. One for each layer is fine if all are equal."""
        value: Any = self._metadata.get(f"{ARCHITECTURE}.{name}", default)
        if isinstance(value, list) and value and all(each == value[0] for each in value):
            value = value[0]
        if type(value) not in (int, float) or not np.isfinite(value) or value < 0:
            wrong = "differs by layer" if isinstance(value, list) else f"is {str(value)[:50]}"
            raise CheckpointError(f"its metadata has no usable {ARCHITECTURE}.{name}: it {wrong}")
        return value  # type: ignore[no-any-return]

    def _integer(self, name: str, default: int | None = None) -> int:
        value = self._number(name, default)
        if type(value) is not int:
            raise CheckpointError(f"its metadata has no usable {ARCHITECTURE}.{name}: it is {value}")
        return value

    def _weights(self, name: str, *shape: int) -> Any:
        """Return a matrix, or a vector as floats."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.shape != shape:
            found = "missing" if tensor is None else f"of shape {list(tensor.shape)}"
            raise CheckpointError(f"the tensor {name} is {found}; it should be of shape {list(shape)}")
        self._used.add(name)
        kind, data = tensor.kind, tensor.data

        def floats(rows: Rows = slice(None)) -> Floats:
            return np.asarray(dequantize(data[rows], kind), np.float32)

        try:
            floats(slice(0, 1))
        except NotImplementedError as error:
            raise CheckpointError(f"the tensor {name} has the type {kind.name}, which cannot be read") from error
        if len(shape) == 1:
            vector = floats()[0]
            if not np.isfinite(vector).all():
                raise CheckpointError(f"the tensor {name} holds a number that is not finite")
            return vector
        if kind in BLOCK_FORMATS:
            return StoredBlocks(BLOCK_FORMATS[kind], data, name)
        return StoredMatrix(shape, floats, name, kind.name)  # type: ignore[arg-type]
