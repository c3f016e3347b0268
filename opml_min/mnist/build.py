"""Builds the digit classifier's image from the trained weights: 784 pixels, 20 hidden units, 10 digits, all in one stage.

    python -m opml_min.mnist.build WEIGHTS.npz IMAGE

The request is the 784 pixels, one byte each, and an input is pixel / 256. The only output token is the digit.

*Source*: spec §3 and §3.5 (INPUT, MATMUL, ADD, RELU, SAMPLE).
"""

import hashlib
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opml_min.memory_map import ENTRY, HEADER, STATE
from opml_min.model.build.build import Pieces, write_model
from opml_min.model.build.tape import LOGIT_FRAC, VECTOR_FRAC, Matrix
from opml_min.model.image.header import BYTES, HEADER_WORDS, NO_TOKEN, SINGLE_PHASE, TOKENIZER_NONE, Header
from opml_min.model.image.ops import ALWAYS, RECORD_BYTES, Op, Opcode, activation_bytes, align
from opml_min.model.image.program import shipped_program
from opml_min.model.image.segments import PAGE_BYTES, Bytes, PlacedPieces

Floats = NDArray[np.float32]
OP_COUNT = 7


class ClassifierWeights(NamedTuple):
    """The weights in digit = argmax(w2·max(w1·x + b1, 0) + b2)."""

    w1: Floats  # (hidden, pixels)
    b1: Floats  # (hidden)
    w2: Floats  # (digits, hidden)
    b2: Floats  # (digits)


def classifier_tape(pixels: int, w1: Matrix, b1_address: int, w2: Matrix, b2_address: int, buffers: int = STATE) -> list[Op]:
    """The seven ops: two matrix products with bias, ReLU between them, and the choice of the digit. buffers: where they begin"""
    picture = buffers
    hidden = picture + activation_bytes(w1.columns)
    active = align(hidden + 4 * w1.rows)
    scores = active + activation_bytes(w2.columns)

    def matmul(out: int, act: int, matrix: Matrix, out_frac: int) -> Op:
        shape = {"quantisation": matrix.quantisation, "rows": matrix.rows, "columns": matrix.columns}
        return Op(Opcode.MATMUL, ALWAYS, {"out": out, "x": act, "matrix": matrix.address, **shape, "out_frac": out_frac})

    return [
        Op(Opcode.INPUT, ALWAYS, {"out": picture, "length": pixels}),
        matmul(hidden, picture, w1, VECTOR_FRAC),
        Op(Opcode.ADD, ALWAYS, {"x": hidden, "y": b1_address, "length": w1.rows}),
        Op(Opcode.RELU, ALWAYS, {"out": active, "x": hidden, "length": w1.rows, "frac": VECTOR_FRAC}),
        matmul(scores, active, w2, LOGIT_FRAC),
        Op(Opcode.ADD, ALWAYS, {"x": scores, "y": b2_address, "length": w2.rows}),
        Op(Opcode.SAMPLE, ALWAYS, {"logits": scores, "length": w2.rows}),
    ]


def build_classifier(parameters: ClassifierWeights, path: Path, program: bytes) -> None:
    """Writes the image; matrices are rounded to Q8_0."""
    hidden, pixels = parameters.w1.shape
    tape_address = align(HEADER + 8 * HEADER_WORDS)
    pieces = Pieces(align(tape_address + RECORD_BYTES * OP_COUNT))

    def bias(values: Floats, frac: int) -> int:
        return pieces.add(np.rint(values.astype(np.float64) * 2**frac).astype("<i4").view(np.uint8))

    w1, b1 = pieces.matrix(parameters.w1), bias(parameters.b1, VECTOR_FRAC)
    w2, b2 = pieces.matrix(parameters.w2), bias(parameters.b2, LOGIT_FRAC)
    header = _header(pixels, hidden, tape_address)
    write_model(path, program, header, classifier_tape(pixels, w1, b1, w2, b2), pieces.pieces)


def trained_classifier(pixels: int, w1: Matrix, w2: Matrix, state: Bytes) -> list[PlacedPieces]:
    """Return the segments of a classifier without biases whose matrices lie where training left them, in the state quarter.

    state: the last state quarter, from its begin on"""
    tape_address = align(HEADER + 8 * HEADER_WORDS)
    pieces = Pieces(align(tape_address + RECORD_BYTES * OP_COUNT))
    biases = [pieces.add(bytes(4 * matrix.rows)) for matrix in (w1, w2)]
    ops = classifier_tape(pixels, w1, biases[0], w2, biases[1], buffers=STATE + align(len(state), PAGE_BYTES))
    head = _header(pixels, w1.rows, tape_address).pack()
    gap = bytes(tape_address - HEADER - len(head))
    words = np.array([op.words() for op in ops], np.int64).tobytes()
    return [(ENTRY, [shipped_program()]), (HEADER, [head, gap, words, *pieces.pieces]), (STATE, [state])]


def _header(pixels: int, hidden: int, tape_address: int) -> Header:
    return Header(
        flags=SINGLE_PHASE, request_kind=BYTES, op_count=OP_COUNT, tape_address=tape_address, context=pixels, vocabulary=0, stop_tokens=(),
        tokenizer_address=0, tokenizer_length=0, tokenizer_kind=TOKENIZER_NONE, bos_token=NO_TOKEN, dim=pixels, hidden_dim=hidden,
    )  # fmt: skip


def main(weights: str, image: str) -> None:
    path = Path(image)
    with np.load(weights) as stored:
        build_classifier(ClassifierWeights(*(stored[name] for name in ClassifierWeights._fields)), path, shipped_program())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:3])
