"""How a training's weights are called, by the addresses of whatever belongs to them: masters, working weights, sums, moments, exports.

A tape knows addresses only. The names come from the tensors that training leaves. They go backwards through the ops of the last update,
which make these from the masters, and of adapters from both of their matrices; then to whatever an op has beside a master.

*Source*: spec §6.4 and §6.7.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from opml_min.training.layout import LAST_UPDATE
from opml_min.training.operations import TrainingOp
from opml_min.training.training_model import Trained


def tensor_names(trained: Iterable[Trained], ops: Iterable[TrainingOp]) -> dict[int, str]:
    """Return names such as blk.1.ffn_gate.weight by address. What several weights use in turn has none."""
    ops = list(ops)
    latest = {tensor.address: tensor.name for tensor in trained}
    given = defaultdict(set, {address: {name} for address, name in latest.items()})
    for op in reversed([op for op in ops if op.condition == LAST_UPDATE]):
        name = next((latest[tensor.address] for tensor in op.tensors() if tensor.written and tensor.address in latest), None)
        if name is not None:
            for tensor in op.tensors():
                latest[tensor.address] = name
                given[tensor.address].add(name)
    names = {address: name for address, (name, *others) in given.items() if not others}
    for op in ops:
        master = names.get(op.operands.get("master", -1))
        if master is not None:
            names.update({tensor.address: master for tensor in op.tensors()})
    return names


def weights_of(op: TrainingOp, names: Mapping[int, str]) -> str | None:
    """Return the name of the weights that an op is about; None if it is about none."""
    return next((names[tensor.address] for tensor in op.tensors() if tensor.address in names), None)
