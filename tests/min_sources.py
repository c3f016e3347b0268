"""Tiny LLaMAs as llama.cpp and Hugging Face store them, written by these projects' own libraries."""

import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors import TensorSpec, serialize_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_SIZE, CONTEXT = 64, 256, 2, 4, 2, 16, 48
THETA = 50000.0
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' }}"


def byte_level_vocabulary() -> tuple[list[str], list[str]]:
    """Three special tokens, every byte, and a few merges."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters, spare = [], 256
    for byte in range(256):
        characters.append(chr(byte) if byte in printable else chr(spare))
        spare += byte not in printable
    merges = ["t h", "th e", "Ġ the", "Ġ a", "i n", "1 9", "19 9", "Ã ©"]
    return ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *characters, *(merge.replace(" ", "") for merge in merges)], merges


TOKENS, MERGES = byte_level_vocabulary()
VOCABULARY = len(TOKENS)


def random_weights(seed: int = 5, own_classifier: bool = True) -> dict[str, np.ndarray]:
    """By the names of GGUF; the rotary pairs of q and k are neighbours."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    weights = {"token_embd": matrix(VOCABULARY, DIM) * 4, "output_norm": rng.uniform(0.5, 1.5, DIM).astype(np.float32)}
    for i in range(LAYERS):
        sizes = {
            "attn_q": (HEADS * HEAD_SIZE, DIM), "attn_k": (KV_HEADS * HEAD_SIZE, DIM), "attn_v": (KV_HEADS * HEAD_SIZE, DIM),
            "attn_output": (DIM, HEADS * HEAD_SIZE), "ffn_gate": (HIDDEN, DIM), "ffn_up": (HIDDEN, DIM), "ffn_down": (DIM, HIDDEN),
        }  # fmt: skip
        weights |= {f"blk.{i}.{name}": matrix(*size) for name, size in sizes.items()}
        weights |= {f"blk.{i}.{name}": rng.uniform(0.5, 1.5, DIM).astype(np.float32) for name in ("attn_norm", "ffn_norm")}
    if own_classifier:
        weights["output"] = matrix(VOCABULARY, DIM)
    return weights


def byte_level_metadata() -> dict[str, object]:
    return {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (VOCABULARY - 3), "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }  # fmt: skip


def shape_metadata() -> dict[str, object]:
    return {
        "llama.embedding_length": DIM, "llama.feed_forward_length": HIDDEN, "llama.block_count": LAYERS, "llama.context_length": CONTEXT,
        "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": KV_HEADS, "llama.rope.freq_base": THETA,
        "llama.rope.dimension_count": HEAD_SIZE, "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }  # fmt: skip


def write_gguf(
    path: Path, weights: dict[str, np.ndarray], types: dict[str, Type] | None = None, metadata: dict[str, object] | None = None,
    architecture: str = "llama",
) -> Path:  # fmt: skip
    """weights: bytes are blocks as they are · types: of matrices, by name ("" for all others; float32 if there is none)

    metadata: more, or other; None takes an entry away"""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (shape_metadata() | byte_level_metadata() | (metadata or {})).items():
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case list():
                writer.add_array(key, value)
    for name, values in weights.items():
        kind = (types or {}).get(name, (types or {}).get("", Type.F32) if values.ndim == 2 else Type.F32)
        full_name = f"{name}.weight"
        if values.dtype == np.uint8:
            writer.add_tensor(full_name, values, raw_dtype=kind)
        elif kind == Type.F32:
            writer.add_tensor(full_name, values)
        else:
            writer.add_tensor(full_name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


HUGGING_FACE_NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head", "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def hugging_face_name(name: str) -> str:
    parts = name.split(".")
    known = HUGGING_FACE_NAMES[parts[-1]]
    return f"model.layers.{parts[1]}.{known}.weight" if len(parts) > 1 else f"{known}.weight"


def halves(matrix: np.ndarray) -> np.ndarray:
    """Rows whose rotary pairs are neighbours, put into the order in which they are halves of a head."""
    heads = matrix.reshape(-1, HEAD_SIZE // 2, 2, matrix.shape[1])
    return heads.transpose(0, 2, 1, 3).reshape(matrix.shape)


def write_hugging_face(
    folder: Path, weights: dict[str, np.ndarray], dtype: str = "float32", config: dict[str, object] | None = None
) -> Path:
    """Two files of weights, as large models have them."""
    folder.mkdir(exist_ok=True)
    tensors = {}
    for name, values in weights.items():
        values = halves(values) if name.endswith(("attn_q", "attn_k")) else values
        values = np.ascontiguousarray(values)
        short = (values.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else values.astype(dtype)
        tensors[hugging_face_name(name)] = short
    names = sorted(tensors)
    for number, part in enumerate((names[:5], names[5:])):
        specs = {
            name: TensorSpec(dtype=dtype, shape=tensors[name].shape, data_ptr=tensors[name].ctypes.data, data_len=tensors[name].nbytes)
            for name in part
        }
        serialize_file(specs, folder / f"model-{number}.safetensors")
    settings = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": DIM, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5, "rope_theta": THETA, "tie_word_embeddings": "output" not in weights, "hidden_act": "silu", "eos_token_id": 2,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings | (config or {})))
    tokenizer = Tokenizer(BPE({token: i for i, token in enumerate(TOKENS)}, [tuple(merge.split()) for merge in MERGES]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in TOKENS[:3]])
    tokenizer.save(str(folder / "tokenizer.json"))
    texts = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(texts))
    return folder
