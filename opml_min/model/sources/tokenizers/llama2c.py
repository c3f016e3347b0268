"""llama2.c's tokenizer: SentencePiece's byte-pair encoding with scores.

A text begins with a dummy space. Each character becomes its token, or else the tokens of its UTF-8 bytes. Then neighbours are merged, one
pair at a time: the pair whose concatenation is the token with the best score, and the leftmost of equals.

*Source*: github.com/karpathy/llama2.c, `run.c` (`build_tokenizer`, `encode`, `decode`).
The file is u32 longest piece, then f32 score, i32 length and bytes per token.
"""

import heapq
import re
import struct
from math import isfinite

from opml_min.model.errors import TextNotEncodable, TokenizerError

UNKNOWN, BOS, EOS = 0, 1, 2
BYTE_PIECE = re.compile(rb"<0x([0-9A-F]{2})>")


class Llama2cTokenizer:
    """Turns text into tokens and back."""

    def __init__(self, data: bytes, vocabulary: int) -> None:
        """data: a tokenizer file that holds exactly `vocabulary` tokens."""
        self.pieces: list[bytes] = []
        self.scores: list[float] = []
        offset = 4
        try:
            for _ in range(vocabulary):
                score, length = struct.unpack_from("<fi", data, offset)
                if length < 0 or offset + 8 + length > len(data):
                    raise TokenizerError(f"the tokenizer is truncated or corrupted at token {len(self.pieces)} of {vocabulary}")
                if not isfinite(score):
                    raise TokenizerError(f"the score of token {len(self.pieces)} is not a finite number")
                self.scores.append(score)
                self.pieces.append(data[offset + 8 : offset + 8 + length])
                offset += 8 + length
        except struct.error as error:
            raise TokenizerError(f"the tokenizer ends after {len(self.pieces)} tokens; the model has {vocabulary}") from error
        if offset != len(data):
            raise TokenizerError(f"the tokenizer has more tokens than the model's {vocabulary}")
        self.longest_piece = max(map(len, self.pieces), default=0)
        self._ids = {piece: token for token, piece in reversed(list(enumerate(self.pieces)))}
        self._bytes = [self._ids.get(b"<0x%02X>" % byte) for byte in range(256)]

    def encode(self, text: str, *, markup: bool = False) -> list[int]:
        """Return the tokens, without BOS. This kind of tokenizer has no markup."""
        if not text:
            return []
        return self._merge([*self._character(" "), *(token for character in text for token in self._character(character))])

    def prompt(self, text: str, *, markup: bool = False) -> list[int]:
        """Return the tokens of a whole text, with BOS."""
        return [BOS, *self.encode(text)]

    def markup_names(self) -> list[str]:
        return []

    def _character(self, character: str) -> list[int]:
        data = character.encode("utf-8", "surrogateescape")
        if data in self._ids:
            return [self._ids[data]]
        tokens = [token for byte in data if (token := self._bytes[byte]) is not None]
        if len(tokens) != len(data):
            raise TextNotEncodable(f"the vocabulary has no token for {character!r}, and none for its bytes")
        return tokens

    def _merge(self, tokens: list[int]) -> list[int]:
        """Merge neighbours, best score first, over a linked list and a heap of candidates."""
        following = [*range(1, len(tokens)), -1]
        before = list(range(-1, len(tokens) - 1))
        alive = list(tokens)  # −1: merged into its left neighbour
        heap: list[tuple[float, int, int, int, int]] = []

        def propose(left: int) -> None:
            right = following[left]
            if right >= 0:
                merged = self._ids.get(self.pieces[alive[left]] + self.pieces[alive[right]])
                if merged is not None:
                    heapq.heappush(heap, (-self.scores[merged], left, alive[left], alive[right], merged))

        for i in range(len(tokens)):
            propose(i)
        while heap:
            _, left, left_token, right_token, merged = heapq.heappop(heap)
            right = following[left]
            if alive[left] != left_token or right < 0 or alive[right] != right_token:
                continue  # one of the two has been merged since
            alive[left], alive[right] = merged, -1
            following[left] = following[right]
            if following[left] >= 0:
                before[following[left]] = left
            propose(left)
            if before[left] >= 0:
                propose(before[left])
        return [token for token in alive if token >= 0]

    def name(self, token: int) -> str:
        """Return the token as the vocabulary writes it."""
        return self.pieces[token].decode("utf-8", "replace")

    def piece(self, token: int, previous: int) -> bytes:
        """Return the bytes of a token. BOS and EOS have none; after BOS a leading space is dropped."""
        if token in (BOS, EOS):
            return b""
        piece = self.pieces[token]
        if previous == BOS and piece.startswith(b" "):
            piece = piece[1:]
        byte = BYTE_PIECE.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else piece

    def decode(self, tokens: list[int], previous: int = UNKNOWN) -> str:
        """Return the text of tokens that follow the token `previous`."""
        data = b"".join(self.piece(token, before) for before, token in zip([previous, *tokens], tokens, strict=False))
        return data.decode("utf-8", "replace")
