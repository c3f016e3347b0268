"""Models as GGUF files: what is exported and read again is the same model, and what GGUF has no form for is refused by name."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from attrs import evolve
from gguf import GGMLQuantizationType as Type
from min_model import tokenizer_bytes, write_source
from min_sources import HIDDEN, MERGES, TEMPLATE, TOKENS, byte_level_metadata, random_weights, write_gguf, write_hugging_face

from opml_min.cli import main
from opml_min.model.errors import CheckpointError, ImageError, TokenizerError
from opml_min.model.image.image import Image
from opml_min.model.image.llama import tensors_of_llama
from opml_min.model.quality.reference import logits
from opml_min.model.resolve import build_source, resolve, text_of
from opml_min.model.sources import export_gguf
from opml_min.model.sources.formats.gguf_file import read_gguf_file
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.model.sources.rotary_base import rotation_of, turns_of
from opml_min.model.sources.tokenizers.gguf import LLAMA3_PATTERN

TEXTS = ("the inner thing and then a 1999 café", " x  y\n\n\tz", "To be, or not to be? é☃ 12345", "<|im_start|>user<s>", "", "▁ ▁")
Q8_0 = {"": Type.Q8_0}


def exported(image: Image, folder: Path, kind: str = "q8_0") -> Path:
    assert export_gguf.write_gguf(folder / "exported.gguf", image, text_of(image), "a name", kind) == ()
    return folder / "exported.gguf"


def built(source: Path, folder: Path, name: str = "built.opml", **how: Any) -> Image:
    build_source(source, None, folder / name, **how)
    return Image(folder / name)


@pytest.mark.parametrize("own_classifier", [True, False])
@pytest.mark.parametrize("kind", ["q8_0", "f32"])
def test_an_image_from_a_gguf_file_comes_back_byte_by_byte(kind: str, own_classifier: bool, tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "source.gguf", random_weights(own_classifier=own_classifier), Q8_0)
    image = built(source, tmp_path)
    file = exported(image, tmp_path, kind)
    assert built(file, tmp_path, "again.opml").path.read_bytes() == image.path.read_bytes()
    if kind == "q8_0":
        old, new = read_gguf_file(source).tensors, read_gguf_file(file).tensors
        assert {name: each.data.tobytes() for name, each in old.items()} == {name: each.data.tobytes() for name, each in new.items()}
        assert {name: each.kind for name, each in old.items()} == {name: each.kind for name, each in new.items()}


def test_the_metadata_are_what_another_reader_finds(tmp_path: Path) -> None:
    file = exported(built(write_gguf(tmp_path / "source.gguf", random_weights(), Q8_0), tmp_path), tmp_path)
    reader = gguf.GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert fields["general.architecture"] == "llama"
    assert fields["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q8_0
    before = gguf.GGUFReader(tmp_path / "source.gguf").fields.items()
    source = {name: field.contents() for name, field in before if name.startswith(("llama.", "tokenizer."))}
    assert {name: fields[name] for name in source} == source
    assert {tensor.tensor_type for tensor in reader.tensors if len(tensor.shape) == 2} == {Type.Q8_0}


@pytest.mark.parametrize("kind", ["q8_0", "f32"])
def test_the_embedded_model(kind: str, tmp_path: Path) -> None:
    """Its tokenizer is llama2.c's, its epsilon no binary32. Gains of 1 or more have a bit more than binary32."""
    model = resolve("embedded")
    file = exported(model.image, tmp_path, kind)
    build_source(file, None, tmp_path / "built.opml")
    again = resolve(str(tmp_path / "built.opml"))
    for old, new in zip(tensors_of_llama(model.image), tensors_of_llama(again.image), strict=True):
        assert (old.name, old.rows, old.columns) == (new.name, new.rows, new.columns)
        before = model.image.view(old.address, old.size)
        if not old.is_matrix:
            before = ((before.view(np.int32) / 2.0**24).astype(np.float32).astype(np.float64) * 2**24).astype(np.int32).view(np.uint8)
        assert (before == again.image.view(new.address, new.size)).all(), old.name
    for old, new in zip(model.image.ops, again.image.ops, strict=True):
        numbers = {name for name, value in old.operands.items() if value < 1 << 32 and name != "eps_q48"}
        assert {name: old.operands[name] for name in numbers} == {name: new.operands[name] for name in numbers}
        assert abs(old.operands.get("eps_q48", 0) - new.operands.get("eps_q48", 0)) < 100
    assert set(again.image.header.stop_tokens) == set(model.image.header.stop_tokens)
    assert model.tokenizer is not None
    assert again.tokenizer is not None
    for text in TEXTS[:3]:
        tokens = model.tokenizer.prompt(text)
        assert again.tokenizer.prompt(text) == tokens
        assert again.tokenizer.decode(tokens[1:], tokens[0]) == model.tokenizer.decode(tokens[1:], tokens[0])


# Tokenizers -------------------------------------------------------------------------------------------------------------------------------

SENTENCE_PIECE = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "a", "b", "▁a", "ab", "▁ab", "<tool>", *"cdefghin"]


def sentence_piece(**more: object) -> dict[str, object]:
    types = [2, 3, 3, *[6] * 256, *[1] * 6, 4, *[1] * 8]
    scores = [-float(i % 7) if types[i] == 1 else 0.0 for i in range(len(types))]  # many of them are equal
    values = {"model": "llama", "pre": "default", "tokens": SENTENCE_PIECE, "token_type": types, "scores": scores, "merges": None}
    values |= {"bos_token_id": 1, "eos_token_id": 2, "add_bos_token": True, **more}
    return {f"tokenizer.ggml.{name}": value for name, value in values.items()} | {"tokenizer.chat_template": None}


TOKENIZERS = {
    "byte level, single digits": {},
    "byte level, as GPT-2": {"tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.add_bos_token": True},
    "byte level, as Llama 3": {"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_eos_token": True},
    "a template and four ends": {"tokenizer.chat_template": TEMPLATE, "tokenizer.ggml.eot_token_id": 5, "tokenizer.ggml.eom_token_id": 6},
    "pieces with scores": sentence_piece(),
    "pieces with scores, no space first": sentence_piece(add_space_prefix=False, add_bos_token=False, add_eos_token=True),
    "no tokenizer": dict.fromkeys(byte_level_metadata()),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizers_come_back(name: str, tmp_path: Path) -> None:
    weights, metadata = random_weights(), TOKENIZERS[name]
    if "scores" in name:
        weights["token_embd"], weights["output"] = (weights[each][: len(SENTENCE_PIECE)] for each in ("token_embd", "output"))
        weights = {each: np.resize(values, (len(SENTENCE_PIECE), values.shape[1])) if each in ("token_embd", "output") else values
                   for each, values in weights.items()}  # fmt: skip
    first = resolve(str(write_gguf(tmp_path / "source.gguf", weights, Q8_0, metadata)))
    build_source(exported(first.image, tmp_path), None, tmp_path / "again.opml")
    again = resolve(str(tmp_path / "again.opml"))
    old, new = text_of(first.image), text_of(again.image)
    assert (old.bos, old.stops, old.template, old.kind) == (new.bos, new.stops, new.template, new.kind)
    assert (first.tokenizer is None) == (again.tokenizer is None) == (name == "no tokenizer")
    if first.tokenizer is not None and again.tokenizer is not None:
        for text in TEXTS:
            for markup in (False, True):
                assert first.tokenizer.prompt(text, markup=markup) == again.tokenizer.prompt(text, markup=markup)
        assert first.image.path.read_bytes() == again.image.path.read_bytes()


def test_a_tokenizer_json_of_hugging_face(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "model", random_weights())
    first = resolve(str(folder))
    build_source(exported(first.image, tmp_path), None, tmp_path / "again.opml")
    again = resolve(str(tmp_path / "again.opml"))
    assert first.tokenizer is not None
    assert again.tokenizer is not None
    for text in TEXTS:
        assert first.tokenizer.prompt(text) == again.tokenizer.prompt(text)


WITHOUT_A_FORM = {
    "puts other tokens around": {"post_processor": {
        "type": "TemplateProcessing", "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [7], "tokens": ["<s>"]}},
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    }},
    "splits or changes": {"normalizer": {"type": "NFC"}},
    "splits or": {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
    "splits": {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": LLAMA3_PATTERN + "x"}, "behavior": "Isolated", "invert": False}},
}


@pytest.mark.parametrize("words", WITHOUT_A_FORM)
def test_a_tokenizer_that_gguf_has_no_form_for_is_refused(words: str, tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "model", random_weights())
    values = json.loads((folder / "tokenizer.json").read_text()) | WITHOUT_A_FORM[words]
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(TokenizerError, match=f"{words}.*GGUF has no form for that"):
        exported(resolve(str(folder)).image, tmp_path)
    assert not (tmp_path / "exported.gguf").exists()


def test_pieces_that_gguf_would_write_alike_are_refused(tmp_path: Path) -> None:
    write_source(tmp_path)
    pieces = ["▁a" if i == 280 else f"x{i}" for i in range(300)]
    pieces[3:262] = [*(f"<0x{i:02X}>" for i in range(256)), " ", "a", " a"]
    (tmp_path / "tok300.bin").write_bytes(tokenizer_bytes([piece.encode() for piece in pieces]))
    build_source(tmp_path / "tiny.bin", tmp_path / "tok300.bin", tmp_path / "tiny.opml")
    with pytest.raises(TokenizerError, match="1 tokens of the tokenizer are written like others"):
        exported(Image(tmp_path / "tiny.opml"), tmp_path, "f32")


def with_header(image: Image, path: Path, **values: object) -> Image:
    """The image with other values in its header."""
    data = image.path.read_bytes()
    path.write_bytes(data.replace(image.header.pack(), evolve(image.header, **values).pack()))
    return Image(path)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"bos_token": 1 << 40}, "names the token 1099511627776, outside its vocabulary of 300"),
        ({"bos_token": 300}, "names the token 300, outside"),
        ({"bos_token": 5}, "BOS is not the image's"),
        ({"stop_tokens": (2, 1 << 63)}, "names the token 9223372036854775808, outside"),
    ],
)
def test_tokens_that_no_vocabulary_has_are_refused(values: dict[str, object], problem: str, tmp_path: Path) -> None:
    build_source(write_source(tmp_path), None, tmp_path / "tiny.opml")
    with pytest.raises(TokenizerError, match=problem):
        exported(with_header(Image(tmp_path / "tiny.opml"), tmp_path / "other.opml", **values), tmp_path, "f32")
    assert not (tmp_path / "exported.gguf").exists()


def test_a_tokenizer_of_an_unknown_kind_is_none(tmp_path: Path) -> None:
    build_source(write_source(tmp_path), None, tmp_path / "tiny.opml")
    exported(with_header(Image(tmp_path / "tiny.opml"), tmp_path / "other.opml", tokenizer_kind=7), tmp_path, "f32")
    assert read_gguf_file(tmp_path / "exported.gguf").metadata["tokenizer.ggml.model"] == "no_vocab"


# Rotations --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [10000.0, 500000.0, 50000.0, 1e6, 8e6, 10000019.0, 7.25, 123456.789])
@pytest.mark.parametrize(("pairs", "context"), [(32, 512), (8, 48), (2, 3), (64, 2)])
def test_the_base_of_a_table_is_found(base: float, pairs: int, context: int) -> None:
    base = float(np.float32(base))
    table = np.rint(turns_of(base, None, context, pairs) * 2**30).astype(np.int32)
    found = rotation_of(table)
    assert found.error == 0
    assert found.divisors is None
    assert (np.rint(turns_of(found.base, None, context, pairs) * 2**30) == table).all()
    assert found.base == pytest.approx(base, rel=1e-5)


def test_divisors_of_frequencies_are_found(tmp_path: Path) -> None:
    divisors = np.array([1, 1, 1, 1.5, 3.1415926, 8, 8, 8], np.float32)
    weights = {**random_weights(), "rope_freqs": divisors}
    image = built(write_gguf(tmp_path / "source.gguf", weights, Q8_0), tmp_path)
    file = exported(image, tmp_path)
    np.testing.assert_allclose(read_gguf_file(file).tensors["rope_freqs.weight"].data.view(np.float32)[0], divisors, rtol=1e-6)
    assert built(file, tmp_path, "again.opml").path.read_bytes() == image.path.read_bytes()
    source = write_gguf(tmp_path / "linear.gguf", random_weights(), Q8_0, {"llama.rope.scaling.factor": 4.0})
    linear = built(source, tmp_path, "linear.opml")
    assert built(exported(linear, tmp_path), tmp_path, "again.opml").path.read_bytes() == linear.path.read_bytes()


def test_a_table_of_another_origin_is_kept_nearly_and_that_is_said(tmp_path: Path) -> None:
    frequencies = np.random.default_rng(3).uniform(0.01, 1, 8)
    angles = np.arange(48)[:, None] * frequencies
    table = np.rint(np.stack([np.cos(angles), np.sin(angles)], 2) * 2**30).astype(np.int32)
    found = rotation_of(table)
    assert 0 < found.error < 1e-5
    assert np.abs(turns_of(found.base, found.divisors, 48, 8) - table / 2**30).max() == found.error


# Weights that are stored in another way ---------------------------------------------------------------------------------------------------


def test_powers_of_two_are_taken_back(tmp_path: Path) -> None:
    """Matrices whose scales would vanish are stored times a power of two; the file has them as they are."""
    factors = {"attn_v": 1e-6, "attn_output": 1e5}
    weights = {name: (each * factors.get(name.split(".")[-1], 1)).astype(np.float32) for name, each in random_weights().items()}
    image = built(write_gguf(tmp_path / "source.gguf", weights), tmp_path)
    again = built(exported(image, tmp_path, "f32"), tmp_path, "again.opml")
    tokens = [1, 5, 70, 90]
    np.testing.assert_allclose(logits(checkpoint_of_image(again), tokens), logits(checkpoint_of_image(image), tokens), rtol=1e-3, atol=1e-3)
    with pytest.raises(CheckpointError, match="--type f32"):
        exported(image, tmp_path)


def test_q4_and_incomplete_groups_go_as_floats_only(tmp_path: Path) -> None:
    image = built(write_gguf(tmp_path / "source.gguf", random_weights(), {"": Type.Q4_0}), tmp_path)
    with pytest.raises(CheckpointError, match="is not in Q8_0; --type f32"):
        exported(image, tmp_path)
    stored = checkpoint_of_image(image)
    again = read_gguf_file(exported(image, tmp_path, "f32")).tensors["blk.1.ffn_down.weight"]
    assert (again.data.view(np.float32).reshape(again.shape) == stored.layers[1].down).all()
    assert again.shape[1] == HIDDEN
    build_source(write_source(tmp_path), tmp_path / "tok300.bin", tmp_path / "tiny.opml")
    tiny = Image(tmp_path / "tiny.opml")
    with pytest.raises(CheckpointError, match=r"has 24 columns, and GGUF's Q8_0 needs a multiple of 32; --type f32"):
        exported(tiny, tmp_path)
    exported(tiny, tmp_path, "f32")


def test_what_is_no_llama_in_fixed_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not hold a LLaMA"):
        exported(resolve("mnist").image, tmp_path)
    image = built(write_gguf(tmp_path / "source.gguf", random_weights()), tmp_path, arithmetic="float")
    with pytest.raises(CheckpointError, match="float"):
        exported(image, tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "embedded.gguf"
    assert main(["model", "export", "embedded", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(file), "bytes": file.stat().st_size}
    assert main(["model", "export", str(file), str(tmp_path / "floats.gguf"), "--type", "f32"]) == 0
    assert main(["model", "export", str(file), str(file)]) == 2
    assert "it is read by this command" in capsys.readouterr().err
    assert main(["model", "export", "mnist", str(tmp_path / "mnist.gguf")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embedded.gguf", "floats.gguf"]
    assert len(MERGES) < len(TOKENS)
