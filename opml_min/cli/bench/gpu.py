"""`opml bench gpu`: decoding on an NVIDIA card, beside the least time that its memory allows and the time of its barriers.

The weights are random, in the shapes of known models. The memory's speed is that of a copy on the card, and a barrier's time is measured on
a tape whose ops do nothing else. Decoding begins at a late position, whose KV cache is empty, which takes as long as a full one. What the
host learns at a stop is not copied back meanwhile.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from opml_min.cli.bench.row import Row
from opml_min.machine import Memory
from opml_min.memory_map import REQUEST, STATE
from opml_min.model.build.random_image import write_random_image, write_random_tape
from opml_min.model.gpu import card
from opml_min.model.gpu.accelerator import Accelerator, AcceleratorArray
from opml_min.model.gpu.barriers import barriers_before
from opml_min.model.gpu.engine import AcceleratorEngine
from opml_min.model.image.image import Image
from opml_min.model.image.ops import ALWAYS, Op, Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.image.weights import Q4_0, Q8_0, matrix_bytes
from opml_min.model.native.check import check, matrices
from opml_min.model.run import Run
from opml_min.model.sources.checkpoint import SHAPES, Shape

CASES = [
    ("SmolLM2 shape", Shape(576, 1536, 30, 9, 3, 49152, 2048, 64)),
    ("7B shape", SHAPES["llama2-7b"]),
]
QUANTISATIONS = {"Q8_0": Q8_0, "Q4_0": Q4_0}
COMPARED = Shape(256, 512, 2, 8, 4, 512, 64, 32)  # its runs are compared with the processor's
CONTEXTS = (128, 1024)
POSITIONS, ROUNDS = 16, 3  # that are timed
COPIED_BYTES = 1 << 30
BARRIERS = 4096
MILLI = 1000


def rows() -> list[Row]:
    accelerator = card.open_card()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.opml"
        found = [_differing_runs(path), *_speeds_of_memory_and_barriers(path, accelerator)]
        bandwidth, barrier = found[1].value, found[2].value
        for name, shape in CASES:
            for quantisation, number in QUANTISATIONS.items():
                write_random_image(path, shape, number, seed=1)
                found += _decoding(f"{name} {quantisation}", Image(path), bandwidth, barrier)
                path.unlink()
    return found


def _differing_runs(path: Path) -> Row:
    """Counts runs on the card whose hash is not that of the processor."""
    differing = 0
    for number in QUANTISATIONS.values():
        write_random_image(path, COMPARED, number, seed=2)
        for temperature in (0, 1 << 16):
            request = TextRequest((1, 2, 3), 16, temperature, 5).pack()
            runs = [Run(Image(path), request, device="gpu"), Run(Image(path), request)]
            for run in runs:
                run.run_all()
            differing += runs[0].run_hash() != runs[1].run_hash()
        path.unlink()
    return Row("runs that differ from the processor's", differing, "runs", limit=0)


def _speeds_of_memory_and_barriers(path: Path, accelerator: Accelerator) -> list[Row]:
    arrays = [AcceleratorArray(accelerator, np.zeros(COPIED_BYTES, np.uint8)) for _ in range(2)]
    copying = _median_seconds(partial(accelerator.copy, arrays[0].place, arrays[1].place, COPIED_BYTES))
    x, y = STATE, STATE + 32
    ops = [Op(Opcode.ADD, ALWAYS, {"x": one, "y": other, "length": 1}) for one, other in [(x, y), (y, x)] * (BARRIERS // 2)]
    write_random_tape(path, ops, None, context=8, vocabulary=1)
    engine = _engine(Image(path), TextRequest((0,), 7))
    one, many = (_median_seconds(partial(engine.compute, 0, count)) for count in (1, BARRIERS))
    path.unlink()
    return [
        Row("memory of the card, reading and writing", 2 * COPIED_BYTES / copying / 1e9, "GB/s"),
        Row("a barrier of all blocks", (many - one) / (BARRIERS - 1) * MILLI * MILLI, "µs"),
    ]


def _decoding(name: str, image: Image, bandwidth: float, barrier: float) -> list[Row]:
    """Times positions that draw a token, and what memory and barriers account for."""
    count = image.header.op_count
    engine = _engine(image, TextRequest((0,), image.header.context - 1))
    waits = int(barriers_before(image.ops).sum()) + 2 * sum(op.opcode == Opcode.ATTENTION for op in image.ops)
    found = []
    for context in CONTEXTS:
        if context + POSITIONS < image.header.context:
            first = context * count
            seconds = _median_seconds(partial(engine.compute, first, first + POSITIONS * count)) / POSITIONS
            least = _bytes_of_position(image, context) / bandwidth / 1e9
            found.append(Row(f"{name}, context {context}", seconds * MILLI, "ms", "reading alone", least * MILLI))
    found.append(Row(f"{name}, barriers of a token", waits * barrier / MILLI, "ms"))
    return found


def _engine(image: Image, request: TextRequest) -> AcceleratorEngine:
    """Returns an engine to whose card the model and the request have been brought."""
    check(image)
    memory = Memory()
    image.load_into(memory)
    memory.write(REQUEST + 32, request.pack())
    engine = AcceleratorEngine(memory, image, image.tape, card.open_card())
    engine.run(0, 1)
    return engine


def _bytes_of_position(image: Image, context: int) -> int:
    """Returns what must be read for one position: every matrix but the embedding, and the KV cache."""
    read = 0
    for op in image.ops:
        o = op.operands
        if op.opcode == Opcode.MATMUL:
            read += sum(matrix_bytes(*sizes) for _, *sizes in matrices(op, image.header))
        elif op.opcode == Opcode.ATTENTION:
            read += 2 * o["kv_heads"] * (2 * o["head_size"] + 1) * context
    return read


def _median_seconds(work: Callable[[], None]) -> float:
    """Times a call that was made once before."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return median(seconds)
