"""Specification, native kernels and guest program compute the same memory after every single stage of a float LLaMA.

The specification rounds exact rationals, the kernels use the hardware's float in SIMD lanes, and the guest is soft float in C that the
RISC-V machine executes. Compared is the run hash, and with it every bit of the io and the state quarter.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
from min_model import checkpoint_bytes, tokenizer_bytes
from opml_spec.machine.memory import QUARTER_HEIGHT, Memory
from opml_spec.model.image import decode_image
from opml_spec.runs.run import RunState, RunStatus, first_state, io_quarter, run_meaning

from opml_min.model.image.image import Image
from opml_min.model.resolve import build_source
from opml_min.model.run import Run

SHAPE = (24, 20, 2, 4, 2, 270, 6)  # dim, hidden_dim, layers, heads, kv_heads, vocabulary, context


def text_request(prompt: list[int], new_tokens: int, temperature_q16: int = 0, seed: int = 0) -> bytes:
    return struct.pack("<IIIIQ", len(prompt), new_tokens, temperature_q16, 0, seed) + struct.pack(f"<{len(prompt)}I", *prompt)


def float_image(folder: Path, weights: bytes, *, single_phase: bool = False) -> Path:
    (folder / "small.bin").write_bytes(weights)
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256)), *(b"y%d" % i for i in range(11))]
    (folder / "tok270.bin").write_bytes(tokenizer_bytes(pieces))
    image = folder / f"small{single_phase}.opml"
    build_source(folder / "small.bin", folder / "tok270.bin", image, arithmetic="float", single_phase=single_phase)
    return image


def compare_every_stage(path: Path, request: bytes) -> Run:
    image = Image(path)
    native, guest = Run(image, request), Run(image, request, device="vm")
    memory = Memory.from_segments(decode_image(path.read_bytes()))
    model = memory.subtree(QUARTER_HEIGHT, 1)
    expected: RunState = first_state(io_quarter(native.stage_count, request), memory.subtree(QUARTER_HEIGHT, 3))
    assert native.run_hash() == guest.run_hash() == expected.run_hash
    for stage in range(native.stage_count):
        expected = run_meaning(model, expected, stage)
        native.run_stage()
        guest.run_stage()
        assert (native.run_hash(), guest.run_hash()) == (expected.run_hash, expected.run_hash), f"after stage {stage}"
    assert expected.status == RunStatus.OK
    return native


@pytest.mark.parametrize(
    "request_bytes", [text_request([1, 77], 2), text_request([1, 77], 3, temperature_q16=52_429, seed=7)], ids=["greedy", "sampled"]
)
def test_every_stage_of_a_float_llama(tmp_path: Path, request_bytes: bytes) -> None:
    native = compare_every_stage(float_image(tmp_path, checkpoint_bytes(SHAPE)), request_bytes)
    assert len(native.tokens()) == struct.unpack_from("<I", request_bytes, 4)[0]


@pytest.mark.parametrize("scale", [2.0**-50, 2.0**-130, 2.0**50, 2.0**100], ids=["tiny", "subnormal", "large", "overflowing"])
def test_every_stage_where_floats_end(tmp_path: Path, scale: float) -> None:
    """Weights so small or large that sums are subnormal, or infinite and then not numbers."""
    whole = checkpoint_bytes(SHAPE)
    weights = (np.frombuffer(whole[28:], "<f4") * np.float32(scale)).astype("<f4")
    assert np.isfinite(weights).all()
    compare_every_stage(float_image(tmp_path, whole[:28] + weights.tobytes()), text_request([1], 2))


def test_a_single_phase_run_is_the_same(tmp_path: Path) -> None:
    path, request = float_image(tmp_path, checkpoint_bytes(SHAPE), single_phase=True), text_request([1, 5], 3)
    native, guest = Run(Image(path), request), Run(Image(path), request, device="vm")
    native.run_all()
    guest.run_all()
    assert native.run_hash() == guest.run_hash()
    many = Run(Image(float_image(tmp_path, checkpoint_bytes(SHAPE))), request)
    many.run_all()
    assert many.tokens() == native.tokens()
