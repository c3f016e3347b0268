"""Every fence of the card's kernels is needed: without it, or behind the barrier's word, blocks may see old values.

The emulator knows for each byte which accesses of other blocks come before an access, by fences and the barrier's word alone. So no
schedule has to be unlucky for a missing fence to show."""

from pathlib import Path

import pytest
from min_gpu_emulator import EmulatedCard, Schedule, library
from min_model import write_source

from opml_min.model.gpu import accelerator, card, engine
from opml_min.model.image.image import Image
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import build_source
from opml_min.model.run import Run

REQUEST = TextRequest((1, 260, 7, 8), 2, 1 << 16, 99).pack()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("tiny")
    build_source(write_source(folder), folder / "tok300.bin", folder / "tiny.opml")
    return Image(folder / "tiny.opml")


def races(image: Image, patch: pytest.MonkeyPatch, schedule: Schedule = Schedule.FAIR) -> int:
    """Counts accesses without an order in a run."""
    emulated = EmulatedCard(3, 64, schedule, kind="watched")
    patch.setattr(card, "open_card", lambda: emulated)
    patch.setattr(accelerator, "LAUNCH_SECONDS", 1e9)
    library("watched").forget_races()
    run = Run(image, REQUEST, device="gpu")
    run.run_all()
    assert emulated.launched
    assert emulated.batches_launched
    return int(library("watched").races())


def test_there_is_no_race(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [races(image, monkeypatch, schedule) for schedule in Schedule] == [0, 0, 0, 0]


def test_a_missing_barrier_is_a_race(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a fair schedule, which may well compute the right bytes."""
    flags = engine.barriers_before(image.ops)
    flags[3:] = 0
    monkeypatch.setattr(engine, "barriers_before", lambda ops: flags)
    assert races(image, monkeypatch) > 0


@pytest.mark.parametrize("fault", ["remove_site", "make_late"])
def test_every_fence_is_needed_where_it_is(fault: str, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = library("watched")
    races(image, monkeypatch)  # so that all sites are known
    lines = Path(engine.__file__).with_name("kernels").joinpath("parallel.cuh").read_text().splitlines()
    fences = [k for k in range(emulator.sites()) if "__threadfence" in lines[min(emulator.site_line(k), len(lines)) - 1]]
    fences = [k for k in fences if emulator.site_file(k).endswith(b"parallel.cuh")]
    assert len(fences) == sum("__threadfence" in line for line in lines) == 2
    for site in fences:
        getattr(emulator, fault)(site)
        try:
            assert races(image, monkeypatch) > 0, emulator.site_line(site)
        finally:
            getattr(emulator, fault)(-1)
