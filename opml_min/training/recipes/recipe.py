"""What a person chooses of a training before it becomes a tape: which weights train, by which optimiser, and on how much text at once.

*Source*: spec §6.9.
"""

from enum import StrEnum

from attrs import field, frozen
from attrs.validators import ge, optional

from opml_min.model.errors import RequestError

LARGEST_RANK = 1024  # as many heads as an op can have (spec §6.8)


class Method(StrEnum):
    """Which weights train."""

    SCRATCH = "scratch"  # all, from drawn ones
    FULL = "full"  # all, from those of a source model
    LAST = "last"  # those of the last layer, and the final gain
    LORA = "lora"  # adapters of low rank, beside every matrix of the layers


class Optimiser(StrEnum):
    """How a gradient becomes a step."""

    ADAM = "adam"
    SGD = "sgd"
    MUON = "muon"  # the matrices of the layers; ADAM for embedding, classifier and gains


@frozen
class Recipe:
    """A training of a LLaMA."""

    method: Method
    optimiser: Optimiser = Optimiser.ADAM
    sequences: int = field(default=8, validator=ge(1))  # of an update
    period: int = field(default=128, validator=ge(1))  # tokens of a sequence
    batches: int | None = field(default=None, validator=optional(ge(1)))  # of equal size, in an update; None: as few as fit
    rank: int = field(default=8, validator=ge(1))  # of adapters
    sum_frac: int = 16
    logit_rows: int | None = field(default=None, validator=optional(ge(1)))  # of the classifier, in one op; None: as many as fit

    def __attrs_post_init__(self) -> None:
        if self.batches is not None and self.sequences % self.batches:
            raise RequestError(f"{self.sequences} sequences do not make {self.batches} equal batches")
        if self.rank > LARGEST_RANK:
            raise RequestError(f"adapters of rank {self.rank} are impossible; {LARGEST_RANK} is the highest")

@frozen
class TokenText:
    """A text as its tokens, each of 1, 2 or 4 bytes, little-endian."""

    data: bytes
    token_bytes: int = 2

    @property
    def count(self) -> int:
        return len(self.data) // self.token_bytes
