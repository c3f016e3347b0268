"""Models at the corners of the code that computes them, the same for every seed.

Chance hardly ever draws them: sizes at which a loop over vectors, panels of rows or positions of a prompt ends with a rest or without one,
every pair of edge numbers, every shift around those that a word has. Sizes here are multiples of 32, as those of a LLaMA are: only then
may native code compute several positions together.

*Source*: spec §3.5 and §3.6.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from random import Random

from attrs import frozen
from opml_spec.machine.memory import MEMORY_BYTES
from opml_spec.machine.merkle import LEAF_BYTES
from opml_spec.model.layout import WHEN_DRAWING, Record
from opml_spec.model.llama import Shape, padded
from opml_spec.model.operations import fixed
from opml_spec.model.operations.operation import Operation
from opml_spec.model.tensors import QUANTISATIONS, TILE_ROWS

from opml_fuzz.machine.model_case import OneStage, Segments, WholeRun, header_of
from opml_fuzz.models.corner_caches import (
    attention_that_shows_weights,
    attention_to_any_exponents,
    attention_to_the_least_keys,
    attention_to_unlikely_keys,
    attention_to_zeros,
)
from opml_fuzz.models.corner_floats import floats_at_every_exponent, sums_of_negative_zeros, sums_of_zeros
from opml_fuzz.models.corner_products import corner_products
from opml_fuzz.models.corner_requests import corner_requests, ends_in_one_stage
from opml_fuzz.models.corner_roots import norms_at_borders
from opml_fuzz.models.corner_specials import operations_on_specials
from opml_fuzz.models.edge_draws import draws_that_show_weights
from opml_fuzz.models.tiny_models import POSITIONS, SMALL, ModelBuilder, as_float, llama, once, text_request

SIGMOID_ENDS = 1 << 18  # Q14: from here on σ is 1
EXP_BOUNDS, LARGEST_POWER = (0x42B17218, 0xC2B17218, 0x42CFF1B5, 0xC2CFF1B5), 0x7F000000
"""Floats: where e^x becomes infinite, and where it becomes 0, of either sign; 2^127, which keeps small products from vanishing."""

EDGES = (0, 1, -1, 255, -4096, 1 << 14, SIGMOID_ENDS - 1, SIGMOID_ENDS, -SIGMOID_ENDS, 1 << 30, -(1 << 30), (1 << 31) - 1, -(1 << 31))
FLOAT_EDGES = (
    *(0, 1 << 31, 1, 0x80000001, 0x007FFFFF, 0x00800000, 0x3F800000, 0xBF800000, 0x3F800001, 0x42B17218, 0xC2CFF1B5),
    *(0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 0x7F800001),
)
"""±0, ±the smallest, both sides of the smallest normal, ±1, its neighbour, the bounds of exp, ±the largest, ±∞, three NaNs."""

QUANTISATION_COUNT, SHIFTS = len(QUANTISATIONS), (-2, -1, 0, 1, 2, 31, 32, 62, 63, 64, 65)
SMALLEST_SCALES = (0, 1, 2, 0x3FF, 0x400, 0x401, 0x7FF, 0x800)
"""As bits of a binary16: 0, subnormal ones, and both sides of the bounds of the next two exponents."""

SEGMENT = 1 << 12  # bytes to which an image's segments are aligned
OUT_BITS, ROWS, COLUMNS = 20, 43, 64  # of the matrices: a whole panel of rows, a whole tile and a rest; two groups


@frozen
class Llama:
    """A LLaMA and the lengths of the prompt and of what is asked for."""

    shape: Shape
    prompt: int
    new: int = 2
    is_float: bool = False
    quantisations: tuple[int, int, int] = (0, 1, 2)


def shape(dim: int, hidden: int, heads: int, kv_heads: int, head_size: int, context: int, vocabulary: int, layers: int = 1) -> Shape:
    return Shape(dim, hidden, layers, heads, kv_heads, head_size, context, vocabulary, 12, 1 << 20)


LLAMAS = (
    Llama(shape(32, 64, heads=2, kv_heads=1, head_size=16, context=22, vocabulary=40), prompt=18),
    Llama(shape(64, 32, heads=2, kv_heads=2, head_size=64, context=12, vocabulary=9), prompt=6, quantisations=(1, 2, 0)),
    Llama(shape(32, 32, heads=4, kv_heads=2, head_size=72, context=40, vocabulary=33), prompt=35, quantisations=(2, 0, 1)),
    Llama(shape(32, 32, heads=4, kv_heads=1, head_size=8, context=40, vocabulary=8, layers=2), prompt=33),
    Llama(shape(32, 32, heads=16, kv_heads=1, head_size=6, context=20, vocabulary=24), prompt=16, quantisations=(0, 0, 1)),
    Llama(shape(32, 32, heads=2, kv_heads=1, head_size=32, context=40, vocabulary=16), prompt=37),
    Llama(shape(32, 32, heads=1, kv_heads=1, head_size=64, context=50, vocabulary=16), prompt=48, quantisations=(0, 1, 0)),
    Llama(shape(32, 32, heads=2, kv_heads=1, head_size=16, context=136, vocabulary=40, layers=0), prompt=133),
    Llama(shape(35, 45, heads=2, kv_heads=1, head_size=8, context=12, vocabulary=45), prompt=9, is_float=True),
    Llama(shape(64, 33, heads=3, kv_heads=3, head_size=16, context=8, vocabulary=32, layers=2), prompt=4, is_float=True),
)


def run_of(rng: Random, it: Llama) -> WholeRun:
    """Builds a LLaMA, and a request for it."""
    memory = llama(rng, it.is_float, it.shape, it.quantisations)
    tokens = [rng.randrange(it.shape.vocabulary) for _ in range(it.prompt)]
    request = struct.pack(f"<IIIIQ{it.prompt}I", it.prompt, it.new, 65_536, 0, rng.getrandbits(64), *tokens)
    stages = header_of(memory).ops * (it.prompt + it.new - 1)
    return WholeRun(memory, request, stages, stages)


def shifted(rng: Random, number: int, shifts: Sequence[int]) -> Segments:
    """Builds a tape that multiplies a matrix by activations of which each exponent leads to such a shift of the sums.

    number: the quantisation"""
    at, tape = ModelBuilder(rng), list[Record]()
    matrix = at.matrix(ROWS, COLUMNS, number)
    for shift in shifts:
        x, out = at.reserve(at.activation(COLUMNS, shift - 24 + OUT_BITS)), at.reserve(bytes(4 * ROWS))
        tape.append(fixed.MatMul(out, x, matrix.address, number, ROWS, COLUMNS, OUT_BITS).record())
    return at.segments(tape)


def scaled_least(rng: Random, number: int) -> Iterator[Segments]:
    """Yields tapes of one operation on a matrix with the smallest scales: its product, and a row of it. number: the quantisation"""
    for is_product in (True, False):
        at = ModelBuilder(rng)
        matrix, out = at.matrix(ROWS, COLUMNS, number, SMALLEST_SCALES), at.reserve(bytes(4 * COLUMNS))
        x = at.reserve(at.activation(COLUMNS, 10 - 24 + OUT_BITS))
        by_x = fixed.MatMul(out, x, matrix.address, number, ROWS, COLUMNS, OUT_BITS)
        row = fixed.Embed(out, matrix.address, number, COLUMNS, COLUMNS, 14)
        yield at.segments([(by_x if is_product else row).record()])


def at_the_end_of_memory(rng: Random, number: int) -> Segments:
    """Builds a product with a matrix of whole tiles that ends where memory does, so that nobody can read behind it. number: the
    quantisation"""
    at, rows = ModelBuilder(rng), 2 * TILE_ROWS
    at.matrix(rows, COLUMNS, number)
    matrix, at.weights = at.weights, b""
    x, out = at.reserve(at.activation(COLUMNS)), at.reserve(bytes(4 * rows))
    product = fixed.MatMul(out, x, MEMORY_BYTES - len(matrix), number, rows, COLUMNS, OUT_BITS)
    return {**at.segments([product.record()]), MEMORY_BYTES - SEGMENT: matrix.rjust(SEGMENT, b"\0")}


def pairs(rng: Random, is_float: bool, make: Callable[[int, int, int, int], Operation]) -> OneStage:
    """An operation on two vectors that hold every pair of edge numbers. make: given an output, both vectors and their length"""
    edges: Sequence[int] = FLOAT_EDGES if is_float else EDGES
    both = [*product(edges, repeat=2)]
    at, kind = ModelBuilder(rng, is_float), "I" if is_float else "i"
    out = at.reserve(bytes(4 * len(both)))
    x, y = (at.reserve(struct.pack(f"<{len(both)}{kind}", *each)) for each in zip(*both, strict=True))
    operation = make(out, x, y, len(both))
    record = (as_float(operation) if is_float else operation).record()
    return once(rng, at.segments([record]))


def gates_alone(rng: Random) -> Iterator[OneStage]:
    """Builds SWIGLUs of one number, whose exponent no other one decides; then one of floats at the bounds of e^-x, times 2^127."""
    for gate in EDGES:
        yield gated(rng, False, [gate], 1)
    yield gated(rng, True, [bound + beside for bound in EXP_BOUNDS for beside in range(-2, 3)], LARGEST_POWER)


def gated(rng: Random, is_float: bool, gates: Sequence[int], up: int) -> OneStage:
    at, kind, count = ModelBuilder(rng, is_float), "I" if is_float else "i", len(gates)
    out = at.reserve(bytes(4 * count if is_float else LEAF_BYTES + 2 * padded(count)))
    x = at.reserve(struct.pack(f"<{count}{kind}", *gates))
    operation = fixed.SwiGlu(out, x, at.reserve(struct.pack(f"<{count}{kind}", *[up] * count)), count)
    return once(rng, at.segments([(as_float(operation) if is_float else operation).record()]))


@cache
def corner_operations() -> tuple[OneStage, ...]:
    """Builds operations on every pair of edge numbers, in either arithmetic, others at corners, and matrix products with every shift."""
    makers: tuple[Callable[[int, int, int, int], Operation], ...] = (
        lambda out, x, y, length: fixed.Add(x, y, length),
        lambda out, x, y, length: fixed.SwiGlu(out, x, y, length),
        lambda out, x, y, length: fixed.Relu(out, x, length, 14),
    )
    rng = Random("corner operations")
    products = (once(rng, shifted(rng, number, [shift])) for number in range(QUANTISATION_COUNT) for shift in SHIFTS)
    least = (once(rng, memory) for number in range(QUANTISATION_COUNT) for memory in scaled_least(Random(number), number))
    at_end = (once(rng, at_the_end_of_memory(Random(number), number)) for number in range(QUANTISATION_COUNT))
    both = (pairs(rng, is_float, make) for make in makers for is_float in (False, True))
    requests = (case for _, case in corner_requests(rng))
    heads = attention_that_shows_weights(rng), attention_to_the_least_keys(Random("least keys"))
    attentions = (*attention_to_any_exponents(rng), *attention_to_zeros(rng), *heads, *attention_to_unlikely_keys(Random("unlikely keys")))
    zeros = (sums_of_zeros(Random("zeros")), *sums_of_negative_zeros(Random("negative zeros")))
    floats = (*floats_at_every_exponent(Random("floats")), *zeros, *operations_on_specials(Random("specials")))
    draws = draws_that_show_weights(Random("draws"))
    gates = gates_alone(Random("gates"))
    largest, ends = corner_products(Random("products")), ends_in_one_stage(Random("ends"))
    return (*both, *gates, *floats, *draws, *attentions, *norms_at_borders(rng), *requests, *at_end, *products, *least, *largest, *ends)


def drawing_nothing(rng: Random, new: int) -> WholeRun:
    """Builds a run without SAMPLE, with an op for positions that draw: the last one of the prompt is such a position all the same."""
    at, prompt = ModelBuilder(rng), 3
    matrix = at.matrix(SMALL.vocabulary, COLUMNS, 0)
    x = at.reserve(at.numbers(COLUMNS))
    tape = [fixed.Embed(x, matrix.address, 0, COLUMNS, COLUMNS, 14).record(), fixed.Add(x, matrix.address, COLUMNS).record(WHEN_DRAWING)]
    request = struct.pack(f"<IIIIQ{prompt}I", prompt, new, 0, 0, 0, *rng.sample(range(SMALL.vocabulary), prompt))
    stages = len(tape) * (prompt + new - 1)
    return WholeRun(at.segments(tape), request, stages, stages)


@cache
def corner_runs() -> tuple[WholeRun, ...]:
    """Builds whole runs whose sizes are at corners, and those with every shift."""
    rng = Random("corner runs")
    llamas, stages = [run_of(rng, each) for each in LLAMAS], len(SHIFTS) * POSITIONS
    tapes = [shifted(rng, number, SHIFTS) for number in range(QUANTISATION_COUNT)]
    whole = (WholeRun(tape, text_request(rng), stages, stages) for tape in tapes)
    return (*llamas, *whole, *(drawing_nothing(rng, new) for new in (1, 2)))
