"""The embedded model's tokenizer: byte-pair pieces learned from a text, in a file as llama2.c has it.

Tokens 0–2 are <unk>, BOS and EOS, 3–258 are the bytes. Then come the learned pieces from best to worst: all merges, then the single
characters. The score of a piece is minus its rank.

*Source*: github.com/karpathy/llama2.c: `tokenizer.py` (`export`). Byte-pair merges: Sennrich et al. 2016, §3.2.
"""

import re
import struct
from collections import Counter
from itertools import pairwise

BYTE_TOKENS = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{byte:02X}>" for byte in range(256))]
CHUNK = re.compile(r" ?\S+|\n+|\s")  # no piece reaches across a chunk: a word with the space before it, or line ends


def tokenizer_of_text(text: str, vocabulary: int) -> bytes:
    """Return the tokenizer file with as many tokens, its pieces learned from the first nine tenths of a text."""
    pieces = learn_pieces(text[: len(text) * 9 // 10], vocabulary - len(BYTE_TOKENS))
    spelled = [token.encode() for token in BYTE_TOKENS + pieces]
    scores = [0.0] * len(BYTE_TOKENS) + [-float(rank) for rank in range(len(pieces))]
    entries = (struct.pack("<fi", score, len(token)) + token for score, token in zip(scores, spelled, strict=True))
    return struct.pack("<I", max(map(len, spelled))) + b"".join(entries)


def learn_pieces(text: str, count: int) -> list[str]:
    """Return so many pieces: byte-pair merges, the most frequent first, then the characters of the text."""
    chunks = Counter(CHUNK.findall(text))
    spelled = {chunk: list(chunk) for chunk in chunks}
    characters = sorted(set(text))
    pairs: Counter[str] = Counter()  # how often the text has two adjacent pieces that spell this
    for chunk, times in chunks.items():
        _count(pairs, spelled[chunk], times)
    merges: list[str] = []
    while len(characters) + len(merges) < count:
        piece = max(pairs, key=lambda p: (pairs[p], p))
        for chunk in (chunk for chunk in spelled if piece in chunk):
            _count(pairs, spelled[chunk], -chunks[chunk])
            spelled[chunk] = _merged(spelled[chunk], piece)
            _count(pairs, spelled[chunk], chunks[chunk])
        merges.append(piece)
    return merges + characters


def _count(pairs: Counter[str], pieces: list[str], times: int) -> None:
    for left, right in pairwise(pieces):
        pairs[left + right] += times


def _merged(pieces: list[str], piece: str) -> list[str]:
    """Join each adjacent pair of pieces that spells this piece, from the left."""
    out: list[str] = []
    for p in pieces:
        if out and out[-1] + p == piece:
            out[-1] = piece
        else:
            out.append(p)
    return out
