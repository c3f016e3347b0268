"""A model's tokenizer as the metadata of a GGUF file: what `tokenizers/gguf.py` reads, the other way round.

GGUF names a few ways to split a text and lists the pieces, so a tokenizer.json that does something else has no form there.

*Source*: llama.cpp's `convert_hf_to_gguf.py` and `llama-vocab.cpp`.
"""

import json
from typing import Any

from attrs import frozen
from gguf import GGUFWriter

from opml_min.model.errors import TokenizerError
from opml_min.model.image.header import NO_TOKEN, TOKENIZER_HUGGING_FACE, TOKENIZER_LLAMA2C
from opml_min.model.sources.tokenizers import llama2c
from opml_min.model.sources.tokenizers.gguf import BYTE, CONTROL, LLAMA3_PATTERN, NORMAL, PREFIX, UNKNOWN, UNUSED, USER_DEFINED
from opml_min.model.sources.tokenizers.hugging_face import BYTE_PIECE, SCORES, JsonTokenizer
from opml_min.model.sources.tokenizers.text import Text

NO_FORM = "; GGUF has no form for that"
SPACE = "▁"


@frozen
class GgufPieces:
    """The vocabulary as GGUF lists it. Scores are those of SentencePiece, merges those of byte-level pair encoding."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None = None
    merges: list[str] | None = None
    adds_bos: bool = True
    adds_eos: bool = False
    adds_space: bool = True


def write_tokenizer(writer: GGUFWriter, text: Text, vocabulary: int) -> None:
    """Add the text side of a model to a file."""
    if text.kind not in (TOKENIZER_LLAMA2C, TOKENIZER_HUGGING_FACE):
        writer.add_tokenizer_model("no_vocab")
        return
    for token in ([] if text.bos == NO_TOKEN else [text.bos]) + list(text.stops):
        if token >= vocabulary:
            raise TokenizerError(f"the image names the token {token}, outside its vocabulary of {vocabulary}{NO_FORM}")
    pieces = _of_llama2c(text, vocabulary) if text.kind == TOKENIZER_LLAMA2C else _of_json(text, vocabulary)
    twice = len(pieces.tokens) - len(set(pieces.tokens))
    if twice:
        raise TokenizerError(f"{twice} tokens of the tokenizer are written like others{NO_FORM}")
    writer.add_tokenizer_model(pieces.model)
    if pieces.pre:
        writer.add_tokenizer_pre(pieces.pre)
    writer.add_token_list(pieces.tokens)
    writer.add_token_types(pieces.types)
    if pieces.scores is not None:
        writer.add_token_scores(pieces.scores)
    if pieces.merges is not None:
        writer.add_token_merges(pieces.merges)
    if UNKNOWN in pieces.types:
        writer.add_unk_token_id(pieces.types.index(UNKNOWN))
    if text.bos != NO_TOKEN:
        writer.add_bos_token_id(text.bos)
    ends = _ends(text)
    for add, token in zip((writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id), ends, strict=False):
        add(token)
    if ends[3:]:
        writer.add_array(f"{PREFIX}eos_token_ids", ends[3:])
    writer.add_add_bos_token(pieces.adds_bos)
    writer.add_add_eos_token(pieces.adds_eos)
    writer.add_add_space_prefix(pieces.adds_space)
    if text.template:
        writer.add_chat_template(text.template)


def _ends(text: Text) -> list[int]:
    """Return the stop tokens, the end of a text first; llama2.c's models also stop at BOS."""
    return sorted(text.stops, key=lambda token: token == text.bos)


def _of_llama2c(text: Text, vocabulary: int) -> GgufPieces:
    """Return the pieces of llama2.c's tokenizer, which writes a space where SentencePiece has ▁."""
    if text.bos not in (llama2c.BOS, NO_TOKEN) or vocabulary <= llama2c.EOS:
        raise TokenizerError(f"the tokenizer's BOS is not the image's, or it has fewer than {llama2c.EOS + 1} tokens{NO_FORM}")
    found = llama2c.Llama2cTokenizer(text.tokenizer, vocabulary)
    try:
        tokens = [piece.decode() for piece in found.pieces]
    except UnicodeDecodeError as error:
        raise TokenizerError(f"a token of the tokenizer is not UTF-8{NO_FORM}") from error
    types = [BYTE if BYTE_PIECE.fullmatch(token) else NORMAL for token in tokens]
    tokens = [token if types[i] == BYTE else token.replace(" ", SPACE) for i, token in enumerate(tokens)]
    named = ((llama2c.UNKNOWN, "<unk>", UNKNOWN), (llama2c.BOS, "<s>", CONTROL), (llama2c.EOS, "</s>", CONTROL))
    for token, name, kind in named:
        tokens[token], types[token] = name, kind
    return GgufPieces("llama", "default", tokens, types, found.scores)


def _of_json(text: Text, vocabulary: int) -> GgufPieces:
    """Return the pieces of a tokenizer.json. The library that defines it says which token each piece is."""
    try:
        return _pieces_of_json(text, vocabulary, JsonTokenizer(text.tokenizer, vocabulary))
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # the library reads it, but not this module
        raise TokenizerError(f"the tokenizer.json is written in a way of its own{NO_FORM}") from error


def _pieces_of_json(text: Text, vocabulary: int, tokenizer: JsonTokenizer) -> GgufPieces:
    values = json.loads(text.tokenizer)
    model, added = values["model"], {each["content"]: each for each in values.get("added_tokens") or []}
    if model.get("type") != "BPE":
        raise TokenizerError(f"the tokenizer's model is {str(model.get('type'))[:20]}, not byte-pair encoding{NO_FORM}")
    tokens, types = [f"[PAD{i}]" for i in range(vocabulary)], [UNUSED] * vocabulary
    for name in (*model["vocab"], *added):
        i, special = tokenizer.token(name), name in added and added[name].get("special")
        tokens[i], types[i] = name, CONTROL if special else USER_DEFINED if name in added else NORMAL  # type: ignore[index]  # it has one
    adds_bos, adds_eos = _around(text, tokenizer)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    if '"ByteLevel"' in json.dumps(values["decoder"]):
        return GgufPieces("gpt2", _split(values, model), tokens, types, None, merges, adds_bos, adds_eos, False)
    unknown = model.get("unk_token")
    types = [BYTE if BYTE_PIECE.fullmatch(token) else UNKNOWN if token == unknown else types[i] for i, token in enumerate(tokens)]
    scores = _scores(model, merges, tokens)
    return GgufPieces("llama", "default", tokens, types, scores, None, adds_bos, adds_eos, _adds_space(values))


def _around(text: Text, tokenizer: JsonTokenizer) -> tuple[bool, bool]:
    """Tell whether the tokenizer puts BOS before a text, and the end of a text behind it. GGUF has no form for other tokens."""
    around, sample = tokenizer.prompt(""), "a"
    first, last = around[: text.bos in around[:1]], around[text.bos in around[:1] :]
    if last not in ([], _ends(text)[:1]) or tokenizer.prompt(sample) != [*first, *tokenizer.encode(sample), *last]:
        raise TokenizerError(f"the tokenizer puts other tokens around a text than BOS and the end{NO_FORM}")
    return bool(first), bool(last)


def _split(values: dict[str, Any], model: dict[str, Any]) -> str:
    """Return GGUF's name for how a byte-level tokenizer splits a text before it merges."""
    first = values.get("pre_tokenizer") or {}
    steps = [_step(each) for each in first.get("pretokenizers", [first])]
    bytes_by_regex, plain_bytes = ("ByteLevel", False, True), ("ByteLevel", False, False)
    names = {
        (bytes_by_regex,): "gpt-2",
        (("Digits", True), bytes_by_regex): "smollm",
        (("Split", LLAMA3_PATTERN, "Isolated", False), plain_bytes): "llama-bpe",
    }
    name = names.get(tuple(steps))
    if name is None or values.get("normalizer") is not None or model.get("ignore_merges", False) != (name == "llama-bpe"):
        raise TokenizerError(f"the tokenizer splits or changes a text in a way of its own{NO_FORM}")
    return name


def _step(step: dict[str, Any]) -> tuple[Any, ...]:
    match step.get("type"):
        case "ByteLevel":
            return "ByteLevel", step.get("add_prefix_space", True), step.get("use_regex", True)
        case "Digits":
            return "Digits", step.get("individual_digits")
        case "Split":
            return "Split", step["pattern"].get("Regex"), step.get("behavior"), step.get("invert")
        case other:
            return (other,)


def _adds_space(values: dict[str, Any]) -> bool:
    """Tell whether a SentencePiece tokenizer puts a space before a text. One that changes a text in another way is refused."""
    normalizer = values.get("normalizer") or {}
    steps = [_normal(each) for each in normalizer.get("normalizers", [normalizer])]
    replaces = ("Replace", " ", SPACE)
    if steps not in ([replaces], [("Prepend", SPACE), replaces]) or values.get("pre_tokenizer") is not None:
        raise TokenizerError(f"the tokenizer splits or changes a text in a way of its own{NO_FORM}")
    return len(steps) == 2


def _normal(step: dict[str, Any]) -> tuple[Any, ...]:
    if step.get("type") == "Replace":
        return "Replace", step["pattern"].get("String"), step["content"]
    return step.get("type"), step.get("prepend")


def _scores(model: dict[str, Any], merges: list[str], tokens: list[str]) -> list[float]:
    """Return a score for each token: that of the file if it has one, or else minus the rank of the first merge that gives the token."""
    known = {piece: float(score) for piece, score in model.get(SCORES, {}).items()}
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault("".join(merge.split(" ", 1)), rank)
    return [known.get(token, -float(ranks.get(token, len(merges)))) for token in tokens]
