"""What reading a source file gives: the weights, and the model's text side with its tokenizer."""

from attrs import frozen

from opml_min.model.image.header import TOKENIZER_HUGGING_FACE, TOKENIZER_LLAMA2C
from opml_min.model.sources.checkpoint import Checkpoint
from opml_min.model.sources.tokenizers.llama2c import Llama2cTokenizer
from opml_min.model.sources.tokenizers.text import Text, Tokenizer


@frozen(eq=False)
class Source:
    """A checkpoint and its text side, if it has one. notes: what a person should know of things that the image will not have"""

    checkpoint: Checkpoint
    text: Text | None
    notes: tuple[str, ...] = ()


def tokenizer_of(kind: int, data: bytes, vocabulary: int, bos: int) -> Tokenizer | None:
    """Return the tokenizer that an image's bytes describe."""
    if kind == TOKENIZER_LLAMA2C:
        return Llama2cTokenizer(data, vocabulary)
    if kind == TOKENIZER_HUGGING_FACE:
        from opml_min.model.sources.tokenizers.hugging_face import JsonTokenizer

        return JsonTokenizer(data, vocabulary, bos)
    return None


def check_text(text: Text, vocabulary: int) -> None:
    """Raise TokenizerError unless the tokenizer can be read and fits the model."""
    tokenizer_of(text.kind, text.tokenizer, vocabulary, text.bos)
