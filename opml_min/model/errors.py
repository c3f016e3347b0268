"""What can be wrong with a model, an image or a request. Each error is named after the condition and says where."""


class ModelError(Exception):
    """The root: a message of one line that a person can act on."""


class CheckpointError(ModelError):
    """A source file is truncated, corrupted, of another format, or has an impossible shape or value."""


class TokenizerError(ModelError):
    """A tokenizer file is malformed, or does not fit its model."""


class TextNotEncodable(TokenizerError):
    """A character has no token, and the vocabulary has no tokens for bytes."""


class ImageError(ModelError):
    """A file is not an image, or its segments break the rules of the layout."""


class CheckFailed(ModelError):
    """An image that native code must not run (the machine may)."""


class RequestError(ModelError):
    """A prompt or a limit that stage 0 would refuse."""


class FetchFailed(ModelError):
    """A known model could not be downloaded, or is not what it should be."""


class WriteFailed(ModelError):
    """An output file could not be written; nothing is left of it."""
