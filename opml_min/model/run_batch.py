"""Several requests on one image. On a card they are computed together, which reads the weights once for all; elsewhere one after the other.

Either way each run ends with the same memory as alone.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from opml_min.model.devices import Device
from opml_min.model.gpu.engine import AcceleratorEngine, run_together
from opml_min.model.image.image import Image
from opml_min.model.run import Run

AT_ONCE = 32  # runs; each reserves 2^40 bytes of address space, of which a process has 2^47


def finished_runs(
    image: Image, requests: Iterable[bytes], *, device: Device = "cpu", threads: int = 1, watch: Callable[[int], None] = lambda _: None
) -> Iterator[Run]:
    """Yield the finished run of each request, in their order. `watch` receives the number of tokens so far, now and then."""
    waiting = iter(requests)
    tokens_before = 0
    while group := _started(image, waiting, device, threads):

        def watch_group(group: list[Run] = group, before: int = tokens_before) -> None:
            watch(before + sum(len(run.tokens()) for run in group))

        engines = [run.engine for run in group if isinstance(run.engine, AcceleratorEngine)]
        if len(engines) > 1:
            run_together(engines, [run.positions for run in group], watch_group)
            for run in group:
                run.stage = run.stage_count
        for run in group:
            run.run_all(watch_group)
        tokens_before += sum(len(run.tokens()) for run in group)
        yield from group


def _started(image: Image, requests: Iterator[bytes], device: Device, threads: int) -> list[Run]:
    """Return runs to compute together: one, or as many as a card has room for."""
    group: list[Run] = []
    for request in islice(requests, AT_ONCE):
        group.append(Run(image, request, device=device, threads=threads))
        engine = group[-1].engine
        if not isinstance(engine, AcceleratorEngine) or not engine.may_be_joined():
            break
    return group
