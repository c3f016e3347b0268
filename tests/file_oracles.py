"""What was loaded is what the file declares: one check for each kind of file, by other readers than the project's own.

The libraries `gguf` and `safetensors` read the containers again. Everything else is read again here, in the plainest way. A file that was
accepted, and that another reader understands otherwise, raises AssertionError.

*Source*: ggml's `docs/gguf.md`; safetensors, "Format"; llama2.c, `run.c`; spec §3.1 and §3.2; Tool Interface Standard, ELF 1.2.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from gguf import GGUFReader
from gguf.quants import dequantize

from opml_min.machine import Memory
from opml_min.model.image.image import Image
from opml_min.model.image.program import elf_segments
from opml_min.model.image.request import TextRequest
from opml_min.model.run_file import SavedRun
from opml_min.model.sources.checkpoint import Checkpoint
from opml_min.model.sources.formats.gguf_file import read_gguf_file
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.model.sources.matrices import floats_of

GROUP = 32  # weights with one scale
ROUNDING = 0.006  # of the largest weight of a group: half of 1/127, and the rounding of the scale to 11 bits
LAYER = {
    "attention_norm": "attn_norm", "wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output", "ffn_norm": "ffn_norm",
    "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip
FOLDER_NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip
Weights = dict[str, np.ndarray]


def same_weights(found: Checkpoint, declared: Weights, image: Image) -> None:
    """Compare a checkpoint, and what the image stands for, with the declared weights by the names of GGUF."""
    held = checkpoint_of_image(image)
    for checkpoint, is_rounded in ((found, False), (held, True)):
        pairs = {"token_embd": checkpoint.embedding, "output_norm": checkpoint.final_norm}
        pairs |= {f"blk.{i}.{LAYER[field]}": getattr(layer, field) for i, layer in enumerate(checkpoint.layers) for field in LAYER}
        if checkpoint.classifier is not None:
            pairs["output"] = checkpoint.classifier
        expected = declared | ({"output": declared["token_embd"]} if is_rounded and "output" not in declared else {})
        assert pairs.keys() == expected.keys()
        for name, weights in pairs.items():
            same_numbers(name, floats_of(weights), expected[name], is_rounded)


def same_numbers(name: str, found: np.ndarray, declared: np.ndarray, is_rounded: bool) -> None:
    assert found.shape == declared.shape, name
    difference = np.abs(found.astype(np.float64) - declared.astype(np.float64))
    if not is_rounded:
        assert difference.max() == 0, name
    elif declared.ndim == 1:
        assert difference.max() <= 2.0**-24, name
    else:
        padded = np.pad(np.abs(declared.astype(np.float64)), ((0, 0), (0, -declared.shape[1] % GROUP)))
        largest = padded.reshape(len(declared), -1, GROUP).max(2).repeat(GROUP, 1)[:, : declared.shape[1]]
        assert (difference <= ROUNDING * largest + 2.0**-24).all(), name


def same_header(image: Image, **declared: Any) -> None:
    """Compare fields of the image's header."""
    for name, value in declared.items():
        assert getattr(image.header, name) == value, f"{name} is {getattr(image.header, name)}, not {value}"


# GGUF ------------------------------------------------------------------------------------------------------------------------------


def same_gguf(path: Path, found: Checkpoint, image: Image) -> None:
    """Compare the container with the reader of the library `gguf`, then the weights and the header of the image."""
    reader, file = GGUFReader(path), read_gguf_file(path)
    metadata = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert metadata.keys() == file.metadata.keys()
    for name, value in metadata.items():
        same_value(name, file.metadata[name], value)
    assert {tensor.name for tensor in reader.tensors} == file.tensors.keys()
    declared = {}
    for tensor in reader.tensors:
        mine = file.tensors[tensor.name]
        assert (mine.kind, list(mine.shape)) == (tensor.tensor_type, tensor.shape.tolist()[::-1]), tensor.name
        assert mine.data.tobytes() == tensor.data.tobytes(), tensor.name
        declared[tensor.name.removesuffix(".weight")] = dequantize(tensor.data, tensor.tensor_type)
    declared.pop("rope_freqs", None)
    same_weights(found, declared, image)
    heads = number(metadata, "attention.head_count")
    same_header(
        image, dim=number(metadata, "embedding_length"), hidden_dim=number(metadata, "feed_forward_length"), heads=heads,
        layers=number(metadata, "block_count"), kv_heads=number(metadata, "attention.head_count_kv", heads),
        context=number(metadata, "context_length"), template_length=len(metadata.get("tokenizer.chat_template", "").encode()),
    )  # fmt: skip
    eos = metadata.get("tokenizer.ggml.eos_token_id", -1)
    assert eos == -1 or eos in image.header.stop_tokens or metadata.get("tokenizer.ggml.model") is None
    epsilon = metadata["llama.attention.layer_norm_rms_epsilon"]
    assert abs(checkpoint_of_image(image).shape.epsilon - epsilon) <= 2.0**-48
    same_tokens(image, metadata.get("tokenizer.ggml.tokens"))


def number(metadata: dict[str, Any], name: str, default: int | None = None) -> Any:
    value = metadata.get(f"llama.{name}", default)
    return value[0] if isinstance(value, list) else value


def same_value(name: str, found: Any, declared: Any) -> None:
    """Compare two values, where NaN equals NaN."""
    if isinstance(declared, list):
        assert len(found) == len(declared), name
        for mine, other in zip(found, declared, strict=True):
            same_value(name, mine, other)
    else:
        assert found == declared or (found != found and declared != declared), f"{name} is {found!r}, not {declared!r}"


def same_tokens(image: Image, declared: list[str] | None) -> None:
    """Compare the vocabulary that the image's tokenizer has."""
    if declared:
        tokenizer = json.loads(image.tokenizer_bytes())
        named = {each["id"]: each["content"] for each in tokenizer["added_tokens"]}
        named |= {token: name for name, token in tokenizer["model"]["vocab"].items()}
        assert named == {i: name or f"[EMPTY_{i}]" for i, name in enumerate(declared)}


# Hugging Face ----------------------------------------------------------------------------------------------------------------------


def same_folder(folder: Path, found: Checkpoint, image: Image) -> None:
    """Compare with what the library `safetensors` reads in the files that the index names, and with the settings."""
    config = json.loads((folder / "config.json").read_bytes())
    heads = config["num_attention_heads"]
    places = json.loads((folder / "model.safetensors.index.json").read_bytes())["weight_map"]
    files = {name: dict(safetensors.deserialize((folder / name).read_bytes())) for name in set(places.values())}

    def stored(name: str) -> np.ndarray:
        tensor = files[places[name]][name]
        values = np.frombuffer(tensor["data"], {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[tensor["dtype"]])
        if tensor["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32).reshape(tensor["shape"])

    def paired(name: str, matrix: np.ndarray) -> np.ndarray:
        """Rows of q and k, with the two of a rotary pair beside one another instead of half a head apart."""
        if name not in ("attn_q", "attn_k"):
            return matrix
        count = heads if name == "attn_q" else config.get("num_key_value_heads") or heads
        return matrix.reshape(count, 2, -1, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)

    declared = {"token_embd": stored("model.embed_tokens.weight"), "output_norm": stored("model.norm.weight")}
    if not config.get("tie_word_embeddings"):
        declared["output"] = stored("lm_head.weight")
    for i in range(config["num_hidden_layers"]):
        layer = {name: stored(f"model.layers.{i}.{theirs}.weight") for name, theirs in FOLDER_NAMES.items()}
        declared |= {f"blk.{i}.{name}": paired(name, matrix) for name, matrix in layer.items()}
    same_weights(found, declared, image)
    same_header(
        image, dim=config["hidden_size"], hidden_dim=config["intermediate_size"], layers=config["num_hidden_layers"], heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads, context=config["max_position_embeddings"], vocabulary=config["vocab_size"],
    )  # fmt: skip
    if image.header.tokenizer_length:
        assert image.tokenizer_bytes() == (folder / "tokenizer.json").read_bytes()
        assert image.template().encode() == (folder / "chat_template.jinja").read_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n")


# llama2.c --------------------------------------------------------------------------------------------------------------------------


def same_llama2c(path: Path, found: Checkpoint, image: Image) -> None:
    """Compare with the floats after the seven numbers, in the order of `run.c`."""
    data = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocabulary, context = struct.unpack_from("<7i", data)
    values, at = np.frombuffer(data, "<f4", offset=28), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += int(np.prod(shape))
        return values[at - int(np.prod(shape)) : at].reshape(shape)

    kv_dim = dim // heads * kv_heads
    declared = {"token_embd": take(abs(vocabulary), dim)}
    sizes = {
        "attn_norm": (dim,), "attn_q": (dim, dim), "attn_k": (kv_dim, dim), "attn_v": (kv_dim, dim), "attn_output": (dim, dim),
        "ffn_norm": (dim,), "ffn_gate": (hidden, dim), "ffn_down": (dim, hidden), "ffn_up": (hidden, dim),
    }  # fmt: skip
    for name, size in sizes.items():
        declared |= {f"blk.{i}.{name}": take(*size) for i in range(layers)}
    declared["output_norm"] = take(dim)
    take(2, context, dim // heads // 2)
    if vocabulary < 0:
        declared["output"] = take(-vocabulary, dim)
    assert at == len(values)
    same_weights(found, declared, image)
    same_header(
        image, dim=dim, hidden_dim=hidden, layers=layers, heads=heads, kv_heads=kv_heads, context=context, vocabulary=abs(vocabulary),
        tokenizer_kind=1,
    )  # fmt: skip


# The project's own kinds -----------------------------------------------------------------------------------------------------------


def same_image(path: Path, image: Image, memory: Memory) -> None:
    """Compare the memory with the table of segments, and the header's words with the bytes at 0x4010000000."""
    data = path.read_bytes()
    count = int.from_bytes(data[8:12], "little")
    contents = {}
    for address, offset, length in struct.iter_unpack("<3Q", data[16 : 16 + 24 * count]):
        contents[address] = data[offset : offset + length]
        assert memory.read(address, length) == contents[address], hex(address)
    words = struct.unpack_from("<26Q", contents[0x4010000000])
    h = image.header
    named = (h.flags, h.request_kind, h.op_count, h.tape_address, h.context, h.vocabulary, len(h.stop_tokens))
    assert words[2:9] == named
    assert words[9 : 9 + words[8]] == h.stop_tokens
    rest = (h.tokenizer_address, h.tokenizer_length, h.tokenizer_kind, h.bos_token, h.dim, h.hidden_dim, h.layers, h.heads, h.kv_heads)
    assert words[13:] == (*rest, h.head_size, h.arithmetic, h.template_address, h.template_length)


def same_saved_run(path: Path, saved: SavedRun) -> None:
    declared = json.loads(path.read_bytes())
    assert declared["model"] == saved.model
    assert (declared["tokenizer"] and Path(declared["tokenizer"])) == saved.tokenizer
    assert (declared["arithmetic"], declared["stages"]) == (saved.arithmetic, saved.stages)
    for name in ("model_root", "request", "run_hash"):
        assert bytes.fromhex(declared[name]) == getattr(saved, name)


def same_job(path: Path, valid: Path) -> None:
    """Compare a job with the one that it was made from. Losses may differ, as nothing depends on them; so may an end that is missing."""

    def run_hashes(job: Path) -> list[bytes]:
        return [bytes.fromhex(json.loads(line)["run_hash"]) for line in (job / "updates.jsonl").read_bytes().split(b"\n")[:-1]]

    claimed, right = run_hashes(path), run_hashes(valid)
    assert 0 < len(claimed) == len(right[: len(claimed)])
    assert claimed == right[: len(claimed)]
    described, expected = (json.loads((job / "job.json").read_bytes()) for job in (path, valid))
    for name in ("request", "model_root"):
        assert bytes.fromhex(described[name]) == bytes.fromhex(expected[name])
    assert [list(each.values()) for each in described["trained"]] == [list(each.values()) for each in expected["trained"]]
    for name in ("training.opml", *(["trained.opml"] if len(claimed) == len(right) else [])):
        assert (path / name).read_bytes() == (valid / name).read_bytes()


def same_replay(path: Path, written: dict[str, Any]) -> None:
    """Compare the case, written again, with the file, where numbers may be written in any way and zeros left out."""
    declared = json.loads(path.read_bytes())
    found, expected = plain(written), plain({key: declared[key] for key in written})
    assert found == expected, f"{found} is not {expected}"


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        made = {plain(key): plain(each) for key, each in value.items()}
        return {key: each for key, each in made.items() if each not in (0, "")}
    if isinstance(value, list):
        return [plain(each) for each in value]
    try:
        return int(value, 0) if isinstance(value, str) else value
    except ValueError:
        return value.lower().replace(" ", "") if isinstance(value, str) else value


def same_elf(data: bytes, loaded: dict[int, bytes]) -> None:
    """Compare what two readers load with the table of segments. loaded: by address; what follows, up to its size in memory, is zero"""
    table, (size, count) = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<HH", data, 54)
    declared = {}
    for i in range(count):
        kind, _, offset, address, _, length, memory = struct.unpack_from("<IIQQQQQ", data, table + i * size)
        if kind == 1 and memory:
            declared[address] = data[offset : offset + length], memory
    assert loaded.keys() <= declared.keys()
    for address, (content, memory) in declared.items():
        found = loaded.get(address, b"")
        assert len(found) <= memory
        assert found.rstrip(b"\0") == content.rstrip(b"\0"), hex(address)
    assert dict(elf_segments(data)) == {address: content for address, (content, _) in declared.items() if content}


def same_request(data: bytes, request: TextRequest) -> None:
    length, most, temperature, zero, seed = struct.unpack_from("<4IQ", data)
    assert (length, most, temperature, zero) == (len(request.prompt), request.max_new_tokens, request.temperature_q16, 0)
    assert seed == request.seed
    assert data[24:] == b"".join(token.to_bytes(4, "little") for token in request.prompt)
