"""The text side of a model: what an image holds of it, and what a tokenizer can do."""

from typing import Protocol

from attrs import frozen

from opml_min.model.image.header import MAX_STOP_TOKENS, NO_TOKEN


class Tokenizer(Protocol):
    """Turns text into tokens and back."""

    longest_piece: int

    def encode(self, text: str, *, markup: bool = False) -> list[int]: ...
    def prompt(self, text: str) -> list[int]: ...
    def name(self, token: int) -> str: ...
    def piece(self, token: int, previous: int) -> bytes: ...
    def decode(self, tokens: list[int], previous: int) -> str: ...


@frozen
class Text:
    """What an image holds of the model's text side."""

    tokenizer: bytes
    kind: int  # TOKENIZER_…
    bos: int = NO_TOKEN
    stops: tuple[int, ...] = ()
    template: str = ""  # for chats, in Jinja


def stop_tokens(*candidates: int | None) -> tuple[int, ...]:
    """Return the distinct candidates, at most as many as an image can hold."""
    return tuple(dict.fromkeys(token for token in candidates if token is not None))[:MAX_STOP_TOKENS]
