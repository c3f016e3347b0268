"""The checkpoint that an image stands for: its weights as floats, found by the order of the LLaMA tape.

Where the tape's fraction bits are not the usual ones, a matrix or a vector is stored times a power of two that a later op makes up for.
Here the next matrix gets that power, so the checkpoint computes the same.

*Source*: spec §3.4 and §3.7 (The LLaMA tape).
"""

from math import log2, sqrt

import numpy as np
from attrs import frozen

from opml_min.model.errors import CheckpointError, ImageError
from opml_min.model.image.image import Image
from opml_min.model.image.llama import CLASSIFIER, EMBEDDING, rope_table
from opml_min.model.image.ops import FLOAT, Opcode, align
from opml_min.model.image.weights import F32, dequantise, matrix_bytes, unpack, unpack_f32
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape, check_shape
from opml_min.model.sources.matrices import Floats
from opml_min.model.sources.rotary_base import frequencies_of
from opml_min.model.sources.scaling import scaled

VECTOR_FRAC, LOGIT_FRAC = 14, 12  # Source: spec §3.4


def checkpoint_of_image(image: Image) -> Checkpoint:
    """Return the floats that an image's weights stand for. The image has passed the check for native code."""
    try:
        return _checkpoint(image)
    except (ValueError, IndexError, KeyError, CheckpointError) as error:
        raise ImageError(f"{image.path} does not hold a LLaMA of the shape that its header says") from error


def _checkpoint(image: Image) -> Checkpoint:
    header = image.header
    ops = image.ops
    matmuls, norms, ropes, attentions = (
        [op.operands for op in ops if op.opcode.kind == kind] for kind in (Opcode.MATMUL, Opcode.NORM, Opcode.ROPE, Opcode.ATTENTION)
    )
    if ops[0].opcode.kind != Opcode.EMBED or len(norms) != 2 * header.layers + 1 or len(ropes) != header.layers:
        raise ImageError(f"{image.path} does not hold a LLaMA")
    shape, fixed = _shape(image, norms[0]), header.arithmetic != FLOAT
    check_shape(shape)

    def matrix(o: dict[str, int], rows: int, columns: int, places: int = 0) -> Floats:
        if o["columns"] != (columns if header.arithmetic == FLOAT else align(columns)):
            raise ValueError(f"a matrix has {o['columns']} columns")
        data = image.view(o["matrix"], matrix_bytes(o.get("quantisation", F32), rows, o["columns"]))
        if header.arithmetic == FLOAT:
            return unpack_f32(data, rows, columns)
        return scaled(dequantise(o["quantisation"], unpack(data, o["quantisation"], rows, o["columns"]))[:, :columns], places)

    def norm(o: dict[str, int]) -> Floats:
        data = image.view(o["weights"], 4 * header.dim)
        if header.arithmetic == FLOAT:
            return data.view(np.float32)
        return (data.view(np.int32) / 2.0**24).astype(np.float32)

    def layer(index: int) -> Layer:
        wq, wk, wv, wo, gate, up, down = matmuls[7 * index : 7 * index + 7]
        places = _places(matmuls[7 * index : 7 * index + 7], attentions[index], norms[0]["r"]) if fixed else _Places()
        dim, attention_dim = header.dim, header.heads * header.head_size
        attention_norm, ffn_norm = norm(norms[2 * index]), norm(norms[2 * index + 1])
        q, k, v = matrix(wq, wq["rows"], dim, places.wq), matrix(wk, wk["rows"], dim), matrix(wv, wv["rows"], dim)
        o = matrix(wo, dim, attention_dim, places.wo)
        gates, ups = matrix(gate, header.hidden_dim, dim, places.gate), matrix(up, header.hidden_dim, dim)
        return Layer(attention_norm, q, k, v, o, ffn_norm, gates, ups, matrix(down, dim, header.hidden_dim, places.down))

    embed, classifier = ops[0].operands, matmuls[7 * header.layers]
    return Checkpoint(
        shape,
        matrix(embed, header.vocabulary, header.dim, embed["r"] - norms[0]["r"] if fixed else 0),
        [layer(index) for index in range(header.layers)],
        norm(norms[-1]),
        matrix(classifier, header.vocabulary, header.dim, classifier["out_frac"] - LOGIT_FRAC if fixed else 0),
    )


def powers_of_two(image: Image) -> dict[str, int]:
    """Return the powers of two that a LLaMA's matrices are multiplied by, by the tensors' names; those that are 0 may be missing."""
    ops, layers = image.ops, image.header.layers
    matmuls, attentions = ([op.operands for op in ops if op.opcode.kind == kind] for kind in (Opcode.MATMUL, Opcode.ATTENTION))
    residual = next(op.operands["r"] for op in ops if op.opcode == Opcode.NORM)
    found = {EMBEDDING: ops[0].operands["r"] - residual, CLASSIFIER: matmuls[7 * layers]["out_frac"] - LOGIT_FRAC}
    for index, attention in enumerate(attentions):
        places = _places(matmuls[7 * index : 7 * index + 7], attention, residual)
        named = {"attn_q": places.wq, "attn_output": places.wo, "ffn_gate": places.gate, "ffn_down": places.down}
        found |= {f"blk.{index}.{name}.weight": power for name, power in named.items()}
    return {name: power for name, power in found.items() if power}


@frozen
class _Places:
    """The powers of two that a layer's matrices are multiplied by."""

    wq: int = 0
    wo: int = 0
    gate: int = 0
    down: int = 0


def _places(matmuls: list[dict[str, int]], attention: dict[str, int], residual: int) -> _Places:
    """Return what makes up for fraction bits that are not the usual ones. residual: those of the residual stream"""
    q, k, v, o, gate, up, down = (operands["out_frac"] for operands in matmuls)
    scale = round(log2(attention["scale_q30"] / 2.0**30 * sqrt(attention["head_size"]) / log2(np.e)))
    return _Places(
        q + k - 2 * VECTOR_FRAC + scale, v - VECTOR_FRAC + o - residual, gate - VECTOR_FRAC, up - VECTOR_FRAC + down - residual
    )


def _shape(image: Image, norm: dict[str, int]) -> Shape:
    """Return the shape. Epsilon comes from the tape, the rotary frequencies from their table."""
    h = image.header
    divisors = tuple((1 / np.maximum(frequencies_of(rope_table(image)), 1e-30)).tolist())
    epsilon = float(np.uint32(norm["eps_bits"]).view(np.float32)) if h.arithmetic == FLOAT else norm["eps_q48"] / 2.0**48
    sizes = (h.dim, h.hidden_dim, h.layers, h.heads, h.kv_heads, h.vocabulary, h.context, h.head_size)
    return Shape(*sizes, epsilon, theta=1.0, frequency_divisors=divisors)
