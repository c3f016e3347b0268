"""How a training's weights are called, by the addresses of whatever belongs to them: masters, working weights, sums, moments, exports.

A tape knows addresses only. The names come from the tensors that training leaves, and follow the ops that turn one into another.

*Source*: spec §6.4 and §6.7.
"""

from collections.abc import Iterable, Mapping

from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.training_model import Trained


def tensor_names(trained: Iterable[Trained], ops: Iterable[TrainingOp]) -> dict[int, str]:
    """Return names such as blk.1.ffn_gate.weight by address."""
    names, ops = {tensor.address: tensor.name for tensor in trained}, list(ops)
    for op in ops:
        if op.opcode == TrainingOpcode.EXPORT and op["out"] in names:
            names[op["master"]] = names[op["out"]]
    for op in ops:
        name = names.get(op.operands.get("master", -1))
        if name is not None:
            names.update({tensor.address: name for tensor in op.tensors()})
    return names


def weights_of(op: TrainingOp, names: Mapping[int, str]) -> str | None:
    """Return the name of the weights that an op is about; None if it is about none."""
    return next((names[tensor.address] for tensor in op.tensors() if tensor.address in names), None)
