"""A text as tokens to learn from, and windows of it that are held out.

A window of length T has T inputs, and as targets the tokens one place later.
"""

import sys
from pathlib import Path

import numpy as np

from opml_min.model.sources.tokenizers.text import Tokenizer
from opml_min.training.jobs.errors import DataError
from opml_min.training.jobs.held_out import Examples

HELD_OUT_PART = 10  # one in so many tokens
MOST_HELD_OUT = 1 << 14  # tokens that are scored
LONG_TEXT = 1 << 18  # bytes


def read_tokens(path: Path, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a text file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if b"\0" in data:
        raise DataError(f"{path} is no text: byte {data.index(0)} is zero")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text: byte {error.start} is not UTF-8") from error
    if not text:
        raise DataError(f"{path} is empty")
    if len(data) > LONG_TEXT:
        print(f"opml: splitting the {len(data):,} bytes of {path} into tokens", file=sys.stderr)
    return tokenizer.prompt(text)


def split_off(tokens: list[int], length: int) -> tuple[list[int], list[int]]:
    """Return the tokens to learn from, and the last tenth, which is held out."""
    count = max(len(tokens) // HELD_OUT_PART, length + 1)
    return tokens[:-count], tokens[-count:]


def require_enough(tokens: list[int], length: int, path: Path) -> None:
    """Raise DataError unless sequences of a length can be drawn from tokens."""
    if len(tokens) < length + 2:
        raise DataError(f"{path} is too short: {len(tokens)} tokens are left to draw from, and sequences of {length} need {length + 2}")


def windows(tokens: list[int], length: int) -> Examples:
    """Cut tokens into windows one after another, as many as are scored."""
    count = min((len(tokens) - 1) // length, max(1, MOST_HELD_OUT // length))
    inputs = np.array(tokens[: count * length], np.uint32).reshape(count, length)
    targets = np.array(tokens[1 : count * length + 1], np.uint32).reshape(count, length)
    return Examples(inputs, targets)


def packed(tokens: list[int], vocabulary: int) -> tuple[bytes, int]:
    """Return tokens as little-endian numbers, and how many bytes each has."""
    token_bytes = 1 if vocabulary <= 1 << 8 else 2 if vocabulary <= 1 << 16 else 4
    return np.array(tokens, f"<u{token_bytes}").tobytes(), token_bytes
