"""The text side of a model: what an image holds of it, and what a tokenizer can do."""

from typing import Protocol

from attrs import frozen

from opml_min.model.errors import TokenizerError
from opml_min.model.image.header import MAX_STOP_TOKENS, NO_TOKEN


class Tokenizer(Protocol):
    """Turns text into tokens and back."""

    longest_piece: int

    def encode(self, text: str, *, markup: bool = False) -> list[int]: ...
    def prompt(self, text: str, *, markup: bool = False) -> list[int]: ...
    def markup_names(self) -> list[str]: ...
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
    notes: tuple[str, ...] = ()  # what a person should know of things that are not among these


def stop_tokens(*candidates: int | None) -> tuple[tuple[int, ...], list[str]]:
    """Return the distinct candidates, as many as an image can hold, and a note about the others."""
    ends = tuple(dict.fromkeys(token for token in candidates if token is not None))
    kept, left_out = ends[:MAX_STOP_TOKENS], ends[MAX_STOP_TOKENS:]
    named = f"{len(ends)} tokens end a text, and an image holds {MAX_STOP_TOKENS}: {_listed(kept)} are kept, {_listed(left_out)} left out"
    return kept, [named] if left_out else []


def _listed(tokens: tuple[int, ...]) -> str:
    return ", ".join(map(str, tokens))


def token_or_none(value: object, what: str, vocabulary: int) -> int | None:
    """Return the token that a file names by its number. −1 and null mean none; anything else that is no token is an error.

    what: the file and the key, for the error"""
    if value is None or (type(value) is int and value == -1):
        return None
    if type(value) is not int:
        raise TokenizerError(f"{what} is {str(value)[:50]!r}, not the number of a token")
    if not 0 <= value < vocabulary:
        raise TokenizerError(f"{what} is {value}, outside the vocabulary of {vocabulary}")
    return value
