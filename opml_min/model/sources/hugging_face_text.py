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
MOST_SETTINGS_BYTES = 1 << 24


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
    begins = [named("bos_token"), *numbered("bos_token_id", config, folder / "config.json")[:1]]
    bos = next((token for token in begins if token is not None), NO_TOKEN)
    return Text(tokenizer, TOKENIZER_HUGGING_FACE, bos, stop_tokens(named("eos_token"), *ends), _template(folder, settings))


def optional_object(path: Path) -> dict[str, Any]:
    """Return the object in a file, which is empty if there is no file."""
    try:
        return object_in(path, MOST_SETTINGS_BYTES) if path.exists() else {}
    except OSError as error:
        raise TokenizerError(f"cannot read {path}: {error.strerror}") from error
    except JsonError as error:
        raise TokenizerError(f"{path} {error}") from error


def _template(folder: Path, settings: dict[str, Any]) -> str:
    file = folder / TEMPLATE
    if file.is_file():
        try:
            return file.read_text("utf-8")
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
    if not isinstance(template, str):
        raise TokenizerError(f"{folder / SETTINGS}: its chat_template is no text")
    return template
