"""The embedded model's tokenizer: byte-pair pieces learned from a text, encoded as llama2.c does it.

Tokens 0–2 are <unk>, BOS and EOS, 3–258 the bytes, then the learned pieces, the best first: all merges, then the single characters.
A piece's score is minus its rank. Used by `train` only; the project's own encoder reads the file that `save` writes.

Source: github.com/karpathy/llama2.c: `run.c` (the encoder), `tokenizer.py` (`export`). Byte-pair merges: Sennrich et al. 2016, §3.2.
"""

import re
import struct
from collections import Counter
from itertools import pairwise
from pathlib import Path

BOS = 1
BYTE_TOKENS = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{byte:02X}>" for byte in range(256))]
CHUNK = re.compile(r" ?\S+|\n+|\s")  # no piece reaches across a chunk: a word with the blank before it, or line ends


def merged(pieces: list[str], piece: str) -> list[str]:
    """`pieces` with each adjacent pair that spells `piece` joined, from the left."""
    out: list[str] = []
    for p in pieces:
        if out and out[-1] + p == piece:
            out[-1] = piece
        else:
            out.append(p)
    return out


def learn_pieces(text: str, count: int) -> list[str]:
    """Characters of the text, then byte-pair merges, the most frequent first; `count` pieces in all."""
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
    """llama2.c's encoder: characters (or their bytes), then the adjacent pair of the best score joined until none is left."""

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
        """Chunk by chunk, which gives what joining over the whole text gives, as no piece reaches across."""
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
        """The text behind BOS: llama2.c's encoder puts a blank in front, its decoder takes it away."""
        return b"".join(self.token_bytes(token) for token in ids).decode(errors="replace").removeprefix(" ")

    def save(self, path: Path) -> None:
        """u32 longest token; for each token f32 score, i32 length, bytes."""
        spelled = [token.encode() for token in self.tokens]
        scores = [0.0] * len(BYTE_TOKENS) + [-float(rank) for rank in range(len(self.rank))]
        entries = (struct.pack("<fi", score, len(token)) + token for score, token in zip(scores, spelled, strict=True))
        path.write_bytes(struct.pack("<I", max(map(len, spelled))) + b"".join(entries))
