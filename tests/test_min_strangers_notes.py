"""Nothing is left out without a word: what an image cannot hold, or a run does not use, is said when it is built and by `model show`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from min_sources import CONTEXT, HEAD_SIZE, TEMPLATE, TOKENS, byte_level_metadata, random_weights, shape_metadata, write_gguf
from min_sources import write_hugging_face as write_folder

from opml_min.cli import main
from opml_min.model.errors import CheckpointError
from opml_min.model.image.image import Image
from opml_min.model.sources.gguf_metadata import IGNORED, PLAIN, TOKENIZER_PLAIN, notes_on, refuse_what_is_not_plain
from opml_min.model.sources.tokenizers.gguf import ENDINGS, text_of_metadata
from opml_min.model.sources.tokenizers.text import stop_tokens

Said = Callable[[Path], tuple[list[str], list[str]]]


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """What is said of a source on stderr when it is built, and in the notes of `model show`."""

    def of(source: Path) -> tuple[list[str], list[str]]:
        assert main(["model", "build", str(source), "-o", str(tmp_path / "built.opml")]) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if "Q8_0" not in line]
        assert main(["model", "show", str(source), "--json"]) == 0
        return lines, json.loads(capsys.readouterr().out).get("notes", [])

    return of


def folder(path: Path, **files: dict[str, Any] | None) -> Path:
    """A model with its settings changed. files: by name without .json; None deletes one"""
    made = write_folder(path / "model", random_weights())
    for name, change in files.items():
        file = made / f"{name}.json"
        if change is None:
            file.unlink()
        else:
            file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | change))
    return made


def assert_said(said: Said, source: Path, *parts: str) -> None:
    """One line at the build, and one note, that has all these parts."""
    lines, notes = said(source)
    assert (len(lines), len(notes)) == (1, 1)
    for part in parts:
        assert part in lines[0]
        assert part in notes[0]
    assert str(source) in lines[0]


def test_ordinary_models_need_no_note(tmp_path: Path, said: Said) -> None:
    assert said(folder(tmp_path)) == ([], [])
    assert said(write_gguf(tmp_path / "a.gguf", random_weights())) == ([], [])


# Tokens that end a text ------------------------------------------------------------------------------------------------------------


def test_an_image_holds_four_stop_tokens() -> None:
    assert stop_tokens(5, None, 3, 5, 9, 7) == ((5, 3, 9, 7), [])
    kept, (note,) = stop_tokens(5, 3, 9, 7, 3, 8, 6)
    assert kept == (5, 3, 9, 7)
    assert "6 tokens" in note
    assert "5, 3, 9, 7 are kept, 8, 6 left out" in note


def test_more_stop_tokens_of_a_folder(tmp_path: Path, said: Said) -> None:
    source = folder(tmp_path, generation_config={"eos_token_id": [40, 41, 42, 43, 44]})
    assert_said(said, source, "6 tokens", "2, 40, 41, 42 are kept", "43, 44 left out")
    assert Image(tmp_path / "built.opml").header.stop_tokens == (2, 40, 41, 42)


def test_more_stop_tokens_of_a_gguf_file(tmp_path: Path, said: Said) -> None:
    more = {"tokenizer.ggml.eot_token_id": 40, "tokenizer.ggml.eom_token_id": 41, "tokenizer.ggml.eos_token_ids": [42, 43]}
    assert_said(said, write_gguf(tmp_path / "a.gguf", random_weights(), metadata=more), "2, 40, 41, 42 are kept", "43, 0 left out")


@pytest.mark.parametrize("name", ENDINGS)
def test_names_that_end_a_text(name: str) -> None:
    tokens = TOKENS if name in TOKENS else [name if token == "9" else token for token in TOKENS]
    text = text_of_metadata(byte_level_metadata() | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": []})
    assert text is not None
    assert tokens.index(name) in text.stops


# Settings that nobody uses ---------------------------------------------------------------------------------------------------------


def test_settings_of_generation(tmp_path: Path, said: Said) -> None:
    used = {"temperature": 1.0, "top_k": 50, "suppress_tokens": None, "repetition_penalty": 1.0, "transformers_version": "5"}
    assert said(folder(tmp_path, generation_config=used)) == ([], [])
    source = folder(tmp_path, generation_config={"temperature": 0.6, "top_p": 0.9, "forced_bos_token_id": 3})
    assert_said(said, source, "temperature, top_p, forced_bos_token_id")


def test_sampling_in_a_gguf_file(tmp_path: Path, said: Said) -> None:
    more = {"general.sampling.temp": 0.6, "general.sampling.top_k": 20}
    assert_said(said, write_gguf(tmp_path / "a.gguf", random_weights(), metadata=more), "general.sampling.temp, general.sampling.top_k")


@pytest.mark.parametrize(("key", "does"), [("add_bos_token", False), ("add_eos_token", False)])
def test_a_setting_that_the_tokenizer_does_not_follow(key: str, does: bool, tmp_path: Path, said: Said) -> None:
    assert said(folder(tmp_path, tokenizer_config={key: does})) == ([], [])
    assert_said(said, folder(tmp_path, tokenizer_config={key: not does}), f"{key} true", "tokenizer.json does not")


def test_a_special_token_that_is_none(tmp_path: Path, said: Said) -> None:
    assert_said(said, folder(tmp_path, tokenizer_config={"eos_token": "</s>"}), "eos_token", "does not have")


def test_only_one_token_begins_a_text(tmp_path: Path, refused: Callable[..., str]) -> None:
    source = folder(tmp_path, tokenizer_config=None, config={"bos_token_id": [0, 1]})
    assert "bos_token_id has 2 tokens" in refused("run", source)


# Templates and tokenizers ----------------------------------------------------------------------------------------------------------


def test_chat_templates_of_which_none_is_the_default(tmp_path: Path, said: Said) -> None:
    named = [{"name": name, "template": TEMPLATE} for name in ("tool_use", "rag")]
    assert_said(said, folder(tmp_path, tokenizer_config={"chat_template": named}), "tool_use, rag", "as it is")
    assert said(folder(tmp_path, tokenizer_config={"chat_template": [*named, {"name": "default", "template": TEMPLATE}]})) == ([], [])
    metadata = {"tokenizer.chat_template": None, "tokenizer.chat_template.tool_use": TEMPLATE, "tokenizer.chat_templates": ["tool_use"]}
    assert_said(said, write_gguf(tmp_path / "a.gguf", random_weights(), metadata=metadata), "chat templates", "as it is")


def test_a_tokenizer_of_another_kind(tmp_path: Path, said: Said) -> None:
    source = folder(tmp_path, tokenizer=None)
    (source / "tokenizer.model").write_bytes(b"sentencepiece")
    assert_said(said, source, "tokenizer.model", "no tokenizer.json")


def test_a_tokenizer_for_an_image_is_not_ignored(
    tmp_path: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "run.json"
    assert main(["run", "--max-tokens", "1", "--save", str(saved)]) == 0
    capsys.readouterr()
    for arguments in (["run", "embedded"], ["demo", "--model", "embedded"], ["verify", str(saved)], ["eval", "embedded", str(saved)]):
        assert "--tokenizer is for source files" in refused(*arguments, "--tokenizer", saved)


# Keys of GGUF ----------------------------------------------------------------------------------------------------------------------


def problem(**changed: Any) -> str:
    try:
        refuse_what_is_not_plain(shape_metadata() | byte_level_metadata() | changed, HEAD_SIZE, CONTEXT)
    except CheckpointError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", IGNORED)
def test_a_key_that_changes_nothing(name: str) -> None:
    assert problem(**{f"llama.{name}": 3}) == ""
    assert IGNORED[name]


@pytest.mark.parametrize("name", PLAIN)
def test_a_key_that_a_plain_llama_may_have(name: str) -> None:
    for value in PLAIN[name]:
        assert problem(**{f"llama.{name}": value}) == ""
    for other in (0.5, 17, "x", [0, 0], not PLAIN[name][0]):
        if other not in PLAIN[name]:
            assert f"llama.{name} is " in problem(**{f"llama.{name}": other})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.attention.sliding_window", CONTEXT - 1), ("llama.attention.sliding_window", [CONTEXT] * 2), ("llama.attention.scale", 0.3),
        ("llama.attention.scale", "x"), ("llama.ssm.inner_size", 0), ("llama.rope.dimension_sections", [8]), ("general.type", "mmproj"),
        *((f"tokenizer.ggml.{name}", not values[0]) for name, values in TOKENIZER_PLAIN.items()),
    ],
)  # fmt: skip
def test_a_key_that_changes_the_meaning_is_named(key: str, value: Any) -> None:
    assert key in problem(**{key: value})


def test_keys_of_the_tokenizer_that_are_not_known(tmp_path: Path, said: Said) -> None:
    more = {"tokenizer.ggml.suppress_tokens": [3], "tokenizer.ggml.normalizer.lowercase": True, "tokenizer.ggml.fim_pre_token_id": 5}
    (note,) = notes_on(more)
    assert "suppress_tokens, tokenizer.ggml.normalizer.lowercase are not known" in note
    assert_said(said, write_gguf(tmp_path / "a.gguf", random_weights(), metadata=more), "tokenizer.ggml.suppress_tokens")


def test_a_note_is_one_line(tmp_path: Path, said: Said) -> None:
    more = {"tokenizer.ggml.x\n\x1b[31m": True}
    (line,), _ = said(write_gguf(tmp_path / "a.gguf", random_weights(), metadata=more))
    assert line.isprintable()


# Chat templates that cannot be used ------------------------------------------------------------------------------------------------

BROKEN = {
    "{% for m in messages %}": "TemplateSyntaxError",
    "{{ messages|no_such_filter }}": "no_such_filter",
    "{{ messages[0].content.no.such }}": "UndefinedError",
    "{{ raise_exception('only for tools') }}": "refuses the prompt: only for tools",
}


@pytest.mark.parametrize("template", BROKEN)
def test_a_chat_template_that_no_question_goes_through(template: str, tmp_path: Path, said: Said) -> None:
    assert_said(said, folder(tmp_path, tokenizer_config={"chat_template": template}), "the chat template", BROKEN[template], "--raw")
    source = write_gguf(tmp_path / "a.gguf", random_weights(), metadata={"tokenizer.chat_template": template})
    assert_said(said, source, "the chat template", BROKEN[template], "--raw")
