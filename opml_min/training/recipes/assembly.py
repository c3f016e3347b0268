"""From a tape and the places of its tensors to the segments of a training model.

*Source*: spec §6.1.
"""

from opml_min.memory_map import ENTRY, HEADER
from opml_min.model.image.program import shipped_training_program
from opml_min.training.layout import TAPE, TrainingHeader
from opml_min.training.places import Places
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.tape_writer import TapeWriter
from opml_min.training.training_model import Trained, TrainingModel


def assembled(
    places: Places,
    tape: TapeWriter,
    trained: tuple[Trained, ...],
    rows_per_update: int,
    shape: LlamaShape | None = None,
    classifier_is_embedding: bool = False,
) -> TrainingModel:
    header = TrainingHeader(len(tape.ops)).pack()
    head = header + bytes(TAPE - HEADER - len(header)) + tape.pack()
    segments = ((ENTRY, shipped_training_program()), (HEADER, head), *places.data.segments(), *places.state.segments())
    return TrainingModel(segments, trained, len(tape.ops), rows_per_update, shape, classifier_is_embedding)
