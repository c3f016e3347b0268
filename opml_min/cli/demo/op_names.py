"""How a stage is called: by the opcode of its op, and by what that is about: a layer, its weights, a position of the text or an update."""

import re

from attrs import frozen

from opml_min.cli.demo.play import Match
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Opcode
from opml_min.training.image import TrainingImage
from opml_min.training.operations import TrainingOp
from opml_min.training.run import is_done
from opml_min.training.tensor_names import weights_of

LAYER_NAME = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
IN_A_LAYER = {
    "attn_norm": "attention gain", "attn_q": "query matrix", "attn_k": "key matrix", "attn_v": "value matrix",
    "attn_output": "output matrix", "ffn_norm": "feed-forward gain", "ffn_gate": "gate", "ffn_up": "up matrix",
    "ffn_down": "down matrix",
}  # fmt: skip
OUTSIDE = {"token_embd.weight": "the embedding", "output_norm.weight": "the final gain", "output.weight": "the classifier"}


@frozen
class OpAt:
    """An op of the tape, with what it is about."""

    name: str
    layer: int | None = None
    position: int | None = None  # of the text
    weights: str | None = None  # that a training changes or uses
    update: int | None = None
    is_done: bool = True  # in that update

    def __str__(self) -> str:
        if self.update is not None:
            return f"{self.name}{self._of_weights()}{'' if self.is_done else ', not done'} in update {self.update}"
        layer = "" if self.layer is None else f", layer {self.layer}"
        return self.name + layer + ("" if self.position is None else f", position {self.position}")

    def _of_weights(self) -> str:
        named = LAYER_NAME.fullmatch(self.weights or "")
        if named:
            return f" of layer {named[1]}'s {IN_A_LAYER.get(named[2], named[2])}"
        if self.weights is not None:
            return f" of {OUTSIDE.get(self.weights, self.weights)}"
        return "" if self.layer is None else f" in layer {self.layer}"


def op_at(match: Match, stage: int) -> OpAt:
    """The op that a stage computes; PROGRAM if the image brings its own program, ALL if one stage is the whole run."""
    image = match.setup.scene.image
    if image is not match.model:
        return OpAt("PROGRAM")
    return _inference_op(image, stage) if isinstance(image, Image) else _training_op(match, image, stage)


def _inference_op(image: Image, stage: int) -> OpAt:
    header, tape = image.header, image.tape.tolist()
    if header.single_phase:
        return OpAt("ALL")
    index = stage % len(tape)
    try:
        name = Opcode(tape[index][0]).name
    except ValueError:
        name = f"OP {tape[index][0]}"
    in_layers = len(tape) - 1 - sum(words[1] for words in tape)  # all but the first one and those that only drawing a token needs
    layer = (index - 1) * header.layers // in_layers if header.layers and 0 < index <= in_layers else None
    return OpAt(name, layer, stage // len(tape))


def _training_op(match: Match, image: TrainingImage, stage: int) -> OpAt:
    ops = image.ops
    update, index = divmod(stage, len(ops))
    op, updates = ops[index], match.setup.scene.stage_count // len(ops)
    weights = weights_of(op, match.tensor_names)
    return OpAt(op.opcode.name, _layer(match, ops, index), weights=weights, update=update, is_done=is_done(op, update, updates))


def _layer(match: Match, ops: list[TrainingOp], index: int) -> int | None:
    """The layer of an op's weights; without weights, that of the nearest ops before and after it that have some, if they agree."""

    def nearest(indices: range) -> int | None:
        for i in indices:
            name = weights_of(ops[i], match.tensor_names)
            if name is not None:
                named = LAYER_NAME.fullmatch(name)
                return int(named[1]) if named else None
        return None

    before, after = nearest(range(index, -1, -1)), nearest(range(index, len(ops)))
    return before if before == after else None
