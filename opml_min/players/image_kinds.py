"""The two kinds of models that players can be asked about: those that answer, and those that train. The image's magic tells which it is.

On chain there is one kind: a run is a number of stages. Only who computes them natively has to know what they mean.

*Source*: spec §3.1, §6.1 and §6.8.
"""

from pathlib import Path

from opml_min.memory_map import HEADER
from opml_min.model.devices import Device
from opml_min.model.errors import CheckFailed
from opml_min.model.image.image import Image
from opml_min.model.image.segments import SegmentFile
from opml_min.model.native.check import steps_bound
from opml_min.model.native.kernel_cache import are_kernels_compiled
from opml_min.model.run import Run
from opml_min.model.staged_run import StagedRun
from opml_min.training.image import TrainingImage
from opml_min.training.layout import MAGIC
from opml_min.training.run import TrainingRun
from opml_min.training.steps import usual_steps

ModelImage = Image | TrainingImage
SHORT_RUN_STEPS = 1 << 34  # as the loader bounds it; a run takes about a tenth of the bound, half a second in the machine
SHORT_TRAINING_STEPS = 1 << 32  # as `usual_steps` says; about two seconds in the machine


def open_image(path: Path) -> ModelImage:
    """Open an image of either kind."""
    magic = SegmentFile(path).read(HEADER, 8)
    return TrainingImage(path) if magic == MAGIC.to_bytes(8, "little") else Image(path)


def begin_run(image: ModelImage, request: bytes, stage_count: int, device: Device | None = None) -> StagedRun:
    """Return the run of a request at its begin: natively, unless only the machine can compute it, or is quicker.

    device: where to compute, if that is not to be chosen; a training run knows native code and the machine only"""
    device = device or quickest_device(image, stage_count)
    try:
        return _begun(image, request, stage_count, device)
    except CheckFailed:
        return _begun(image, request, stage_count, "vm")


def _begun(image: ModelImage, request: bytes, stage_count: int, device: Device) -> StagedRun:
    if isinstance(image, Image):
        return Run(image, request, stages=stage_count, device=device)
    return TrainingRun(image, request, stages=stage_count, device="vm" if device == "vm" else "cpu")


def quickest_device(image: ModelImage, stage_count: int) -> Device:
    """Return the machine, if it finishes the run before native code would be compiled or loaded; native code otherwise."""
    if isinstance(image, TrainingImage):
        try:
            update_steps = sum(map(usual_steps, image.ops))
        except CheckFailed:  # native code knows no such op
            return "vm"
        return "vm" if update_steps * (stage_count // len(image.ops) + 1) < SHORT_TRAINING_STEPS else "cpu"
    if are_kernels_compiled():
        return "cpu"
    header = image.header
    positions = header.context if header.single_phase else -(-stage_count // header.op_count)
    return "vm" if steps_bound(image) * positions < SHORT_RUN_STEPS else "cpu"
