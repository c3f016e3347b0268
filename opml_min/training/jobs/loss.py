"""The loss of a batch for people: a float, from the logits and targets that a CROSS_ENTROPY has just read. No stage depends on it.

*Source*: spec §6.5 (logits have 12 fraction bits) and §6.6 (CROSS_ENTROPY).
"""

import numpy as np
from numpy.typing import NDArray

from opml_min.machine import Memory
from opml_min.training.operations import TrainingOp

LOGIT_ONE = 1 << 12
NUMBERS_AT_ONCE = 1 << 20
LOSS_LIMIT = float(1 << 21)  # logits differ by less than 2^20, and the logarithm of their number is small


def is_loss(number: float) -> bool:
    """Tell whether a loss can be so large. What a stranger's file says it is may be any float, also none."""
    return 0 <= number < LOSS_LIMIT


def losses_of(memory: Memory, cross_entropy: TrainingOp) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return for each row −ln of the target's probability, and whether the target is the likeliest."""
    rows, vocabulary = cross_entropy["rows"], cross_entropy["vocabulary"]
    logits = memory.view(cross_entropy["logits"], rows * vocabulary, np.int32).reshape(rows, vocabulary)
    targets = np.minimum(memory.view(cross_entropy["targets"], rows, np.uint32), vocabulary - 1)
    losses, right = np.empty(rows), np.empty(rows, np.bool_)
    step = max(1, NUMBERS_AT_ONCE // vocabulary)
    for first in range(0, rows, step):
        part, of = logits[first : first + step], targets[first : first + step]
        largest = part.max(axis=1).astype(np.int64)
        below = (part - largest[:, None]) / LOGIT_ONE
        own = below[np.arange(len(part)), of]
        losses[first : first + step] = np.log(np.exp(below).sum(axis=1)) - own
        right[first : first + step] = part.argmax(axis=1) == of
    return losses, right
