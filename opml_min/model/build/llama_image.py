"""Whether an image computes a LLaMA: whoever reads its weights as those of one asks this first.

The tape of another model may have the same ops in the same order, and yet let them read other buffers, or norm with several epsilons. So
the tape is built once more, from the places and the fraction bits that its own ops name. It must come out the same, op by op.

*Source*: spec §3.7 (The LLaMA tape).
"""

import numpy as np

from opml_min.model.build.tape import (
    VECTOR_FRAC,
    Fractions,
    LayerFractions,
    LayerWeights,
    Matrix,
    ModelWeights,
    llama_tape,
    most_score_bits,
    op_name,
    scale_q30,
)
from opml_min.model.errors import ImageError
from opml_min.model.image.image import Image
from opml_min.model.image.llama import CLASSIFIER, EMBEDDING, FINAL_NORM, tensors_of_llama
from opml_min.model.image.ops import FLOAT, Op, Opcode
from opml_min.model.image.weights import F32
from opml_min.model.sources.checkpoint import Shape

PRODUCTS = {
    "wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip
"""The matrices of a layer in the order of the tape, and what GGUF calls them."""


def check_llama(image: Image) -> None:
    """Raise ImageError unless the image computes a LLaMA. It has passed the check for native code."""
    tape = _tape(image)
    if len(tape) != len(image.ops):
        raise ImageError(f"{image.path} does not compute a LLaMA: its logits are computed in other parts")
    for index, (op, expected) in enumerate(zip(image.ops, tape, strict=True)):
        if op != expected:
            names = [name for name, value in expected.operands.items() if op.operands[name] != value]
            wrong = f"has another {names[0]}" if names else "is computed at other positions"
            raise ImageError(f"{image.path} does not compute a LLaMA: {op_name(image.header, index)} {wrong}")


def _tape(image: Image) -> list[Op]:
    """Return the tape of a LLaMA with the tensors, the fraction bits and the first buffer of an image."""
    header = image.header
    reads = {tensor.name: image.ops[tensor.ops[0]].operands for tensor in tensors_of_llama(image)}
    rows = {tensor.name: tensor.rows for tensor in tensors_of_llama(image)}

    def matrix(name: str) -> Matrix:
        return Matrix(reads[name]["matrix"], reads[name].get("quantisation", F32), rows[name], reads[name]["columns"])

    def layer(index: int) -> LayerWeights:
        matrices = {field: matrix(f"blk.{index}.{name}.weight") for field, name in PRODUCTS.items()}
        attention_norm, ffn_norm = (reads[f"blk.{index}.{name}.weight"]["weights"] for name in ("attn_norm", "ffn_norm"))
        return LayerWeights(attention_norm=attention_norm, ffn_norm=ffn_norm, **matrices)

    sizes = header.dim, header.hidden_dim, header.layers, header.heads, header.kv_heads, header.vocabulary, header.context, header.head_size
    rope = next(op.operands for op in image.ops if op.opcode.kind == Opcode.ROPE)
    layers = [layer(index) for index in range(header.layers)]
    weights = ModelWeights(matrix(EMBEDDING), rope["table"], layers, reads[FINAL_NORM]["weights"], matrix(CLASSIFIER))
    shape = Shape(*sizes, epsilon=_epsilon(image, reads[FINAL_NORM]))
    fractions = None if header.arithmetic == FLOAT else _fractions(image, reads)
    return llama_tape(shape, weights, header.arithmetic, fractions, buffers_from=image.ops[0].operands["out"])


def _epsilon(image: Image, norm: dict[str, int]) -> float:
    """Return what a norm adds; if that is no number, 0, which no tape with it has."""
    if image.header.arithmetic != FLOAT:
        return norm["eps_q48"] / 2.0**48
    epsilon = float(np.uint32(norm["eps_bits"]).view(np.float32))
    return epsilon if np.isfinite(epsilon) else 0.0


def _fractions(image: Image, reads: dict[str, dict[str, int]]) -> Fractions:
    """Return the fraction bits that the ops name."""
    head_size, attentions = image.header.head_size, [op.operands for op in image.ops if op.opcode == Opcode.ATTENTION]
    scores = {scale_q30(head_size, bits): bits for bits in range(most_score_bits(head_size) + 1)}
    layers = []
    for index, attention in enumerate(attentions):
        products = {name: reads[f"blk.{index}.{tensor}.weight"]["out_frac"] for name, tensor in PRODUCTS.items()}
        layers.append(LayerFractions(**products, scores=scores.get(attention["scale_q30"], 2 * VECTOR_FRAC)))
    return Fractions(reads[EMBEDDING]["r"], reads[FINAL_NORM]["r"], reads[CLASSIFIER]["out_frac"], tuple(layers))
