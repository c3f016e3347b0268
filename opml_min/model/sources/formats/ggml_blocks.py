"""GGML's blocks of 32 weights that an image holds without loss: small integers times a half, plus a half where there are minimums.

Q8_0, Q4_0 and Q4_1 keep their bits. The integers of Q5_0, and those that IQ4_NL looks up in a table, fit i8; so they become Q8_0 with the
scales that they have.

*Source*: ggml's block formats, `ggml-common.h` (`block_q8_0`, `block_q4_0`, `block_q4_1`, `block_q5_0`, `block_iq4_nl`, `kvalues_iq4nl`).
"""

import numpy as np
from gguf import GGMLQuantizationType
from numpy.typing import NDArray

from opml_min.model.image.weights import Q4_0, Q4_1, Q8_0, Groups, Halfs
from opml_min.model.sources.matrices import BlockFormat, Blocks

IQ4_NL_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)


def _half(blocks: Blocks, offset: int) -> Halfs:
    halfs: Halfs = np.ascontiguousarray(blocks[:, :, offset : offset + 2]).view("<u2")[:, :, 0]
    return halfs


def _nibbles(blocks: Blocks, offset: int) -> NDArray[np.int8]:
    pairs = blocks[:, :, offset:]
    return np.concatenate([pairs & 15, pairs >> 4], axis=2).view(np.int8)


def _q5_0(blocks: Blocks) -> Groups:
    """Read 4 bits of each weight from its nibble, and the fifth from bytes 2 to 5."""
    fifth = np.unpackbits(np.ascontiguousarray(blocks[:, :, 2:6]), axis=2, bitorder="little").view(np.int8)
    return Groups((_nibbles(blocks, 6) | fifth << 4) - np.int8(16), _half(blocks, 0))


BLOCK_FORMATS = {
    GGMLQuantizationType.Q8_0: BlockFormat(34, Q8_0, lambda blocks: Groups(blocks[:, :, 2:].view(np.int8), _half(blocks, 0))),
    GGMLQuantizationType.Q4_0: BlockFormat(18, Q4_0, lambda blocks: Groups(_nibbles(blocks, 2), _half(blocks, 0))),
    GGMLQuantizationType.Q4_1: BlockFormat(20, Q4_1, lambda blocks: Groups(_nibbles(blocks, 4), _half(blocks, 0), _half(blocks, 2))),
    GGMLQuantizationType.Q5_0: BlockFormat(22, Q8_0, _q5_0),
    GGMLQuantizationType.IQ4_NL: BlockFormat(
        18, Q8_0, lambda blocks: Groups(IQ4_NL_VALUES[_nibbles(blocks, 2)], _half(blocks, 0))
    ),
}  # fmt: skip
