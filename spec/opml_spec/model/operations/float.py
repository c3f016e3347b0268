"""The operations of the float arithmetic: every number is a binary32, every sum runs in index order, each step rounds to nearest even.

*Source*: spec §3.6.
"""

from attrs import frozen

from opml_spec.arithmetic.binary32 import ONE, RNE, UNITS, add, div, from_fixed, interpret, is_nan, lt, mul, sqrt, sub
from opml_spec.arithmetic.float_functions import dot, exp, sigmoid, total
from opml_spec.machine.memory import Memory
from opml_spec.model.layout import REQUEST_BYTES, Header
from opml_spec.model.operations.fixed import BYTE_BITS, WEIGHT_BITS, draw, splitmix64
from opml_spec.model.operations.operation import Operation
from opml_spec.model.request import RequestHeader, put_token, token_at
from opml_spec.model.tensors import TILE_ROWS, float_rows, load_floats, store_floats


@frozen(slots=False)
class FloatEmbed(Operation, opcode=33):
    """The row of the token becomes the residual stream."""

    out: int
    matrix: int
    columns: int

    def execute(self, memory: Memory, position: int) -> Memory:
        tile, lane = divmod(token_at(memory, position), TILE_ROWS)
        rows = float_rows(memory, self.matrix + 4 * self.columns * TILE_ROWS * tile, TILE_ROWS, self.columns)
        return store_floats(memory, self.out, rows[lane])


@frozen(slots=False)
class FloatNorm(Operation, opcode=34):
    """RMSNorm: `w · x / √(mean(x²) + ε)`."""

    out: int
    x: int
    weights: int
    length: int
    eps_bits: int  # a binary32

    def execute(self, memory: Memory, position: int) -> Memory:
        x, weights = load_floats(memory, self.x, self.length), load_floats(memory, self.weights, self.length)
        mean = div(dot(x, x), from_fixed(self.length))
        inverse = div(ONE, sqrt(add(mean, self.eps_bits)))
        return store_floats(memory, self.out, [mul(w, mul(inverse, value)) for w, value in zip(weights, x, strict=True)])


@frozen(slots=False)
class FloatMatMul(Operation, opcode=35):
    """Matrix times vector."""

    out: int
    x: int
    matrix: int
    rows: int
    columns: int

    def execute(self, memory: Memory, position: int) -> Memory:
        x = load_floats(memory, self.x, self.columns)
        return store_floats(memory, self.out, [dot(row, x) for row in float_rows(memory, self.matrix, self.rows, self.columns)])


@frozen(slots=False)
class FloatRope(Operation, opcode=36):
    """Each pair of neighbours is rotated by an angle that grows with the position."""

    vector: int
    heads: int
    head_size: int
    table: int  # f32 (context, head_size/2, 2): cos, sin

    def execute(self, memory: Memory, position: int) -> Memory:
        x = load_floats(memory, self.vector, self.heads * self.head_size)
        row = load_floats(memory, self.table + 4 * self.head_size * position, self.head_size)
        for i in range(0, len(x), 2):
            a, b = x[i : i + 2]
            cos, sin = row[i % self.head_size : i % self.head_size + 2]
            x[i], x[i + 1] = sub(mul(a, cos), mul(b, sin)), add(mul(a, sin), mul(b, cos))
        return store_floats(memory, self.vector, x)


@frozen(slots=False)
class FloatCache(Operation, opcode=37):
    """The position's keys and values join the cache: f32 (kv_heads, context, head_size)."""

    k: int
    v: int
    keys: int
    values: int
    kv_heads: int
    head_size: int
    context: int

    def execute(self, memory: Memory, position: int) -> Memory:
        for vector, rows in ((self.k, self.keys), (self.v, self.values)):
            for head in range(self.kv_heads):
                x = load_floats(memory, vector + 4 * self.head_size * head, self.head_size)
                memory = store_floats(memory, rows + 4 * self.head_size * (head * self.context + position), x)
        return memory


@frozen(slots=False)
class FloatAttention(Operation, opcode=38):
    """Each head's mean of the values so far, weighted by e^score."""

    out: int
    q: int
    keys: int
    values: int
    heads: int
    kv_heads: int
    head_size: int
    context: int
    root_bits: int  # √head_size, a binary32

    def execute(self, memory: Memory, position: int) -> Memory:
        output: list[int] = []
        for head in range(self.heads):
            first = head // (self.heads // self.kv_heads) * self.context
            q = load_floats(memory, self.q + 4 * self.head_size * head, self.head_size)
            keys, values = (
                [load_floats(memory, start + 4 * self.head_size * (first + t), self.head_size) for t in range(position + 1)]
                for start in (self.keys, self.values)
            )
            scores = [div(dot(q, key), self.root_bits) for key in keys]
            top = scores[first_largest(scores)]
            weights = [exp(sub(score, top)) for score in scores]
            mass = total(weights)
            shares = [div(weight, mass) for weight in weights]
            output += [dot(shares, column) for column in zip(*values, strict=True)]
        return store_floats(memory, self.out, output)


@frozen(slots=False)
class FloatSwiGlu(Operation, opcode=39):
    """`gate · σ(gate) · up`."""

    out: int
    gate: int
    up: int
    length: int

    def execute(self, memory: Memory, position: int) -> Memory:
        gate, up = load_floats(memory, self.gate, self.length), load_floats(memory, self.up, self.length)
        return store_floats(memory, self.out, [mul(mul(g, sigmoid(g)), u) for g, u in zip(gate, up, strict=True)])


@frozen(slots=False)
class FloatAdd(Operation, opcode=40):
    """x grows by y."""

    x: int
    y: int
    length: int

    def execute(self, memory: Memory, position: int) -> Memory:
        x, y = load_floats(memory, self.x, self.length), load_floats(memory, self.y, self.length)
        return store_floats(memory, self.x, [add(a, b) for a, b in zip(x, y, strict=True)])


@frozen(slots=False)
class FloatSample(Operation, opcode=41):
    """The most likely token, or at a temperature a random one, joins the output."""

    logits: int
    length: int

    def execute(self, memory: Memory, position: int) -> Memory:
        logits = load_floats(memory, self.logits, self.length)
        request = RequestHeader.read(memory, Header.read(memory))
        top = first_largest(logits)
        if request.temperature_q16 == 0:
            return put_token(memory, position, top)
        temperature = from_fixed(request.temperature_q16, 16)
        weights = [weight_q24(exp(div(sub(logit, logits[top]), temperature))) for logit in logits]
        return put_token(memory, position, draw(weights, splitmix64(request.seed, position)) if any(weights) else top)


@frozen(slots=False)
class FloatInput(Operation, opcode=42):
    """The bytes of the request, as fractions of 256."""

    out: int
    length: int

    def execute(self, memory: Memory, position: int) -> Memory:
        data = memory.load_bytes(REQUEST_BYTES, self.length)
        return store_floats(memory, self.out, [from_fixed(byte, BYTE_BITS) for byte in data])


@frozen(slots=False)
class FloatRelu(Operation, opcode=43):
    """What is not positive becomes +0."""

    out: int
    x: int
    length: int

    def execute(self, memory: Memory, position: int) -> Memory:
        x = load_floats(memory, self.x, self.length)
        return store_floats(memory, self.out, [value if lt(0, value) else 0 for value in x])


def first_largest(values: list[int]) -> int:
    """The index reached from 0 by moving on to each later value that is larger. A NaN is never moved on to, and never left."""
    best = 0
    for index, value in enumerate(values):
        if lt(values[best], value):
            best = index
    return best


def weight_q24(probability: int) -> int:
    """The Q24 integer nearest to a number in [0, 1]; 0 for a NaN."""
    return 0 if is_nan(probability) else RNE.to_integer(interpret(mul(probability, from_fixed(1, -WEIGHT_BITS))), UNITS)
