"""`opml bench gpu`: decoding and single ops on an NVIDIA card, beside the least time that memory, instructions and barriers allow.

The weights are random, in the shapes of known models. The memory's speed is that of a copy on the card, and a barrier's time is measured on
a tape whose ops do nothing else. A single op is measured on the ops of its kind in all layers, one after the other. Decoding begins at a
late position, whose KV cache is empty, which takes as long as a full one. For a batch of one, what the host learns at a stop is not copied
back meanwhile; for larger ones it is.

Values are printed as they are found. So that all ends in time, no case begins later than LATEST_START_SECONDS after the first.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from opml_min.cli.bench.card_limits import LimitedRow, NotMeasured, Speeds, work_of
from opml_min.cli.bench.row import Row
from opml_min.machine import Memory
from opml_min.machine.memory.merkle import roots_of
from opml_min.memory_map import PAGE_BYTES, REQUEST, STATE
from opml_min.model.build.random_image import write_random_image, write_random_tape
from opml_min.model.errors import AcceleratorUnusable
from opml_min.model.gpu import card
from opml_min.model.gpu.accelerator import Accelerator, AcceleratorArray, roots_on
from opml_min.model.gpu.engine import AcceleratorEngine, require_usable
from opml_min.model.image.image import Image
from opml_min.model.image.ops import ALWAYS, Op, Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.image.weights import Q4_0, Q8_0
from opml_min.model.run import Run
from opml_min.model.sources.checkpoint import SHAPES, Shape

AnyRow = Row | LimitedRow | NotMeasured
CONTEXT = 1056  # positions of the images, so that the requests of a large batch fit a card
CASES = [
    ("SmolLM2 shape", Shape(576, 1536, 30, 9, 3, 49152, CONTEXT, 64)),
    ("7B shape", evolve(SHAPES["llama2-7b"], context=CONTEXT)),
]
QUANTISATIONS = {"Q8_0": Q8_0, "Q4_0": Q4_0}
COMPARED = Shape(256, 512, 2, 8, 4, 512, 64, 32)  # its runs are compared with the processor's
CONTEXTS = (128, 1024)
BATCHES = (1, 8, 64)
SIZES = ("rows", "columns", "heads", "kv_heads", "head_size", "length")  # that name a kind of op
POSITIONS, ROUNDS = 16, 3  # that are timed
HASHED_PAGES = (64, 1024, 16384)
COPIED_BYTES = 1 << 30
BARRIERS = 4096
LATEST_START_SECONDS = 390
MICRO = 1e6


def rows() -> Iterator[AnyRow]:
    """Measure everything, in less than 8 minutes on a card."""
    begin, accelerator = time.perf_counter(), card.open_card()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.opml"
        yield _differing_runs(path)
        bandwidth, barrier = _bytes_per_second(accelerator), _seconds_of_barrier(path)
        yield Row("memory of the card, reading and writing", bandwidth / 1e9, "GB/s")
        yield Row("a barrier of all blocks", barrier * MICRO, "µs")
        yield Row("instructions of all lanes", accelerator.issues_per_second / 1e9, "10^9/s")
        yield from _hashing(accelerator)
        speeds = Speeds(bandwidth, accelerator.issues_per_second, barrier)
        for (name, shape), quantisation in product(CASES, QUANTISATIONS):
            case = f"{name} {quantisation}"
            if time.perf_counter() - begin > LATEST_START_SECONDS:
                yield NotMeasured(case, f"{LATEST_START_SECONDS} seconds had passed")
                continue
            write_random_image(path, shape, QUANTISATIONS[quantisation], seed=1)
            yield from _of_model(case, Image(path), accelerator, speeds)
            path.unlink()
    yield Row("this whole measurement", time.perf_counter() - begin, "s")


def _of_model(case: str, image: Image, accelerator: Accelerator, speeds: Speeds) -> Iterator[AnyRow]:
    """Measure one image: each kind of op alone, then decoding."""
    try:
        require_usable(image, accelerator)
    except AcceleratorUnusable as error:
        yield NotMeasured(case, str(error))
        return
    memory = _memory(image)
    contexts = [context for context in CONTEXTS if context + POSITIONS < image.header.context]
    for name, ops in _kinds(image).items():
        for context in contexts if ops[0].opcode == Opcode.ATTENTION else contexts[:1]:
            of_context = f", context {context}" if ops[0].opcode == Opcode.ATTENTION else ""
            row = _timed(f"{case}: {name}{of_context}", memory, image, ops, context, speeds)
            yield evolve(row, seconds=row.seconds / len(ops), work=row.work.each(len(ops)))
    for context, batch in product(contexts, BATCHES):
        yield _decoding(f"{case}, context {context}, batch {batch}", image, context, batch, speeds)


def _decoding(name: str, image: Image, context: int, batch: int, speeds: Speeds) -> AnyRow:
    """Time one position of each request of a batch."""
    if batch == 1:
        return _timed(name, _memory(image), image, image.ops, context, speeds)
    accelerator, engines = card.open_card(), list[AcceleratorEngine]()
    for _ in range(batch):
        free = accelerator.free_bytes()
        engines.append(AcceleratorEngine(_memory(image), image, image.tape, accelerator))
        if len(engines) > 1 and accelerator.free_bytes() < 2 * (free - accelerator.free_bytes()):
            return NotMeasured(name, f"{accelerator.name} has no room for so many requests")
    spans = [engine.span(context - 1, context - 1 + POSITIONS) for engine in engines]
    seconds = _median_seconds(partial(engines[-1].batches.run, spans, lambda: None)) / POSITIONS
    return LimitedRow(name, seconds, work_of(image.ops, image.header, context, batch), speeds)


def _memory(image: Image) -> Memory:
    """Return a memory with the image and a request that draws a token at each position."""
    memory = Memory()
    image.load_into(memory)
    memory.write(REQUEST + 32, TextRequest((0,), image.header.context - 1).pack())
    return memory


def _timed(name: str, memory: Memory, image: Image, ops: list[Op], context: int, speeds: Speeds) -> LimitedRow:
    """Time ops at one position, which draws a token."""
    tape = np.array([op.words() for op in ops], np.int64)
    engine = AcceleratorEngine(memory, image, tape, card.open_card())
    engine.run(0, 1)  # brings the model and the request there
    first = (context - 1) * len(ops)
    seconds = _median_seconds(partial(engine.compute, first, first + POSITIONS * len(ops))) / POSITIONS
    return LimitedRow(name, seconds, work_of(ops, image.header, context), speeds)


def _kinds(image: Image) -> dict[str, list[Op]]:
    """Return the ops of each opcode and size, by their name."""
    kinds: dict[str, list[Op]] = {}
    for op in image.ops:
        sizes = ("heads", "head_size") if op.opcode == Opcode.ATTENTION else SIZES
        shape = " × ".join(str(op.operands[size]) for size in sizes if size in op.operands)
        kinds.setdefault(f"{op.opcode.name} {shape}", []).append(op)
    return kinds


def _differing_runs(path: Path) -> Row:
    """Count runs on the card whose hash is not that of the processor."""
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


def _bytes_per_second(accelerator: Accelerator) -> float:
    """Return how fast a copy on the card reads and writes."""
    arrays = [AcceleratorArray(accelerator, np.zeros(COPIED_BYTES, np.uint8)) for _ in range(2)]
    return 2 * COPIED_BYTES / _median_seconds(partial(accelerator.copy, arrays[0].place, arrays[1].place, COPIED_BYTES))


def _seconds_of_barrier(path: Path) -> float:
    """Return how long a barrier of all blocks takes, with an op that adds one number."""
    x, y = STATE, STATE + 32
    ops = [Op(Opcode.ADD, ALWAYS, {"x": one, "y": other, "length": 1}) for one, other in [(x, y), (y, x)] * (BARRIERS // 2)]
    write_random_tape(path, ops, None, context=8, vocabulary=1)
    image = Image(path)
    engine = AcceleratorEngine(_memory(image), image, image.tape, card.open_card())
    engine.run(0, 1)
    one, many = (_median_seconds(partial(engine.compute, 0, count)) for count in (1, BARRIERS))
    path.unlink()
    return (many - one) / (BARRIERS - 1)


def _hashing(accelerator: Accelerator) -> Iterator[Row]:
    """Time the roots of pages that lie on the card, to compare with the processor's; it tells what to ask of `--hash-on-card`."""
    differing = 0
    for count in HASHED_PAGES:
        contents = np.random.Generator(np.random.SFC64(1)).integers(0, 256, (count, PAGE_BYTES), np.uint8)
        held, roots = AcceleratorArray(accelerator, contents), np.zeros((count, 32), np.uint8)
        addresses = held.place + PAGE_BYTES * np.arange(count, dtype=np.uint64)

        def on_card(addresses: NDArray[np.uint64] = addresses, roots: NDArray[np.uint8] = roots) -> None:
            roots[:] = roots_on(accelerator, addresses)

        seconds, by_processor = _median_seconds(on_card), _median_seconds(partial(roots_of, contents))
        differing += not np.array_equal(roots, roots_of(contents))
        yield Row(f"roots of {count} pages", seconds * MICRO, "µs", "the processor", by_processor * MICRO)
    yield Row("sets of roots that differ from the processor's", differing, "sets", limit=0)


def _median_seconds(work: Callable[[], object]) -> float:
    """Time a call that was made once before."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return median(seconds)
