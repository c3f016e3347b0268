"""The tokenizer in a GGUF file's metadata, as a `tokenizer.json`.

"gpt2" is byte-level byte-pair encoding with a list of merges; `tokenizer.ggml.pre` names the rule that first splits a text. "llama" is
SentencePiece's: every piece has a score, and a merge ranks as the piece that it produces.

*Source*: llama.cpp's `llama-vocab.cpp` (the names of the splits, the tokens that end a text); GPT-2's `encoder.py`.
"""

from collections.abc import Iterator
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from opml_min.model.errors import TokenizerError
from opml_min.model.image.header import NO_TOKEN, TOKENIZER_HUGGING_FACE
from opml_min.model.sources.tokenizers.text import Text, stop_tokens

NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6  # token types
ENDINGS = ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>")  # end a text or a turn wherever they exist
GPT2_SPLIT = {"gpt-2", "gpt2", "phi-2", "olmo", "jais"}
GPT2_SPLIT_WITH_SINGLE_DIGITS = {"smollm", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
LLAMA3_SPLIT = {"llama3", "llama-v3", "llama-bpe", "falcon3"}
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def text_of_metadata(metadata: dict[str, Any], given: bytes | None = None) -> Text | None:
    """Return the text side of a model, or None if the file has no tokenizer. given: a tokenizer.json to use instead"""
    kind = metadata.get("tokenizer.ggml.model")
    if kind in (None, "none", "no_vocab") and given is None:
        return None
    bos, eos = metadata.get("tokenizer.ggml.bos_token_id"), metadata.get("tokenizer.ggml.eos_token_id")
    try:
        data = _tokenizer_json(metadata).encode() if given is None else given
        tokens = metadata.get("tokenizer.ggml.tokens", [])
        endings = [tokens.index(name) for name in ENDINGS if name in tokens]
    except TokenizerError:
        raise
    except Exception as error:  # the library and indexing raise many kinds for impossible metadata
        raise TokenizerError(f"the tokenizer's metadata is damaged: {type(error).__name__} {str(error)[:100]}") from error
    stops = stop_tokens(eos, metadata.get("tokenizer.ggml.eot_token_id"), *endings)
    return Text(data, TOKENIZER_HUGGING_FACE, NO_TOKEN if bos is None else bos, stops, metadata.get("tokenizer.chat_template", ""))


def _tokenizer_json(metadata: dict[str, Any]) -> str:
    kind = metadata["tokenizer.ggml.model"]
    if kind not in ("gpt2", "llama"):
        raise TokenizerError(f"a tokenizer of the kind {kind} cannot be used; name a tokenizer.json with --tokenizer")
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    types: list[int] = metadata.get("tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    tokenizer = (_byte_level if kind == "gpt2" else _sentence_piece)(metadata, tokens, types)
    for token, token_type in zip(tokens, types, strict=True):
        if token_type in (CONTROL, USER_DEFINED):
            tokenizer.add_tokens([AddedToken(token, special=token_type == CONTROL, normalized=False)])
    bos: int | None = metadata.get("tokenizer.ggml.bos_token_id")
    if bos is not None and metadata.get("tokenizer.ggml.add_bos_token", kind == "llama"):
        tokenizer.post_processor = processors.TemplateProcessing(single=[tokens[bos], "$A"], special_tokens=[(tokens[bos], bos)])
    return str(tokenizer.to_str())


def _byte_level(metadata: dict[str, Any], tokens: list[str], types: list[int]) -> Tokenizer:
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    name = metadata.get("tokenizer.ggml.pre", "default")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name not in LLAMA3_SPLIT)
    tokenizer = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, merges, ignore_merges=name in LLAMA3_SPLIT))
    if name in GPT2_SPLIT:
        tokenizer.pre_tokenizer = byte_level
    elif name in GPT2_SPLIT_WITH_SINGLE_DIGITS:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    elif name in LLAMA3_SPLIT:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"), byte_level])
    else:
        raise TokenizerError(f"a tokenizer of the kind {name} splits a text in an unknown way; name a tokenizer.json with --tokenizer")
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_piece(metadata: dict[str, Any], tokens: list[str], types: list[int]) -> Tokenizer:
    ids = {token: i for i, token in enumerate(tokens)}
    scores: list[float] = metadata["tokenizer.ggml.scores"]
    mergeable = {token: i for token, i in ids.items() if types[i] in (NORMAL, USER_DEFINED)}
    merges = sorted(_splits(mergeable), key=lambda merge: -scores[mergeable[merge[0] + merge[1]]])
    unknown = tokens[metadata.get("tokenizer.ggml.unknown_token_id", 0)]
    tokenizer = Tokenizer(BPE(ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=BYTE in types))
    prepend = [normalizers.Prepend("▁")] if metadata.get("tokenizer.ggml.add_space_prefix", True) else []
    tokenizer.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _splits(pieces: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Yield every way to join two pieces into a third."""
    for piece in pieces:
        for i in range(1, len(piece)):
            if piece[:i] in pieces and piece[i:] in pieces:
                yield piece[:i], piece[i:]
