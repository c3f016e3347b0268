"""Whether an image computes a LLaMA: whoever reads its weights as those of one asks this first.

The tape of another model may have the same ops in the same order, and yet let them read other buffers, or norm with several epsilons. So
the tape is built once more, from the weights and the fraction bits that its own ops name. It must come out the same, op by op; only
buffers may lie elsewhere. Besides, its RoPE table must hold rotations, and its matrices must be padded with zeros.

*Source*: spec §3.4 (padding, RoPE table) and §3.7 (The LLaMA tape).
"""

from bisect import bisect_left, bisect_right
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
from opml_min.model.errors import CheckpointError, ImageError
from opml_min.model.image.image import Image
from opml_min.model.image.llama import CLASSIFIER, EMBEDDING, FINAL_NORM, LlamaTensor, rope_table, tensors_of_llama
from opml_min.model.image.ops import BUFFERS, FLOAT, Buffer, Op, Opcode, buffers
from opml_min.model.image.weights import BLOCK_BYTES, F32, GROUP, dequantise, unpack
from opml_min.model.sources.checkpoint import Shape, check_shape
from opml_min.model.sources.rotary_base import are_rotations

PRODUCTS = {
    "wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip
"""The matrices of a layer in the order of the tape, and what GGUF calls them."""


def check_llama(image: Image) -> None:
    """Raise ImageError unless the image computes a LLaMA. It has passed the check for native code."""
    tensors = tensors_of_llama(image)
    tape = _tape(image, tensors)
    if len(tape) != len(image.ops):
        raise ImageError(f"{image.path} does not compute a LLaMA: its logits are computed in other parts")
    for index, (op, expected) in enumerate(zip(image.ops, tape, strict=True)):
        numbers = {name: value for name, value in expected.operands.items() if name not in BUFFERS}
        others = [name for name, value in numbers.items() if op.operands[name] != value]
        if others or op.condition != expected.condition:
            wrong = f"has another {others[0]}" if others else "is computed at other positions"
            raise ImageError(f"{image.path} does not compute a LLaMA: {op_name(image.header, index)} {wrong}")
    _check_buffers(image, tape)
    if not are_rotations(rope_table(image)):
        raise ImageError(f"{image.path} does not compute a LLaMA: its RoPE table does not turn by one angle from each position to the next")
    for tensor in tensors[1:]:  # of the embedding no op reads more than the columns
        if _is_padded_with_weights(image, tensor):
            raise ImageError(f"{image.path} does not compute a LLaMA: {tensor.name} has weights beyond its {tensor.columns} columns")


def _is_padded_with_weights(image: Image, tensor: LlamaTensor) -> bool:
    """Tell whether a matrix multiplies by what lies behind an activation, which no op writes but which need not be zero."""
    used = tensor.columns % GROUP
    if tensor.quantisation in (None, F32) or not used:
        return False
    blocks = image.view(tensor.address, tensor.size).reshape(-1, -(-tensor.columns // GROUP), BLOCK_BYTES[tensor.quantisation])
    last = dequantise(tensor.quantisation, unpack(blocks[:, -1], tensor.quantisation, tensor.rows, GROUP))
    return bool(last[:, used:].any())


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


def _sources(ops: list[Op]) -> Iterator[list[tuple[int, int, int]]]:
    """Yield for each op by which ops what it reads was written last: from which byte on, by which op, and which byte of its buffer."""
    last = _LastWrites()
    for index, op in enumerate(ops):
        written, read = _activations(op)
        yield [run for buffer in read for run in last.read(buffer)]
        for buffer in written:
            last.write(buffer, index)


class _LastWrites:
    """Which op wrote each byte of the state quarter last, in runs of bytes. However large the buffers are, there are few runs."""

    def __init__(self) -> None:
        self._starts = [0]
        self._writers = [(-1, 0)]  # the op, and where its buffer begins. No op has written yet

    def write(self, buffer: Buffer, op: int) -> None:
        at, length = buffer
        first, end = self._cut(at), self._cut(at + length)
        self._starts[first:end], self._writers[first:end] = [at], [(op, at)]

    def read(self, buffer: Buffer) -> Iterator[tuple[int, int, int]]:
        """Yield the runs in a buffer: where they begin in it, the op, and where they began in the buffer that it wrote."""
        at, length = buffer
        for i in range(bisect_right(self._starts, at) - 1, bisect_left(self._starts, at + length)):
            start, (op, written_at) = max(self._starts[i], at), self._writers[i]
            yield start - at, op, start - written_at

    def _cut(self, address: int) -> int:
        """Let a run begin at an address, and return its index."""
        index = bisect_left(self._starts, address)
        if index == len(self._starts) or self._starts[index] != address:
            self._starts.insert(index, address)
            self._writers.insert(index, self._writers[index - 1])
        return index


def _tape(image: Image, tensors: list[LlamaTensor]) -> list[Op]:
    """Return the tape of a LLaMA with the tensors and the fraction bits of an image."""
    header = image.header
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
    try:
        check_shape(shape)
    except CheckpointError as error:
        raise ImageError(f"{image.path} does not hold a LLaMA: {error}") from error
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
