"""What the ops of one batch of text share: sizes, the tensors that all layers use in turn, and the ops that need both.

*Source*: spec §6.9.
"""

from attrs import frozen

from opml_min.training.operations import TrainingOpcode
from opml_min.training.places import Buffers
from opml_min.training.recipes.gains import Gains
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.tape_writer import WIDTH, TapeWriter

VECTOR_FRACTION_BITS, LOGIT_FRACTION_BITS = 14, 12


@frozen
class TextBatch:
    """A batch of sequences on its way through a network."""

    shape: LlamaShape
    tape: TapeWriter
    buffers: Buffers
    sequences: int
    period: int
    rope_table: int

    @property
    def rows(self) -> int:
        return self.sequences * self.period

    @property
    def attention_sizes(self) -> tuple[int, ...]:
        return self.sequences, self.period, self.shape.heads, self.shape.kv_heads, self.shape.head_size, WIDTH

    @property
    def d(self) -> int:
        """The gradient of the residual stream."""
        return self.buffers.gradient("d", self.shape.dim)

    @property
    def d_n(self) -> int:
        """The gradient of what a NORM gives."""
        return self.buffers.gradient("d_n", self.shape.dim)

    @property
    def part(self) -> int:
        """A gradient that is added to another one."""
        return self.buffers.gradient("part", self.shape.dim)

    def norm(self, out: int, x: int, gains: Gains) -> None:
        self.tape.add(TrainingOpcode.NORM, out, x, gains.w.master, self.rows, self.shape.dim, self.shape.r, self.shape.eps_q48, WIDTH)

    def norm_backward(self, out: int, x: int, gains: Gains) -> None:
        """Write the gradient of x to `out`, from d_n."""
        numbers = (self.rows, self.shape.dim, self.shape.r, self.shape.eps_q48, self.tape.sum_frac)
        self.tape.add(TrainingOpcode.NORM_BACKWARD, out, gains.w.sums, self.d_n, x, gains.w.master, *numbers)

    def add(self, out: int, x: int, y: int) -> None:
        self.tape.add(TrainingOpcode.ADD, out, x, y, self.rows * self.shape.dim)
