"""The tape of a LLaMA's training: which operations make one update, in which order.

*Source*: spec §6.9.
"""

from collections.abc import Iterator

from opml_spec.model.layout import Record
from opml_spec.model.operations.fixed import LOGIT_BITS, VECTOR_BITS, WEIGHT_BITS
from opml_spec.training.layout import EACH_UPDATE, FIRST_UPDATE, LAST_UPDATE
from opml_spec.training.llama_places import MASTER_BITS, Kept, LlamaPlaces, Trained, TrainedLayer
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention, Heads
from opml_spec.training.operations.backward import BackwardNorm, BackwardRope, BackwardSwiGlu, CrossEntropy, Round, Sum
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardAdd, ForwardEmbed, ForwardMatMul, ForwardNorm, ForwardRope, ForwardSwiGlu
from opml_spec.training.operations.optimisers import Adam
from opml_spec.training.operations.products import EmbedWeights, MatMulData, MatMulWeights, TargetData, TargetWeights
from opml_spec.training.operations.weights import Cast, Export, Init, Tokens

UNIT_RATE_Q16 = 1 << 16
DEVIATION = 37837  # of the number that INIT scales, rounded down


class LlamaTraining(LlamaPlaces):
    """The ops of an update."""

    def tape(self) -> list[Record]:
        """The records of the tape."""
        first = [op.record(FIRST_UPDATE) for op in self.initial()]
        each = [op.record(EACH_UPDATE) for part in (self.prepared(), self.forward(), self.backward(), self.optimised()) for op in part]
        return first + each + [op.record(LAST_UPDATE) for op in self.exported()]

    def initial(self) -> Iterator[BatchOperation]:
        """Yield INIT: matrices with deviation 0.02, gains of 1."""
        for stream, w in enumerate(self.weights, 1):
            if w.is_matrix:
                yield Init(w.master, w.count, 0, (1 << MASTER_BITS + 16) // (50 * DEVIATION), stream)
            else:
                yield Init(w.master, w.count, 1 << WEIGHT_BITS, 0, stream)

    def prepared(self) -> Iterator[BatchOperation]:
        """Yield what comes before the forward pass: the batch, and working weights."""
        b = self.batch
        yield Tokens(self.inputs, self.targets, b.text, b.token_bytes, b.tokens, b.sequences, b.period, 0, b.sequences, 0)
        for w in self.weights:
            if w.is_matrix:
                yield Cast(w.working, w.master, w.count, w.frac, b.width)

    def norm(self, out: int, x: int, w: Trained) -> ForwardNorm:
        shape = self.shape
        return ForwardNorm(out, x, w.master, self.batch.rows, shape.dim, shape.r, shape.eps_q48, self.batch.width)

    def product(self, out: int, x: int, w: Trained, out_frac: int = VECTOR_BITS) -> ForwardMatMul:
        return ForwardMatMul(out, x, w.working, self.batch.rows, w.columns, w.rows, 0, w.rows, out_frac)

    def forward(self) -> Iterator[BatchOperation]:
        """Yield the operations from the tokens to the logits."""
        shape, b, rows, size = self.shape, self.batch, self.batch.rows, self.shape.head_size
        yield ForwardEmbed(self.streams[0], self.embedding.working, self.inputs, rows, shape.dim, shape.vocabulary, shape.r)
        for i, (w, at) in enumerate(zip(self.layers, self.kept, strict=True)):
            yield self.norm(at.normed, at.x, w.attention_norm)
            for vector, matrix in ((self.q, w.wq), (self.k, w.wk), (self.v, w.wv)):
                yield self.product(vector, at.normed, matrix)
            for vector, heads in ((self.q, shape.heads), (self.k, shape.kv_heads)):
                yield ForwardRope(vector, rows, b.period, heads, size, b.rope)
            for out, vector, heads in ((at.q, self.q, shape.heads), (at.k, self.k, shape.kv_heads), (at.v, self.v, shape.kv_heads)):
                yield Heads(out, vector, b.sequences, b.period, heads, size, VECTOR_BITS, b.width)
            yield ForwardAttention(at.attended, at.q, at.k, at.v, b.sequences, b.period, shape.heads, shape.kv_heads, size, b.width)
            yield self.product(self.branch, at.attended, w.wo, shape.r)
            yield ForwardAdd(at.middle, at.x, self.branch, rows * shape.dim)
            yield self.norm(at.middle_normed, at.middle, w.feed_forward_norm)
            yield self.product(at.gate, at.middle_normed, w.w_gate)
            yield self.product(at.up, at.middle_normed, w.w_up)
            yield ForwardSwiGlu(at.product, at.gate, at.up, rows, shape.hidden_dim, b.width)
            yield self.product(self.branch, at.product, w.w_down, shape.r)
            yield ForwardAdd(self.streams[2 * i + 2], at.middle, self.branch, rows * shape.dim)
        yield self.norm(self.normed, self.streams[-1], self.final_norm)
        for first, taken in self.tiles():
            working, columns = self.classifier.working, self.classifier.columns
            yield ForwardMatMul(self.logits, self.normed, working, rows, columns, shape.vocabulary, first, taken, LOGIT_BITS)

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Yield first row and number of rows of the parts into which the logits are cut."""
        for first in range(0, self.shape.vocabulary, self.batch.logit_rows):
            yield first, min(self.batch.logit_rows, self.shape.vocabulary - first)

    def towards_weights(self, g: int, x: int, w: Trained) -> MatMulWeights:
        return MatMulWeights(w.sums, g, x, self.batch.rows, w.columns, w.rows, 0, w.rows, self.batch.sum_frac)

    def towards_data(self, out: int, g: int, w: Trained) -> MatMulData:
        return MatMulData(out, g, w.working, self.batch.rows, w.columns, w.rows, 0, w.rows)

    def through_norm(self, out: int, g: int, x: int, w: Trained) -> BackwardNorm:
        shape = self.shape
        return BackwardNorm(out, w.sums, g, x, w.master, self.batch.rows, shape.dim, shape.r, shape.eps_q48, self.batch.sum_frac)

    def rounded(self, out: int, x: int, length: int) -> Round:
        return Round(out, x, self.batch.rows, length, self.batch.width)

    def added(self, part: int) -> Sum:
        """A part joins the gradient of a branch."""
        return Sum(self.d_branch, self.d_branch, part, self.batch.rows, self.shape.dim)

    def backward(self) -> Iterator[BatchOperation]:
        """Yield the operations from the logits back to the tokens."""
        b, rows, dim = self.batch, self.batch.rows, self.shape.dim
        yield from self.backward_of_logits()
        for w, at in zip(reversed(self.layers), reversed(self.kept), strict=True):
            yield from self.backward_of_feed_forward(w, at)
            yield from self.backward_of_attention(w, at)
        yield EmbedWeights(self.embedding.sums, self.d, self.inputs, rows, dim, self.shape.vocabulary, b.sum_frac)

    def backward_of_logits(self) -> Iterator[BatchOperation]:
        """Yield the operations that begin with the loss; d becomes the gradient of the last residual stream."""
        b, rows, w, of_target = self.batch, self.batch.rows, self.classifier, self.of_target
        yield CrossEntropy(self.g_logits, of_target, self.logits, self.targets, rows, w.rows, b.width)
        for first, taken in self.tiles():
            yield MatMulWeights(w.sums, self.g_logits, self.normed, rows, w.columns, w.rows, first, taken, b.sum_frac)
        yield TargetWeights(w.sums, of_target, self.targets, self.normed, rows, w.columns, w.rows, b.sum_frac)
        yield TargetData(self.d_branch, of_target, self.targets, w.working, rows, w.columns, w.rows)
        for first, taken in self.tiles():
            yield MatMulData(self.d_part, self.g_logits, w.working, rows, w.columns, w.rows, first, taken)
            yield self.added(self.d_part)
        yield self.through_norm(self.d, self.d_branch, self.streams[-1], self.final_norm)

    def backward_of_feed_forward(self, w: TrainedLayer, at: Kept) -> Iterator[BatchOperation]:
        """Yield the operations of the second half of a layer; d goes from its output to its input."""
        rows, hidden, width = self.batch.rows, self.shape.hidden_dim, self.batch.width
        yield self.rounded(self.g, self.d, self.shape.dim)
        yield self.towards_weights(self.g, at.product, w.w_down)
        yield self.towards_data(self.d_hidden, self.g, w.w_down)
        yield BackwardSwiGlu(self.g_gate, self.g_up, self.d_hidden, at.gate, at.up, rows, hidden, width)
        yield self.towards_weights(self.g_gate, at.middle_normed, w.w_gate)
        yield self.towards_weights(self.g_up, at.middle_normed, w.w_up)
        yield self.towards_data(self.d_branch, self.g_gate, w.w_gate)
        yield self.towards_data(self.d_part, self.g_up, w.w_up)
        yield self.added(self.d_part)
        yield self.through_norm(self.d_part, self.d_branch, at.middle, w.feed_forward_norm)
        yield Sum(self.d, self.d, self.d_part, rows, self.shape.dim)

    def backward_of_attention(self, w: TrainedLayer, at: Kept) -> Iterator[BatchOperation]:
        """Yield the operations of the first half of a layer."""
        shape, b, rows, size = self.shape, self.batch, self.batch.rows, self.shape.head_size
        yield self.rounded(self.g, self.d, shape.dim)
        yield self.towards_weights(self.g, at.attended, w.wo)
        yield self.towards_data(self.d_heads, self.g, w.wo)
        out, read = (self.d_q, self.d_k, self.d_v), (at.q, at.k, at.v, self.d_heads)
        yield BackwardAttention(*out, *read, b.sequences, b.period, shape.heads, shape.kv_heads, size, b.width)
        for g, d, heads in ((self.g_q, self.d_q, shape.heads), (self.g_k, self.d_k, shape.kv_heads)):
            yield BackwardRope(g, d, rows, b.period, heads, size, b.rope, b.width)
        yield self.rounded(self.g_v, self.d_v, shape.kv_heads * size)
        pairs = (self.g_q, w.wq), (self.g_k, w.wk), (self.g_v, w.wv)
        for g, matrix in pairs:
            yield self.towards_weights(g, at.normed, matrix)
        yield self.towards_data(self.d_branch, *pairs[0])
        for pair in pairs[1:]:
            yield self.towards_data(self.d_part, *pair)
            yield self.added(self.d_part)
        yield self.through_norm(self.d_part, self.d_branch, at.x, w.attention_norm)
        yield Sum(self.d, self.d, self.d_part, rows, shape.dim)

    def optimised(self) -> Iterator[BatchOperation]:
        """Yield ADAM for all weights; the gains do not decay."""
        for w in self.weights:
            moments = w.first_moment, w.second_moment
            yield Adam(w.master, w.sums, *moments, w.count, w.frac, UNIT_RATE_Q16, 1 if w.is_matrix else 0)

    def exported(self) -> Iterator[BatchOperation]:
        """Yield EXPORT for all matrices. The gains are what inference reads already."""
        for w in self.weights:
            if w.is_matrix:
                yield Export(w.exported, w.master, w.rows, w.columns, w.frac)
