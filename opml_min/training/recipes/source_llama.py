"""The LLaMA that a training begins with: read out of the tape of an image in fixed point, by the order of its ops.

A Q8_0 or Q4 weight is an integer times a half, so it is exact with 24 fraction bits.

*Source*: spec §3.4 and §3.7 (The LLaMA tape).
"""

from collections.abc import Iterator
from math import e, log2, sqrt

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.model.errors import ImageError
from opml_min.model.image.image import Image
from opml_min.model.image.ops import FIXED, Opcode, align
from opml_min.model.image.segments import Bytes, Piece, Streamed
from opml_min.model.image.weights import Q4_0, TILE_ROWS, matrix_bytes, unpack
from opml_min.training.recipes.batch import LOGIT_FRACTION_BITS, VECTOR_FRACTION_BITS
from opml_min.training.recipes.llama_shape import LlamaShape

MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")  # of a layer, in the tape's order
EXACT_FRACTION_BITS = 24
WEIGHTS_AT_ONCE = 1 << 22
LARGEST = (1 << 31) - 1

Operands = dict[str, int]


@frozen
class SourceLlama:
    """The shape of a source model, and where its tensors lie in its image."""

    image: Image
    shape: LlamaShape
    matrices: dict[str, Operands]  # of a MATMUL or EMBED, by the tensor's name
    norms: dict[str, int]  # addresses of gains, by the tensor's name
    rope_address: int

    @property
    def is_tied(self) -> bool:
        return self.matrices["output.weight"]["matrix"] == self.matrices["token_embd.weight"]["matrix"]

    def matrix(self, name: str, rows: int, columns: int, frac: int) -> Piece:
        """Return a matrix as master weights, produced part by part. ImageError is raised if a weight is too large."""
        operands = self.matrices[name]
        quantisation, padded_columns = operands["quantisation"], align(columns)
        at_once = max(WEIGHTS_AT_ONCE // padded_columns // TILE_ROWS, 1) * TILE_ROWS

        def parts() -> Iterator[Bytes]:
            for first in range(0, rows, at_once):
                taken = min(at_once, rows - first)
                address = operands["matrix"] + matrix_bytes(quantisation, first, padded_columns)
                data = self.image.view(address, matrix_bytes(quantisation, taken, padded_columns))
                masters = exact_weights(data, quantisation, taken, padded_columns)[:, :columns] << (frac - EXACT_FRACTION_BITS)
                if np.abs(masters).max() > LARGEST:
                    most = 2 ** (31 - frac)
                    raise ImageError(f"{self.image.path}: {name} has a weight of {most} or more, which training cannot hold")
                yield masters.astype("<i4").reshape(-1).view(np.uint8)

        return Streamed(4 * rows * columns, parts)

    def gains(self, name: str) -> bytes:
        return self.image.read(self.norms[name], 4 * self.shape.dim)

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
    """Find the tensors of a LLaMA in an image that has passed the check for native code; raise ImageError for any other model."""
    header = image.header
    if header.arithmetic != FIXED:
        raise ImageError(f"{image.path} is in float arithmetic, which does not train; build it with --arithmetic fixed")
    kinds = (Opcode.EMBED, Opcode.NORM, Opcode.MATMUL, Opcode.ROPE, Opcode.ATTENTION)
    embeds, norms, matmuls, ropes, attentions = ([op.operands for op in image.ops if op.opcode == kind] for kind in kinds)
    layers = header.layers
    counts = (len(embeds), len(norms), len(ropes), len(attentions))
    if not layers or counts != (1, 2 * layers + 1, layers, layers) or len(matmuls) <= 7 * layers:
        raise ImageError(f"{image.path} does not hold a LLaMA, so it cannot be trained")
    r = norms[0]["r"]
    sizes = (header.dim, header.hidden_dim, layers, header.heads, header.kv_heads, header.head_size, header.vocabulary)
    shape = LlamaShape(*sizes, eps_q48=norms[0]["eps_q48"], r=r)
    _require_usual_fractions(image, embeds[0], matmuls, attentions, r)
    matrices = {"token_embd.weight": embeds[0], "output.weight": matmuls[7 * layers]}
    gains = {"output_norm.weight": norms[-1]["weights"]}
    for i in range(layers):
        matrices |= {f"blk.{i}.{name}.weight": matmuls[7 * i + j] for j, name in enumerate(MATRICES)}
        gains |= {f"blk.{i}.{name}.weight": norms[2 * i + j]["weights"] for j, name in enumerate(("attn_norm", "ffn_norm"))}
    return SourceLlama(image, shape, matrices, gains, ropes[0]["table"])


def _require_usual_fractions(image: Image, embed: Operands, matmuls: list[Operands], attentions: list[Operands], r: int) -> None:
    """Refuse an image that stores a matrix or a vector times a power of two, as training has fixed fraction bits for all but r."""
    layers = len(attentions)
    usual = [*([VECTOR_FRACTION_BITS] * 3), r, *([VECTOR_FRACTION_BITS] * 2), r] * layers
    usual += [LOGIT_FRACTION_BITS] * (len(matmuls) - len(usual))
    scales = {round(2.0**30 * log2(e) / sqrt(o["head_size"])) - o["scale_q30"] for o in attentions}
    if embed["r"] != r or [o["out_frac"] for o in matmuls] != usual or scales != {0}:
        raise ImageError(f"{image.path} stores numbers times powers of two to fit them, and such a model does not train")
