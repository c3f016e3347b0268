"""The errors that a model, an image or a request can cause. Each class is named after the condition, and its message says where."""


class ModelError(Exception):
    """The base of all errors here: a message of one line that a person can act on."""


class CheckpointError(ModelError):
    """A source file is truncated, corrupted, in another format, or has an impossible shape or value."""


class TokenizerError(ModelError):
    """A tokenizer file is malformed, or does not fit its model."""


class TextNotEncodable(TokenizerError):
    """A character has no token, and the vocabulary has no tokens for its bytes."""


class ImageError(ModelError):
    """A file is not an image, or its segments break the rules of the layout."""


class NotInOneSegment(ImageError):
    """Bytes that a program wants as they lie in the file are in no segment, or in several. In memory what is in none is zero."""


class CheckFailed(ModelError):
    """An image must not run in native code. The machine may still run it."""


class MayNeedTooManySteps(CheckFailed):
    """An op is so large that the machine might not end its stage. By the rules of the specification such an image is none the worse."""


class AcceleratorUnusable(ModelError):
    """There is no accelerator, or it cannot compute this image."""


class RunTorn(ModelError):
    """A run was interrupted between two stages, so it has no state and cannot go on."""


class RequestError(ModelError):
    """A prompt or a limit is one that stage 0 would refuse."""


class FetchFailed(ModelError):
    """A known model could not be downloaded, or the download is not the expected file."""


class WriteFailed(ModelError):
    """An output file could not be written; no part of it is left behind."""
