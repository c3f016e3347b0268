"""From a finished training run to an image for inference, which reads the trained weights where the run left them.

Its state quarter begins as the run's last one, so state_root registers exactly what was trained. The model quarter holds the rest, and the
buffers of inference lie behind the weights. An image that trained from a source keeps the source's fraction bits.

*Source*: spec §3.1, §3.8 (weights in the state quarter) and §6.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from attrs import evolve

from opml_min.machine import Memory
from opml_min.memory_map import ENTRY, HEADER, STATE
from opml_min.model.build.build import Pieces, llama_header, rope_turns
from opml_min.model.build.llama_image import check_llama
from opml_min.model.build.ranges import check_shape_of_tape
from opml_min.model.build.tape import (
    RESIDUAL_FRAC,
    VECTOR_FRAC,
    Fractions,
    LayerFractions,
    LayerWeights,
    Matrix,
    ModelWeights,
    llama_tape,
    op_count,
    query_frac,
)
from opml_min.model.errors import ImageError
from opml_min.model.image.header import HEADER_WORDS, TOKENIZER_NONE
from opml_min.model.image.image import Image
from opml_min.model.image.llama import ADDRESS, CLASSIFIER, EMBEDDING, FINAL_NORM, LlamaTensor, is_tied, tensors_of_llama
from opml_min.model.image.ops import BUFFERS, FLOAT, RECORD_BYTES, Opcode, align
from opml_min.model.image.program import shipped_program
from opml_min.model.image.segments import PAGE_BYTES, Bytes, Piece, PlacedPieces
from opml_min.model.image.weights import Q8_0, matrix_bytes
from opml_min.model.native.check import check
from opml_min.model.sources.checkpoint import Shape
from opml_min.model.sources.source import check_text
from opml_min.model.sources.tokenizers.text import Text
from opml_min.training.operations import TrainingOp
from opml_min.training.training_model import Trained

LAYER_NAMES = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")


def state_left(memory: Memory, ops: Iterable[TrainingOp]) -> Bytes:
    """Return the bytes of the state quarter up to the last one that a training tape has a tensor at."""
    return memory.view(STATE, state_bytes(ops), np.uint8)  # type: ignore[return-value]


def state_bytes(ops: Iterable[TrainingOp]) -> int:
    """Return how many bytes of the state quarter a training tape has tensors at, with those between them."""
    return max((tensor.end for op in ops for tensor in op.tensors() if tensor.address >= STATE), default=STATE) - STATE


def trained_image(source: Image, trained: Iterable[Trained], state: Bytes) -> list[PlacedPieces]:
    """Return the segments of a source some of whose tensors were trained. state: the last state quarter, from its begin on"""
    if source.header.arithmetic == FLOAT:
        raise ImageError(f"{source.path} is a float image, and training is in fixed point")
    check(source)
    check_llama(source)
    image = _Rewritten(source)
    image.place_tensors({tensor.name: tensor for tensor in trained})
    image.move_buffers(STATE + align(len(state), PAGE_BYTES))
    return [*image.model_segments(), (STATE, [state])]


def image_in_model_quarter(source: Image) -> list[PlacedPieces]:
    """Return the segments of an image that computes as its source does, and reads all its weights in the model quarter."""
    image = _Rewritten(source)
    image.place_tensors({})
    image.move_buffers(STATE)
    return list(image.model_segments())


def image_from_scratch(shape: Shape, text: Text | None, r: int, trained: Iterable[Trained], state: Bytes) -> list[PlacedPieces]:
    """Return the segments of a LLaMA all of whose tensors were trained. r: how finely training stored the residual stream

    state: the last state quarter, from its begin on"""
    check_shape_of_tape(shape)
    text = text or Text(b"", TOKENIZER_NONE)
    check_text(text, shape.vocabulary)
    tape_address = align(HEADER + 8 * HEADER_WORDS)
    pieces = Pieces(align(tape_address + RECORD_BYTES * op_count(shape)))
    tokenizer_address = pieces.add(text.tokenizer) if text.tokenizer else 0
    template_address = pieces.add(text.template.encode()) if text.template else 0
    weights = _weights_in_state({tensor.name: tensor for tensor in trained}, pieces.rotations(rope_turns(shape)), shape)
    ops = llama_tape(shape, weights, fractions=_fractions(shape, r), buffers_from=STATE + align(len(state), PAGE_BYTES))
    header = llama_header(shape, text, ops, tape_address, (tokenizer_address, template_address))
    head = header.pack()
    words = np.array([op.words() for op in ops], np.int64)
    gap = bytes(tape_address - HEADER - len(head))
    return [(ENTRY, [shipped_program()]), (HEADER, [head, gap, words.tobytes(), *pieces.pieces]), (STATE, [state])]


def _fractions(shape: Shape, r: int) -> Fractions:
    """Return the fraction bits of training, of which inference has less for the residual stream."""
    residual, q = min(r, RESIDUAL_FRAC), query_frac(shape.head_size)
    layer = LayerFractions(wq=q, wo=residual, down=residual, scores=q + VECTOR_FRAC)
    return Fractions(embedding=residual, residual=residual, layers=(layer,) * shape.layers)


def _weights_in_state(trained: dict[str, Trained], rope_table: int, shape: Shape) -> ModelWeights:
    def gains(name: str) -> int:
        return trained[name].address

    def matrix(name: str) -> Matrix:
        return Matrix(trained[name].address, Q8_0, trained[name].rows, align(trained[name].columns))

    try:
        layers = [
            LayerWeights(*((gains if name.endswith("norm") else matrix)(f"blk.{i}.{name}.weight") for name in LAYER_NAMES))  # type: ignore[arg-type]
            for i in range(shape.layers)
        ]
        classifier = matrix(CLASSIFIER if CLASSIFIER in trained else EMBEDDING)
        return ModelWeights(matrix(EMBEDDING), rope_table, layers, gains(FINAL_NORM), classifier)
    except KeyError as error:
        raise ImageError(f"the tensor {error.args[0]} was not trained, and there is no source to take it from") from error


class _Rewritten:
    """A source with another tape: trained tensors are read in the state quarter, and frozen ones where they are.

    Frozen tensors that the source has in its state quarter, or in what is written anew, move behind its model quarter."""

    def __init__(self, source: Image) -> None:
        self._source, self._ops = source, list(source.ops)
        self._header = source.header
        self._kept: dict[int, Bytes] = {}  # parts of the model quarter, by address
        self._moved: dict[tuple[int, int], int] = {}
        self._free = align(max(each.address + len(each.data) for each in source.segments if each.address < STATE), PAGE_BYTES)

    def place_tensors(self, trained: dict[str, Trained]) -> None:
        """Let the ops read what was trained, and keep everything else that they read."""
        tensors = tensors_of_llama(self._source)
        are_tied = is_tied(tensors)
        for tensor in tensors:
            name = EMBEDDING if tensor.name == CLASSIFIER and are_tied and CLASSIFIER not in trained else tensor.name
            found = trained.get(name)
            if found is not None and (found.rows, found.columns, found.is_matrix) != (tensor.rows, tensor.columns, tensor.is_matrix):
                raise ImageError(f"{self._source.path}: the tensor {name} was trained in another shape")
            address = self._keep(tensor.address, tensor.size) if found is None else found.address
            self._read_at(tensor, address, tensor.quantisation if found is None or not tensor.is_matrix else Q8_0)
        unknown = trained.keys() - {tensor.name for tensor in tensors}
        if unknown:
            raise ImageError(f"{self._source.path} has no tensor {min(unknown)}, which was trained")
        header = self._source.header
        for index, op in enumerate(self._ops):
            if op.opcode == Opcode.ROPE:
                table = op.operands["table"]
                self._shift(index, "table", self._keep(table, 4 * op.operands["head_size"] * header.context) - table)

    def move_buffers(self, first: int) -> None:
        """Let the buffers begin at an address."""
        named = [(index, name) for index, op in enumerate(self._ops) for name in BUFFERS & op.operands.keys()]
        distance = first - min(self._ops[index].operands[name] for index, name in named)
        for index, name in named:
            self._shift(index, name, distance)

    def model_segments(self) -> Iterator[tuple[int, list[Piece]]]:
        """Yield the segments of the model quarter."""
        header = self._header
        if header.tokenizer_length:
            header = evolve(header, tokenizer_address=self._keep(header.tokenizer_address, header.tokenizer_length))
        if header.template_length:
            header = evolve(header, template_address=self._keep(header.template_address, header.template_length))
        self._kept[ENTRY] = self._source.segments[0].data
        self._kept[HEADER] = np.frombuffer(header.pack(), np.uint8)
        self._kept[header.tape_address] = np.array([op.words() for op in self._ops], np.int64).view(np.uint8).reshape(-1)
        return _joined(sorted(self._kept.items(), key=lambda part: part[0]))

    def _read_at(self, tensor: LlamaTensor, address: int, quantisation: int | None) -> None:
        """Let the ops of a tensor read it at an address."""
        for index in tensor.ops:
            op = self._ops[index]
            place = {ADDRESS[op.opcode.kind]: address}
            if quantisation is not None:
                place["quantisation"] = quantisation
                address += matrix_bytes(quantisation, op.operands.get("rows", tensor.rows), op.operands["columns"])
            self._ops[index] = evolve(op, operands={**op.operands, **place})

    def _keep(self, address: int, length: int) -> int:
        """Keep bytes of the source, and return where they lie in the model quarter."""
        data = self._source.view(address, length)
        if address >= STATE or self._is_rewritten(address, length):
            place = address, length
            if place not in self._moved:
                self._moved[place], self._free = self._free, align(self._free + length)
            address = self._moved[place]
        if length > len(self._kept.get(address, b"")):  # several may begin at one address
            self._kept[address] = data
        return address

    def _is_rewritten(self, address: int, length: int) -> bool:
        """Tell whether bytes lie in the header or in the tape, of which the new image has other ones."""
        header = self._header
        rewritten = (HEADER, 8 * HEADER_WORDS), (header.tape_address, RECORD_BYTES * header.op_count)
        return any(address < start + size and start < address + length for start, size in rewritten)

    def _shift(self, index: int, operand: str, distance: int) -> None:
        op = self._ops[index]
        self._ops[index] = evolve(op, operands={**op.operands, operand: op.operands[operand] + distance})


def _joined(parts: Iterable[tuple[int, Bytes]]) -> Iterator[tuple[int, list[Piece]]]:
    """Yield ascending parts as segments, each from a multiple of 4096 on, with zeros where it has no part."""
    start, end, pieces = 0, 0, list[Piece]()
    for address, data in parts:
        first = address // PAGE_BYTES * PAGE_BYTES
        if first > end:
            if pieces:
                yield start, pieces
            start, end, pieces = first, first, []
        new = data[max(end - address, 0) :]  # the rest is there already
        pieces += [bytes(max(address - end, 0)), new]
        end = max(end, address + len(data))
    yield start, pieces
