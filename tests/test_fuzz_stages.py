"""Specification, native kernels and guest program compute the same memory after every single stage of the embedded model.

Nobody of the three knows the others: the specification computes in ℤ on a Merkle tree, the kernels in SIMD lanes on mapped memory, and
the guest is C that the RISC-V machine executes. Compared is the run hash, and with it every bit of the io and the state quarter.
"""

import struct
from pathlib import Path
from random import Random

import pytest
from opml_fuzz.engines.model_runs import guest_stages
from opml_fuzz.models.random_models import random_stage
from opml_spec.machine.memory import QUARTER_HEIGHT, Memory
from opml_spec.model.image import decode_image
from opml_spec.runs.run import RunState, RunStatus, first_state, io_quarter, run_meaning

import opml_min.embedded
from opml_min.model.image.image import Image
from opml_min.model.run import Run

EMBEDDED = Path(opml_min.embedded.__file__).with_name("embedded.opml")


def text_request(prompt: list[int], new_tokens: int, temperature_q16: int = 0, seed: int = 0) -> bytes:
    return struct.pack("<IIIIQ", len(prompt), new_tokens, temperature_q16, 0, seed) + struct.pack(f"<{len(prompt)}I", *prompt)


def specified(memory: Memory, stages: int, request: bytes) -> tuple[bytes, RunState]:
    """The model's node, and where the run begins, in the specification."""
    return memory.subtree(QUARTER_HEIGHT, 1), first_state(io_quarter(stages, request), memory.subtree(QUARTER_HEIGHT, 3))


@pytest.mark.parametrize("seed", range(6))
def test_stages_before_a_drawn_one_may_be_run_by_the_guest(seed: int) -> None:
    assert random_stage(Random(seed), guest_stages) == random_stage(Random(seed))


@pytest.mark.parametrize(
    "request_bytes",
    [
        text_request([1, 300, 411], 2),  # two positions of prefill, one that ends the prompt, one that goes on
        text_request([1, 77, 260, 500], 2, temperature_q16=52_429, seed=7),
    ],
    ids=["greedy", "sampled"],
)
def test_every_stage_of_the_embedded_model(request_bytes: bytes) -> None:
    image = Image(EMBEDDED)
    native, guest = Run(image, request_bytes), Run(image, request_bytes, device="vm")
    model, expected = specified(Memory.from_segments(decode_image(EMBEDDED.read_bytes())), native.stage_count, request_bytes)
    assert native.stage_count >= 4 * image.header.op_count
    assert native.run_hash() == guest.run_hash() == expected.run_hash
    for stage in range(native.stage_count):
        expected = run_meaning(model, expected, stage)
        native.run_stage()
        guest.run_stage()
        assert (native.run_hash(), guest.run_hash()) == (expected.run_hash, expected.run_hash), f"after stage {stage}"
    assert expected.status == RunStatus.OK
    assert len(native.tokens()) == 2


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        text_request([], 1),
        text_request([1], 0),
        text_request([512], 1),
        text_request([1], 256),
        text_request([1], 1, temperature_q16=5),
        text_request([1], 1) + b"\0",
    ],
    ids=["nothing", "no prompt", "no new token", "no such token", "too long", "too cold", "a byte too many"],
)
def test_a_request_that_stage_0_refuses_fails_the_run_everywhere(request_bytes: bytes) -> None:
    image = Image(EMBEDDED)
    native, guest = Run(image, request_bytes, stages=66), Run(image, request_bytes, stages=66, device="vm")
    model, expected = specified(Memory.from_segments(decode_image(EMBEDDED.read_bytes())), 66, request_bytes)
    expected = run_meaning(model, expected, 0)
    native.run_stage()
    guest.run_stage()
    assert expected.status == RunStatus.FAILED
    assert native.run_hash() == guest.run_hash() == expected.run_hash
