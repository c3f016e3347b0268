"""The tokenizer against run.c's loop, restated, and on real text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from min_model import PIECES, tokenizer_bytes

from opml_min.model.errors import TextNotEncodable
from opml_min.model.sources.tokenizers.llama2c import BOS, EOS, Llama2cTokenizer

TINY = Llama2cTokenizer(tokenizer_bytes(), len(PIECES))


def encode_as_run_c_does(tokenizer: Llama2cTokenizer, text: str) -> list[int]:
    """Each round looks at every pair of neighbours and merges the first of those with the best score."""
    ids = {piece: token for token, piece in reversed(list(enumerate(tokenizer.pieces)))}
    tokens = [ids[b" "]] if text else []
    for character in text:
        data = character.encode()
        tokens += [ids[data]] if data in ids else [byte + 3 for byte in data]
    while True:
        best = None
        for i in range(len(tokens) - 1):
            merged = ids.get(tokenizer.pieces[tokens[i]] + tokenizer.pieces[tokens[i + 1]])
            if merged is not None and (best is None or tokenizer.scores[merged] > best[0]):
                best = (tokenizer.scores[merged], i, merged)
        if best is None:
            return tokens
        tokens[best[1] : best[1] + 2] = [best[2]]


@given(st.text(alphabet=["a", "b", "c", " ", "x", "1", "é", "日", "\n"], max_size=40))
def test_merges_as_run_c_does(text):
    tokens = TINY.encode(text)
    assert tokens == encode_as_run_c_does(TINY, text)
    assert TINY.decode(tokens, BOS) == text


def test_real_text(shared_data):
    tokenizer = Llama2cTokenizer((shared_data / "tok512.bin").read_bytes(), 512)
    for name in ("tinyshakespeare.txt", "wikitext2_sample.txt"):
        text = (shared_data / name).read_text()[:4000]
        tokens = tokenizer.encode(text)
        assert tokens == encode_as_run_c_does(tokenizer, text)
        assert tokenizer.decode(tokens, BOS) == text
    assert tokenizer.encode("Once upon a time") == [403, 407, 261, 378]


def test_special_cases():
    assert TINY.encode("") == []
    assert TINY.decode([BOS, EOS]) == ""
    assert TINY.decode(TINY.encode("é日"), BOS) == "é日"
    assert TINY.decode([3 + 0xE6]) == "\ufffd"
    assert TINY.decode(TINY.encode("\udcff"), BOS) == "\ufffd"  # a byte that was no UTF-8


def test_without_byte_tokens_an_unknown_character_is_an_error():
    pieces = [b"<unk>", b"<s>", b"</s>", b" ", b"a"]
    tokenizer = Llama2cTokenizer(tokenizer_bytes(pieces), len(pieces))
    assert tokenizer.encode("aa") == [3, 4, 4]
    with pytest.raises(TextNotEncodable):
        tokenizer.encode("ab")
