"""The tokenizer in a GGUF file's metadata, as a `tokenizer.json`.

"gpt2" is byte-level byte-pair encoding with a list of merges; `tokenizer.ggml.pre` names the rule that first splits a text. "llama" is
SentencePiece's: every piece has a score, and a merge ranks as the piece that it produces.

*Source*: llama.cpp's `llama-vocab.cpp` (the names of the splits, which of them put BOS first, the tokens that end a text); GPT-2's
`encoder.py`.
"""

from collections import Counter
from collections.abc import Iterator
from math import isfinite
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from opml_min.model.errors import TokenizerError
from opml_min.model.image.header import NO_TOKEN, TOKENIZER_HUGGING_FACE
from opml_min.model.sources.tokenizers.hugging_face import with_scores
from opml_min.model.sources.tokenizers.text import Text, stop_tokens, token_or_none

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # token types
ENDINGS = (
    "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|return|>", "<|call|>",
    "<EOT>", "_<EOT>", "[EOT]", "<end_of_utterance>",
)  # fmt: skip
"""Tokens that end a text or a turn wherever they exist."""
GPT2_SPLIT = {"gpt-2", "gpt2", "phi-2", "olmo", "jais"}
GPT2_SPLIT_WITH_SINGLE_DIGITS = {"smollm", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
LLAMA3_SPLIT = {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"}  # they also put BOS first
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SENTENCE_PIECE_BOS, SENTENCE_PIECE_EOS = 1, 2  # of a "llama" vocabulary that does not say
PREFIX, NAMED_TEMPLATE = "tokenizer.ggml.", "tokenizer.chat_template."


def text_of_metadata(metadata: dict[str, Any], given: bytes | None = None, vocabulary: int = 1 << 32) -> Text | None:
    """Return the text side of a model, or None if the file has no tokenizer. given: a tokenizer.json to use instead"""
    kind = metadata.get(f"{PREFIX}model")
    if kind in (None, "none", "no_vocab") and given is None:
        return None
    values = _Values(metadata)
    tokens = values.array("tokens", str) if f"{PREFIX}tokens" in metadata else []
    tokens = [token or f"[EMPTY_{i}]" for i, token in enumerate(tokens)]  # as llama.cpp calls them
    ends = (SENTENCE_PIECE_BOS, SENTENCE_PIECE_EOS) if kind == "llama" and len(tokens) > SENTENCE_PIECE_EOS else (None, None)

    def token(name: str, value: object) -> int | None:
        return token_or_none(value, f"{PREFIX}{name}", len(tokens) or vocabulary)

    bos, eos, eot, eom = (
        token(f"{name}_token_id", metadata.get(f"{PREFIX}{name}_token_id", default))
        for name, default in (("bos", ends[0]), ("eos", ends[1]), ("eot", None), ("eom", None))
    )
    more_ends = [token("eos_token_ids", each) for each in values.array("eos_token_ids", int, [])]
    data = _tokenizer_json(values, tokens, bos, eos).encode() if given is None else given
    template = metadata.get("tokenizer.chat_template", "")
    if not isinstance(template, str):
        raise TokenizerError("its tokenizer.chat_template is no text")
    endings = [tokens.index(name) for name in ENDINGS if name in tokens]
    stops, notes = stop_tokens(eos, eot, eom, *more_ends, *endings)
    if not template and any(key.startswith(NAMED_TEMPLATE) for key in metadata):
        notes.append("it has chat templates, but no tokenizer.chat_template, so a prompt is used as it is")
    return Text(data, TOKENIZER_HUGGING_FACE, NO_TOKEN if bos is None else bos, stops, template, tuple(notes))


class _Values:
    """The tokenizer's metadata, each with the type that it must have."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        self._metadata = metadata

    def value(self, name: str, kind: type, default: Any) -> Any:
        value = self._metadata.get(f"{PREFIX}{name}", default)
        if type(value) is not kind:
            raise TokenizerError(f"its {PREFIX}{name} is {str(value)[:50]!r}, not of the type {kind.__name__}")
        return value

    def array(self, name: str, kind: type, default: list[Any] | None = None) -> list[Any]:
        values = self._metadata.get(f"{PREFIX}{name}", default)
        if not isinstance(values, list) or not all(type(each) is kind for each in values):
            raise TokenizerError(f"its {PREFIX}{name} is missing, or no array of the type {kind.__name__}")
        return values


def _tokenizer_json(values: _Values, tokens: list[str], bos: int | None, eos: int | None) -> str:
    kind = values.value("model", str, "")
    if kind not in ("gpt2", "llama"):
        raise TokenizerError(f"a tokenizer of the kind {kind[:50]} cannot be used; name a tokenizer.json with --tokenizer")
    types = values.array("token_type", int, []) or [NORMAL] * len(tokens)
    if not tokens or len(types) != len(tokens):
        raise TokenizerError(f"its {PREFIX}tokens has {len(tokens)} elements, its {PREFIX}token_type {len(types)}")
    twice = next((token for token, count in Counter(tokens).items() if count > 1), None)
    if twice is not None:
        raise TokenizerError(f"its {PREFIX}tokens has {twice[:50]!r} twice")
    pre = values.value("pre", str, "default") if kind == "gpt2" else ""
    tokenizer = _byte_level(values, tokens, pre) if kind == "gpt2" else _sentence_piece(values, tokens, types)
    for token, token_type in zip(tokens, types, strict=True):
        if token_type in (CONTROL, USER_DEFINED):
            tokenizer.add_tokens([AddedToken(token, special=token_type == CONTROL, normalized=False)])
    first = bos if values.value("add_bos_token", bool, kind == "llama" or pre in LLAMA3_SPLIT) else None
    last = eos if values.value("add_eos_token", bool, False) else None
    around = [token for token in (first, last) if token is not None]
    if around:
        sequence = ([] if first is None else [tokens[first]]) + ["$A"] + ([] if last is None else [tokens[last]])
        special = [(tokens[token], token) for token in dict.fromkeys(around)]
        tokenizer.post_processor = processors.TemplateProcessing(single=sequence, special_tokens=special)
    text = str(tokenizer.to_str())
    scores = _tied_scores(values, tokens, types) if kind == "llama" else None
    return text if scores is None else with_scores(text, scores)


def _byte_level(values: _Values, tokens: list[str], name: str) -> Tokenizer:
    ids = {token: i for i, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ", 1)) for merge in values.array("merges", str)]
    for merge in merges:
        if len(merge) != 2 or not {*merge, "".join(merge)} <= ids.keys():
            raise TokenizerError(f"its {PREFIX}merges has {' '.join(merge)[:50]!r}, which does not join two tokens into a third")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name not in LLAMA3_SPLIT)
    tokenizer = Tokenizer(BPE(ids, merges, ignore_merges=name in LLAMA3_SPLIT))
    if name in GPT2_SPLIT:
        tokenizer.pre_tokenizer = byte_level
    elif name in GPT2_SPLIT_WITH_SINGLE_DIGITS:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    elif name in LLAMA3_SPLIT:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"), byte_level])
    else:
        raise TokenizerError(f"a tokenizer of the kind {name[:50]} splits a text in an unknown way; name a tokenizer.json with --tokenizer")
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_piece(values: _Values, tokens: list[str], types: list[int]) -> Tokenizer:
    ids = {token: i for i, token in enumerate(tokens)}
    scores = _scores(values, tokens)
    mergeable = {token: i for token, i in ids.items() if types[i] in (NORMAL, USER_DEFINED)}
    merges = sorted(_splits(mergeable), key=lambda merge: -scores[mergeable[merge[0] + merge[1]]])
    unknown = values.value("unknown_token_id", int, 0)
    if not 0 <= unknown < len(tokens):
        raise TokenizerError(f"its {PREFIX}unknown_token_id is {unknown}, outside the vocabulary of {len(tokens)}")
    tokenizer = Tokenizer(BPE(ids, merges, unk_token=tokens[unknown], fuse_unk=True, byte_fallback=BYTE in types))
    prepend = [normalizers.Prepend("▁")] if values.value("add_space_prefix", bool, True) else []
    tokenizer.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _scores(values: _Values, tokens: list[str]) -> list[float]:
    scores: list[float] = values.array("scores", float)
    if len(scores) != len(tokens) or not all(map(isfinite, scores)):
        raise TokenizerError(f"its {PREFIX}scores are not one finite number for each of the {len(tokens)} tokens")
    return scores


def _tied_scores(values: _Values, tokens: list[str], types: list[int]) -> dict[str, float] | None:
    """Return the scores of the pieces that merges produce if two are equal. The order of merges then depends on their places in a text."""
    scores = _scores(values, tokens)
    produced = {token: scores[i] for i, token in enumerate(tokens) if types[i] == NORMAL and len(token) > 1}
    return produced if len(set(produced.values())) < len(produced) else None


def _splits(pieces: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Yield every way to join two pieces into a third."""
    for piece in pieces:
        for i in range(1, len(piece)):
            if piece[:i] in pieces and piece[i:] in pieces:
                yield piece[:i], piece[i:]
