"""A LLaMA checkpoint in memory, wherever it came from: its shape, and the weights of every layer.

*Source*: Touvron et al., LLaMA (arXiv:2302.13971) and Llama 2 (arXiv:2307.09288), for the tensors and the shape of the 7B.
"""

from collections.abc import Sequence
from typing import NamedTuple

from attrs import frozen

from opml_min.model.errors import CheckpointError
from opml_min.model.sources.matrices import Floats, Weights

LIMITS = {"dim": 1 << 15, "hidden_dim": 1 << 20, "layers": 1 << 10, "heads": 1 << 10, "vocabulary": 1 << 20, "context": 1 << 20}


@frozen
class Shape:
    """The configuration of a LLaMA."""

    dim: int
    hidden_dim: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    head_size: int
    epsilon: float = 1e-5
    theta: float = 10000.0
    frequency_divisors: tuple[float, ...] = ()  # head_size/2 of them, for the rotary frequencies; none: all 1


SHAPES = {
    "llama2-7b": Shape(4096, 11008, 32, 32, 32, 32000, 4096, 128),
    "tiny": Shape(64, 160, 2, 4, 2, 320, 64, 16),
}
"""Known shapes by name, for models with random weights."""


class Layer(NamedTuple):
    """The weights of one layer, in the order in which an image holds them. Matrices are (outputs, inputs)."""

    attention_norm: Floats  # (dim)
    wq: Weights  # (heads·head_size, dim)
    wk: Weights  # (kv_heads·head_size, dim)
    wv: Weights  # (kv_heads·head_size, dim)
    wo: Weights  # (dim, heads·head_size)
    ffn_norm: Floats  # (dim)
    gate: Weights  # (hidden_dim, dim)
    up: Weights  # (hidden_dim, dim)
    down: Weights  # (dim, hidden_dim)


@frozen(eq=False)
class Checkpoint:
    """The weights of a LLaMA. The two rows of a rotary pair are neighbours."""

    shape: Shape
    embedding: Weights  # (vocabulary, dim)
    layers: Sequence[Layer]
    final_norm: Floats  # (dim)
    classifier: Weights | None  # (vocabulary, dim); None: the embedding


def check_shape(shape: Shape) -> None:
    """Refuse a shape that no LLaMA can have."""
    for name, limit in LIMITS.items():
        value = getattr(shape, name)
        if not 1 <= value <= limit:
            raise CheckpointError(f"impossible shape: {name} is {value}, not from 1 to {limit}")
    if not 1 <= shape.kv_heads <= shape.heads or shape.heads % shape.kv_heads:
        raise CheckpointError(f"impossible shape: {shape.heads} heads cannot share {shape.kv_heads} kv heads")
    if shape.head_size < 2 or shape.head_size % 2:
        raise CheckpointError(f"impossible shape: a head size of {shape.head_size} is not even")
    if shape.head_size > LIMITS["dim"]:
        raise CheckpointError(f"impossible shape: a head size of {shape.head_size} is not at most {LIMITS['dim']}")
    if not 0 <= shape.epsilon <= 1:
        raise CheckpointError(f"impossible shape: an epsilon of {shape.epsilon:.6g} is not from 0 to 1")
    if not 1e-9 <= shape.theta <= 1e30:
        raise CheckpointError(f"impossible shape: a rotary base (theta) of {shape.theta:.6g} is not from 1e-9 to 1e30")
