"""An image as a GGUF file, which llama.cpp loads.

Matrices in Q8_0 keep their bits. GGUF holds the weights of norms and epsilon as binary32, to which they are rounded, and a base of the
rotation instead of its table. The two rows of a rotary pair are neighbours in both, so no row moves.

*Source*: ggml's `docs/gguf.md`; llama.cpp's `convert_hf_to_gguf.py` for names and metadata.
"""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray

from opml_min.model.errors import CheckpointError
from opml_min.model.files.atomic import whole
from opml_min.model.image.image import Image
from opml_min.model.image.llama import CLASSIFIER, EMBEDDING, LlamaTensor, is_tied, rope_table, tensors_of_llama
from opml_min.model.image.ops import FLOAT, Opcode, align
from opml_min.model.image.weights import GROUP, Q8_0, Groups, dequantise, unpack
from opml_min.model.sources.formats.ggml_blocks import BLOCK_FORMATS
from opml_min.model.sources.from_image import powers_of_two
from opml_min.model.sources.gguf_metadata import ARCHITECTURE, QUANTISATION_VERSION
from opml_min.model.sources.rotary_base import rotation_of
from opml_min.model.sources.scaling import scaled
from opml_min.model.sources.tokenizers.text import Text
from opml_min.model.sources.tokenizers.to_gguf import write_tokenizer

FILE_TYPES = {"q8_0": LlamaFileType.MOSTLY_Q8_0, "f32": LlamaFileType.ALL_F32}
FREQUENCY_DIVISORS = "rope_freqs.weight"


def write_gguf(path: Path, image: Image, text: Text, name: str, kind: str) -> tuple[str, ...]:
    """Write the LLaMA of an image that has passed the check for native code. Return what a person should know of the file.

    kind: of the matrices, one of FILE_TYPES"""
    if image.header.arithmetic == FLOAT:
        raise CheckpointError(f"{image.path} is in float arithmetic; only images in fixed point are exported")
    tensors, powers = tensors_of_llama(image), powers_of_two(image)
    if is_tied(tensors) and powers.get(CLASSIFIER) == powers.get(EMBEDDING):
        del tensors[-1]  # llama.cpp then takes the embedding
    if kind == "q8_0":
        for tensor in tensors:
            _require_blocks(image, tensor)
    rotation = rotation_of(rope_table(image))
    with whole(path) as temporary:
        writer = GGUFWriter(temporary, ARCHITECTURE)
        _add_metadata(writer, image, name, kind, rotation.base)
        write_tokenizer(writer, text, image.header.vocabulary)
        if rotation.divisors is not None:
            writer.add_tensor_info(FREQUENCY_DIVISORS, rotation.divisors.shape, np.dtype(np.float32), rotation.divisors.nbytes)
        for tensor in tensors:
            _add_tensor(writer, tensor, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if rotation.divisors is not None:
            writer.write_tensor_data(rotation.divisors)
        for tensor in tensors:
            writer.write_tensor_data(_data(image, tensor, kind, powers.get(tensor.name, 0)))
        writer.close()
    rotated = f"its rotary table has no base that GGUF holds exactly, so cosines and sines differ by up to {rotation.error:.1g}"
    return (rotated,) if rotation.error else ()


def _require_blocks(image: Image, tensor: LlamaTensor) -> None:
    if tensor.is_matrix and tensor.quantisation != Q8_0:
        raise CheckpointError(f"{image.path}: {tensor.name} is not in Q8_0; --type f32 exports its weights as floats")
    if tensor.is_matrix and tensor.columns % GROUP:
        problem = f"{tensor.name} has {tensor.columns} columns, and GGUF's Q8_0 needs a multiple of {GROUP}"
        raise CheckpointError(f"{image.path}: {problem}; --type f32 has no such limit")


def _add_metadata(writer: GGUFWriter, image: Image, name: str, kind: str, base: float) -> None:
    header = image.header
    norm = next(op.operands for op in image.ops if op.opcode == Opcode.NORM)
    writer.add_name(name)
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_quantization_version(QUANTISATION_VERSION)
    writer.add_context_length(header.context)
    writer.add_embedding_length(header.dim)
    writer.add_block_count(header.layers)
    writer.add_feed_forward_length(header.hidden_dim)
    writer.add_head_count(header.heads)
    writer.add_head_count_kv(header.kv_heads)
    writer.add_key_length(header.head_size)
    writer.add_value_length(header.head_size)
    writer.add_rope_dimension_count(header.head_size)
    writer.add_rope_freq_base(base)
    writer.add_layer_norm_rms_eps(norm["eps_q48"] / 2.0**48)
    writer.add_vocab_size(header.vocabulary)


def _add_tensor(writer: GGUFWriter, tensor: LlamaTensor, kind: str) -> None:
    if tensor.is_matrix and kind == "q8_0":
        stored = GGMLQuantizationType.Q8_0
        shape = (tensor.rows, tensor.columns // GROUP * BLOCK_FORMATS[stored].block_bytes)
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), shape[0] * shape[1], stored)
        return
    shape = (tensor.rows, tensor.columns) if tensor.is_matrix else (tensor.columns,)  # type: ignore[assignment]
    writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), 4 * tensor.rows * tensor.columns)


def _data(image: Image, tensor: LlamaTensor, kind: str, places: int) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return the bytes of a tensor times 2^places."""
    data = image.view(tensor.address, tensor.size)
    if tensor.quantisation is None:
        return (data.view(np.int32) / 2.0**24).astype(np.float32)
    groups = unpack(data, tensor.quantisation, tensor.rows, align(tensor.columns))
    if kind == "q8_0":
        return _blocks(groups, tensor.name, places)
    floats: NDArray[np.float32] = scaled(dequantise(tensor.quantisation, groups)[:, : tensor.columns], places)
    return np.ascontiguousarray(floats)


def _blocks(groups: Groups, name: str, places: int) -> NDArray[np.uint8]:
    """Return GGML's blocks, a half and 32 integers each: (rows, bytes)."""
    scales = groups.scales.view(np.float16)
    with np.errstate(over="ignore"):  # numpy would warn on stderr; what is infinite then differs
        moved = (scales.astype(np.float64) * 2.0**places).astype(np.float16)
    if not (moved.astype(np.float64) == scales.astype(np.float64) * 2.0**places).all():
        raise CheckpointError(f"{name} is stored times a power of two that its scales do not hold; --type f32 has no such limit")
    halfs = np.ascontiguousarray(moved).view(np.uint8).reshape(*moved.shape, 2)
    return np.concatenate([halfs, groups.weights.view(np.uint8)], axis=2).reshape(len(halfs), -1)
