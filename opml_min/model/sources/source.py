"""What a source file gives: the weights, and how its model reads and writes text."""

from typing import NamedTuple, Protocol

from opml_min.model.image.header import MAX_STOP_TOKENS, NO_TOKEN, TOKENIZER_HUGGING_FACE, TOKENIZER_LLAMA2C
from opml_min.model.sources.checkpoint import Checkpoint
from opml_min.model.sources.tokenizers.llama2c import BOS, EOS, Llama2cTokenizer


class Tokenizer(Protocol):
    """Text to tokens and back."""

    longest_piece: int

    def encode(self, text: str, *, markup: bool = False) -> list[int]: ...
    def prompt(self, text: str) -> list[int]: ...
    def name(self, token: int) -> str: ...
    def piece(self, token: int, previous: int) -> bytes: ...
    def decode(self, tokens: list[int], previous: int) -> str: ...


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


def tokenizer_of(kind: int, data: bytes, vocabulary: int, bos: int) -> Tokenizer | None:
    """The tokenizer that an image's bytes describe."""
    if kind == TOKENIZER_LLAMA2C:
        return Llama2cTokenizer(data, vocabulary)
    if kind == TOKENIZER_HUGGING_FACE:
        from opml_min.model.sources.tokenizers.hugging_face import JsonTokenizer

        return JsonTokenizer(data, vocabulary, bos)
    return None
