"""Tapes that are no LLaMA's: native code that computes positions together ends as the guest does, and a wrong one is found."""

from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

import pytest
from opml_fuzz.engines.model_runs import GuestModels, NativeModels, SpecModels, image_of
from opml_fuzz.machine.case import from_json
from opml_fuzz.machine.model_case import WholeRun
from opml_fuzz.models.random_models import random_model
from opml_fuzz.models.rearranged import rearranged
from opml_fuzz.models.tiny_models import is_accepted

from opml_min.model.image.ops import WHEN_DRAWN, Op, Opcode
from opml_min.model.native import batching
from opml_min.model.native.batching import copied_buffers
from opml_min.model.native.engine import Engine


def runs() -> Iterator[WholeRun]:
    """Draws what the campaign draws: number n is the same on every machine."""
    number = 0
    while True:
        rng = Random(f"rearranged {number}")
        yield rearranged(rng, random_model(rng))
        number += 1


def agrees(run: WholeRun) -> bool:
    answer = NativeModels().answer(run)
    return answer is None or answer == GuestModels().answer(run)


def test_all_answer_alike() -> None:
    for run in islice(runs(), 12):
        assert is_accepted(run.memory)
        assert agrees(run)
        assert from_json(run.to_json()) == run
    (small,) = islice((run for run in runs() if run.stages < 30), 1)
    assert SpecModels().answer(small) == GuestModels().answer(small)


def test_what_a_llama_never_has_is_drawn() -> None:
    """Also among the tapes of which native code computes positions together."""

    def seen(shows: Callable[[list[Op]], bool], together: bool) -> bool:
        for run in islice(runs(), 120):
            with image_of(run.memory) as image:
                if shows(image.ops) and (not together or copied_buffers(image.ops) is not None):
                    return True
        return False

    def draws(ops: list[Op]) -> bool:
        return any(op.opcode.kind == Opcode.SAMPLE for op in ops)

    assert seen(lambda ops: not draws(ops), together=False)
    assert seen(lambda ops: not draws(ops) and any(op.condition == WHEN_DRAWN for op in ops), together=True)
    assert seen(lambda ops: len({str(op) for op in ops}) < len(ops), together=True)
    assert seen(lambda ops: any(op.opcode.kind == Opcode.EMBED for op in ops[1:]), together=True)


def without_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Engine._batched_positions

    def positions(self: Engine, first: int, end: int) -> tuple[int, int]:
        self._has_conditions = False
        return right(self, first, end)

    monkeypatch.setattr(Engine, "_batched_positions", positions)


def reading_what_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_is_written_before_read", lambda *given: True)


@pytest.mark.parametrize("spoil", [without_conditions, reading_what_was_before])
def test_positions_that_are_wrongly_computed_together_are_found(
    spoil: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    assert not all(agrees(run) for run in islice(runs(), 100))
