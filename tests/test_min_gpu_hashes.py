"""Roots of pages from the card are those of the specification, under any schedule, and a run's hash does not depend on who hashed."""

import json
import random

import numpy as np
import pytest
from min_gpu_driver import FakeDriver
from min_gpu_emulator import UNFAIR, EmulatedCard, Schedule, is_noticed_apart, library
from min_model import write_source
from numpy.typing import NDArray
from opml_spec.machine import merkle
from opml_spec.machine.memory import Memory as SpecMemory

from opml_min.cli import main
from opml_min.memory_map import PAGE_BYTES, STATE
from opml_min.model.errors import AcceleratorUnusable
from opml_min.model.gpu import card
from opml_min.model.gpu.accelerator import AcceleratorArray
from opml_min.model.image.image import Image
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import build_source
from opml_min.model.run import Run

REQUEST = TextRequest((1, 260, 77), 3, 1 << 16, 99).pack()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("tiny")
    build_source(write_source(folder), folder / "tok300.bin", folder / "tiny.opml")
    return Image(folder / "tiny.opml")


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> EmulatedCard:
    """A card that hashes whatever has changed."""
    found = EmulatedCard()
    found.hashes_from = 1
    monkeypatch.setattr(card, "open_card", lambda: found)
    return found


def roots_by_specification(contents: NDArray[np.uint8]) -> list[bytes]:
    memory = SpecMemory.from_segments({STATE: contents.tobytes()})
    return [merkle.hash_of(memory.subtree(5, STATE // PAGE_BYTES + page)) for page in range(len(contents))]


def roots_on(emulated: EmulatedCard, contents: NDArray[np.uint8], order: list[int]) -> list[bytes]:
    """The roots of pages in some order, from the card."""
    held = AcceleratorArray(emulated, contents)
    places = AcceleratorArray(emulated, np.array([held.place + PAGE_BYTES * page for page in order], np.uint64))
    roots = np.zeros((len(order), 32), np.uint8)
    found = AcceleratorArray(emulated, roots)
    emulated.hash_pages(places.place, found.place, len(order))
    emulated.download(found.place, roots.reshape(-1))
    return [root.tobytes() for root in roots]


@pytest.mark.parametrize("seed", range(12))
def test_random_pages(seed: int) -> None:
    """From one page on a grid that is too large to more pages than the grid takes at once; pages of zeros, of ones, and nearly so."""
    rng, generator = random.Random(seed), np.random.default_rng(seed)
    contents = generator.integers(0, 256, (rng.choice([1, 2, 7, 40]), PAGE_BYTES), np.uint8)
    contents[rng.randrange(len(contents))] = rng.choice([0, 255])
    contents[rng.randrange(len(contents)), :-1] = 0
    order = rng.sample(range(len(contents)), len(contents))
    emulated = EmulatedCard(rng.choice([1, 2, 5]), 32 * rng.choice([1, 2, 8]), Schedule(seed % 4), seed)
    expected = roots_by_specification(contents)
    assert roots_on(emulated, contents, order) == [expected[page] for page in order]


def test_every_barrier_is_needed() -> None:
    contents = np.random.default_rng(1).integers(0, 256, (20, PAGE_BYTES), np.uint8)
    expected, emulator = roots_by_specification(contents), library("unchecked")

    def is_noticed() -> bool:
        cards = [EmulatedCard(2, 64, schedule, seed, kind="unchecked") for schedule, seed in UNFAIR]
        return any(roots_on(emulated, contents, [*range(20)]) != expected for emulated in cards)

    assert not is_noticed()
    sites = [site for site in range(emulator.sites()) if emulator.site_file(site).endswith(b"keccak.cu")]
    assert len(sites) == 2
    for site in sites:
        emulator.remove_site(site)
        try:
            assert is_noticed_apart(is_noticed), emulator.site_line(site)
        finally:
            emulator.remove_site(-1)


def test_every_state_of_a_run(image: Image, hashing: EmulatedCard) -> None:
    """Also where the host has written meanwhile, and after going back."""
    run, native = Run(image, REQUEST, device="gpu"), Run(image, REQUEST)
    out = image.ops[0].operands["out"]
    snapshots, states = {}, {}
    for stage in [0, 1, 2, 20, 21, 50, 90, run.stage_count]:
        for each in (run, native):
            each.run_to(stage)
        assert run.state() == native.state(), stage
        snapshots[stage], states[stage] = run.snapshot(), run.state()
        for each in (run, native):
            each.memory.write(out + 8, stage.to_bytes(4, "little"))
            each.memory.write(STATE + (1 << 30), stage.to_bytes(4, "little"))  # which does not lie on the card
        assert run.state() == native.state(), stage
    assert len(hashing.hashed) >= 14
    for stage in (20, 90, 2):
        run.restore(snapshots[stage])
        assert run.state() == states[stage]


def test_only_from_the_threshold_on(image: Image, hashing: EmulatedCard) -> None:
    expected = Run(image, REQUEST).run_hash()
    for least in (None, 1 << 20):
        hashing.hashes_from = least
        assert Run(image, REQUEST, device="gpu").run_hash() == expected
    run = Run(image, REQUEST, device="gpu")
    run.run_to(1)
    assert not hashing.hashed
    hashing.hashes_from = 2
    run.state()
    assert not hashing.hashed or min(hashing.hashed) >= 2


def test_a_card_that_fails_to_hash_takes_nothing_along(image: Image, hashing: EmulatedCard, monkeypatch: pytest.MonkeyPatch) -> None:
    run, native = Run(image, REQUEST, device="gpu"), Run(image, REQUEST)
    for each in (run, native):
        each.run_to(40)

    def lost(*arguments: int) -> None:
        raise AcceleratorUnusable("lost")

    monkeypatch.setattr(hashing, "hash_pages", lost)
    with pytest.raises(AcceleratorUnusable):
        run.state()
    hashing.hashes_from = None
    assert run.state() == native.state()


def test_the_option(image: Image, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    driver = FakeDriver()
    monkeypatch.setattr(card, "import_module", lambda name: driver)
    opened = card.Card()
    monkeypatch.setattr(card, "open_card", lambda: opened)
    hashes = set()
    for more in (["--hash-on-card", "1"], []):
        driver.card.hashed.clear()
        assert main(["run", str(image.path), "--prompt", "ab", "--max-tokens", "2", "--json", "--device", "gpu", *more]) == 0
        assert bool(driver.card.hashed) == bool(more)
        hashes.add(json.loads(capsys.readouterr().out)["run_hash"])
    assert len(hashes) == 1
