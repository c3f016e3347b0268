"""The embedded model's tokenizer: byte-pair pieces learned from a text, and encoded like llama2.c does.

Tokens 0–2 are <unk>, BOS and EOS, 3–258 are the bytes. Then come the learned pieces from best to worst: all merges, then the single
characters. The score of a piece is minus its rank. Only `train` uses this; the project's own encoder reads the file that `save` writes.

*Source*: github.com/karpathy/llama2.c: `run.c` (the encoder), `tokenizer.py` (`export`). Byte-pair merges: Sennrich et al. 2016, §3.2.
"""

import re
import struct
from collections import Counter
from itertools import pairwise
from pathlib import Path

BOS = 1
BYTE_TOKENS = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{byte:02X}>" for byte in range(256))]
CHUNK = re.compile(r" ?\S+|\n+|\s")  # no piece reaches across a chunk: a word with the space before it, or line ends


def merged(pieces: list[str], piece: str) -> list[str]:
    """Joins each adjacent pair of `pieces` that spells `piece`, from the left."""
    out: list[str] = []
    for p in pieces:
        if out and out[-1] + p == piece:
            out[-1] = piece
        else:
            out.append(p)
    return out


def learn_pieces(text: str, count: int) -> list[str]:
    """Learns `count` pieces: byte-pair merges, the most frequent first, then the characters of the text."""
    chunks = Counter(CHUNK.findall(text))
    spelled = {chunk: list(chunk) for chunk in chunks}
    characters = sorted(set(text))
    merges: list[str] = []
    while len(characters) + len(merges) < count:
        pairs: Counter[str] = Counter()
        for chunk, times in chunks.items():
            for left, right in pairwise(spelled[chunk]):
                pairs[left + right] += times
        piece = max(pairs, key=lambda p: (pairs[p], p))
        spelled = {chunk: merged(pieces, piece) if piece in chunk else pieces for chunk, pieces in spelled.items()}
        merges.append(piece)
    return merges + characters


class PieceTokenizer:
    """llama2.c's encoder: starts from characters (or their bytes) and joins the adjacent pair with the best score until none is left."""

    def __init__(self, pieces: list[str]) -> None:
        self.tokens = BYTE_TOKENS + pieces
        self.rank = {piece: rank for rank, piece in enumerate(pieces)}  # score = −rank
        self.chunk_ids: dict[str, list[int]] = {}

    def encode_chunk(self, chunk: str) -> list[int]:
        pieces = list(chunk)
        while joinable := [left + right for left, right in pairwise(pieces) if left + right in self.rank]:
            pieces = merged(pieces, min(joinable, key=self.rank.__getitem__))
        ids: list[int] = []
        for piece in pieces:
            ids += [len(BYTE_TOKENS) + self.rank[piece]] if piece in self.rank else [3 + byte for byte in piece.encode()]
        return ids

    def encode(self, text: str) -> list[int]:
        """Encodes chunk by chunk. No piece reaches across chunks, so the result is that of the whole text."""
        ids: list[int] = []
        for chunk in CHUNK.findall(text):
            if chunk not in self.chunk_ids:
                self.chunk_ids[chunk] = self.encode_chunk(chunk)
            ids += self.chunk_ids[chunk]
        return ids

    def token_bytes(self, token: int) -> bytes:
        if 3 <= token < len(BYTE_TOKENS):
            return bytes([token - 3])
        return self.tokens[token].encode()

    def decode(self, ids: list[int]) -> str:
        """The text after BOS. llama2.c's encoder puts a space in front, which its decoder removes."""
        return b"".join(self.token_bytes(token) for token in ids).decode(errors="replace").removeprefix(" ")

    def save(self, path: Path) -> None:
        """Writes the u32 length of the longest token; then, for each token, f32 score, i32 length and bytes."""
        spelled = [token.encode() for token in self.tokens]
        scores = [0.0] * len(BYTE_TOKENS) + [-float(rank) for rank in range(len(self.rank))]
        entries = (struct.pack("<fi", score, len(token)) + token for score, token in zip(scores, spelled, strict=True))
        path.write_bytes(struct.pack("<I", max(map(len, spelled))) + b"".join(entries))
