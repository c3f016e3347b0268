"""Hugging Face's `tokenizer.json`, run by the library that defines it.

*Source*: github.com/huggingface/tokenizers. The pieces of a byte-level vocabulary write each byte as one printable character
(GPT-2's `encoder.py`, `bytes_to_unicode`); those of a SentencePiece vocabulary write a space as ▁ and single bytes as <0xNN>.
"""

import json
import re
from typing import Any

from tokenizers import Tokenizer

from opml_min.model.errors import TokenizerError
from opml_min.model.image.header import NO_TOKEN
from opml_min.model.sources.tokenizers.leftmost import LeftmostMerges

BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
SCORES = "scores"  # in "model": where equal scores make the order of merges depend on their places. The library does not read it


def byte_characters() -> dict[str, int]:
    """Return the byte of each of GPT-2's characters: a printable byte is itself, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def with_scores(text: str, scores: dict[str, float]) -> str:
    """Return the tokenizer.json with scores beside its merges."""
    values = json.loads(text)
    values["model"][SCORES] = scores
    return json.dumps(values, ensure_ascii=False)


class JsonTokenizer:
    """Turns text into tokens and back."""

    def __init__(self, data: bytes, vocabulary: int, bos: int = NO_TOKEN) -> None:
        """data: the file · vocabulary: the model's tokens, at least as many as the tokenizer's · bos: the prompt for an empty text"""
        try:
            self._tokenizer = Tokenizer.from_str(data.decode())
            values = json.loads(data)  # after the library, which has refused what is nested too deeply
            self._byte_level = '"ByteLevel"' in json.dumps(values["decoder"])
            self._leftmost = self._leftmost_merges(values["model"])
        except Exception as error:  # the library raises nothing narrower
            raise TokenizerError(f"the tokenizer.json cannot be used: {str(error)[:100]}") from error
        self._tokenizer.no_truncation()  # whoever trained the model may have left both in the file
        self._tokenizer.no_padding()
        vocabulary_of_tokenizer = self._tokenizer.get_vocab(with_added_tokens=True)
        if not vocabulary_of_tokenizer or max(vocabulary_of_tokenizer.values()) >= vocabulary:
            raise TokenizerError(f"the tokenizer has more tokens than the model's {vocabulary}, or none")
        self._special = {token: added.special for token, added in self._tokenizer.get_added_tokens_decoder().items()}
        self._byte_of = byte_characters()
        self._bos = bos
        self.longest_piece = max(map(len, vocabulary_of_tokenizer))

    def _leftmost_merges(self, model: dict[str, Any]) -> LeftmostMerges | None:
        if SCORES not in model:
            return None
        ids: dict[str, int] = model["vocab"]
        added = {each.content: each.special for each in self._tokenizer.get_added_tokens_decoder().values()}
        scores = {piece: float(score) for piece, score in model[SCORES].items() if piece in ids}
        return LeftmostMerges(ids, scores, added, ids[model["unk_token"]], self._tokenizer.normalizer.normalize_str)

    def encode(self, text: str, *, markup: bool = False) -> list[int]:
        """Return the tokens, without BOS. markup: names of special tokens in the text become these tokens"""
        return self._encode(text, markup, False)

    def prompt(self, text: str, *, markup: bool = False) -> list[int]:
        """Return the tokens of a whole text, with BOS if the tokenizer puts it first."""
        if not text and self._bos != NO_TOKEN:
            return [self._bos]
        return self._encode(text, markup, True)

    def markup_names(self) -> list[str]:
        """Return the names of the special tokens, longest first."""
        names = (self.name(token) for token, special in self._special.items() if special)
        return sorted(filter(None, names), key=len, reverse=True)

    def _encode(self, text: str, markup: bool, with_bos: bool) -> list[int]:
        self._tokenizer.encode_special_tokens = not markup
        clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if self._leftmost is None:
            return list(self._tokenizer.encode(clean, add_special_tokens=with_bos).ids)
        tokens, around = self._leftmost.encode(clean, markup=markup), self._tokenizer.encode("", add_special_tokens=with_bos)
        first = [token for token in around.ids if token == self._bos][:1]
        return first + tokens + around.ids[len(first) :]

    def name(self, token: int) -> str:
        """Return the token as the vocabulary writes it."""
        return self._tokenizer.id_to_token(token) or ""

    def token(self, name: str) -> int | None:
        """Return the token that the vocabulary writes like this."""
        token: int | None = self._tokenizer.token_to_id(name)
        return token

    def piece(self, token: int, previous: int) -> bytes:
        """Return the bytes of a token. Special ones have none; after BOS a SentencePiece text drops its leading space."""
        piece = self.name(token)
        if token in self._special:
            return b"" if self._special[token] else piece.encode()
        if self._byte_level:
            return b"".join(bytes([self._byte_of[c]]) if c in self._byte_of else c.encode() for c in piece)
        byte = BYTE_PIECE.fullmatch(piece)
        if byte:
            return bytes([int(byte[1], 16)])
        return piece.replace("▁", " ").removeprefix(" " if previous == self._bos else "").encode()

    def decode(self, tokens: list[int], previous: int) -> str:
        """Return the text of tokens that follow the token `previous`."""
        data = b"".join(self.piece(token, before) for before, token in zip([previous, *tokens], tokens, strict=False))
        return data.decode("utf-8", "replace")
