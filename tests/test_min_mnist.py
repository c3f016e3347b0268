"""The digit classifier: right on pictures that it has not learned from, the same natively, in the machine and in the specification."""

import gzip
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from opml_spec.machine.memory import QUARTER_HEIGHT, Memory
from opml_spec.model.image import decode_image
from opml_spec.runs.run import RunStatus, first_state, io_quarter, run_meaning

import opml_min.mnist
from opml_min.cli import main
from opml_min.mnist.accuracy import answers, count_right
from opml_min.mnist.build import Parameters, build_classifier
from opml_min.mnist.pictures import PictureError, drawn_request, picture_request, read_idx, read_pictures
from opml_min.model.build.quantise import quantise_q8_0
from opml_min.model.image.image import Image
from opml_min.model.image.program import shipped_program
from opml_min.model.image.weights import Q8_0, dequantise
from opml_min.model.resolve import resolve
from opml_min.model.run import Run

IMAGE = Path(opml_min.mnist.__file__).with_name("mnist.opml")
IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
HELD_OUT = 2000  # the last pictures of the file; the others were learned from
MOST_STEPS = 320_000


def idx_bytes(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def test_the_committed_image_is_small_and_carries_the_shipped_program():
    recorded = IMAGE.with_name("mnist.opml.sha256").read_text().split()
    assert recorded == [hashlib.sha256(IMAGE.read_bytes()).hexdigest(), "mnist.opml"]
    image = Image(IMAGE)
    assert image.program == shipped_program()
    assert sum(len(segment.data) for segment in image.segments) - len(image.program) <= 100_000


def test_accuracy_on_pictures_not_learned_from(shared_data):
    pictures, labels = read_pictures(shared_data / IMAGES)[-HELD_OUT:], read_idx(shared_data / LABELS, 1)[-HELD_OUT:]
    assert count_right(Image(IMAGE), pictures, labels) >= 0.925 * HELD_OUT


def test_machine_and_specification_agree_with_native_code(shared_data):
    image, memory = Image(IMAGE), Memory.from_segments(decode_image(IMAGE.read_bytes()))
    for request in (drawn_request(), picture_request(shared_data / IMAGES, 8123), bytes(784), b"\xff" * 784):
        native, machine = Run(image, request), Run(image, request, device="vm")
        native.run_all()
        machine.run_all()
        start = first_state(io_quarter(1, request), memory.subtree(QUARTER_HEIGHT, 3))
        expected = run_meaning(memory.subtree(QUARTER_HEIGHT, 1), start, 0)
        assert expected.status == RunStatus.OK
        assert native.run_hash() == machine.run_hash() == expected.run_hash
        assert native.stage_count == 1
        assert 0 < machine.machine_steps <= MOST_STEPS
    assert next(answers(image, np.frombuffer(drawn_request(), np.uint8)[None])) == 7


def test_the_classifier_computes_what_its_weights_say(tmp_path):
    """Against the same network in float64, on random weights and pictures; no two scores are so close that rounding could decide."""
    rng = np.random.default_rng(2)
    weights = Parameters(
        rng.normal(0, 0.1, (20, 784)).astype(np.float32), rng.normal(0, 1, 20).astype(np.float32),
        rng.normal(0, 0.3, (10, 20)).astype(np.float32), rng.normal(0, 1, 10).astype(np.float32),
    )  # fmt: skip
    build_classifier(weights, tmp_path / "random.opml", shipped_program())
    pictures = rng.integers(0, 256, (200, 784), np.uint8)
    w1, w2 = (dequantise(Q8_0, quantise_q8_0(w))[:, : w.shape[1]].astype(np.float64) for w in (weights.w1, weights.w2))
    scores = np.maximum(pictures / 256 @ w1.T + weights.b1, 0) @ w2.T + weights.b2
    ordered = np.sort(scores, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 0.005
    assert clear.sum() > 150
    found = np.array(list(answers(Image(tmp_path / "random.opml"), pictures)))
    assert (found == scores.argmax(axis=1))[clear].all()


def test_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = np.frombuffer(drawn_request(), np.uint8).reshape(28, 28)
    Path("images.gz").write_bytes(gzip.compress(idx_bytes(np.stack([drawn, 255 - drawn]))))
    Path("labels").write_bytes(idx_bytes(np.array([7, 7], np.uint8)))
    assert main(["run", "mnist", "--input", "images.gz", "--json", "--save", "run.json"]) == 0
    native = json.loads(capsys.readouterr().out)
    assert (native["text"], native["tokens"], native["machine_steps"]) == ("7", [7], None)
    assert main(["run", "mnist", "--device", "vm", "--json"]) == 0
    machine = json.loads(capsys.readouterr().out)
    assert machine["run_hash"] == native["run_hash"]
    assert machine["machine_steps"] <= MOST_STEPS
    assert main(["verify", "run.json", "--device", "vm"]) == 0
    assert main(["run", "mnist"]) == 0
    assert "the digit is 7" in capsys.readouterr().out
    assert main(["eval", "mnist", "images.gz", "labels", "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)
    inverse = next(answers(resolve("mnist").image, (255 - drawn).reshape(1, -1)))
    assert everything["pictures"] == 2
    assert everything["right"] == 1 + (inverse == 7)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "mnist", "--input", "nowhere"],
        ["run", "mnist", "--input", "images", "--index", "1"],
        ["run", "mnist", "--input", "damaged.gz"],
        ["run", "mnist", "--input", "small"],
        ["run", "mnist", "--arithmetic", "float"],
        ["run", "embedded", "--input", "images"],
        ["eval", "mnist", "images"],
        ["eval", "mnist", "images", "labels"],
        ["eval", "embedded", "text", "labels"],
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    Path("images").write_bytes(idx_bytes(np.zeros((1, 28, 28), np.uint8)))
    Path("small").write_bytes(idx_bytes(np.zeros((1, 5, 5), np.uint8)))
    Path("labels").write_bytes(idx_bytes(np.zeros(2, np.uint8)))
    Path("text").write_text("a text")
    whole = gzip.compress(idx_bytes(np.zeros((1, 28, 28), np.uint8)))
    Path("damaged.gz").write_bytes(whole[:15] + b"\xff" * 20)
    assert main(arguments) == 2
    problem = capsys.readouterr().err
    assert problem.startswith("opml: ")
    assert problem.count("\n") == 1


def test_an_idx_file_says_what_it_holds(tmp_path):
    path = tmp_path / "idx"
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path.write_bytes(idx_bytes(values))
    assert (read_idx(path, 3) == values).all()
    for damaged in (b"", idx_bytes(values)[:-1], idx_bytes(values) + b"\0", b"\0\0\x0d" + idx_bytes(values)[3:]):
        path.write_bytes(damaged)
        with pytest.raises(PictureError):
            read_idx(path, 3)
