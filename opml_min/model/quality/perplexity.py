"""Perplexity: how well the model predicts a text, compared with the float reference on the checkpoint's own weights.

The text is cut into consecutive windows. The model and the reference both score every token of a window except the first.
"""

from collections.abc import Callable, Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.memory_map import REQUEST
from opml_min.model.build.tape import LOGIT_FRAC
from opml_min.model.devices import Device, engine_for
from opml_min.model.errors import RequestError
from opml_min.model.image.image import Image
from opml_min.model.image.ops import ALWAYS, FLOAT, Opcode
from opml_min.model.image.request import TextRequest
from opml_min.model.quality.losses import Losses, losses_of
from opml_min.model.quality.reference import logits_of_windows
from opml_min.model.sources.checkpoint import Checkpoint


@frozen
class Evaluation:
    """The result of scoring a text. Negative log-likelihoods (NLL) are in nats."""

    tokens: int  # how many were scored
    perplexity: float
    reference_perplexity: float
    nll_rms_difference: float
    nll_max_difference: float
    losses: Losses | None


class NativeLogits:
    """Computes the image's logits for given tokens in native code."""

    def __init__(self, image: Image, threads: int, device: Device = "cpu") -> None:
        self._image, self._memory = image, Memory()
        image.load_into(self._memory)
        self._floats = image.header.arithmetic == FLOAT
        self._draws = image.tape[:, 0] == Opcode.SAMPLE.in_arithmetic(image.header.arithmetic)
        self._place, self._length = image.tape[self._draws][-1, 2:4].tolist()
        tape = image.tape[~self._draws].copy()
        tape[:, 1] = ALWAYS
        self._ops = len(tape)
        self._positions = 0
        self._engine = engine_for(device, self._memory, image, tape, threads)

    def __call__(self, tokens: list[int]) -> Iterator[NDArray[np.float64]]:
        """Yield the logits after each token: (vocabulary)."""
        request = TextRequest(tuple(tokens), 1).pack()
        self._memory.write(REQUEST + 32, request)
        batch = self._engine.batch_positions
        for first in range(0, len(tokens), batch):
            end = min(first + batch, len(tokens))
            self._engine.run(first * self._ops, end * self._ops)
            self._positions += end - first
            for logits in self._engine.buffers(self._place, 4 * self._length, end - first):
                yield logits.view(np.float32).astype(np.float64) if self._floats else logits.view(np.int32) / 2**LOGIT_FRAC

    def losses(self) -> Losses | None:
        """Return what fixed point has lost at all positions so far, or None if nobody counted."""
        counted = self._engine.losses()
        if counted is None:
            return None
        counts = np.zeros((len(self._image.tape), 2), np.int64)
        counts[~self._draws] = counted
        return losses_of(self._image, counts, self._positions, self._positions)


@np.errstate(all="ignore")  # numpy would warn on stderr; what is not a finite number is seen in the result
def evaluate(
    image: Image,
    checkpoint: Checkpoint,
    tokens: list[int],
    window: int,
    threads: int,
    progress: Callable[[int], None] = lambda _: None,
    device: Device = "cpu",
) -> Evaluation:
    """Score the tokens. `progress` receives the number of tokens scored so far."""
    if not 2 <= window <= image.header.context:
        raise RequestError(f"a window of {window} tokens is impossible; it must have from 2 to {image.header.context}, the context")
    if len(tokens) < 2:
        raise RequestError("the text has fewer than two tokens, so there is nothing to score")
    native_logits = NativeLogits(image, threads, device)
    mine: list[float] = []
    reference: list[float] = []
    windows = [tokens[start : start + window] for start in range(0, len(tokens) - 1, window)]
    for part in windows:
        for position, logits in enumerate(native_logits(part[:-1])):
            mine.append(_nll(logits, part[position + 1]))
            progress(len(mine))
    for part, expected in zip(windows, logits_of_windows(checkpoint, [part[:-1] for part in windows]), strict=True):
        reference += [_nll(logits, token) for logits, token in zip(expected, part[1:], strict=True)]
    difference = np.array(mine) - np.array(reference)
    return Evaluation(
        len(mine),
        float(np.exp(np.mean(mine))),
        float(np.exp(np.mean(reference))),
        float(np.sqrt(np.mean(difference**2))),
        float(np.abs(difference).max()),
        native_logits.losses(),
    )


def _nll(logits: NDArray[np.float64], token: int) -> float:
    """Return −log of the token's probability."""
    largest = logits.max()
    return float(np.log(np.exp(logits - largest).sum()) + largest - logits[token])
