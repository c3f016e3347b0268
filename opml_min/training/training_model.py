"""A training model: what a training image holds, before it is a file, and what training leaves of it.

*Source*: spec §6.1.
"""

from attrs import field, frozen

from opml_min.model.image.segments import Piece
from opml_min.training.recipes.llama_shape import LlamaShape


@frozen
class Trained:
    """A tensor that training leaves in the state quarter: EXPORT's Q8_0 matrix, or the i32 Q24 gains of a NORM."""

    name: str  # as GGUF files call it
    address: int
    rows: int
    columns: int
    is_matrix: bool


@frozen(eq=False)
class TrainingModel:
    """Program, header, tape and data in the model quarter, then the weights with which training begins, in the state quarter."""

    segments: tuple[tuple[int, Piece], ...]  # at ascending multiples of 4096; a piece may be produced part by part
    trained: tuple[Trained, ...]
    op_count: int  # stages of an update
    tokens_per_update: int  # or pictures
    shape: LlamaShape | None = field(default=None)  # of a LLaMA
    classifier_is_embedding: bool = field(default=False)
