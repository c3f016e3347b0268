"""The operations of the fixed-point arithmetic. Each is a class: its fields are its encoding, `execute` is its meaning.

Bodies read tensors, compute in ℤ with one rounding each, and write one tensor. Names are those of the text: q, e for a normalised row and
its exponent, r for the fraction bits of the residual stream.

*Source*: spec §3.5.
"""

from collections.abc import Sequence
from itertools import accumulate

from attrs import frozen

from opml_spec.arithmetic.elementary import LOG2_E_Q32, exp2, reciprocal, rsqrt, sigmoid
from opml_spec.arithmetic.fixed import INT32_MAX, most_bits, normalise, round_shift, sat32, shorten
from opml_spec.machine.memory import Memory
from opml_spec.model.layout import REQUEST_BYTES, Header
from opml_spec.model.operations.operation import Operation
from opml_spec.model.request import RequestHeader, put_token, token_at
from opml_spec.model.tensors import (
    GROUP,
    HALF_FRACTION_BITS,
    Matrix,
    load_activation,
    load_ints,
    load_vector,
    store_activation,
    store_ints,
    store_vector,
)
from opml_spec.words import wrap

VECTOR_BITS = 14  # fraction bits of q, k, v, gate and up
QUERY_BITS = 13  # of the magnitude of a query: with 15 for the key, 32 lanes of products fit an i32
SCORE_BITS = 16  # fraction bits
WEIGHT_BITS = 24  # fraction bits of NORM's weights, and of what exp2 gives
ROTATION_BITS = 30  # fraction bits of the RoPE table
LOGIT_BITS = 12
BYTE_BITS = 8  # a request byte stands for byte/256


@frozen(slots=False)
class Embed(Operation, opcode=1):
    """The row of the token becomes the residual stream."""

    out: int  # vector
    matrix: int
    quantisation: int
    columns: int
    length: int
    r: int

    def execute(self, memory: Memory, position: int) -> Memory:
        groups = Matrix(self.matrix, self.quantisation, self.columns).row(memory, token_at(memory, position))
        row = [weight * group.scale + group.minimum for group in groups for weight in group.weights][: self.length]
        return store_vector(memory, self.out, [sat32(round_shift(x, HALF_FRACTION_BITS - self.r)) for x in row])


@frozen(slots=False)
class Norm(Operation, opcode=2):
    """RMSNorm: `x / √(mean(x²) + ε) · w`."""

    out: int  # activation
    x: int  # vector
    weights: int  # i32, Q24
    length: int
    r: int  # fraction bits of x
    eps_q48: int

    def execute(self, memory: Memory, position: int) -> Memory:
        x = load_vector(memory, self.x, self.length)
        if not any(x):
            return store_activation(memory, self.out, normalise(x, [self.r] * self.length))
        dropped = most_bits(x) - 24
        squares = [round_shift(value, dropped) ** 2 for value in x]
        fraction_bits = self.r - dropped
        mean = sum(squares) // self.length + round_shift(self.eps_q48, 48 - 2 * fraction_bits)
        t = (64 - mean.bit_length()) // 2 * 2
        root = rsqrt(mean << t)
        products = [value * weight for value, weight in zip(x, load_vector(memory, self.weights, self.length), strict=True)]
        p, c = shorten(products, 31)
        z_bits = self.r + WEIGHT_BITS - c + 62 - fraction_bits - t // 2
        return store_activation(memory, self.out, normalise([value * root for value in p], [z_bits] * self.length))


@frozen(slots=False)
class MatMul(Operation, opcode=3):
    """Matrix times activation. The sum is exact; it is rounded once."""

    out: int  # vector
    x: int  # activation
    matrix: int
    quantisation: int
    rows: int
    columns: int
    out_frac: int  # fraction bits of the result

    def execute(self, memory: Memory, position: int) -> Memory:
        q, e = load_activation(memory, self.x, self.columns)
        parts = [q[i : i + GROUP] for i in range(0, self.columns, GROUP)]
        sums = [sum(part) for part in parts]
        accumulators = [
            sum(g.scale * dot(g.weights, part) + g.minimum * total for g, part, total in zip(row, parts, sums, strict=True))
            for row in Matrix(self.matrix, self.quantisation, self.columns).rows(memory, self.rows)
        ]
        return store_vector(memory, self.out, [sat32(round_shift(acc, e + HALF_FRACTION_BITS - self.out_frac)) for acc in accumulators])


@frozen(slots=False)
class Rope(Operation, opcode=4):
    """Each pair of neighbours is rotated by an angle that grows with the position."""

    vector: int
    heads: int
    head_size: int
    table: int  # i32 (context, head_size/2, 2), Q30: cos, sin

    def execute(self, memory: Memory, position: int) -> Memory:
        x = load_vector(memory, self.vector, self.heads * self.head_size)
        row = load_ints(memory, self.table + 4 * self.head_size * position, self.head_size, 4)
        for i in range(0, len(x), 2):
            a, b = x[i : i + 2]
            cos, sin = row[i % self.head_size : i % self.head_size + 2]
            x[i] = sat32(round_shift(a * cos - b * sin, ROTATION_BITS))
            x[i + 1] = sat32(round_shift(a * sin + b * cos, ROTATION_BITS))
        return store_vector(memory, self.vector, x)


@frozen(slots=False)
class Cache(Operation, opcode=5):
    """The position's keys and values join the cache: i16 (kv_heads, context, head_size), exponents i8 (kv_heads, context)."""

    k: int  # vector
    v: int  # vector
    keys: int
    key_exponents: int
    values: int
    value_exponents: int
    kv_heads: int
    head_size: int
    context: int

    def execute(self, memory: Memory, position: int) -> Memory:
        for vector, rows, exponents in ((self.k, self.keys, self.key_exponents), (self.v, self.values, self.value_exponents)):
            for head in range(self.kv_heads):
                x = load_vector(memory, vector + 4 * self.head_size * head, self.head_size)
                q, e = normalise(x, [VECTOR_BITS] * self.head_size)
                place = head * self.context + position
                memory = store_ints(memory, rows + 2 * self.head_size * place, q, 2)
                memory = store_ints(memory, exponents + place, [e], 1)
        return memory


@frozen(slots=False)
class Attention(Operation, opcode=6):
    """Each head's mean of the values so far, weighted by 2^score. Neighbouring query heads share a key-value head."""

    out: int  # activation
    q: int  # vector
    keys: int
    key_exponents: int
    values: int
    value_exponents: int
    heads: int
    kv_heads: int
    head_size: int
    context: int
    scale_q30: int  # log2(e) / √head_size

    def execute(self, memory: Memory, position: int) -> Memory:
        outputs: list[int] = []
        fraction_bits: list[int] = []
        for head in range(self.heads):
            first = head // (self.heads // self.kv_heads) * self.context
            keys, values = (self.rows(memory, start, first, position) for start in (self.keys, self.values))
            e_k, e_v = (load_ints(memory, start + first, position + 1, 1) for start in (self.key_exponents, self.value_exponents))
            query = load_vector(memory, self.q + 4 * self.head_size * head, self.head_size)
            q, e_q = normalise(query, [VECTOR_BITS] * self.head_size, QUERY_BITS)
            products = [dot(q, key) * self.scale_q30 for key in keys]
            scores = [sat32(round_shift(product, e_q + e + 30 - SCORE_BITS)) for product, e in zip(products, e_k, strict=True)]
            top = max(scores)
            weights = [exp2(score - top) for score in scores]
            finest = min(e_v)
            aligned = [round_shift(weight, e - finest) for weight, e in zip(weights, e_v, strict=True)]
            o, c = shorten([dot(aligned, column) for column in zip(*values, strict=True)], 31)
            total = sum(weights)
            inverse = reciprocal(total)
            outputs += [value * inverse for value in o]
            fraction_bits += [finest + total.bit_length() + 30 - c] * self.head_size
        return store_activation(memory, self.out, normalise(outputs, fraction_bits))

    def rows(self, memory: Memory, cache: int, first: int, position: int) -> list[list[int]]:
        """Rows `first … first + position` of the keys or the values."""
        data = load_ints(memory, cache + 2 * self.head_size * first, (position + 1) * self.head_size, 2)
        return [data[i : i + self.head_size] for i in range(0, len(data), self.head_size)]


@frozen(slots=False)
class SwiGlu(Operation, opcode=7):
    """`gate · σ(gate) · up`."""

    out: int  # activation
    gate: int  # vector
    up: int  # vector
    length: int

    def execute(self, memory: Memory, position: int) -> Memory:
        gate, up = load_vector(memory, self.gate, self.length), load_vector(memory, self.up, self.length)
        p, c = shorten([g * sigmoid(g) for g in gate], 31)
        products = [silu * u for silu, u in zip(p, up, strict=True)]
        return store_activation(memory, self.out, normalise(products, [2 * VECTOR_BITS + 30 - c] * self.length))


@frozen(slots=False)
class Add(Operation, opcode=8):
    """x grows by y."""

    x: int  # vector
    y: int  # vector; a bias may lie in the model quarter
    length: int

    def execute(self, memory: Memory, position: int) -> Memory:
        x, y = load_vector(memory, self.x, self.length), load_vector(memory, self.y, self.length)
        return store_vector(memory, self.x, [sat32(a + b) for a, b in zip(x, y, strict=True)])


@frozen(slots=False)
class Sample(Operation, opcode=9):
    """The most likely token, or at a temperature a random one, joins the output."""

    logits: int  # vector
    length: int

    def execute(self, memory: Memory, position: int) -> Memory:
        logits = load_vector(memory, self.logits, self.length)
        request = RequestHeader.read(memory, Header.read(memory))
        top = max(logits)
        if request.temperature_q16 == 0:
            return put_token(memory, position, logits.index(top))
        slope = LOG2_E_Q32 // request.temperature_q16  # Q16
        drops = [round_shift((top - logit) * slope, LOGIT_BITS + 16 - SCORE_BITS) for logit in logits]
        weights = [exp2(-min(drop, INT32_MAX)) for drop in drops]
        return put_token(memory, position, draw(weights, splitmix64(request.seed, position)))


@frozen(slots=False)
class Input(Operation, opcode=10):
    """The bytes of the request, as fractions of 256."""

    out: int  # activation
    length: int

    def execute(self, memory: Memory, position: int) -> Memory:
        return store_activation(memory, self.out, (list(memory.load_bytes(REQUEST_BYTES, self.length)), BYTE_BITS))


@frozen(slots=False)
class Relu(Operation, opcode=11):
    """What is negative becomes 0."""

    out: int  # activation
    x: int  # vector
    length: int
    frac: int  # fraction bits of x

    def execute(self, memory: Memory, position: int) -> Memory:
        x = load_vector(memory, self.x, self.length)
        return store_activation(memory, self.out, normalise([max(value, 0) for value in x], [self.frac] * self.length))


def dot(a: Sequence[int], b: Sequence[int]) -> int:
    """Σ a·b."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def splitmix64(seed: int, position: int) -> int:
    """64 random bits for a position. *Source*: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (2014)."""
    z = wrap(seed + (position + 1) * 0x9E3779B97F4A7C15)
    z = wrap((z ^ z >> 30) * 0xBF58476D1CE4E5B9)
    z = wrap((z ^ z >> 27) * 0x94D049BB133111EB)
    return z ^ z >> 31


def draw(weights: list[int], random: int) -> int:
    """An index with probability weight / Σ weights; `random` is uniform in `[0, 2^64)`."""
    threshold = (random * sum(weights)) >> 64
    return next(index for index, reached in enumerate(accumulate(weights)) if reached > threshold)
