"""Whether an image computes a LLaMA: whoever reads its weights as those of one asks this first.

The tape of another model may have the same ops in the same order, and yet let them read other buffers, or norm with several epsilons. So
the tape is built once more, from the weights and the fraction bits that its own ops name. It must come out the same, op by op; only
buffers may lie elsewhere.

*Source*: spec §3.7 (The LLaMA tape).
"""

from collections.abc import Iterator

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
from opml_min.model.image.ops import ALIGNMENT, BUFFERS, FLOAT, Buffer, Op, Opcode, buffers
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
        numbers = {name: value for name, value in expected.operands.items() if name not in BUFFERS}
        others = [name for name, value in numbers.items() if op.operands[name] != value]
        if others or op.condition != expected.condition:
            wrong = f"has another {others[0]}" if others else "is computed at other positions"
            raise ImageError(f"{image.path} does not compute a LLaMA: {op_name(image.header, index)} {wrong}")
    _check_buffers(image, tape)


def _check_buffers(image: Image, tape: list[Op]) -> None:
    """Require that each op reads what the same op of the tape reads, wherever it lies, and that each layer has a KV cache of its own."""
    found, expected = _sources(image.ops), _sources(tape)
    for index, (here, there) in enumerate(zip(found, expected, strict=True)):
        if here != there:
            raise ImageError(f"{image.path} does not compute a LLaMA: {op_name(image.header, index)} reads another buffer")
    caches = [buffer for op in image.ops if op.opcode.kind == Opcode.CACHE for buffer in buffers(op)[0]]
    read = [buffer for op in image.ops if op.opcode.kind == Opcode.ATTENTION for buffer in buffers(op)[1][1:]]  # behind its queries
    others = {buffer for op in image.ops for buffer in _activations(op)[0]}
    end, end_of_caches, is_alone = 0, 0, True
    for at, length, is_cache in sorted([*((*one, True) for one in caches), *((*one, False) for one in others)]):
        is_alone &= at >= (end if is_cache else end_of_caches)
        end, end_of_caches = max(end, at + length), max(end_of_caches, at + length if is_cache else 0)
    if read != caches or not is_alone:
        raise ImageError(f"{image.path} does not compute a LLaMA: a layer's KV cache is not its own")


def _activations(op: Op) -> tuple[list[Buffer], list[Buffer]]:
    """Return the buffers that an op writes, and those that it reads, without KV caches. What changes in place is both."""
    written, read, weights = buffers(op)
    if op.opcode.kind == Opcode.CACHE:
        return [], read
    if op.opcode.kind == Opcode.ATTENTION:
        return written, read[:1]
    if op.opcode.kind in (Opcode.ROPE, Opcode.ADD):
        return written, [*written, *read, *weights]
    return written, read


def _sources(ops: list[Op]) -> Iterator[list[tuple[int, int] | None]]:
    """Yield for each op where what it reads was written last, leaf by leaf: by which op, and which leaf of its buffer."""
    last: dict[int, tuple[int, int]] = {}
    for index, op in enumerate(ops):
        written, read = _activations(op)
        yield [last.get(leaf) for buffer in read for leaf in _leaves(buffer)]
        for buffer in written:
            last.update((leaf, (index, place)) for place, leaf in enumerate(_leaves(buffer)))


def _leaves(buffer: Buffer) -> range:
    """Return the leaves that a buffer lies in, by number."""
    at, length = buffer
    return range(at // ALIGNMENT, -(-(at + length) // ALIGNMENT))


def _tape(image: Image) -> list[Op]:
    """Return the tape of a LLaMA with the tensors and the fraction bits of an image."""
    header = image.header
    tensors = tensors_of_llama(image)
    reads = {tensor.name: image.ops[tensor.ops[0]].operands for tensor in tensors}
    rows = {tensor.name: tensor.rows for tensor in tensors}

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
    return llama_tape(shape, weights, header.arithmetic, fractions)


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
