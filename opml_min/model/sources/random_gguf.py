"""GGUF files of a known shape with random weights, to measure what does not depend on the weights: speed, memory, disputes.

One shape, quantisation and seed always give the same bytes. Weights are uniform, and scaled so that a product is about as large as its
input; the scales of two blocks differ by a factor of up to 3. The vocabulary holds all bytes and as many short words as it has room for.

*Source*: ggml's `docs/gguf.md`, and `ggml-common.h` for the blocks.
"""

import string
from collections.abc import Iterator
from itertools import count, islice, product
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from numpy.typing import NDArray

from opml_min.model.files.atomic import whole
from opml_min.model.image.weights import GROUP, Q4_0, Q8_0
from opml_min.model.sources.checkpoint import Shape
from opml_min.model.sources.formats.ggml_blocks import BLOCK_FORMATS
from opml_min.model.sources.gguf import layer_sizes
from opml_min.model.sources.tokenizers.gguf import BYTE, CONTROL, NORMAL

GGML_TYPES = {Q8_0: GGMLQuantizationType.Q8_0, Q4_0: GGMLQuantizationType.Q4_0}
DEVIATIONS = {Q8_0: (256**2 / 12) ** 0.5, Q4_0: (16**2 / 12) ** 0.5}  # of the integers in a block
UNKNOWN, BOS, EOS = 0, 1, 2  # tokens
UNKNOWN_TYPE = 2


def write_random_gguf(path: Path, shape: Shape, quantisation: int, seed: int) -> None:
    """Write the file, with one tensor in memory at a time."""
    sizes: dict[str, tuple[int, ...]] = {"token_embd": (shape.vocabulary, shape.dim)}
    for index in range(shape.layers):
        sizes |= {f"blk.{index}.{name}": size for name, size in layer_sizes(shape).items()}
    sizes |= {"output_norm": (shape.dim,), "output": (shape.vocabulary, shape.dim)}
    with whole(path) as temporary:
        writer = GGUFWriter(temporary, "llama")
        _add_metadata(writer, shape)
        for name, size in sizes.items():
            if len(size) == 1:
                writer.add_tensor_info(f"{name}.weight", size, np.dtype(np.float32), 4 * size[0])
            else:
                stored = (size[0], size[1] // GROUP * BLOCK_FORMATS[GGML_TYPES[quantisation]].block_bytes)
                writer.add_tensor_info(f"{name}.weight", stored, np.dtype(np.uint8), stored[0] * stored[1], GGML_TYPES[quantisation])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for number, (name, size) in enumerate(sizes.items()):
            source = np.random.SFC64([seed, number])
            length = 1.0 if name == "token_embd" else size[-1] ** 0.5
            writer.write_tensor_data(_norm(source, size[0]) if len(size) == 1 else _matrix(source, quantisation, size[0], size[1], length))
        writer.close()


def _norm(source: np.random.SFC64, length: int) -> NDArray[np.float32]:
    """Return weights between 0.5 and 1.5."""
    return (source.random_raw(length) / 2.0**64 + 0.5).astype(np.float32)


def _matrix(source: np.random.SFC64, quantisation: int, rows: int, columns: int, length: float) -> NDArray[np.uint8]:
    """Return blocks whose weights have a standard deviation of about 1/length: (rows, bytes)."""
    block_bytes = BLOCK_FORMATS[GGML_TYPES[quantisation]].block_bytes
    raw = source.random_raw(-(-rows * (columns // GROUP) * block_bytes // 8))
    blocks = raw.view(np.uint8)[: rows * (columns // GROUP) * block_bytes].reshape(-1, block_bytes)
    spread = np.ascontiguousarray(blocks[:, :2]).view(np.uint16)[:, 0] / 2.0**16 + 0.5
    blocks[:, :2] = (spread / (DEVIATIONS[quantisation] * length)).astype("<f2").view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def _add_metadata(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name("random weights")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden_dim)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(shape.theta)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(shape.vocabulary)
    tokens = list(islice(_tokens(), shape.vocabulary))
    types = [UNKNOWN_TYPE, CONTROL, CONTROL, *[BYTE] * 256]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(len(tokens))])
    writer.add_token_types(types + [NORMAL] * (len(tokens) - len(types)))
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)


def _tokens() -> Iterator[str]:
    """Yield tokens as LLaMA's vocabulary writes them; ▁ is a space."""
    yield from ("<unk>", "<s>", "</s>")
    yield from (f"<0x{byte:02X}>" for byte in range(256))
    yield "▁"
    for length in count(1):
        for letters in product(string.ascii_lowercase, repeat=length):
            yield "".join(letters)
        for letters in product(string.ascii_lowercase, repeat=length):
            yield "▁" + "".join(letters)
