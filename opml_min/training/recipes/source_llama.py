"""The LLaMA that a training begins with, read out of an image in fixed point.

A half has 24 fraction bits, so whatever a block stands for is exact with as many.

*Source*: spec §3.4 and §3.7 (The LLaMA tape).
"""

from collections.abc import Iterator
from math import e, log2, sqrt

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.build.llama_image import check_llama
from opml_min.model.errors import ImageError
from opml_min.model.image.image import Image
from opml_min.model.image.llama import CLASSIFIER, EMBEDDING, FINAL_NORM, LlamaTensor, is_tied, tensors_of_llama
from opml_min.model.image.ops import FIXED, Opcode, align
from opml_min.model.image.segments import Bytes, Piece, Streamed
from opml_min.model.image.weights import Q4_0, TILE_ROWS, matrix_bytes, unpack
from opml_min.model.native.check import check
from opml_min.training.recipes.batch import LOGIT_FRACTION_BITS, VECTOR_FRACTION_BITS
from opml_min.training.recipes.llama_shape import LlamaShape

EXACT_FRACTION_BITS = 24
WEIGHTS_AT_ONCE = 1 << 22
LARGEST = (1 << 31) - 1


@frozen
class SourceLlama:
    """The shape of a source model, its tensors by name, and where its image has the RoPE table."""

    image: Image
    shape: LlamaShape
    tensors: dict[str, LlamaTensor]
    rope_address: int

    @property
    def is_tied(self) -> bool:
        return is_tied([self.tensors[EMBEDDING], self.tensors[CLASSIFIER]])

    def matrix(self, name: str, frac: int) -> Piece:
        """Return a matrix as master weights, produced part by part. ImageError is raised if a weight is too large."""
        tensor = self.tensors[name]
        assert tensor.quantisation is not None
        quantisation, rows, columns, padded_columns = tensor.quantisation, tensor.rows, tensor.columns, align(tensor.columns)
        at_once = max(WEIGHTS_AT_ONCE // padded_columns // TILE_ROWS, 1) * TILE_ROWS

        def parts() -> Iterator[Bytes]:
            for first in range(0, rows, at_once):
                taken = min(at_once, rows - first)
                address = tensor.address + matrix_bytes(quantisation, first, padded_columns)
                data = self.image.view(address, matrix_bytes(quantisation, taken, padded_columns))
                masters = exact_weights(data, quantisation, taken, padded_columns)[:, :columns] << (frac - EXACT_FRACTION_BITS)
                if np.abs(masters).max() > LARGEST:
                    most = 2 ** (31 - frac)
                    raise ImageError(f"{self.image.path}: {name} has a weight of {most} or more, which training cannot hold")
                yield masters.astype("<i4").reshape(-1).view(np.uint8)

        return Streamed(4 * rows * columns, parts)

    def gains(self, name: str) -> bytes:
        return self.image.read(self.tensors[name].address, 4 * self.shape.dim)

    def rope_table(self, period: int) -> bytes:
        """Return the rows of the first positions."""
        context = self.image.header.context
        if period > context:
            raise ImageError(f"{self.image.path} has a context of {context} tokens, so sequences of {period} cannot train")
        return self.image.read(self.rope_address, 4 * period * self.shape.head_size)


def exact_weights(data: Bytes, quantisation: int, rows: int, columns: int) -> NDArray[np.int64]:
    """Return what a packed matrix stands for, with 24 fraction bits: (rows, columns)."""
    groups = unpack(data, quantisation, rows, columns)
    integers = groups.weights.astype(np.int64) - (8 if quantisation == Q4_0 else 0)
    weights = integers * _q24(groups.scales)[:, :, None]
    if groups.minimums is not None:
        weights += _q24(groups.minimums)[:, :, None]
    return weights.reshape(rows, columns)


def _q24(halfs: NDArray[np.uint16]) -> NDArray[np.int64]:
    return (halfs.view(np.float16).astype(np.float64) * 2**24).astype(np.int64)


def read_source(image: Image) -> SourceLlama:
    """Find the tensors of a LLaMA; raise ImageError for any other model, CheckFailed for an image that must not run in native code."""
    header = image.header
    if header.arithmetic != FIXED:
        raise ImageError(f"{image.path} is in float arithmetic, which does not train; build it with --arithmetic fixed")
    check(image)
    check_llama(image)
    tensors = {tensor.name: tensor for tensor in tensors_of_llama(image)}
    norm = image.ops[tensors[FINAL_NORM].ops[0]].operands
    sizes = (header.dim, header.hidden_dim, header.layers, header.heads, header.kv_heads, header.head_size, header.vocabulary)
    shape = LlamaShape(*sizes, eps_q48=norm["eps_q48"], r=norm["r"])
    _require_usual_numbers(image, shape)
    table = next(op.operands["table"] for op in image.ops if op.opcode == Opcode.ROPE)
    return SourceLlama(image, shape, tensors, table)


def _require_usual_numbers(image: Image, shape: LlamaShape) -> None:
    """Refuse an image that stores something times a power of two, because training has fixed fraction bits for all but r."""
    vector, r = VECTOR_FRACTION_BITS, shape.r
    layer = (vector, vector, vector, r, vector, vector, r)
    products = [op.operands["out_frac"] for op in image.ops if op.opcode == Opcode.MATMUL]
    logits = [LOGIT_FRACTION_BITS] * (len(products) - len(layer) * shape.layers)
    scale = round(2.0**30 * log2(e) / sqrt(shape.head_size))
    if (
        products != [*layer * shape.layers, *logits]
        or image.ops[0].operands["r"] != r
        or any(op.operands["scale_q30"] != scale for op in image.ops if op.opcode == Opcode.ATTENTION)
    ):
        raise ImageError(f"{image.path} stores numbers times powers of two to fit them, and such a model does not train")
