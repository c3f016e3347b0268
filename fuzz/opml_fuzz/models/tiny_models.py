"""Tiny random models, as segments of memory: a tape of one operation, or a whole LLaMA in either arithmetic.

Weights, tables and state are random, within the bounds that a loader checks. No mathematical library is involved, so every platform draws
the same ones.

*Source*: spec §3.
"""

import struct
from collections.abc import Sequence
from random import Random

from attrs import define, evolve
from opml_spec.arithmetic.binary32 import from_fixed, sqrt
from opml_spec.errors import SpecError
from opml_spec.machine.memory import MODEL, STATE, Memory
from opml_spec.model.layout import FLOAT, HEADER, REQUEST, REQUEST_BYTES, Header, Record, encode_tape, encode_words
from opml_spec.model.llama import Addresses, Layer, Shape, Weights, llama_tape, padded
from opml_spec.model.loader import check_model
from opml_spec.model.operations import fixed
from opml_spec.model.operations import float as floating
from opml_spec.model.operations.operation import Operation
from opml_spec.model.operations.table import OPERATIONS, decode_operation
from opml_spec.model.tensors import ALIGNMENT, GROUP, QUANTISATIONS, TILE_ROWS

from opml_fuzz.machine.model_case import OneStage, Segments

TAPE = HEADER + 4096
WEIGHTS = MODEL + (1 << 29)
SMALL = Shape(dim=32, hidden_dim=32, layers=1, heads=2, kv_heads=1, head_size=16, context=8, vocabulary=24, r=12, eps_q48=1 << 32)
EPS = 0x3727C5AC  # 1e-5
FLOAT_OPCODES = 32  # the distance from a fixed-point opcode to that of the float operation

PROMPT, NEW_TOKENS, TEMPERATURE_Q16 = (3, 17), 3, 45_000
POSITIONS = len(PROMPT) + NEW_TOKENS - 1


def text_request(rng: Random, temperature_q16: int = 0) -> bytes:
    """Writes a request for NEW_TOKENS tokens after PROMPT."""
    return struct.pack(f"<IIIIQ{len(PROMPT)}I", len(PROMPT), NEW_TOKENS, temperature_q16, 0, rng.getrandbits(64), *PROMPT)


CORNER_FLOATS = (0, 1 << 31, 0x3F800000, 0xBF800000, 1, 0x80000001, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000)
"""±0, ±1, the smallest and the largest numbers, ±∞ and NaN."""


def corner_numbers(rng: Random, bits: int) -> list[int]:
    """Chooses a few numbers of at most `bits` bits and a sign: powers of two, one less, and others of which few bits are 0."""
    top = 1 << bits
    chosen = (0, top - 1, -top, 1 - top, top // 2, -top // 2, top - 1 - rng.randrange(min(top, 4)), rng.randrange(min(top, 9)) - top)
    return rng.sample(chosen, 3)


def with_request(memory: Segments, request: bytes, stages: int) -> dict[int, bytes]:
    return {**memory, REQUEST: struct.pack("<QQ", stages, len(request)), **({REQUEST_BYTES: request} if request else {})}


def is_accepted(memory: Segments) -> bool:
    """Tells whether the specification's loader takes a model."""
    try:
        check_model(Memory.from_segments(memory))
    except SpecError:
        return False
    return True


def once(rng: Random, memory: Segments) -> OneStage:
    """Executes the one operation of a tape."""
    return OneStage(with_request(memory, text_request(rng), POSITIONS), len(PROMPT))


@define
class ModelBuilder:
    """The segments of a model as it grows: weights in the model quarter, buffers with their first content in the state quarter."""

    rng: Random
    is_float: bool = False
    shape: Shape = SMALL
    weights: bytes = b""
    state: bytes = b""
    corners: bool = False
    """Whether numbers are drawn from a few that are the largest of their size, equal, or not finite."""
    specials: Sequence[int] = ()
    """Floats that take the place of one in eight others, or of one in two."""

    def place(self, data: bytes) -> int:
        """Places weights in the model quarter and returns their address."""
        address = WEIGHTS + len(self.weights)
        self.weights += data + bytes(-len(data) % ALIGNMENT)
        return address

    def reserve(self, data: bytes) -> int:
        """Places a buffer in the state quarter and returns its address."""
        address = STATE + len(self.state)
        self.state += data + bytes(-len(data) % ALIGNMENT)
        return address

    def numbers(self, count: int, bits: int = 20) -> bytes:
        """Draws i32[count] of `bits` bits and a sign, or as many floats of about `2^(bits - 20)`."""
        if self.corners:
            few = self.rng.sample(CORNER_FLOATS, 3) if self.is_float else corner_numbers(self.rng, bits)
            return b"".join(self.rng.choice(few).to_bytes(4, "little", signed=not self.is_float) for _ in range(count))
        if self.is_float:
            usual = struct.pack(f"<{count}f", *(self.rng.uniform(-2, 2) * 2.0 ** (bits - 20) for _ in range(count)))
            return self.with_specials(usual) if self.specials else usual
        return struct.pack(f"<{count}i", *(self.rng.randrange(-1 << bits, 1 << bits) for _ in range(count)))

    def with_specials(self, floats: bytes) -> bytes:
        """Puts special numbers in the place of some, so many that two of them meet, or so few that each stands alone."""
        share, words = self.rng.choice((1 / 8, 1 / 2)), struct.unpack(f"<{len(floats) // 4}I", floats)
        return struct.pack(f"<{len(words)}I", *(self.rng.choice(self.specials) if self.rng.random() < share else word for word in words))

    def activation(self, length: int, exponent: int = 14) -> bytes:
        if self.is_float:
            return self.numbers(length)
        return struct.pack(f"<i28x{length}h", exponent, *(self.rng.randrange(-32767, 32768) for _ in range(length)))

    def matrix(self, rows: int, columns: int, number: int = 0, scales: Sequence[int] = ()) -> Weights:
        """Places random weights with small scales, of either sign. number: the quantisation of fixed point; scales: drawn from these"""
        tiles = -(-rows // TILE_ROWS)
        if self.is_float:
            values = [self.rng.uniform(-0.4, 0.4) for _ in range(tiles * TILE_ROWS * columns)]
            return Weights(self.place(struct.pack(f"<{len(values)}f", *values)), 0)
        quantisation, blocks = QUANTISATIONS[number], b""
        for _ in range(tiles * columns // GROUP):
            count = (quantisation.block_bytes - quantisation.scales) // 2
            halfs = [self.rng.getrandbits(1) << 15 | self.rng.choice(scales or range(0x1000, 0x1C00)) for _ in range(count)]
            blocks += self.rng.randbytes(quantisation.scales) + struct.pack(f"<{count}H", *halfs)
        return Weights(self.place(blocks), number)

    def norm_weights(self) -> int:
        return self.place(self.numbers(self.shape.dim, 24))

    def rotations(self) -> int:
        """Places a table of random numbers up to 1; they need not be sines and cosines."""
        count = self.shape.context * self.shape.head_size
        if self.is_float:
            return self.place(struct.pack(f"<{count}f", *(self.rng.uniform(-1, 1) for _ in range(count))))
        return self.place(self.numbers(count, 30))

    def cache(self) -> tuple[int, int, int, int]:
        """Places keys, their exponents, values and their exponents; floats have no exponents."""
        rng, rows = self.rng, self.shape.kv_heads * self.shape.context
        if self.is_float:
            keys, values = (self.reserve(self.numbers(rows * self.shape.head_size)) for _ in range(2))
            return keys, 0, values, 0
        content = [(rng.randbytes(2 * rows * self.shape.head_size), bytes(rng.randrange(8, 20) for _ in range(rows))) for _ in range(2)]
        (keys, key_exponents), (values, value_exponents) = [(self.reserve(a), self.reserve(b)) for a, b in content]
        return keys, key_exponents, values, value_exponents

    def segments(self, tape: list[Record], **changes: int) -> dict[int, bytes]:
        """Returns the finished model, with this tape."""
        sizes = Header(context=self.shape.context, vocabulary=self.shape.vocabulary)
        header = evolve(sizes, ops=len(tape), tape=TAPE, arithmetic=FLOAT if self.is_float else 0, **changes)
        given = {HEADER: encode_words(header.words), TAPE: encode_tape(tape), WEIGHTS: self.weights, STATE: self.state}
        return {address: data for address, data in given.items() if data}


def llama(rng: Random, is_float: bool, shape: Shape = SMALL, quantisations: tuple[int, ...] = (0, 1, 2)) -> dict[int, bytes]:
    """Builds a LLaMA. quantisations: of the matrices of a layer, in turn"""
    at = ModelBuilder(rng, is_float, shape)
    q_rows, kv_rows = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    wide, plain, middle, last = shape.dim, *quantisations

    def vector(length: int) -> int:
        return at.reserve(bytes(4 * length))

    def m(rows: int, columns: int, number: int = plain) -> Weights:
        return at.matrix(rows, padded(columns), number)

    layers = tuple(
        Layer(
            at.norm_weights(),
            *(m(q_rows, wide), m(kv_rows, wide, middle), m(kv_rows, wide, last), m(shape.dim, q_rows)),
            at.norm_weights(),
            *(m(shape.hidden_dim, wide, middle), m(shape.hidden_dim, wide, last), m(shape.dim, shape.hidden_dim)),
            *at.cache(),
        )
        for _ in range(shape.layers)
    )
    embedding, classifier = (m(shape.vocabulary, shape.dim) for _ in range(2))
    addresses = Addresses(
        embedding=embedding,
        rope=at.rotations(),
        layers=layers,
        final_norm=at.norm_weights(),
        classifier=classifier,
        activation=at.reserve(bytes(32 + 4 * padded(max(shape.dim, q_rows, shape.hidden_dim)))),
        logits=vector(shape.vocabulary),
        residual=vector(padded(shape.dim)),
        q=vector(q_rows + kv_rows),
        v=vector(kv_rows),
        branch=vector(shape.dim),
        gate=vector(shape.hidden_dim),
        up=vector(shape.hidden_dim),
    )
    tape = llama_tape(shape, addresses)
    if is_float:
        tape = [as_float(decode_operation(record)).record(record.condition) for record in tape]
    return at.segments(tape)


def as_float(operation: Operation) -> Operation:
    """Translates a fixed-point operation into float."""
    match operation:
        case fixed.Embed(out, matrix, _, columns):
            return floating.FloatEmbed(out, matrix, columns)
        case fixed.Norm(out, x, weights, length):
            return floating.FloatNorm(out, x, weights, length, EPS)
        case fixed.MatMul(out, x, matrix, _, rows, columns):
            return floating.FloatMatMul(out, x, matrix, rows, columns)
        case fixed.Cache(k, v, keys, _, values, _, kv_heads, size, context):
            return floating.FloatCache(k, v, keys, values, kv_heads, size, context)
        case fixed.Attention(out, q, keys, _, values, _, heads, kv_heads, size, context):
            return floating.FloatAttention(out, q, keys, values, heads, kv_heads, size, context, sqrt(from_fixed(size)))
        case fixed.Relu(out, x, length):
            return floating.FloatRelu(out, x, length)
    return OPERATIONS[FLOAT_OPCODES + operation.opcode](*operation.record().operands)
