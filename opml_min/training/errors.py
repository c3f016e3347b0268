"""Why a loader refuses a training image.

*Source*: spec §0.6 and §6.8.
"""

from opml_min.model.errors import CheckFailed


class TrainingImageRefused(CheckFailed):
    """The base of the numbered refusals."""

    number = 0


class ImageHeader(TrainingImageRefused):
    """The header is not of this version."""

    number = 302


class ImageOp(TrainingImageRefused):
    """A record does not encode an operation, or an operand is out of its range or place."""

    number = 303


class ImageBound(TrainingImageRefused):
    """A number could leave the range of 64 bits."""

    number = 305
