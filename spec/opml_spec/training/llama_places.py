"""Where the tensors of a LLaMA's training lie: master weights and exports in the state quarter, everything else in the io quarter.

The forward pass keeps what the backward pass reads again: in each layer the two residual streams, what matrix products read, q, k and v
as heads, gate and up. All other tensors are used again by the next layer.

*Source*: spec §6.9.
"""

from attrs import define, frozen

from opml_spec.machine.memory import STATE
from opml_spec.model.llama import Shape
from opml_spec.model.operations.fixed import WEIGHT_BITS
from opml_spec.model.tensors import ALIGNMENT
from opml_spec.training.layout import TENSORS
from opml_spec.training.operations.weights import Export
from opml_spec.training.tensors import activation, gradient, working

MASTER_BITS = 26


@frozen
class Batch:
    """What a training of a LLaMA needs beside its shape."""

    text: int  # address of the tokens
    token_bytes: int
    tokens: int  # how many the text has
    sequences: int
    period: int
    rope: int  # address of the table
    width: int = 15
    sum_frac: int = 12
    logit_rows: int = 1 << 20  # rows of the last matrix that one op multiplies

    @property
    def rows(self) -> int:
        return self.sequences * self.period


@define
class Space:
    """Hands out one address after another."""

    free: int

    def take(self, size: int) -> int:
        address = self.free
        self.free += -(-size // ALIGNMENT) * ALIGNMENT
        return address


@frozen
class Trained:
    """A matrix, or with one row the gains of a norm: where its master weights and all that belongs to them lie."""

    rows: int
    columns: int
    frac: int
    master: int
    sums: int
    first_moment: int
    second_moment: int
    working: int  # none of gains, as exported
    exported: int

    @property
    def count(self) -> int:
        return self.rows * self.columns

    @property
    def is_matrix(self) -> bool:
        return self.frac == MASTER_BITS


@frozen
class TrainedLayer:
    """The weights of a layer, in the order in which they are used."""

    attention_norm: Trained
    wq: Trained
    wk: Trained
    wv: Trained
    wo: Trained
    feed_forward_norm: Trained
    w_gate: Trained
    w_up: Trained
    w_down: Trained


@frozen
class Kept:
    """What the backward pass of a layer reads again."""

    x: int  # vectors: the residual stream before attention
    normed: int  # activation
    q: int  # heads
    k: int
    v: int
    attended: int  # activation
    middle: int  # vectors: the residual stream after attention
    middle_normed: int  # activation
    gate: int  # vectors
    up: int
    product: int  # activation


class LlamaPlaces:
    """Every tensor of a training, placed one after another."""

    def __init__(self, shape: Shape, batch: Batch) -> None:
        self.shape, self.batch = shape, batch
        self.io, self.state = Space(TENSORS), Space(STATE)
        dim, hidden, kv = shape.dim, shape.hidden_dim, shape.kv_heads * shape.head_size
        q = shape.heads * shape.head_size
        self.embedding = self.matrix(shape.vocabulary, dim)
        self.layers = [
            TrainedLayer(
                self.gains(),
                self.matrix(q, dim),
                self.matrix(kv, dim),
                self.matrix(kv, dim),
                self.matrix(dim, q),
                self.gains(),
                self.matrix(hidden, dim),
                self.matrix(hidden, dim),
                self.matrix(dim, hidden),
            )
            for _ in range(shape.layers)
        ]
        self.final_norm = self.gains()
        self.classifier = self.matrix(shape.vocabulary, dim)
        rows = batch.rows
        self.inputs, self.targets, self.of_target = (self.io.take(4 * rows) for _ in range(3))
        self.streams = [self.vectors(dim) for _ in range(2 * shape.layers + 1)]  # residual: before each addition, after the last
        self.kept = [self.keep(layer) for layer in range(shape.layers)]
        self.q, self.k, self.v, self.branch, self.logits = (self.vectors(n) for n in (q, kv, kv, dim, shape.vocabulary))
        self.normed = self.activations(dim)
        self.d, self.d_branch, self.d_part = (self.gradients(dim) for _ in range(3))
        self.d_hidden, self.d_heads, self.d_q, self.d_k, self.d_v = (self.gradients(n) for n in (hidden, q, q, kv, kv))
        self.g, self.g_logits, self.g_gate, self.g_up = (self.activations(n) for n in (dim, shape.vocabulary, hidden, hidden))
        self.g_q, self.g_k, self.g_v = (self.activations(n) for n in (q, kv, kv))

    def vectors(self, length: int) -> int:
        return self.io.take(4 * self.batch.rows * length)

    def activations(self, length: int) -> int:
        return self.io.take(activation(0, self.batch.rows, length).size)

    def gradients(self, length: int) -> int:
        return self.io.take(gradient(0, self.batch.rows, length).size)

    def heads(self, count: int) -> int:
        sequences, period = self.batch.sequences, self.batch.period
        return self.io.take(activation(0, sequences * count, period * self.shape.head_size).size)

    def keep(self, layer: int) -> Kept:
        """Places what a layer keeps."""
        shape = self.shape
        q, k, v = (self.heads(n) for n in (shape.heads, shape.kv_heads, shape.kv_heads))
        normed, attended, middle_normed = (self.activations(n) for n in (shape.dim, shape.heads * shape.head_size, shape.dim))
        gate, up = self.vectors(shape.hidden_dim), self.vectors(shape.hidden_dim)
        x, middle = self.streams[2 * layer : 2 * layer + 2]
        return Kept(x, normed, q, k, v, attended, middle, middle_normed, gate, up, self.activations(shape.hidden_dim))

    def matrix(self, rows: int, columns: int) -> Trained:
        count = rows * columns
        size = Export(0, 0, rows, columns, 0).size
        return Trained(rows, columns, MASTER_BITS, *self.trainable(count), self.io.take(working(0, count).size), self.state.take(size))

    def gains(self) -> Trained:
        return Trained(1, self.shape.dim, WEIGHT_BITS, *self.trainable(self.shape.dim), 0, 0)

    def trainable(self, count: int) -> tuple[int, int, int, int]:
        """Addresses of master weights, sums and moments."""
        return self.state.take(4 * count), self.io.take(4 * count), self.io.take(4 * count), self.io.take(8 * count)

    @property
    def weights(self) -> list[Trained]:
        """All weights, in the order of the network; their index is also the stream of their INIT, less 1."""
        inner = [getattr(layer, name) for layer in self.layers for name in TrainedLayer.__annotations__]
        return [self.embedding, *inner, self.final_norm, self.classifier]
