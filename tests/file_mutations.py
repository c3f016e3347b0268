"""A fuzzer for every kind of file that a stranger can hand over: valid small files, changed where their structure is.

    python tests/file_mutations.py FORMAT COUNT [FIRST_SEED]

Each case changes one to three places: a number that is a count, length, type or offset, a piece of text, a node of a JSON tree, or plain
bytes. A case must be refused with an error of the project, or accepted with exactly what the file declares (`file_oracles.py`), within
SECONDS and MEMORY_BYTES. The first that is neither ends the process; its seed is on the last line.
"""

import json
import shutil
import signal
import struct
import sys
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from file_oracles import same_elf, same_folder, same_gguf, same_image, same_job, same_llama2c, same_replay, same_request, same_saved_run
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from gguf.quants import quantize
from min_model import checkpoint_bytes, tokenizer_bytes
from min_training_job import finished
from opml_fuzz.conformance import elf
from opml_fuzz.errors import FuzzError
from opml_fuzz.fuzzing.difference import read as read_replay
from opml_fuzz.machine.case import Program, Step
from safetensors.numpy import save

from opml_min.cli.job_origin import fault_of_origin
from opml_min.cli.trained_model import is_all_as_trained, state_root_of, write_trained_model
from opml_min.machine import Memory
from opml_min.memory_map import HEADER, Quarter
from opml_min.model import run_file
from opml_min.model.errors import ModelError
from opml_min.model.image.image import Image
from opml_min.model.image.ops import RECORD_WORDS
from opml_min.model.image.program import program_of_elf
from opml_min.model.image.request import TextRequest, position_count, stage_count
from opml_min.model.image.segments import SegmentFile
from opml_min.model.native.check import check
from opml_min.model.resolve import build_source, resolve, text_of
from opml_min.model.run import Run
from opml_min.model.sources.checkpoint import Checkpoint
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.model.sources.read import read_source
from opml_min.model.sources.source import tokenizer_of
from opml_min.model.staged_run import loaded
from opml_min.training.image import TrainingImage
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.execution import open_job, start_of_run
from opml_min.training.jobs.folder import JobFolder
from opml_min.training.jobs.making import held_out_examples
from opml_min.training.jobs.verification import check_shard, evidence_of, shards_of
from opml_min.training.layout import TAPE

SECONDS, MEMORY_BYTES = 10, 1 << 30
EDGES = (0, 1, 2, 3, 7, 31, 63, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**38, 2**40, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS = (b"", b"\xff\xfe", b"\x00", b"llama", b"../x.safetensors", "\u2028é☃".encode(), b"a" * 5000)
DIM, HIDDEN, HEADS, CONTEXT = 32, 32, 2, 8
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "ab", "▁a"]
VOCABULARY = len(TOKENS)

Check = Callable[[Path], None]


class Raw:
    """Bytes that stand in a JSON text as they are."""

    def __init__(self, data: bytes) -> None:
        self.data = data


ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**64, -(2**70), 10**400, 1e308, -0.0, 1e-320, 0.5, "", "x", "-1", "\ud800", "\0", [], {}, [None], [[1]],
    {"content": 3}, {"rope_type": "yarn"}, Raw(b"NaN"), Raw(b"-Infinity"), Raw(b"1e999"), Raw(b'"\xff"'), Raw(b"[" * 70000),
    Raw(b'{"a":' * 60 + b"1" + b"}" * 60), Raw(b'{"a":1,"a":2}'), Raw(b"1" * 6000), Raw(b"01"), Raw(b'"\\'),
)  # fmt: skip


def json_bytes(node: Any) -> bytes:
    if isinstance(node, Raw):
        return node.data
    if isinstance(node, dict):
        return b"{" + b",".join(json_bytes(key) + b":" + json_bytes(value) for key, value in node.items()) + b"}"
    if isinstance(node, list):
        return b"[" + b",".join(map(json_bytes, node)) + b"]"
    return json.dumps(node).encode()


def changed_json(rng: Random, text: bytes) -> bytes:
    """Replace, remove, rename or double one to three nodes of the tree."""
    tree = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []

        def collect(node: Any, places: list[tuple[Any, Any]] = places) -> None:
            for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
                places.append((node, key))
                collect(value)

        collect(tree)
        if not places:
            break
        node, key = rng.choice(places[:40] if rng.random() < 0.7 else places)
        match rng.randrange(6):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[rng.choice(("", "x", "eos_token_id", "rope_scaling", "sliding_window", "dtype"))] = node.pop(key)
            case 2 if isinstance(node[key], int | float):
                node[key] = rng.choice((node[key] + 1, node[key] - 1, -node[key], node[key] * 2, str(node[key])[:4000]))
            case _:
                node[key] = deepcopy(rng.choice(ODD_VALUES))
    return json_bytes(tree) if rng.random() < 0.9 else changed_bytes(rng, json_bytes(tree), [])


def changed_bytes(rng: Random, data: bytes, numbers: list[tuple[int, int]]) -> bytes:
    """Change one to three places. numbers: offsets and lengths of those that the format's structure depends on"""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(10):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + rng.choice(TEXTS) + data[at:]
            case 2 if data:
                at = rng.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 3:
                end = min(len(data), at + rng.choice((1, 4, 8, 100)))
                data = data[:at] + data[end:]
            case 4:
                data = data[:at] + data[at : at + rng.choice((8, 40, 1000))] + data[at:]
            case _ if numbers:
                start, length = rng.choice(numbers)
                old = int.from_bytes(data[start : start + length], "little")
                new = rng.choice((*EDGES, old + 1, old - 1, old * 2, old // 2, old ^ 1 << rng.randrange(8 * length), len(data)))
                data = data[:start] + (new % (1 << 8 * length)).to_bytes(length, "little") + data[start + length :]
    return data


# Small valid files -----------------------------------------------------------------------------------------------------------


def weights(seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = {"attn_q": (DIM, DIM), "attn_k": (DIM, DIM), "attn_v": (DIM, DIM), "attn_output": (DIM, DIM), "ffn_gate": (HIDDEN, DIM)}
    sizes |= {"ffn_up": (HIDDEN, DIM), "ffn_down": (DIM, HIDDEN)}
    tensors = {f"blk.0.{name}": rng.normal(0, 0.2, size).astype(np.float32) for name, size in sizes.items()}
    tensors |= {name: np.ones(DIM, np.float32) for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")}
    return tensors | {"token_embd": rng.normal(0, 1, (VOCABULARY, DIM)).astype(np.float32)}


def gguf_bytes(folder: Path) -> bytes:
    path = folder / "valid.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(DIM)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([-float(i) for i in range(VOCABULARY)])
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (VOCABULARY - 259)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{{ messages[0].content }}")
    for name, values in weights().items():
        if values.ndim == 2 and name != "token_embd":
            writer.add_tensor(f"{name}.weight", quantize(values, Type.Q8_0), raw_dtype=Type.Q8_0)
        else:
            writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def gguf_numbers(data: bytes) -> list[tuple[int, int]]:
    """Return where counts, lengths, types, dimensions, offsets and scalar values stand."""
    widths = (1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8)
    numbers, at = [(4, 4), (8, 8), (16, 8)], 24
    tensor_count, entry_count = struct.unpack_from("<QQ", data, 8)

    def number(width: int) -> int:
        nonlocal at
        numbers.append((at, width))
        at += width
        return int.from_bytes(data[at - width : at], "little")

    def value(kind: int) -> None:
        nonlocal at
        if kind == 8:
            length = number(8)
            at += length
        elif kind == 9:
            element, count = number(4), number(8)
            for _ in range(count):
                if element == 8:
                    at += struct.unpack_from("<Q", data, at)[0] + 8
                else:
                    at += widths[element]
        else:
            number(widths[kind])

    for _ in range(entry_count):
        length = number(8)
        at += length
        value(number(4))
    for _ in range(tensor_count):
        length = number(8)
        at += length
        for _ in range(number(4)):
            number(8)
        number(4)
        number(8)
    return numbers


def hugging_face_files() -> dict[str, bytes]:
    """Return a valid folder by the names of its files. The two files of weights have an index."""
    names = {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }  # fmt: skip
    own = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}
    tensors = {own.get(n, f"model.layers.0.{names.get(n.split('.')[-1])}.weight"): w.astype(np.float16) for n, w in weights().items()}
    first, second = "model-1.safetensors", "model-2.safetensors"
    places = {name: first if name.startswith("model.layers") else second for name in tensors}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": DIM, "intermediate_size": HIDDEN,
        "num_hidden_layers": 1, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "hidden_act": "silu",
        "eos_token_id": [2], "bos_token_id": 1, "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        },
    }  # fmt: skip
    vocabulary = {token: i for i, token in enumerate(TOKENS)}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": i, "content": TOKENS[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for i in range(3)
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, "pre_tokenizer": None, "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "merges": [["a", "b"], ["▁", "a"]],
            "scores": {"ab": -1.0, "▁a": -1.0}, "vocab": vocabulary,
        },
    }  # fmt: skip
    settings = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": [{"name": "default", "template": "{{ 1 }}"}]}
    return {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": json.dumps(tokenizer).encode(),
        "tokenizer_config.json": json.dumps(settings).encode(),
        "generation_config.json": b'{"eos_token_id": [2, 1]}',
        "chat_template.jinja": b"{{ messages[0].content }}",
        "model.safetensors.index.json": json.dumps({"metadata": {"total_size": 1}, "weight_map": places}).encode(),
        first: save({name: tensor for name, tensor in tensors.items() if places[name] == first}),
        second: save({name: tensor for name, tensor in tensors.items() if places[name] == second}),
    }


def changed_safetensors(rng: Random, data: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.5:
        return changed_bytes(rng, data, [(0, 8)])
    header = changed_json(rng, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


# What is done with a file ------------------------------------------------------------------------------------------------------


def use_source(path: Path, same: Callable[[Path, Checkpoint, Image], None], tokenizer: Path | None = None) -> None:
    """same: compares what was loaded with what the file declares"""
    output = path.with_name("built.opml")
    try:
        build_source(path, tokenizer, output)
        use_image(output)
        same(path, read_source(path, tokenizer).checkpoint, Image(output))
    finally:
        output.unlink(missing_ok=True)


def use_image(path: Path) -> None:
    image, memory = Image(path), Memory()
    header = image.header
    tokenizer = tokenizer_of(header.tokenizer_kind, image.tokenizer_bytes(), header.vocabulary, header.bos_token)
    text_of(image)
    prompt = (1,) if tokenizer is None else tuple(tokenizer.prompt("a b"))
    image.load_into(memory)
    same_image(path, image, memory)
    check(image)
    checkpoint_of_image(image)
    request = TextRequest(prompt[:4] or (1,), 2).pack() if header.request_kind == 0 else bytes(min(header.context, 1 << 16))
    if stage_count(header, request) < 1000:
        Run(image, request).run_all()


def use_saved_run(path: Path) -> None:
    saved = run_file.load(path)
    same_saved_run(path, saved)
    model = resolve(saved.model, saved.tokenizer, saved.arithmetic)
    stage_count(model.image.header, saved.request)


def use_replay(path: Path) -> None:
    case = read_replay(path)
    same_replay(path, case.to_json())
    if isinstance(case, Step | Program):
        case.start.state()


def use_elf(path: Path) -> None:
    executable = elf.load(path)
    assert executable.start.leaves is not None
    same_elf(path.read_bytes(), executable.segments)
    program_of_elf(path.read_bytes())


def use_job(path: Path, valid: Path) -> None:
    """Recompute a job as a validator does, and read what is held out. What does not hold counts as refused."""
    folder = JobFolder(path)
    job, records = evidence_of(folder)
    checked = [check_shard(path, job, shard, 1) for shard in shards_of(folder, records)]
    wrong: list[object] = [each.mismatch for each in checked if each.mismatch is not None]
    wrong += [fault] if not wrong and (fault := fault_of_origin(folder, job)) else []
    if not wrong and len(records) == job.settings.updates:
        wrong += [] if state_root_of(folder) == checked[-1].state_root and is_all_as_trained(folder, job) else ["trained.opml"]
    if wrong:
        raise JobError(f"{wrong[0]} does not hold")
    held_out_examples(folder, start_of_run(folder, job, threads=1))
    same_job(path, valid)


# The formats ---------------------------------------------------------------------------------------------------------------------


class Format(ABC):
    """Valid files of one kind, how they are changed, and how they are used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def case(self, rng: Random) -> None:
        """Changes a valid file in one to three places, and uses it."""


class Gguf(Format):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data = gguf_bytes(folder)
        self.numbers = gguf_numbers(self.data)

    def case(self, rng: Random) -> None:
        path = self.folder / "a.gguf"
        path.write_bytes(changed_bytes(rng, self.data, self.numbers))
        use_source(path, same_gguf)


class HuggingFace(Format):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files = hugging_face_files()

    def case(self, rng: Random) -> None:
        folder = self.folder / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        name = rng.choice(list(self.files))
        for each, data in self.files.items():
            if each == name:
                if each.endswith(".safetensors"):
                    data = changed_safetensors(rng, data)
                elif each.endswith(".json"):
                    data = changed_json(rng, data)
                else:
                    data = changed_bytes(rng, data, [])
            (folder / each).write_bytes(data)
        use_source(folder, same_folder)


class Llama2c(Format):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data, self.tokenizer = checkpoint_bytes(), tokenizer_bytes()

    def case(self, rng: Random) -> None:
        path, tokenizer = self.folder / "a.bin", self.folder / "tok.bin"
        changes_model = rng.random() < 0.6
        lengths, at = [(0, 4)], 4
        while at < len(self.tokenizer):
            lengths += [(at, 4), (at + 4, 4)]
            at += 8 + int.from_bytes(self.tokenizer[at + 4 : at + 8], "little")
        path.write_bytes(changed_bytes(rng, self.data, [(4 * i, 4) for i in range(7)]) if changes_model else self.data)
        tokenizer.write_bytes(self.tokenizer if changes_model else changed_bytes(rng, self.tokenizer, lengths))
        use_source(path, same_llama2c, tokenizer)


class ImageFile(Format):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        source = folder / "valid.gguf"
        source.write_bytes(gguf_bytes(folder))
        build_source(source, None, folder / "valid.opml")
        self.data = (folder / "valid.opml").read_bytes()
        count = int.from_bytes(self.data[8:12], "little")
        header = int.from_bytes(self.data[16 + 24 + 8 : 16 + 24 + 16], "little")
        words = (26 + 16 * 19 + 8) if header + 8 * 340 < len(self.data) else 0
        self.numbers = [(8, 4), (12, 4), *((16 + 8 * i, 8) for i in range(3 * count)), *((header + 8 * i, 8) for i in range(words))]

    def case(self, rng: Random) -> None:
        path = self.folder / "a.opml"
        path.write_bytes(changed_bytes(rng, self.data, self.numbers))
        use_image(path)


class SavedRunFile(Format):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        image = resolve("embedded").image
        request = TextRequest((1, 5), 3).pack()
        saved = run_file.SavedRun("embedded", None, "fixed", bytes(32), request, stage_count(image.header, request), bytes(32))
        run_file.save(folder / "valid.json", saved)
        self.data = (folder / "valid.json").read_bytes()

    def case(self, rng: Random) -> None:
        path = self.folder / "a.json"
        path.write_bytes(changed_json(rng, self.data))
        use_saved_run(path)


class Replay(Format):
    start = {"pc": "0x4000000000", "x": {"1": "0x5"}, "status": [0, "0x0"], "memory": {"0x4000000000": "13" * 32}}  # noqa: RUF012
    cases = (
        {"title": "t", "answers": {"a": ["b"]}, "case": "step", "start": start},
        {"case": "program", "start": start, "stops": [1, 2, 9]},
        {"case": "witness", "witness": "00" * 64},
        {"case": "disputes", "seed": "1/2", "acts": 3},
    )

    def case(self, rng: Random) -> None:
        path = self.folder / "a.json"
        path.write_bytes(changed_json(rng, json.dumps(rng.choice(self.cases)).encode()))
        use_replay(path)


class Elf(Format):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = (0x13).to_bytes(4, "little") * 8
        head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 243, 1, 1 << 38, 64, 0, 0, 64, 56, 2, 64, 0, 0)
        entries = [(1, flags, 176 + 32 * i, (1 << 38) + (i << 20), 0, 32, 64 * (1 + i), 8) for i, flags in enumerate((5, 6))]
        table = b"".join(struct.pack("<IIQQQQQQ", *entry) for entry in entries)
        self.data = head + table + text + bytes(32)
        self.numbers = [(0, 4), (4, 1), (5, 1), (16, 2), (18, 2), (24, 8), (32, 8), (54, 2), (56, 2)]
        self.numbers += [(64 + 56 * i + at, width) for i in range(2) for at, width in ((0, 4), (4, 4), (8, 8), (16, 8), (32, 8), (40, 8))]

    def case(self, rng: Random) -> None:
        path = self.folder / "a.elf"
        path.write_bytes(changed_bytes(rng, self.data, self.numbers))
        use_elf(path)


class Request(Format):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.image = resolve("embedded").image
        self.data = TextRequest((1, 5, 7), 2).pack()

    def case(self, rng: Random) -> None:
        request = changed_bytes(rng, self.data, [(0, 4), (4, 4), (8, 4), (12, 4), (16, 8), (24, 4), (28, 4)])
        position_count(self.image.header.request_kind, request)
        stages = stage_count(self.image.header, request)
        same_request(request, TextRequest.unpack(request))
        if stages < 400:
            Run(self.image, request, stages=rng.choice((stages, stages + 1))).run_all()


class TrainingJobFolder(Format):
    """A finished job, of which one file is changed. A changed training image is mostly the one that the description names."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        job = finished(folder / "valid")
        with job.locked():
            opened = open_job(job, threads=1)
            write_trained_model(job, opened.job, opened.run)
        self.valid = job.path
        image = SegmentFile(job / "training.opml")
        table = [(16 + 8 * i, 8) for i in range(3 * len(image.segments))]
        header, count = image.segments[1].offset, len(opened.run.ops)
        tape = [(header + TAPE - HEADER + 8 * i, 8) for i in range(RECORD_WORDS * count)]
        self.numbers = {
            "training.opml": [(8, 4), *table, *((header + 8 * i, 8) for i in range(5)), *tape],
            "trained.opml": [(8, 4), *table, *((header + 8 * i, 8) for i in range(26))],
            **{f"checkpoint-{updates}": [(8 + 8 * i, 8) for i in range(4)] for updates in job.checkpoints()},
        }

    def case(self, rng: Random) -> None:
        path = self.folder / "job"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.valid, path)
        name = rng.choice(("training.opml", "trained.opml", "job.json", *sorted(each.name for each in self.valid.iterdir())))
        data = (path / name).read_bytes()
        lines = data.splitlines(keepends=True)
        at = rng.randrange(len(lines))
        if name == "job.json":
            data = changed_json(rng, data)
        elif name == "updates.jsonl" and rng.random() < 0.7:
            data = b"".join([*lines[:at], changed_json(rng, lines[at]), b"\n", *lines[at + 1 :]])
        else:
            data = changed_bytes(rng, data, self.numbers.get(name, []))
        (path / name).write_bytes(data)
        if name == "training.opml" and rng.random() < 0.7:
            description = json.loads((path / "job.json").read_bytes())
            root = loaded(TrainingImage(path / name)).quarter_root(Quarter.MODEL)
            (path / "job.json").write_text(json.dumps({**description, "model_root": root.hex()}))
        use_job(path, self.valid)


FORMATS: dict[str, type[Format]] = {
    "gguf": Gguf, "hugging-face": HuggingFace, "llama2c": Llama2c, "image": ImageFile, "saved-run": SavedRunFile, "replay": Replay,
    "elf": Elf, "request": Request, "training-job": TrainingJobFolder,
}  # fmt: skip


def too_slow(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} seconds")


def most_memory_bytes() -> int:
    """The most memory that this process has used. (`getrusage` also counts what its parent held when it forked.)"""
    (line,) = [line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def run(name: str, count: int, first: int = 0) -> tuple[int, int]:
    """Try `count` cases. Return how many were accepted and how many were refused; raise what must not happen."""
    accepted = refused = 0
    warnings.simplefilter("error")  # a person would read them on stderr
    signal.signal(signal.SIGALRM, too_slow)
    with tempfile.TemporaryDirectory() as folder:
        kind = FORMATS[name](Path(folder))
        for seed in range(first, first + count):
            print(name, seed, file=sys.stderr)
            signal.alarm(SECONDS)
            try:
                kind.case(Random(f"{name}/{seed}"))
                accepted += 1
            except (ModelError, FuzzError) as error:
                refused += 1
                if not str(error):
                    raise AssertionError(f"an error without a text: {error!r}") from error
            signal.alarm(0)
    used = most_memory_bytes()
    assert used < MEMORY_BYTES, f"{used} bytes of memory"
    return accepted, refused


if __name__ == "__main__":
    chosen = list(FORMATS) if sys.argv[1] == "all" else [sys.argv[1]]
    for each in chosen:
        print(each, *run(each, int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0), flush=True)
