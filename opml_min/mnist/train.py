"""Trains the digit classifier: 784 pixels, 20 hidden units with ReLU, 10 digits (15,910 parameters), in numpy.

    python -m opml_min.mnist.train MNIST_FOLDER OUTPUT.npz

Reads the 10,000 images of `t10k-*.gz`. It trains on the first 8,000, each shifted at random by at most one pixel, and tests on the other
2,000. An input is pixel / 256, so it is exact in fixed point. Writes float32 `w1` (20, 784), `b1` (20), `w2` (10, 20), `b2` (10).

*Source*: the IDX format and the data, yann.lecun.com/exdb/mnist; Adam, Kingma and Ba 2015, algorithm 1.
"""

import gzip
import sys
from math import cos, pi
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Parameters = dict[str, Array]

SEED = 1
LEARNED_IMAGES = 8000
EPOCHS = 150
BATCH = 100
LEARNING_RATE = 0.004
WEIGHT_DECAY = 0.02
SHIFT = 1  # pixels


def idx(path: Path, header_bytes: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header_bytes)


def shifted(images: Array, rng: np.random.Generator) -> Array:
    """Shifts each image of (images, 784) by its own random offset; 0 fills what becomes free."""
    padded = np.pad(images.reshape(-1, 28, 28), ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (28, 28), axis=(1, 2))  # (images, offsets, offsets, 28, 28)
    down, right = rng.integers(2 * SHIFT + 1, size=(2, len(images)))
    moved: Array = windows[np.arange(len(images)), down, right]
    return moved.reshape(-1, 784)


def digits(p: Parameters, x: Array) -> NDArray[np.intp]:
    scores: Array = np.maximum(x @ p["w1"].T + p["b1"], 0) @ p["w2"].T + p["b2"]
    best: NDArray[np.intp] = scores.argmax(1)
    return best


def gradient(p: Parameters, x: Array, labels: NDArray[np.uint8]) -> Parameters:
    """The gradient of the mean cross-entropy."""
    hidden = np.maximum(x @ p["w1"].T + p["b1"], 0)  # (images, 20)
    scores = hidden @ p["w2"].T + p["b2"]  # (images, 10)
    error = np.exp(scores - scores.max(1, keepdims=True))
    error /= error.sum(1, keepdims=True)
    error[np.arange(len(x)), labels] -= 1
    error /= len(x)
    back = error @ p["w2"] * (hidden > 0)
    return {"w1": back.T @ x, "b1": back.sum(0), "w2": error.T @ hidden, "b2": error.sum(0)}


def trained(images: Array, labels: NDArray[np.uint8]) -> Parameters:
    """Trains with Adam, decoupled weight decay of the matrices, and a learning rate that falls to 0 along a cosine."""
    rng = np.random.default_rng(SEED)
    p: Parameters = {
        "w1": rng.normal(0, (2 / 784) ** 0.5, (20, 784)).astype(np.float32), "b1": np.zeros(20, np.float32),
        "w2": rng.normal(0, (2 / 20) ** 0.5, (10, 20)).astype(np.float32), "b2": np.zeros(10, np.float32),
    }  # fmt: skip
    mean, square = ({name: np.zeros_like(value) for name, value in p.items()} for _ in range(2))
    steps = EPOCHS * len(images) // BATCH
    order = np.arange(0)
    for step in range(1, steps + 1):
        if len(order) == 0:
            order = rng.permutation(len(images))
        batch, order = order[:BATCH], order[BATCH:]
        rate = LEARNING_RATE * (0.5 + 0.5 * cos(pi * step / steps))
        for name, g in gradient(p, shifted(images[batch], rng), labels[batch]).items():
            mean[name] += 0.1 * (g - mean[name])
            square[name] += 0.001 * (g * g - square[name])
            p[name] -= rate * (mean[name] / (1 - 0.9**step)) / (np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8)
            p[name] *= 1 - rate * WEIGHT_DECAY * (p[name].ndim == 2)
    return p


def as_q8_0(matrix: Array) -> Array:
    """Rounds a matrix, in groups of 32 along a row (the last may be shorter), to half-precision scale times integers in [−127, 127]."""
    out = np.zeros_like(matrix)
    for start in range(0, matrix.shape[1], 32):
        group = matrix[:, start : start + 32]
        scale = (np.abs(group).max(1, keepdims=True) / 127).astype(np.float16).astype(np.float32)
        out[:, start : start + 32] = np.divide(group, scale, out=np.zeros_like(group), where=scale > 0).round().clip(-127, 127) * scale
    return out


def main(folder: str, output: str) -> None:
    images = idx(Path(folder) / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784).astype(np.float32) / np.float32(256)
    labels = idx(Path(folder) / "t10k-labels-idx1-ubyte.gz", 8)
    p = trained(images[:LEARNED_IMAGES], labels[:LEARNED_IMAGES])
    blocks = {name: as_q8_0(value) if value.ndim == 2 else value for name, value in p.items()}
    np.savez(output, w1=p["w1"], b1=p["b1"], w2=p["w2"], b2=p["b2"])
    print(f"{sum(value.size for value in p.values()):,} parameters")
    for name, parameters in (("float32", p), ("Q8_0", blocks)):
        right = digits(parameters, images) == labels
        print(f"{name}: learned {right[:LEARNED_IMAGES].mean():.2%}, held out {right[LEARNED_IMAGES:].mean():.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
