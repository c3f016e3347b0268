"""The gains of a NORM, trained or frozen.

*Source*: spec §6.5 (NORM) and §6.6 (NORM_BACKWARD).
"""

from attrs import frozen

from opml_min.training.places import Places, Weights
from opml_min.training.recipes.part import Part, step_of
from opml_min.training.recipes.recipe import Optimiser
from opml_min.training.tape_writer import TapeWriter
from opml_min.training.training_model import Trained

ONE_GAIN = 1 << 24


class Gains(Part):
    """What a NORM multiplies by, at an address where i32 Q24 lie, and where its gradient goes."""

    w: Weights


@frozen
class TrainedGains(Gains):
    name: str
    w: Weights
    optimiser: Optimiser
    stream: int | None  # of the drawing; None: they lie in the image
    trains = True

    def begin(self, tape: TapeWriter) -> None:
        if self.stream is not None:
            tape.init(self.w, ONE_GAIN, 0, self.stream)

    def cast(self, tape: TapeWriter) -> None:
        pass

    def step(self, tape: TapeWriter) -> None:
        step_of(tape, self.w, self.optimiser)

    def finish(self, tape: TapeWriter, places: Places) -> tuple[Trained, ...]:
        return (Trained(self.name, self.w.master, 1, self.w.columns, is_matrix=False),)


@frozen
class FrozenGains(Gains):
    """Gains that stay. Their gradient adds up where nobody reads it, as NORM_BACKWARD writes it in any case."""

    name: str
    w: Weights
    trains = False

    def begin(self, tape: TapeWriter) -> None:
        pass

    def cast(self, tape: TapeWriter) -> None:
        pass

    def step(self, tape: TapeWriter) -> None:
        pass

    def finish(self, tape: TapeWriter, places: Places) -> tuple[Trained, ...]:
        return ()
