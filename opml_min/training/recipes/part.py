"""A part of a network: weights that begin, are cast, take a step and end in a way of their own.

*Source*: spec §6.9.
"""

from abc import ABC, abstractmethod

from opml_min.training.places import Places, Weights
from opml_min.training.recipes.recipe import Optimiser
from opml_min.training.tape_writer import TapeWriter
from opml_min.training.training_model import Trained


class Part(ABC):
    """The weights of one name."""

    name: str  # as GGUF files call them
    trains: bool

    @abstractmethod
    def begin(self, tape: TapeWriter) -> None:
        """Draw the weights that do not lie in the image, in the first update."""

    @abstractmethod
    def cast(self, tape: TapeWriter) -> None:
        """Write the working weights."""

    @abstractmethod
    def step(self, tape: TapeWriter) -> None:
        """Let the optimiser change what is trained."""

    @abstractmethod
    def finish(self, tape: TapeWriter, places: Places) -> tuple[Trained, ...]:
        """Write what inference reads, in the last update. Return where; nothing if this part is not trained."""


def step_of(tape: TapeWriter, w: Weights, optimiser: Optimiser) -> None:
    """Write the op by which an optimiser changes weights."""
    {Optimiser.ADAM: tape.adam, Optimiser.SGD: tape.sgd, Optimiser.MUON: tape.muon}[optimiser](w)
