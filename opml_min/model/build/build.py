"""From a checkpoint to an image: quantise the weights, or keep the floats, lay everything out, write one file.

One input always gives the same bytes. The program is the first segment; header, tape, tokenizer, tables and weights are the second.

*Source*: spec §3.1 and §3.6.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from opml_min.memory_map import ENTRY, HEADER
from opml_min.model.build.calibration import Calibration
from opml_min.model.build.quantise import check_groups, quantise_q8_0
from opml_min.model.build.ranges import Fit, check_shape_of_tape, fit
from opml_min.model.build.tape import LayerWeights, Matrix, ModelWeights, llama_tape, op_count
from opml_min.model.errors import CheckpointError
from opml_min.model.image.header import HEADER_WORDS, SINGLE_PHASE, TEXT, TOKENIZER_NONE, Header
from opml_min.model.image.image import Image
from opml_min.model.image.ops import FIXED, FLOAT, RECORD_BYTES, Op, align
from opml_min.model.image.segments import Bytes, Piece, Streamed, write_image
from opml_min.model.image.weights import F32, Q8_0, matrix_bytes, pack, pack_f32
from opml_min.model.sources.checkpoint import Checkpoint, Layer, Shape
from opml_min.model.sources.matrices import Floats, StoredBlocks, StoredMatrix, Weights
from opml_min.model.sources.source import check_text
from opml_min.model.sources.tokenizers.text import Text

WEIGHT_LIMIT = 128  # of a norm weight


class Pieces:
    """The second segment while it grows: pieces of bytes, each at a multiple of 32."""

    def __init__(self, start: int) -> None:
        self.address = start
        self.pieces: list[Piece] = []

    def add(self, data: Piece) -> int:
        """Append a piece and return its address."""
        address = self.address
        padding = align(address + len(data)) - address - len(data)
        self.pieces += [data, bytes(padding)]
        self.address = address + len(data) + padding
        return address

    def matrix(self, weights: Weights) -> Matrix:
        rows, columns = weights.shape[0], align(weights.shape[1])
        if not isinstance(weights, StoredMatrix):
            return Matrix(self.add(pack(Q8_0, quantise_q8_0(weights))), Q8_0, rows, columns)
        kept = weights if isinstance(weights, StoredBlocks) else None
        quantisation = Q8_0 if kept is None else kept.quantisation

        def parts() -> Iterator[Bytes]:
            for rows in weights.slices():
                try:
                    groups = quantise_q8_0(weights.floats(rows), restore=False) if kept is None else kept.groups(rows)
                    check_groups(quantisation, groups)
                except CheckpointError as error:
                    raise CheckpointError(f"the tensor {weights.name}: {error}") from error
                yield pack(quantisation, groups)

        return Matrix(self.add(Streamed(matrix_bytes(quantisation, rows, columns), parts)), quantisation, rows, columns)

    def norm(self, weights: Floats) -> int:
        if np.abs(weights).max() >= WEIGHT_LIMIT:
            raise CheckpointError(f"a norm weight of {np.abs(weights).max():.6g} is too large; it must be below {WEIGHT_LIMIT}")
        return self.add(np.rint(weights.astype(np.float64) * 2**24).astype("<i4").view(np.uint8))

    def rotations(self, turns: NDArray[np.float64]) -> int:
        return self.add(np.rint(turns * 2**30).astype("<i4").reshape(-1).view(np.uint8))


class FloatPieces(Pieces):
    """The second segment for float arithmetic, which keeps every weight as it is."""

    def matrix(self, weights: Weights) -> Matrix:
        rows, columns = weights.shape
        if not isinstance(weights, StoredMatrix):
            return Matrix(self.add(pack_f32(weights)), F32, rows, columns)

        def parts() -> Iterator[Bytes]:
            for rows in weights.slices():
                floats = weights.floats(rows)
                if not np.isfinite(floats).all():
                    raise CheckpointError(f"the tensor {weights.name} holds a weight that is not a finite number")
                yield pack_f32(floats)

        return Matrix(self.add(Streamed(matrix_bytes(F32, rows, columns), parts)), F32, rows, columns)

    def norm(self, weights: Floats) -> int:
        return self.add(weights.astype("<f4").view(np.uint8))

    def rotations(self, turns: NDArray[np.float64]) -> int:
        return self.add(turns.astype("<f4").reshape(-1).view(np.uint8))


def rope_turns(shape: Shape) -> NDArray[np.float64]:
    """Return cosine and sine of position·theta^(−2j/head_size): (context, head_size/2, 2)."""
    frequencies = shape.theta ** (-np.arange(0, shape.head_size, 2) / shape.head_size) / np.array(shape.frequency_divisors or 1.0)
    angles = np.arange(shape.context)[:, None] * frequencies[None, :]
    return np.stack([np.cos(angles), np.sin(angles)], axis=2)


def build_llama(
    checkpoint: Checkpoint,
    text: Text | None,
    path: Path,
    program: bytes,
    *,
    context: int | None = None,
    single_phase: bool = False,
    arithmetic: int = FIXED,
    calibration: Calibration | None = None,
) -> Fit | None:
    """Write the image of a checkpoint. Return how it fits fixed point, if it is in fixed point.

    context: fewer positions than the checkpoint's · calibration: a text on which sizes are measured"""
    shape = checkpoint.shape
    if context is not None:
        if not 1 <= context <= shape.context:
            raise CheckpointError(f"a context of {context} is impossible; the checkpoint has {shape.context}")
        shape = evolve(shape, context=context)
    check_shape_of_tape(shape)
    fitted = None if arithmetic == FLOAT else fit(checkpoint, calibration)
    text = text or Text(b"", TOKENIZER_NONE)
    check_text(text, shape.vocabulary)
    template = text.template.encode()

    tape_address, length = align(HEADER + 8 * HEADER_WORDS), op_count(shape, arithmetic)
    pieces = (FloatPieces if arithmetic == FLOAT else Pieces)(align(tape_address + RECORD_BYTES * length))
    tokenizer_address = pieces.add(text.tokenizer) if text.tokenizer else 0
    template_address = pieces.add(template) if template else 0
    weights = _place_weights(checkpoint if fitted is None else fitted.checkpoint, shape, pieces)
    ops = llama_tape(shape, weights, arithmetic, None if fitted is None else fitted.fractions)
    assert len(ops) == length
    header = llama_header(shape, text, ops, tape_address, (tokenizer_address, template_address), arithmetic, single_phase)
    write_model(path, program, header, ops, pieces.pieces)
    return fitted


def llama_header(
    shape: Shape, text: Text, ops: Sequence[Op], tape_address: int, text_addresses: tuple[int, int], arithmetic: int = FIXED,
    single_phase: bool = False,
) -> Header:
    """Return the header of a LLaMA for text. text_addresses: of the tokenizer and of the template"""
    return Header(
        flags=SINGLE_PHASE if single_phase else 0, request_kind=TEXT, op_count=len(ops), tape_address=tape_address, context=shape.context,
        vocabulary=shape.vocabulary, stop_tokens=text.stops, tokenizer_address=text_addresses[0], tokenizer_length=len(text.tokenizer),
        tokenizer_kind=text.kind, bos_token=text.bos, template_address=text_addresses[1], template_length=len(text.template.encode()),
        dim=shape.dim, hidden_dim=shape.hidden_dim, layers=shape.layers, heads=shape.heads, kv_heads=shape.kv_heads,
        head_size=shape.head_size, arithmetic=arithmetic,
    )  # fmt: skip


def _place_weights(checkpoint: Checkpoint, shape: Shape, pieces: Pieces) -> ModelWeights:
    table = pieces.rotations(rope_turns(shape))
    embedding = pieces.matrix(checkpoint.embedding)
    layers = [_place_layer(layer, pieces) for layer in checkpoint.layers]
    final_norm = pieces.norm(checkpoint.final_norm)
    classifier = embedding if checkpoint.classifier is None else pieces.matrix(checkpoint.classifier)
    return ModelWeights(embedding, table, layers, final_norm, classifier)


def _place_layer(layer: Layer, pieces: Pieces) -> LayerWeights:
    """Place the fields in their order: norms are vectors, everything else is a matrix."""
    return LayerWeights(*(pieces.norm(tensor) if len(tensor.shape) == 1 else pieces.matrix(tensor) for tensor in layer))  # type: ignore[arg-type]


def write_model(path: Path, program: bytes, header: Header, ops: Iterable[Op], rest: Sequence[Piece]) -> None:
    """Write the image of a program, a header, a tape, and pieces that follow the tape from the next multiple of 32 on."""
    head = header.pack()
    words = [word for op in ops for word in op.words()]
    head += bytes(header.tape_address - HEADER - len(head)) + struct.pack(f"<{len(words)}Q", *words)
    write_image(path, [(ENTRY, [program]), (HEADER, [head, *rest])])


def replace_program(image: Image, path: Path, program: bytes) -> None:
    """Write the image with another program; everything else stays."""
    kept: list[tuple[int, list[Piece]]] = [(segment.address, [segment.data]) for segment in image.segments[1:]]
    write_image(path, [(ENTRY, [program]), *kept])
