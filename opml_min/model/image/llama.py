"""The tensors of a LLaMA, found by the order of its tape: which ops read each of them, and what GGUF calls it.

*Source*: spec §3.7 (The LLaMA tape); llama.cpp's `convert_hf_to_gguf.py` for the names.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.errors import ImageError
from opml_min.model.image.image import Image
from opml_min.model.image.ops import ALIGNMENT, FLOAT, Op, Opcode, align
from opml_min.model.image.weights import F32, matrix_bytes

EMBEDDING, CLASSIFIER, FINAL_NORM = "token_embd.weight", "output.weight", "output_norm.weight"
LAYER = (
    (Opcode.NORM, "attn_norm"), (Opcode.MATMUL, "attn_q"), (Opcode.MATMUL, "attn_k"), (Opcode.MATMUL, "attn_v"),
    (Opcode.ROPE, ""), (Opcode.CACHE, ""), (Opcode.ATTENTION, ""), (Opcode.MATMUL, "attn_output"), (Opcode.ADD, ""),
    (Opcode.NORM, "ffn_norm"), (Opcode.MATMUL, "ffn_gate"), (Opcode.MATMUL, "ffn_up"), (Opcode.SWIGLU, ""), (Opcode.MATMUL, "ffn_down"),
    (Opcode.ADD, ""),
)  # fmt: skip
"""The ops of a layer, and the names of the tensors that they read."""
ADDRESS = {Opcode.EMBED: "matrix", Opcode.MATMUL: "matrix", Opcode.NORM: "weights"}  # the operand that says where a tensor lies


@frozen
class LlamaTensor:
    """A matrix, or the weights of a NORM, which count as one row."""

    name: str
    ops: tuple[int, ...]  # that read it, by their index; each of several computes some rows of the classifier
    address: int
    rows: int
    columns: int
    quantisation: int | None  # of a matrix

    @property
    def is_matrix(self) -> bool:
        return self.quantisation is not None

    @property
    def size(self) -> int:
        """Return its bytes in memory."""
        if self.quantisation is None:
            return 4 * self.columns
        return matrix_bytes(self.quantisation, self.rows, self.columns if self.quantisation == F32 else align(self.columns))


def is_tied(tensors: Sequence[LlamaTensor]) -> bool:
    """Tell whether the classifier is the embedding. Bytes that are read in two quantisations are two matrices."""
    first, last = tensors[0], tensors[-1]
    return (first.address, first.quantisation) == (last.address, last.quantisation)


def rope_table(image: Image) -> NDArray[Any]:
    """Return the table of an image's first ROPE, in Q30 or floats: (context, pairs, 2)."""
    rope, header = next(op.operands for op in image.ops if op.opcode.kind == Opcode.ROPE), image.header
    table = image.view(rope["table"], 4 * header.context * header.head_size)
    return table.view(np.float32 if header.arithmetic == FLOAT else np.int32).reshape(header.context, -1, 2)


def tensors_of_llama(image: Image) -> list[LlamaTensor]:
    """Return the tensors in the order of the tape; the last one is the classifier, which may be the embedding.

    ImageError is raised for a tape of another order."""
    try:
        return list(_tensors(image))
    except (IndexError, KeyError, ValueError) as error:
        raise ImageError(f"{image.path} does not hold a LLaMA of the shape that its header says") from error


def _tensors(image: Image) -> Iterator[LlamaTensor]:
    header, ops = image.header, image.ops
    width, kv_width = header.heads * header.head_size, header.kv_heads * header.head_size
    dim, hidden_dim = header.dim, header.hidden_dim
    sizes = {"attn_q": (width, dim), "attn_k": (kv_width, dim), "attn_v": (kv_width, dim), "attn_output": (dim, width)}
    sizes |= {"ffn_gate": (hidden_dim, dim), "ffn_up": (hidden_dim, dim), "ffn_down": (dim, hidden_dim)}
    if dim < 1 or header.layers < 1:
        raise ValueError("the header says nothing about a LLaMA")
    yield _tensor(ops, EMBEDDING, (0,), Opcode.EMBED, header.vocabulary, dim)
    index = 1
    for layer in range(header.layers):
        for kind, name in LAYER:
            if name:
                yield _tensor(ops, f"blk.{layer}.{name}.weight", (index,), kind, *sizes.get(name, (1, dim)))
            elif ops[index].opcode.kind != kind:
                raise ValueError(f"op {index} is no {kind.name}")
            index += 1
    yield _tensor(ops, FINAL_NORM, (index,), Opcode.NORM, 1, dim)
    parts = tuple(range(index + 1, len(ops) - 1))
    if not parts or ops[-1].opcode.kind != Opcode.SAMPLE:
        raise ValueError("it does not end with logits and SAMPLE")
    yield _tensor(ops, CLASSIFIER, parts, Opcode.MATMUL, header.vocabulary, dim)


def _tensor(ops: Sequence[Op], name: str, indices: tuple[int, ...], kind: Opcode, rows: int, columns: int) -> LlamaTensor:
    """Return the tensor that these ops read, if they are of this kind and compute all its rows."""
    first = ops[indices[0]]
    is_matrix, is_float = kind != Opcode.NORM, first.opcode.arithmetic == FLOAT
    quantisation = first.operands.get("quantisation", F32) if is_matrix else None
    tensor = LlamaTensor(name, indices, first.operands[ADDRESS[first.opcode.kind]], rows, columns, quantisation)
    done = 0
    for index in indices:
        op = ops[index]
        stored = columns if is_float or not is_matrix else align(columns, ALIGNMENT)
        is_at = op.operands[ADDRESS[kind]] == tensor.address + (matrix_bytes(quantisation, done, stored) if quantisation is not None else 0)
        if op.opcode.kind != kind or not is_at or op.operands["columns" if is_matrix else "length"] != stored:
            raise ValueError(f"op {index} does not read {name}")
        if op.operands.get("quantisation", F32 if is_matrix else None) != quantisation:
            raise ValueError(f"op {index} reads {name} in another quantisation")
        done += op.operands.get("rows", rows)
    if done != rows:
        raise ValueError(f"{name} has {done} rows")
    return tensor
