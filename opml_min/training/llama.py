"""The tape of a LLaMA's update: forward, backward, and one step of ADAM for all weights.

Of each layer what its backward ops read is kept; all other tensors are shared by the layers.

*Source*: spec §6.9.
"""

from attrs import field, frozen

from opml_min.training.operations import TrainingOpcode
from opml_min.training.places import Places, Weights
from opml_min.training.tape_writer import WIDTH, TapeWriter

VECTOR_FRACTION_BITS, LOGIT_FRACTION_BITS = 14, 12
INIT_SCALE_Q16 = (1 << 42) // (50 * 37837)  # deviation 0.02, where the sum of four u16 has 37837
ONE_GAIN = 1 << 24
TOKEN_STREAM = 0  # the weights' streams are 1, 2, …


@frozen
class LlamaShape:
    """The sizes of a LLaMA, and how finely its residual stream is stored."""

    dim: int
    hidden_dim: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    eps_q48: int = round(1e-5 * 2**48)
    r: int = 16


@frozen
class TextBatch:
    """Where the text lies, and what an update takes from it."""

    text: int
    token_bytes: int
    count: int
    rope_table: int
    sequences: int
    period: int
    sum_frac: int = 16
    logit_rows: int = 1 << 20  # of the classifier, in one op

    @property
    def rows(self) -> int:
        return self.sequences * self.period


@frozen
class LayerPlaces:
    """The weights of a layer, in their order, and the tensors that are kept until its backward ops."""

    attention_gain: Weights
    q: Weights
    k: Weights
    v: Weights
    o: Weights
    feed_forward_gain: Weights
    gate: Weights
    up: Weights
    down: Weights
    x: int
    n: int
    q_heads: int
    k_heads: int
    v_heads: int
    a: int
    x_middle: int
    n_middle: int
    gate_vectors: int
    up_vectors: int
    s: int

    @property
    def weights(self) -> tuple[Weights, ...]:
        attention = (self.attention_gain, self.q, self.k, self.v, self.o)
        return (*attention, self.feed_forward_gain, self.gate, self.up, self.down)


@frozen
class LlamaTape:
    """The ops of an update, and where the weights lie."""

    shape: LlamaShape
    batch: TextBatch
    weights: tuple[Weights, ...] = field(init=False)
    writer: TapeWriter = field(init=False)

    def __attrs_post_init__(self) -> None:
        ops = _Update(self.shape, self.batch, Places())
        object.__setattr__(self, "weights", ops.weights)
        object.__setattr__(self, "writer", ops.write())


class _Update:
    def __init__(self, shape: LlamaShape, batch: TextBatch, places: Places) -> None:
        self.shape, self.batch, self.tape = shape, batch, TapeWriter(batch.rows, batch.sum_frac)
        s, rows = shape, batch.rows
        self.heads_length, self.kv_length = s.heads * s.head_size, s.kv_heads * s.head_size
        self.embedding = places.weights(s.vocabulary, s.dim)
        self.layers = [self._layer(places) for _ in range(s.layers)]
        self.final_gain = places.weights(1, s.dim, is_matrix=False)
        self.classifier = places.weights(s.vocabulary, s.dim)
        layer_weights = [w for layer in self.layers for w in layer.weights]
        self.weights = (self.embedding, *layer_weights, self.final_gain, self.classifier)
        self.matrices = [w for w in self.weights if w.is_matrix]

        self.tokens, self.targets, self.of_target = (places.numbers(rows) for _ in range(3))
        self.q, self.k, self.v = (places.numbers(rows * n) for n in (self.heads_length, self.kv_length, self.kv_length))
        self.added, self.last_x, self.logits = (places.numbers(rows * n) for n in (s.dim, s.dim, s.vocabulary))
        self.last_n, self.g_logits = places.activation(rows, s.dim), places.activation(rows, s.vocabulary)
        self.d, self.d_n, self.part = (places.gradient(rows, s.dim) for _ in range(3))
        self.d_rounded, self.d_s = places.activation(rows, s.dim), places.gradient(rows, s.hidden_dim)
        self.g_gate, self.g_up = (places.activation(rows, s.hidden_dim) for _ in range(2))
        lengths = self.heads_length, self.kv_length, self.kv_length
        self.d_q, self.d_k, self.d_v = (places.gradient(rows, n) for n in lengths)
        self.g_q, self.g_k, self.g_v = (places.activation(rows, n) for n in lengths)
        self.d_a = places.gradient(rows, self.heads_length)

    def _layer(self, places: Places) -> LayerPlaces:
        s, rows, sequences, length = self.shape, self.batch.rows, self.batch.sequences, self.batch.period * self.shape.head_size
        return LayerPlaces(
            attention_gain=places.weights(1, s.dim, is_matrix=False),
            q=places.weights(self.heads_length, s.dim),
            k=places.weights(self.kv_length, s.dim),
            v=places.weights(self.kv_length, s.dim),
            o=places.weights(s.dim, self.heads_length),
            feed_forward_gain=places.weights(1, s.dim, is_matrix=False),
            gate=places.weights(s.hidden_dim, s.dim),
            up=places.weights(s.hidden_dim, s.dim),
            down=places.weights(s.dim, s.hidden_dim),
            x=places.numbers(rows * s.dim),
            n=places.activation(rows, s.dim),
            q_heads=places.activation(sequences * s.heads, length),
            k_heads=places.activation(sequences * s.kv_heads, length),
            v_heads=places.activation(sequences * s.kv_heads, length),
            a=places.activation(rows, self.heads_length),
            x_middle=places.numbers(rows * s.dim),
            n_middle=places.activation(rows, s.dim),
            gate_vectors=places.numbers(rows * s.hidden_dim),
            up_vectors=places.numbers(rows * s.hidden_dim),
            s=places.activation(rows, s.hidden_dim),
        )

    def write(self) -> TapeWriter:
        tape, batch, s = self.tape, self.batch, self.shape
        for stream, w in enumerate(self.weights, start=1):
            tape.init(w, 0 if w.is_matrix else ONE_GAIN, INIT_SCALE_Q16 if w.is_matrix else 0, stream)
        places = (self.tokens, self.targets, batch.text, batch.token_bytes, batch.count, batch.sequences, batch.period)
        tape.add(TrainingOpcode.TOKENS, *places, 0, batch.sequences, TOKEN_STREAM)
        tape.cast(self.matrices)
        tape.add(TrainingOpcode.EMBED, self._x(0), self.embedding.working, self.tokens, batch.rows, s.dim, s.vocabulary, s.r)
        for i in range(s.layers):
            self._forward(i)
        self._norm(self.last_n, self.last_x, self.final_gain)
        for first, taken in self._tiles():
            tape.matmul(self.logits, self.last_n, self.classifier, LOGIT_FRACTION_BITS, first, taken)
        self._loss()
        for layer in reversed(self.layers):
            self._feed_forward_backward(layer)
            self._attention_backward(layer)
        sizes = (batch.rows, s.dim, s.vocabulary, batch.sum_frac)
        tape.add(TrainingOpcode.EMBED_WEIGHTS, self.embedding.sums, self.d, self.tokens, *sizes)
        tape.adam(self.weights)
        tape.export(self.matrices)
        return tape

    def _x(self, layer: int) -> int:
        return self.layers[layer].x if layer < self.shape.layers else self.last_x

    def _tiles(self) -> list[tuple[int, int]]:
        """Return first row and number of rows of each part of the classifier."""
        most, count = self.batch.logit_rows, self.shape.vocabulary
        return [(first, min(most, count - first)) for first in range(0, count, most)]

    def _norm(self, out: int, x: int, gain: Weights) -> None:
        self.tape.add(TrainingOpcode.NORM, out, x, gain.master, self.batch.rows, self.shape.dim, self.shape.r, self.shape.eps_q48, WIDTH)

    def _norm_backward(self, out: int, g: int, x: int, gain: Weights) -> None:
        numbers = (self.batch.rows, self.shape.dim, self.shape.r, self.shape.eps_q48, self.batch.sum_frac)
        self.tape.add(TrainingOpcode.NORM_BACKWARD, out, gain.sums, g, x, gain.master, *numbers)

    def _add(self, out: int, x: int) -> None:
        self.tape.add(TrainingOpcode.ADD, out, x, self.added, self.batch.rows * self.shape.dim)

    def _forward(self, i: int) -> None:
        tape, s, batch, layer = self.tape, self.shape, self.batch, self.layers[i]
        self._norm(layer.n, layer.x, layer.attention_gain)
        for out, w in ((self.q, layer.q), (self.k, layer.k), (self.v, layer.v)):
            tape.matmul(out, layer.n, w, VECTOR_FRACTION_BITS)
        for vectors, heads in ((self.q, s.heads), (self.k, s.kv_heads)):
            tape.add(TrainingOpcode.ROPE, vectors, batch.rows, batch.period, heads, s.head_size, batch.rope_table)
        for out, x, heads in (
            (layer.q_heads, self.q, s.heads),
            (layer.k_heads, self.k, s.kv_heads),
            (layer.v_heads, self.v, s.kv_heads),
        ):
            tape.add(TrainingOpcode.HEADS, out, x, batch.sequences, batch.period, heads, s.head_size, VECTOR_FRACTION_BITS, WIDTH)
        tape.add(TrainingOpcode.ATTENTION, layer.a, layer.q_heads, layer.k_heads, layer.v_heads, *self._attention_sizes())
        tape.matmul(self.added, layer.a, layer.o, s.r)
        self._add(layer.x_middle, layer.x)
        self._norm(layer.n_middle, layer.x_middle, layer.feed_forward_gain)
        tape.matmul(layer.gate_vectors, layer.n_middle, layer.gate, VECTOR_FRACTION_BITS)
        tape.matmul(layer.up_vectors, layer.n_middle, layer.up, VECTOR_FRACTION_BITS)
        tape.add(TrainingOpcode.SWIGLU, layer.s, layer.gate_vectors, layer.up_vectors, batch.rows, s.hidden_dim, WIDTH)
        tape.matmul(self.added, layer.s, layer.down, s.r)
        self._add(self._x(i + 1), layer.x_middle)

    def _attention_sizes(self) -> tuple[int, ...]:
        s = self.shape
        return self.batch.sequences, self.batch.period, s.heads, s.kv_heads, s.head_size, WIDTH

    def _loss(self) -> None:
        tape, rows, s, w = self.tape, self.batch.rows, self.shape, self.classifier
        tape.add(TrainingOpcode.CROSS_ENTROPY, self.g_logits, self.of_target, self.logits, self.targets, rows, s.vocabulary, WIDTH)
        for first, taken in self._tiles():
            tape.matmul_weights(w, self.g_logits, self.last_n, first, taken)
        sizes = (rows, s.dim, s.vocabulary)
        tape.add(TrainingOpcode.TARGET_WEIGHTS, w.sums, self.of_target, self.targets, self.last_n, *sizes, self.batch.sum_frac)
        tape.add(TrainingOpcode.TARGET_DATA, self.d_n, self.of_target, self.targets, w.working, *sizes)
        for first, taken in self._tiles():
            tape.matmul_data_sum(self.d_n, self.part, self.g_logits, w, first, taken)
        self._norm_backward(self.d, self.d_n, self.last_x, self.final_gain)

    def _into_d(self, x: int, gain: Weights) -> None:
        """Add to d what comes through a NORM."""
        self._norm_backward(self.part, self.d_n, x, gain)
        self.tape.add(TrainingOpcode.SUM, self.d, self.d, self.part, self.batch.rows, self.shape.dim)

    def _round(self, out: int, x: int, length: int) -> None:
        self.tape.add(TrainingOpcode.ROUND, out, x, self.batch.rows, length, WIDTH)

    def _feed_forward_backward(self, layer: LayerPlaces) -> None:
        tape, s, rows = self.tape, self.shape, self.batch.rows
        self._round(self.d_rounded, self.d, s.dim)
        tape.matmul_weights(layer.down, self.d_rounded, layer.s)
        tape.matmul_data(self.d_s, self.d_rounded, layer.down)
        vectors = (layer.gate_vectors, layer.up_vectors)
        tape.add(TrainingOpcode.SWIGLU_BACKWARD, self.g_gate, self.g_up, self.d_s, *vectors, rows, s.hidden_dim, WIDTH)
        tape.matmul_weights(layer.gate, self.g_gate, layer.n_middle)
        tape.matmul_weights(layer.up, self.g_up, layer.n_middle)
        tape.matmul_data(self.d_n, self.g_gate, layer.gate)
        tape.matmul_data_sum(self.d_n, self.part, self.g_up, layer.up)
        self._into_d(layer.x_middle, layer.feed_forward_gain)

    def _attention_backward(self, layer: LayerPlaces) -> None:
        tape, s, batch = self.tape, self.shape, self.batch
        self._round(self.d_rounded, self.d, s.dim)
        tape.matmul_weights(layer.o, self.d_rounded, layer.a)
        tape.matmul_data(self.d_a, self.d_rounded, layer.o)
        heads = (layer.q_heads, layer.k_heads, layer.v_heads)
        tape.add(TrainingOpcode.ATTENTION_BACKWARD, self.d_q, self.d_k, self.d_v, *heads, self.d_a, *self._attention_sizes())
        for out, x, count in ((self.g_q, self.d_q, s.heads), (self.g_k, self.d_k, s.kv_heads)):
            tape.add(TrainingOpcode.ROPE_BACKWARD, out, x, batch.rows, batch.period, count, s.head_size, batch.rope_table, WIDTH)
        self._round(self.g_v, self.d_v, self.kv_length)
        for w, g in ((layer.q, self.g_q), (layer.k, self.g_k), (layer.v, self.g_v)):
            tape.matmul_weights(w, g, layer.n)
        tape.matmul_data(self.d_n, self.g_q, layer.q)
        tape.matmul_data_sum(self.d_n, self.part, self.g_k, layer.k)
        tape.matmul_data_sum(self.d_n, self.part, self.g_v, layer.v)
        self._into_d(layer.x, layer.attention_gain)
