"""Counts how often a classifier is right, on many pictures in a row, in the image's own integer arithmetic."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.memory_map import OUTPUT, REQUEST
from opml_min.model.devices import Device, engine_for
from opml_min.model.image.image import Image
from opml_min.model.image.request import stage_count

OUTPUT_BYTES = 64  # the leaf with the token count, and the leaf with the token


def answers(image: Image, requests: NDArray[np.uint8], device: Device = "cpu") -> Iterator[int]:
    """Yields the output token of each request. requests: (requests, bytes)"""
    memory = Memory()
    image.load_into(memory)
    engine = engine_for(device, memory, image, image.tape, threads=1)
    for request in requests:
        stage_count(image.header, request.tobytes())  # raises where stage 0 would exit with an error
        memory.write(REQUEST + 32, request.tobytes())
        memory.write(OUTPUT, bytes(OUTPUT_BYTES))
        engine.run(0, image.header.op_count)
        yield int(memory.view(OUTPUT + 32, 1, np.uint32)[0])


def count_right(
    image: Image,
    pictures: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    progress: Callable[[int], None] = lambda _: None,
    device: Device = "cpu",
) -> int:
    """How many answers equal their labels; `progress` is called with the number of each finished picture."""
    right = 0
    for done, (answer, label) in enumerate(zip(answers(image, pictures, device), labels.tolist(), strict=True)):
        right += answer == label
        progress(done)
    return right
