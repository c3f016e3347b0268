"""The text side of a Hugging Face folder: `tokenizer.json`, and the files that say which tokens end a text and how a chat is written.

*Source*: `transformers`, `tokenization_utils_base.py` (special tokens, chat templates) and `generation/configuration_utils.py`.
"""

from pathlib import Path
from typing import Any

from opml_min.model.errors import TokenizerError
from opml_min.model.image.header import NO_TOKEN, TOKENIZER_HUGGING_FACE
from opml_min.model.sources.tokenizers.hugging_face import JsonTokenizer
from opml_min.model.sources.tokenizers.text import Text, stop_tokens, token_or_none
from opml_min.model.strict_json import JsonError, object_in

TOKENIZER, SETTINGS, GENERATION, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"
TEXT_FILES = (TOKENIZER, SETTINGS, GENERATION, TEMPLATE)
OTHER_TOKENIZERS = ("tokenizer.model", "vocab.json")  # SentencePiece's file, and GPT-2's
MOST_SETTINGS_BYTES = 1 << 24
UNUSED: dict[str, tuple[Any, ...]] = {
    "do_sample": (False,), "temperature": (1,), "top_k": (50, 0), "top_p": (1,), "min_p": (0,), "typical_p": (1,), "num_beams": (1,),
    "repetition_penalty": (1,), "no_repeat_ngram_size": (0,), "encoder_repetition_penalty": (1,), "length_penalty": (1,),
    "guidance_scale": (1,), "penalty_alpha": (0,), "min_length": (0,), "min_new_tokens": (0,), "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],), "bad_words_ids": ([],), "sequence_bias": ({},), "forced_bos_token_id": (), "forced_eos_token_id": (),
    "stop_strings": ([],),
}  # fmt: skip
"""Settings of generation that no request has, with the values that change nothing. null changes nothing either."""


def text_of_folder(folder: Path, tokenizer: bytes, config: dict[str, Any], vocabulary: int) -> Text:
    """Return the text side of the model. tokenizer: a tokenizer.json"""
    settings, generation = optional_object(folder / SETTINGS), optional_object(folder / GENERATION)
    known = JsonTokenizer(tokenizer, vocabulary)

    def named(key: str) -> int | None:
        name = settings.get(key)
        name = name.get("content", 0) if isinstance(name, dict) else name
        if name is not None and not isinstance(name, str):
            raise TokenizerError(f"{folder / SETTINGS}: its {key} is no text")
        return known.token(name) if name else None

    def numbered(key: str, source: dict[str, Any], path: Path) -> list[int | None]:
        value = source.get(key)
        return [token_or_none(each, f"{path}: its {key}", vocabulary) for each in (value if isinstance(value, list) else [value])]

    has_ends = generation.get("eos_token_id") is not None
    ends = numbered("eos_token_id", generation if has_ends else config, folder / (GENERATION if has_ends else "config.json"))
    begins = [named("bos_token"), *numbered("bos_token_id", config, folder / "config.json")]
    if begins[0] is None and len(begins) > 2:
        raise TokenizerError(f"{folder / 'config.json'}: its bos_token_id has {len(begins) - 1} tokens; only one can begin a text")
    bos = next((token for token in begins if token is not None), NO_TOKEN)
    stops, notes = stop_tokens(named("eos_token"), *ends)
    unused = [key for key, neutral in UNUSED.items() if generation.get(key) is not None and generation[key] not in neutral]
    if unused:
        notes.append(f"its {GENERATION} sets {', '.join(unused)}, which are not used; a request says how to sample")
    template, left_out = _template(folder, settings)
    if left_out:
        notes.append(f"it has the chat templates {', '.join(left_out)[:200]}, but none called default, so a prompt is used as it is")
    for key in ("bos_token", "eos_token"):
        if settings.get(key) and named(key) is None:
            notes.append(f"its {SETTINGS} names a {key} that its {TOKENIZER} does not have")
    return Text(tokenizer, TOKENIZER_HUGGING_FACE, bos, stops, template, tuple(notes + _contradictions(settings, known, bos, stops)))


def _contradictions(settings: dict[str, Any], tokenizer: JsonTokenizer, bos: int, stops: tuple[int, ...]) -> list[str]:
    """Return a note for each setting about BOS and EOS that the tokenizer.json does not follow; it alone decides."""
    around = tokenizer.prompt("")
    if bos in stops:
        return []  # then what is around a text does not tell which of the two it is
    does = {"add_bos_token": bool(around) and around[0] not in stops, "add_eos_token": bool(around) and around[-1] in stops}
    wrong = [key for key, is_done in does.items() if type(settings.get(key)) is bool and settings[key] != is_done]
    return [f"its {SETTINGS} says {key} {str(settings[key]).lower()}, its {TOKENIZER} does not; the latter decides" for key in wrong]


def optional_object(path: Path) -> dict[str, Any]:
    """Return the object in a file, which is empty if there is no file."""
    try:
        return object_in(path, MOST_SETTINGS_BYTES) if path.exists() else {}
    except OSError as error:
        raise TokenizerError(f"cannot read {path}: {error.strerror}") from error
    except JsonError as error:
        raise TokenizerError(f"{path} {error}") from error


def _template(folder: Path, settings: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the chat template, or else the names of those of which none is the default one."""
    file = folder / TEMPLATE
    if file.is_file():
        try:
            return file.read_text("utf-8"), []
        except OSError as error:
            raise TokenizerError(f"cannot read {file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise TokenizerError(f"{file} is not UTF-8") from error
    template = settings.get("chat_template") or ""
    if isinstance(template, list):  # several templates with names
        named = [each for each in template if isinstance(each, dict) and isinstance(each.get("template"), str)]
        if len(named) != len(template):
            raise TokenizerError(f"{folder / SETTINGS}: its chat_template is a list of something else than templates with names")
        template = next((each["template"] for each in named if each.get("name") == "default"), "")
        if not template:
            return "", [str(each.get("name")) for each in named]
    if not isinstance(template, str):
        raise TokenizerError(f"{folder / SETTINGS}: its chat_template is no text")
    return template, []
