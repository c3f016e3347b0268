"""What the metadata of a GGUF file may say about a plain LLaMA: each key that is known, and why it is accepted.

A key of the architecture, `llama.…`, is read, or says nothing about a plain LLaMA, or must have a value that means one. All others are
refused by name, because a key may change what a model computes. Keys of the tokenizer that are not known are noted.

*Source*: llama.cpp's `gguf-py/gguf/constants.py` (the keys) and `llama-model.cpp` (which of them mean something, and when);
ggml's `docs/gguf.md`.
"""

from typing import Any

import numpy as np

from opml_min.model.errors import CheckpointError

ARCHITECTURE = "llama"
QUANTISATION_VERSION = 2  # of ggml's blocks; version 1 had other ones
READ = {
    "embedding_length", "feed_forward_length", "block_count", "context_length", "attention.head_count", "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base",
    "rope.scaling.type", "rope.scaling.factor", "rope.scale_linear", "vocab_size",
}  # fmt: skip
"""These are read as the shape."""
IGNORED = {
    "tensor_data_layout": "it names the script that wrote the file; the order of rows follows from the architecture",
    "attention.layer_norm_epsilon": "it belongs to LayerNorm, and a LLaMA has RMSNorm",
    "rope.scaling.finetuned": "it says how the model was trained",
    "rope.scaling.original_context_length": "only yarn and longrope depend on it",
    "rope.scaling.yarn_beta_fast": "only yarn depends on it",
    "rope.scaling.yarn_beta_slow": "only yarn depends on it",
    "attention.sliding_window_pattern": "without a sliding window no layer has one",
    "attention.key_length_swa": "without a sliding window no layer has such heads",
    "attention.value_length_swa": "without a sliding window no layer has such heads",
    "rope.dimension_count_swa": "without a sliding window no layer has such heads",
    "rope.freq_base_swa": "without a sliding window no layer rotates like this",
    "expert_feed_forward_length": "without experts there is none that has this size",
    "expert_shared_feed_forward_length": "without experts there is none that has this size",
    "expert_weights_scale": "without experts nothing is weighted",
    "expert_weights_norm": "without experts nothing is weighted",
    "expert_gating_func": "without experts nothing is gated",
    "router_logit_softcapping": "without experts there is no router",
}
"""They change nothing in a LLaMA whose other keys are as this module demands. yarn and longrope are refused as kinds of scaling."""
PLAIN: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "use_parallel_residual": (False,),
    "hidden_activation": ("silu", "swish"),  # two names of one function
    "rope.scaling.attn_factor": (1,),
    "rope.scaling.yarn_attn_factor": (1,),
    "rope.scaling.yarn_ext_factor": (0, -1),  # -1: as the kind of scaling says
    "rope.scaling.yarn_log_multiplier": (0,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "expert_shared_count": (0,),
    "expert_group_count": (0,),
    "expert_group_used_count": (0,),
    "leading_dense_block_count": (0,),
    "nextn_predict_layers": (0,),
    "pooling_type": (0,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attention.shared_kv_layers": (0,),
    "attention.output_scale": (0, 1),
    "logit_scale": (1, 0),
    "embedding_scale": (1, 0),
    "residual_scale": (1, 0),
    "attn_logit_softcapping": (0,),
    "final_logit_softcapping": (0,),
    "swin_norm": (False,),
}
"""What a plain LLaMA says under each of these keys, if it says anything; 0 is also how llama.cpp writes that a scale is not used."""
WINDOW, SCALE = "attention.sliding_window", "attention.scale"  # plain if they are at least the context, and 1/√(head size)
TOKENIZER = "tokenizer.ggml."
TOKENIZER_READ = {
    "model", "pre", "tokens", "token_type", "scores", "merges", "bos_token_id", "eos_token_id", "eos_token_ids", "eot_token_id",
    "eom_token_id", "unknown_token_id", "add_bos_token", "add_eos_token", "add_space_prefix",
}  # fmt: skip
TOKENIZER_IGNORED = {
    "token_type_count", "add_sep_token", "add_mask_token", "add_padding_token", "add_unknown_token", "add_cls_token", "seperator_token_id",
    "separator_token_id", "sep_token_id", "cls_token_id", "padding_token_id", "mask_token_id", "prefix_token_id", "suffix_token_id",
    "middle_token_id", "fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id", "fim_pad_token_id", "fim_rep_token_id",
    "fim_sep_token_id",
}  # fmt: skip
"""They name tokens, or say whether to add tokens, that neither a prompt nor the end of a text of a LLaMA has."""
TOKENIZER_PLAIN: dict[str, tuple[Any, ...]] = {"remove_extra_whitespaces": (False,), "escape_whitespaces": (True,)}
SAMPLING = "general.sampling."


def refuse_what_is_not_plain(metadata: dict[str, Any], head_size: int, context: int) -> None:
    """Raise CheckpointError for the first key that means something else than a plain LLaMA, or that is not known."""
    _only(metadata, "general.type", ("model",))
    _only(metadata, "general.quantization_version", (QUANTISATION_VERSION,))
    for key, value in metadata.items():
        if key.startswith(TOKENIZER) and key.removeprefix(TOKENIZER) in TOKENIZER_PLAIN:
            _only(metadata, key, TOKENIZER_PLAIN[key.removeprefix(TOKENIZER)])
        name = key.removeprefix(f"{ARCHITECTURE}.")
        if name == key or name in READ or name in IGNORED:
            continue
        if name in PLAIN:
            _only(metadata, key, PLAIN[name])
        elif name == WINDOW:
            if value != 0 and not (type(value) is int and value >= context):
                raise CheckpointError(f"its {key} is {_shown(value)}; only attention to the whole context is possible")
        elif name == SCALE:
            if value != 0 and not (type(value) is float and abs(value * np.sqrt(head_size) - 1) < 1e-6):
                raise CheckpointError(f"its {key} is {_shown(value)}; only 1/√(head size) is possible")
        else:
            raise CheckpointError(f"its metadata has {key[:80]}, which no plain LLaMA has")


def notes_on(metadata: dict[str, Any]) -> list[str]:
    """Return what a reader should know of the metadata that are not used."""
    known = TOKENIZER_READ | TOKENIZER_IGNORED | TOKENIZER_PLAIN.keys()
    unknown = [key for key in metadata if key.startswith(TOKENIZER) and key.removeprefix(TOKENIZER) not in known]
    sampling = [key for key in metadata if key.startswith(SAMPLING)]
    notes = [f"its metadata {', '.join(unknown)[:200]} are not known, and not used"] if unknown else []
    return notes + ([f"its metadata {', '.join(sampling)[:200]} are not used; a request says how to sample"] if sampling else [])


def _only(metadata: dict[str, Any], key: str, possible: tuple[Any, ...]) -> None:
    if key in metadata and metadata[key] not in possible:
        raise CheckpointError(f"its {key} is {_shown(metadata[key])}; only {possible[0]} is possible")


def _shown(value: object) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(value)[:50])
