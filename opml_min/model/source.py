"""What a source file gives: the weights, and how its model reads and writes text."""

from typing import NamedTuple

from opml_min.model.checkpoint import Checkpoint
from opml_min.model.layout import MAX_STOP_TOKENS, NO_TOKEN, TOKENIZER_HUGGING_FACE, TOKENIZER_LLAMA2C
from opml_min.model.tokenizer import BOS, EOS, Llama2cTokenizer
from opml_min.model.tokenizer_json import JsonTokenizer


class Text(NamedTuple):
    """What an image holds of the model's text side."""

    tokenizer: bytes
    kind: int  # TOKENIZER_…
    bos: int = NO_TOKEN
    stops: tuple[int, ...] = ()
    template: str = ""  # of chats, in Jinja

    def check(self, vocabulary: int) -> None:
        """TokenizerError unless the tokenizer can be read and fits the model."""
        tokenizer_of(self.kind, self.tokenizer, vocabulary, self.bos)


class Source(NamedTuple):
    checkpoint: Checkpoint
    text: Text | None


def llama2c_text(tokenizer: bytes) -> Text:
    return Text(tokenizer, TOKENIZER_LLAMA2C, BOS, (BOS, EOS))


def stop_tokens(*candidates: int | None) -> tuple[int, ...]:
    """The distinct ones, as many as an image holds."""
    return tuple(dict.fromkeys(token for token in candidates if token is not None))[:MAX_STOP_TOKENS]


def tokenizer_of(kind: int, data: bytes, vocabulary: int, bos: int) -> Llama2cTokenizer | JsonTokenizer | None:
    """The tokenizer that an image's bytes describe."""
    if kind == TOKENIZER_LLAMA2C:
        return Llama2cTokenizer(data, vocabulary)
    if kind == TOKENIZER_HUGGING_FACE:
        return JsonTokenizer(data, vocabulary, bos)
    return None
