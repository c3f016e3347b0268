"""Images that read their weights in the state quarter, as trained models do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from opml_min.memory_map import STATE
from opml_min.model.image.image import Image
from opml_min.model.image.llama import CLASSIFIER, LlamaTensor, tensors_of_llama
from opml_min.model.image.ops import align
from opml_min.model.image.segments import write_image
from opml_min.training.trained_image import trained_image
from opml_min.training.training_model import Trained


def is_any(tensor: LlamaTensor) -> bool:
    return True


def in_state(image: Image, path: Path, chosen: Callable[[LlamaTensor], bool] = is_any, gap: int = 4096) -> Image:
    """An image of the same model with the chosen tensors in the state quarter, after and between other bytes."""
    state, trained = np.random.default_rng(7).integers(0, 256, gap, np.uint8).tobytes(), []
    tensors = tensors_of_llama(image)
    is_tied = tensors[-1].address == tensors[0].address
    for tensor in tensors:
        if chosen(tensor) and not (is_tied and tensor.name == CLASSIFIER):
            trained.append(Trained(tensor.name, STATE + len(state), tensor.rows, tensor.columns, tensor.quantisation is not None))
            data = image.read(tensor.address, tensor.size)
            state += data + bytes(align(len(data)) - len(data) + align(gap // 8))
    write_image(path, trained_image(image, trained, np.frombuffer(state, np.uint8)))
    return Image(path)
