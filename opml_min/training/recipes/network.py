"""The weights of a LLaMA in training: which are trained, frozen or adapted, where they lie, and what each layer keeps.

*Source*: spec §6.9.
"""

from enum import Enum

from attrs import define, field, frozen

from opml_min.model.image.llama import CLASSIFIER, EMBEDDING, FINAL_NORM
from opml_min.training.places import GAIN_FRACTION_BITS, MATRIX_FRACTION_BITS, Buffers, Places, Weights
from opml_min.training.recipes.decoder_layer import DecoderLayer, Kept
from opml_min.training.recipes.gains import FrozenGains, Gains, TrainedGains
from opml_min.training.recipes.linear import DEVIATION_OF_FOUR, AdaptedLinear, FrozenLinear, Linear, TrainedLinear
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.part import Part
from opml_min.training.recipes.recipe import Method, Optimiser, Recipe
from opml_min.training.recipes.source_llama import EXACT_FRACTION_BITS, SourceLlama

INIT_SCALE_Q16 = (1 << 42) // (50 * DEVIATION_OF_FOUR)  # deviation 0.02


@frozen
class Network:
    """The parts of a LLaMA. A tied classifier is the embedding."""

    embedding: Linear
    layers: tuple[DecoderLayer, ...]
    final_gains: Gains
    classifier: Linear

    @property
    def parts(self) -> tuple[Part, ...]:
        """All weights once, in their order."""
        inner = tuple(part for layer in self.layers for part in layer.parts)
        ends = (self.final_gains,) if self.is_tied else (self.final_gains, self.classifier)
        return (self.embedding, *inner, *ends)

    @property
    def is_tied(self) -> bool:
        return self.classifier is self.embedding

    @property
    def first_reached(self) -> int:
        """The first layer that the backward pass has to reach; the number of layers if none."""
        first = next((i for i, layer in enumerate(self.layers) if layer.trains), len(self.layers))
        return 0 if self.embedding.trains else first


class Role(Enum):
    """How a weight takes part."""

    TRAINED = 1
    FROZEN = 2
    ADAPTED = 3


@define
class NetworkBuilder:
    """Places the weights of a LLaMA, one after the other."""

    shape: LlamaShape
    recipe: Recipe
    sequences: int  # of a batch
    source: SourceLlama | None
    places: Places
    buffers: Buffers
    streams: int = field(init=False, default=0)
    unread: int = field(init=False)  # where the gradients of frozen gains add up
    shared: Kept | None = field(init=False, default=None)  # of the layers that the backward pass does not reach

    def __attrs_post_init__(self) -> None:
        self.unread = self.places.numbers(self.shape.dim)

    def build(self) -> Network:
        shape = self.shape
        embedding = self.linear(EMBEDDING, shape.vocabulary, shape.dim)
        layers = tuple(self.layer(i) for i in range(shape.layers))
        final_gains = self.gains(FINAL_NORM, layer=shape.layers - 1)
        is_tied = self.source is not None and self.source.is_tied
        classifier = embedding if is_tied else self.linear(CLASSIFIER, shape.vocabulary, shape.dim, adapts=True)
        return Network(embedding, layers, final_gains, classifier)

    def layer(self, i: int) -> DecoderLayer:
        shape, queries, keys = self.shape, self.shape.query_length, self.shape.key_length

        def linear(name: str, rows: int, columns: int) -> Linear:
            return self.linear(f"blk.{i}.{name}.weight", rows, columns, layer=i, adapts=True)

        return DecoderLayer(
            attention_gains=self.gains(f"blk.{i}.attn_norm.weight", i),
            q=linear("attn_q", queries, shape.dim),
            k=linear("attn_k", keys, shape.dim),
            v=linear("attn_v", keys, shape.dim),
            o=linear("attn_output", shape.dim, queries),
            feed_forward_gains=self.gains(f"blk.{i}.ffn_norm.weight", i),
            gate=linear("ffn_gate", shape.hidden_dim, shape.dim),
            up=linear("ffn_up", shape.hidden_dim, shape.dim),
            down=linear("ffn_down", shape.dim, shape.hidden_dim),
            kept=self.keep(i),
        )

    def keep(self, layer: int) -> Kept:
        """Take places for what a layer keeps: its own ones if the backward pass reaches it."""
        if self.role(layer, adapts=True) != Role.FROZEN:
            return self._take()
        if self.shared is None:
            self.shared = self._take()
        return self.shared

    def _take(self) -> Kept:
        return Kept.take(self.places, self.shape, self.sequences, self.recipe.period)

    def role(self, layer: int | None, *, adapts: bool) -> Role:
        """Return the role of a weight. layer: where it lies, None for embedding and classifier; adapts: it may have an adapter"""
        match self.recipe.method:
            case Method.SCRATCH | Method.FULL:
                return Role.TRAINED
            case Method.LAST:
                return Role.TRAINED if layer == self.shape.layers - 1 else Role.FROZEN
            case Method.LORA:
                return Role.ADAPTED if adapts else Role.FROZEN

    def linear(self, name: str, rows: int, columns: int, *, layer: int | None = None, adapts: bool = False) -> Linear:
        role, places, rank = self.role(layer, adapts=adapts), self.places, self.recipe.rank
        optimiser = self._optimiser(is_in_layer=layer is not None)
        if self.source is None:
            return TrainedLinear(name, places.matrix(rows, columns), optimiser, (INIT_SCALE_Q16, self._stream()))
        if role == Role.TRAINED:
            content = self.source.matrix(name, MATRIX_FRACTION_BITS)
            return TrainedLinear(name, places.matrix(rows, columns, content), optimiser, None)
        master = places.data.put(self.source.matrix(name, EXACT_FRACTION_BITS))
        w = Weights(rows, columns, EXACT_FRACTION_BITS, master, places.activation(1, rows * columns))
        if role == Role.FROZEN:
            return FrozenLinear(name, w)
        a, b = places.matrix(rank, columns), places.matrix(rows, rank)
        return AdaptedLinear(name, w, a, b, optimiser, self._stream(), self.buffers)

    def gains(self, name: str, layer: int) -> Gains:
        places, length = self.places, self.shape.dim
        optimiser = self._optimiser(is_in_layer=False)
        if self.source is None:
            return TrainedGains(name, places.gains(length), optimiser, self._stream())
        content = self.source.gains(name)
        if self.role(layer, adapts=False) == Role.TRAINED:
            return TrainedGains(name, places.gains(length, content), optimiser, None)
        return FrozenGains(name, Weights(1, length, GAIN_FRACTION_BITS, places.data.put(content), 0, self.unread))

    def _optimiser(self, *, is_in_layer: bool) -> Optimiser:
        """Return the optimiser of a weight: MUON is for the matrices of the layers."""
        chosen = self.recipe.optimiser
        return Optimiser.ADAM if chosen == Optimiser.MUON and not is_in_layer else chosen

    def _stream(self) -> int:
        self.streams += 1
        return self.streams
