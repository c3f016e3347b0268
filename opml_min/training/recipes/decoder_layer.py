"""A layer of a LLaMA: attention and a feed-forward network, each behind a NORM and added to the residual stream; forward and backward.

*Source*: spec §6.9, steps 3, 6 and 7.
"""

from attrs import frozen

from opml_min.training.operations import TrainingOpcode
from opml_min.training.places import Places
from opml_min.training.recipes.batch import VECTOR_FRACTION_BITS, TextBatch
from opml_min.training.recipes.gains import Gains
from opml_min.training.recipes.linear import Linear
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.part import Part
from opml_min.training.tape_writer import WIDTH, OutputGradient


@frozen
class Kept:
    """What a layer's backward ops read of its forward ops. Layers that no backward pass reaches share one of these."""

    x: int
    n: int
    q_heads: int
    k_heads: int
    v_heads: int
    attended: int
    x_middle: int
    n_middle: int
    gate_vectors: int
    up_vectors: int
    hidden: int

    @classmethod
    def take(cls, places: Places, shape: LlamaShape, sequences: int, period: int) -> "Kept":
        rows, length = sequences * period, period * shape.head_size
        return cls(
            x=places.numbers(rows * shape.dim),
            n=places.activation(rows, shape.dim),
            q_heads=places.activation(sequences * shape.heads, length),
            k_heads=places.activation(sequences * shape.kv_heads, length),
            v_heads=places.activation(sequences * shape.kv_heads, length),
            attended=places.activation(rows, shape.query_length),
            x_middle=places.numbers(rows * shape.dim),
            n_middle=places.activation(rows, shape.dim),
            gate_vectors=places.numbers(rows * shape.hidden_dim),
            up_vectors=places.numbers(rows * shape.hidden_dim),
            hidden=places.activation(rows, shape.hidden_dim),
        )


@frozen
class DecoderLayer:
    """The weights of a layer, in their order, and what it keeps."""

    attention_gains: Gains
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    feed_forward_gains: Gains
    gate: Linear
    up: Linear
    down: Linear
    kept: Kept

    @property
    def parts(self) -> tuple[Part, ...]:
        attention = (self.attention_gains, self.q, self.k, self.v, self.o)
        return (*attention, self.feed_forward_gains, self.gate, self.up, self.down)

    @property
    def trains(self) -> bool:
        return any(part.trains for part in self.parts)

    def forward(self, batch: TextBatch, out: int) -> None:
        """Write the residual stream after this layer to `out`."""
        tape, shape, kept, buffers = batch.tape, batch.shape, self.kept, batch.buffers
        q, k, v = (buffers.vectors(use, n) for use, n in (("q", shape.query_length), ("k", shape.key_length), ("v", shape.key_length)))
        added = buffers.vectors("added", shape.dim)
        batch.norm(kept.n, kept.x, self.attention_gains)
        for vectors, linear in ((q, self.q), (k, self.k), (v, self.v)):
            linear.forward(tape, vectors, kept.n, VECTOR_FRACTION_BITS)
        for vectors, heads in ((q, shape.heads), (k, shape.kv_heads)):
            tape.add(TrainingOpcode.ROPE, vectors, batch.rows, batch.period, heads, shape.head_size, batch.rope_table)
        for heads_at, vectors, heads in (
            (kept.q_heads, q, shape.heads),
            (kept.k_heads, k, shape.kv_heads),
            (kept.v_heads, v, shape.kv_heads),
        ):
            sizes = (batch.sequences, batch.period, heads, shape.head_size)
            tape.add(TrainingOpcode.HEADS, heads_at, vectors, *sizes, VECTOR_FRACTION_BITS, WIDTH)
        tape.add(TrainingOpcode.ATTENTION, kept.attended, kept.q_heads, kept.k_heads, kept.v_heads, *batch.attention_sizes)
        self.o.forward(tape, added, kept.attended, shape.r)
        batch.add(kept.x_middle, kept.x, added)
        batch.norm(kept.n_middle, kept.x_middle, self.feed_forward_gains)
        self.gate.forward(tape, kept.gate_vectors, kept.n_middle, VECTOR_FRACTION_BITS)
        self.up.forward(tape, kept.up_vectors, kept.n_middle, VECTOR_FRACTION_BITS)
        tape.add(TrainingOpcode.SWIGLU, kept.hidden, kept.gate_vectors, kept.up_vectors, batch.rows, shape.hidden_dim, WIDTH)
        self.down.forward(tape, added, kept.hidden, shape.r)
        batch.add(out, kept.x_middle, added)

    def backward(self, batch: TextBatch, *, goes_on: bool) -> None:
        """Replace d, the gradient of the residual stream after this layer, by that before it.

        goes_on: something before this layer trains; otherwise d is left as it is at the end"""
        self._feed_forward_backward(batch)
        self._attention_backward(batch, goes_on)

    def _feed_forward_backward(self, batch: TextBatch) -> None:
        tape, shape, kept, buffers = batch.tape, batch.shape, self.kept, batch.buffers
        d_hidden, part_hidden = (buffers.gradient(use, shape.hidden_dim) for use in ("hidden", "part"))
        of_gate, of_up = (OutputGradient(buffers.activation(use, shape.hidden_dim)) for use in ("gate", "up"))
        of_down = self._rounded_d(batch)
        self.down.gradient(tape, of_down, kept.hidden)
        self.down.backward(tape, d_hidden, of_down, part_hidden)
        vectors = (kept.gate_vectors, kept.up_vectors)
        tape.add(TrainingOpcode.SWIGLU_BACKWARD, of_gate.g, of_up.g, d_hidden, *vectors, batch.rows, shape.hidden_dim, WIDTH)
        self.gate.gradient(tape, of_gate, kept.n_middle)
        self.up.gradient(tape, of_up, kept.n_middle)
        self.gate.backward(tape, batch.d_n, of_gate, batch.part)
        self.up.backward(tape, batch.d_n, of_up, batch.part, adds=True)
        batch.norm_backward(batch.part, kept.x_middle, self.feed_forward_gains)
        tape.sum(batch.d, batch.part, shape.dim)

    def _attention_backward(self, batch: TextBatch, goes_on: bool) -> None:
        tape, shape, kept, buffers = batch.tape, batch.shape, self.kept, batch.buffers
        queries, keys = shape.query_length, shape.key_length
        d_q, d_k, d_v = (buffers.gradient(use, n) for use, n in (("d_q", queries), ("d_k", keys), ("d_v", keys)))
        of_q, of_k, of_v = (OutputGradient(buffers.activation(use, n)) for use, n in (("g_q", queries), ("g_k", keys), ("g_v", keys)))
        d_attended, part_attended = (buffers.gradient(use, queries) for use in ("attended", "part"))
        of_o = self._rounded_d(batch)
        self.o.gradient(tape, of_o, kept.attended)
        self.o.backward(tape, d_attended, of_o, part_attended)
        heads = (kept.q_heads, kept.k_heads, kept.v_heads)
        tape.add(TrainingOpcode.ATTENTION_BACKWARD, d_q, d_k, d_v, *heads, d_attended, *batch.attention_sizes)
        for of, d, count in ((of_q, d_q, shape.heads), (of_k, d_k, shape.kv_heads)):
            sizes = (batch.rows, batch.period, count, shape.head_size)
            tape.add(TrainingOpcode.ROPE_BACKWARD, of.g, d, *sizes, batch.rope_table, WIDTH)
        tape.round(of_v.g, d_v, keys)
        projections = ((self.q, of_q), (self.k, of_k), (self.v, of_v))
        for linear, of in projections:
            linear.gradient(tape, of, kept.n)
        if not goes_on and not self.attention_gains.trains:
            return
        for linear, of in projections:
            linear.backward(tape, batch.d_n, of, batch.part, adds=linear is not self.q)
        batch.norm_backward(batch.part, kept.x, self.attention_gains)
        if goes_on:
            tape.sum(batch.d, batch.part, shape.dim)

    def _rounded_d(self, batch: TextBatch) -> OutputGradient:
        rounded = batch.buffers.activation("d", batch.shape.dim)
        batch.tape.round(rounded, batch.d, batch.shape.dim)
        return OutputGradient(rounded)
