"""SentencePiece's merges where two pieces have equal scores: of the pairs with the best score, the leftmost in the text is merged first.

A list of merges, as a `tokenizer.json` has it, cannot say so: it puts every pair before or after every other one.

*Source*: SentencePiece's `bpe_model.cc`; llama.cpp's `llama-vocab.cpp` (`llm_tokenizer_spm`).
"""

import heapq
import re
from collections.abc import Callable, Iterator

from attrs import frozen


@frozen(eq=False)
class LeftmostMerges:
    """Turns text into tokens by scores."""

    ids: dict[str, int]
    scores: dict[str, float]  # of the pieces that merges produce
    added: dict[str, bool]  # tokens that are never split, and whether they are special
    unknown: int
    normalise: Callable[[str], str]

    def encode(self, text: str, *, markup: bool) -> list[int]:
        """Return the tokens. markup: names of special tokens in the text become these tokens"""
        names = sorted((name for name, special in self.added.items() if markup or not special), key=len, reverse=True)
        tokens: list[int] = []
        for part in re.split(f"({'|'.join(map(re.escape, names))})", text) if names else [text]:
            if part in names:
                tokens.append(self.ids[part])
            elif part:
                tokens += self._numbers(self._merged(self.normalise(part)))
        return tokens

    def _merged(self, text: str) -> Iterator[str]:
        """Yield the pieces that are left when nothing more can be merged."""
        pieces = list(text)  # empty: merged into its left neighbour
        following, before = [*range(1, len(pieces)), -1], list(range(-1, len(pieces) - 1))
        heap: list[tuple[float, int, str, str]] = []

        def propose(left: int) -> None:
            if left >= 0 and following[left] >= 0:
                right = pieces[following[left]]
                score = self.scores.get(pieces[left] + right)
                if score is not None:
                    heapq.heappush(heap, (-score, left, pieces[left], right))

        for i in range(len(pieces)):
            propose(i)
        while heap:
            _, left, left_piece, right_piece = heapq.heappop(heap)
            right = following[left]
            if pieces[left] != left_piece or right < 0 or pieces[right] != right_piece:
                continue  # one of the two has been merged since
            pieces[left], pieces[right], following[left] = left_piece + right_piece, "", following[right]
            if following[left] >= 0:
                before[following[left]] = left
            propose(left)
            propose(before[left])
        return (piece for piece in pieces if piece)

    def _numbers(self, pieces: Iterator[str]) -> Iterator[int]:
        """Yield the token of each piece, or else those of its bytes, or else one unknown token per run of such pieces."""
        was_unknown = False
        for piece in pieces:
            tokens = [self.ids.get(piece)] if piece in self.ids else [self.ids.get(f"<0x{byte:02X}>") for byte in piece.encode()]
            is_unknown = None in tokens
            if not is_unknown:
                yield from (token for token in tokens if token is not None)
            elif not was_unknown:
                yield self.unknown
            was_unknown = is_unknown
