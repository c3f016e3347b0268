"""A LLaMA's update: the tape from the first weights to the exported ones, for each recipe.

*Source*: spec §6.9.
"""

import numpy as np
from attrs import evolve, frozen

from opml_min.model.errors import RequestError
from opml_min.model.image.image import Image
from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.places import Buffers, Places
from opml_min.training.recipes.assembly import assembled
from opml_min.training.recipes.batch import LOGIT_FRACTION_BITS, TextBatch
from opml_min.training.recipes.division import Division, divided
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.network import Network, NetworkBuilder
from opml_min.training.recipes.recipe import Method, Recipe, TokenText
from opml_min.training.recipes.source_llama import SourceLlama, read_source
from opml_min.training.tape_writer import WIDTH, OutputGradient, TapeWriter, Targets
from opml_min.training.training_model import Trained, TrainingModel

TOKEN_STREAM = 0  # the weights' streams are 1, 2, …


def llama_training(origin: Image | LlamaShape, recipe: Recipe, text: TokenText) -> TrainingModel:
    """Return the training of a LLaMA on a text: with the method scratch from a shape, with any other from a source model."""
    if isinstance(origin, LlamaShape) != (recipe.method == Method.SCRATCH):
        raise RequestError("training from scratch begins with a shape, and any other training with a model")
    if text.count <= recipe.period:
        raise RequestError(f"a text of {text.count} tokens is too short for sequences of {recipe.period}")
    if isinstance(origin, LlamaShape):
        source, shape = None, origin
    else:
        source = read_source(origin)
        shape = source.shape
    table = drawn_rope_table(shape, recipe.period) if source is None else source.rope_table(recipe.period)
    draft = Draft(shape, source, recipe, text, table)
    division = divided(recipe, shape.vocabulary, draft.ops_of_all_sizes)
    written = draft.write(division)
    return assembled(written.places, written.tape, written.trained, recipe.sequences * recipe.period, shape, written.is_tied)


def drawn_rope_table(shape: LlamaShape, period: int) -> bytes:
    """Return cosine and sine, Q30, of position·theta^(−2j/head_size)."""
    angles = np.arange(period)[:, None] * shape.theta ** (-np.arange(0, shape.head_size, 2) / shape.head_size)
    turns = np.rint(np.stack([np.cos(angles), np.sin(angles)], axis=2) * 2**30)
    return bytes(turns.astype("<i4").tobytes())


@frozen
class Draft:
    """All that makes a tape but the division."""

    shape: LlamaShape
    source: SourceLlama | None
    recipe: Recipe
    text: TokenText
    rope_table: bytes

    def ops_of_all_sizes(self, division: Division) -> list[TrainingOp]:
        """Return the ops of one layer and at most two batches. Those of the others are as long."""
        batches = min(division.batches, 2)
        recipe = evolve(self.recipe, sequences=self.recipe.sequences // division.batches * batches, batches=batches)
        draft = evolve(self, shape=evolve(self.shape, layers=1), recipe=recipe)
        return draft.write(evolve(division, batches=batches)).tape.ops

    def write(self, division: Division) -> "Written":
        sequences, period, places = self.recipe.sequences // division.batches, self.recipe.period, Places()
        text, table = places.data.put(self.text.data), places.data.put(self.rope_table)
        buffers, tape = Buffers(places, sequences * period), TapeWriter(sequences * period, self.recipe.sum_frac)
        network = NetworkBuilder(self.shape, self.recipe, sequences, self.source, places, buffers).build()
        batch = TextBatch(self.shape, tape, buffers, sequences, period, table)
        trained = LlamaUpdate(network, batch, self.recipe.sequences, division, self.text, text).write()
        return Written(places, tape, trained, network.is_tied)


@frozen
class Written:
    """A tape, where its tensors lie, and what it leaves."""

    places: Places
    tape: TapeWriter
    trained: tuple[Trained, ...]
    is_tied: bool


@frozen
class LlamaUpdate:
    """The ops of an update, which come batch by batch, and then those of the optimisers."""

    network: Network
    batch: TextBatch
    sequences: int  # of all batches
    division: Division
    text: TokenText
    text_address: int

    def write(self) -> tuple[Trained, ...]:
        """Write the tape. Return what training leaves in the state quarter."""
        tape, parts = self.batch.tape, self.network.parts
        for part in parts:
            part.begin(tape)
        for i in range(self.division.batches):
            tokens, targets = self._draw(i)
            if i == 0:
                for part in parts:
                    part.cast(tape)
            self._forward(tokens)
            self._loss(targets)
            self._backward(tokens)
        for part in parts:
            part.step(tape)
        return tuple(trained for part in parts for trained in part.finish(tape, self.batch.buffers.places))

    def _draw(self, i: int) -> tuple[int, int]:
        """Take batch i from the text. Return where tokens and targets lie."""
        batch, text = self.batch, self.text
        tokens, targets = batch.buffers.vectors("tokens", 1), batch.buffers.vectors("targets", 1)
        place = (self.text_address, text.token_bytes, text.count, batch.sequences, batch.period)
        drawn = (i * batch.sequences, self.sequences, TOKEN_STREAM)
        batch.tape.add(TrainingOpcode.TOKENS, tokens, targets, *place, *drawn)
        return tokens, targets

    @property
    def _last_x(self) -> int:
        return self.batch.buffers.vectors("last x", self.batch.shape.dim)

    @property
    def _last_n(self) -> int:
        return self.batch.buffers.activation("last n", self.batch.shape.dim)

    @property
    def _logits(self) -> int:
        return self.batch.buffers.vectors("logits", self.batch.shape.vocabulary)

    def _forward(self, tokens: int) -> None:
        batch, network, shape = self.batch, self.network, self.batch.shape
        streams = [*(layer.kept.x for layer in network.layers), self._last_x]
        sizes = (batch.rows, shape.dim, shape.vocabulary, shape.r)
        batch.tape.add(TrainingOpcode.EMBED, streams[0], network.embedding.w.working, tokens, *sizes)
        for layer, after in zip(network.layers, streams[1:], strict=True):
            layer.forward(batch, after)
        batch.norm(self._last_n, self._last_x, network.final_gains)
        network.classifier.forward(batch.tape, self._logits, self._last_n, LOGIT_FRACTION_BITS, self.division.logit_rows)

    def _loss(self, targets: int) -> None:
        """Write d, the gradient of the residual stream after the last layer."""
        batch, classifier, vocabulary = self.batch, self.network.classifier, self.batch.shape.vocabulary
        g, of_target = batch.buffers.activation("logits", vocabulary), batch.buffers.vectors("of target", 1)
        batch.tape.add(TrainingOpcode.CROSS_ENTROPY, g, of_target, self._logits, targets, batch.rows, vocabulary, WIDTH)
        of = OutputGradient(g, Targets(targets, of_target), self.division.logit_rows)
        classifier.gradient(batch.tape, of, self._last_n)
        classifier.backward(batch.tape, batch.d_n, of, batch.part)
        batch.norm_backward(batch.d, self._last_x, self.network.final_gains)

    def _backward(self, tokens: int) -> None:
        batch, embedding, shape = self.batch, self.network.embedding, self.batch.shape
        for i in reversed(range(self.network.first_reached, shape.layers)):
            self.network.layers[i].backward(batch, goes_on=i > self.network.first_reached or embedding.trains)
        if embedding.trains:
            sizes = (batch.rows, shape.dim, shape.vocabulary, batch.tape.sum_frac)
            batch.tape.add(TrainingOpcode.EMBED_WEIGHTS, embedding.w.sums, batch.d, tokens, *sizes)
