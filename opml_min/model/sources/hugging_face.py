"""Hugging Face's model folders: `config.json`, safetensors, `tokenizer.json`, and files that describe chats.

Query and key rows are permuted: these checkpoints pair a row of a head with the one half a head further on, an image pairs neighbours.

*Source*: `transformers`, `modeling_llama.py` (names, `rotate_half`).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opml_min.model.errors import CheckpointError, TokenizerError
from opml_min.model.sources.checkpoint import Checkpoint, Layer
from opml_min.model.sources.formats.safetensors_file import DTYPES, SafeTensor, tensors_of_folder
from opml_min.model.sources.hugging_face_config import is_tied, shape_of_config
from opml_min.model.sources.hugging_face_text import OTHER_TOKENIZERS, TOKENIZER, text_of_folder
from opml_min.model.sources.matrices import Floats, Rows, StoredMatrix
from opml_min.model.sources.source import Source
from opml_min.model.strict_json import JsonError, object_in

CONFIG = "config.json"
MOST_CONFIG_BYTES = 1 << 24
LAYER_TENSORS = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
"""The names of a layer's tensors, in the order of the fields of `Layer`."""
EMBEDDING, CLASSIFIER = "model.embed_tokens.weight", "lm_head.weight"
NOT_WEIGHTS = "rotary_emb.inv_freq"


def read_hugging_face(folder: Path, tokenizer: Path | None = None) -> Source:
    """Read the LLaMA in a folder; its matrices stay in the files. tokenizer: a tokenizer.json to use instead of its own"""
    path = tokenizer or folder / TOKENIZER
    try:
        config = object_in(folder / CONFIG, MOST_CONFIG_BYTES)
        text = path.read_bytes() if tokenizer is not None or path.is_file() else None
    except OSError as error:
        raise TokenizerError(f"cannot read {error.filename}: {error.strerror}") from error
    except JsonError as error:
        raise CheckpointError(f"{folder / CONFIG} {error}") from error
    try:
        checkpoint = _checkpoint(config, _Tensors(folder))
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    if text is None:
        unread = [name for name in OTHER_TOKENIZERS if (folder / name).is_file()]
        return Source(checkpoint, None, tuple(f"it has {name}, but no {TOKENIZER}, so the image has no tokenizer" for name in unread[:1]))
    read = text_of_folder(folder, text, config, checkpoint.shape.vocabulary)
    return Source(checkpoint, read, read.notes)


class _Tensors:
    """The tensors of a model that have not been read yet, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unused: dict[str, SafeTensor] | None = None

    @property
    def unused(self) -> dict[str, SafeTensor]:
        if self._unused is None:
            self._unused = tensors_of_folder(self._folder)
        return self._unused

    def take(self, name: str, *shape: int) -> NDArray[Any]:
        tensor = self.unused.pop(name, None)
        if tensor is None or tensor.shape != shape:
            found = "missing" if tensor is None else f"of shape {list(tensor.shape)}"
            raise CheckpointError(f"the tensor {name} is {found}; it should be of shape {list(shape)}")
        if tensor.kind not in DTYPES:
            raise CheckpointError(f"the tensor {name} has the type {tensor.kind[:20]}, which cannot be read")
        return tensor.values

    def vector(self, name: str, length: int) -> Floats:
        values = _floats(self.take(name, length))
        if not np.isfinite(values).all():
            raise CheckpointError(f"the tensor {name} holds a number that is not finite")
        return values

    def matrix(self, name: str, rows: int, columns: int, order: NDArray[np.int64] | None = None) -> StoredMatrix:
        """Return a matrix that stays in the file. order: the row of the file for each row of the matrix"""
        kind, tensor = self.unused[name].kind if name in self.unused else "", self.take(name, rows, columns)

        def read(wanted: Rows) -> Floats:
            return _floats(tensor[wanted if order is None else order[wanted]])

        return StoredMatrix((rows, columns), read, name, kind)


def _floats(values: NDArray[Any]) -> Floats:
    """Convert exactly to float32. A bfloat16 is the upper half of a float32."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def _checkpoint(config: dict[str, Any], tensors: _Tensors) -> Checkpoint:
    shape, tied = shape_of_config(config), is_tied(config)
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
    embedding = tensors.matrix(EMBEDDING, shape.vocabulary, dim)
    final_norm = tensors.vector("model.norm.weight", dim)
    classifier = None if tied and CLASSIFIER not in tensors.unused else tensors.matrix(CLASSIFIER, shape.vocabulary, dim)
    if tied and classifier is not None:
        if any((embedding.floats(rows) != classifier.floats(rows)).any() for rows in embedding.slices()):
            raise CheckpointError(f"its {CLASSIFIER} differs from {EMBEDDING}, though tie_word_embeddings says that they are the same")
        classifier = None
    unknown = [name for name in sorted(tensors.unused) if not name.endswith(NOT_WEIGHTS)]
    if unknown:
        raise CheckpointError(f"it has tensors that no plain LLaMA has, for example {unknown[0][:80]}")
    return Checkpoint(shape, embedding, layers, final_norm, classifier)


def _neighbours(heads: int, head_size: int) -> NDArray[np.int64]:
    """Return the order of rows in which pair j of each head, rows j and j + head_size/2, are neighbours."""
    within = np.arange(head_size).reshape(2, -1).T.reshape(-1)
    return (np.arange(heads)[:, None] * head_size + within).reshape(-1)
