"""The checkpoints of llama2.c: seven i32, then float32 tensors.

The seven are dim, hidden_dim, layers, heads, kv_heads, ± vocabulary and context. A negative vocabulary means that the classifier has
weights of its own.

*Source*: github.com/karpathy/llama2.c, `run.c` (`memory_map_weights`) and `export.py` (`legacy_export`).
"""

from pathlib import Path

import numpy as np

from opml_min.model.errors import CheckpointError
from opml_min.model.image.header import TOKENIZER_LLAMA2C
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape, check_shape
from opml_min.model.sources.matrices import Floats
from opml_min.model.sources.tokenizers.llama2c import BOS, EOS
from opml_min.model.sources.tokenizers.text import Text

HEADER_BYTES = 28
VERSIONED_MAGIC = b"24ka"  # "ak42", in llama2.c's newer formats
EPSILON, THETA = 1e-5, 10000.0  # fixed in run.c


def llama2c_text(tokenizer: bytes) -> Text:
    return Text(tokenizer, TOKENIZER_LLAMA2C, BOS, (BOS, EOS))


def read_llama2c(path: Path) -> Checkpoint:
    """Read the checkpoint in a file of llama2.c's first format, version 0."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if head[:4] == VERSIONED_MAGIC:
        raise CheckpointError(f"{path} is in a newer llama2.c format; export it as version 0")
    if size < HEADER_BYTES:
        raise CheckpointError(f"{path} is truncated: {size} bytes hold no header")
    dim, hidden_dim, layer_count, heads, kv_heads, vocabulary, context = np.frombuffer(head, "<i4").tolist()
    own_classifier, vocabulary = vocabulary < 0, abs(vocabulary)
    if heads < 1 or dim % heads:
        raise CheckpointError(f"{path}: impossible shape: a dim of {dim} cannot be divided among {heads} heads")
    shape = Shape(dim, hidden_dim, layer_count, heads, kv_heads, vocabulary, context, dim // heads, EPSILON, THETA)
    try:
        check_shape(shape)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error

    kv_dim = kv_heads * shape.head_size
    sizes = [
        ("embedding", (vocabulary, dim)),
        ("attention_norm", (layer_count, dim)),
        ("wq", (layer_count, dim, dim)),
        ("wk", (layer_count, kv_dim, dim)),
        ("wv", (layer_count, kv_dim, dim)),
        ("wo", (layer_count, dim, dim)),
        ("ffn_norm", (layer_count, dim)),
        ("gate", (layer_count, hidden_dim, dim)),
        ("down", (layer_count, dim, hidden_dim)),
        ("up", (layer_count, hidden_dim, dim)),
        ("final_norm", (dim,)),
        ("unused_rope_tables", (2, context, shape.head_size // 2)),
        ("classifier", (vocabulary, dim) if own_classifier else (0,)),
    ]
    counts = [int(np.prod(dimensions, dtype=object)) for _, dimensions in sizes]
    expected = HEADER_BYTES + 4 * sum(counts)
    if size != expected:
        problem = "is truncated or corrupted" if size < expected else "is corrupted or in another format"
        raise CheckpointError(f"{path} {problem}: its header calls for {expected} bytes, it has {size}")
    floats = np.memmap(path, dtype="<f4", mode="r", offset=HEADER_BYTES)
    tensors: dict[str, Floats] = {}
    for (name, dimensions), end, count in zip(sizes, np.cumsum(counts).tolist(), counts, strict=True):
        tensor = floats[end - count : end].reshape(dimensions)
        if name != "unused_rope_tables" and not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds a number that is not finite")
        tensors[name] = tensor
    layers = [Layer(*(tensors[name][i] for name in Layer._fields)) for i in range(layer_count)]
    return Checkpoint(shape, tensors["embedding"], layers, tensors["final_norm"], tensors["classifier"] if own_classifier else None)
