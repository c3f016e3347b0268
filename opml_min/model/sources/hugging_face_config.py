"""The shape of a LLaMA from Hugging Face's `config.json`, as `transformers` reads it. What a plain LLaMA has not is refused by name.

*Source*: `transformers`, `configuration_llama.py` (defaults) and `modeling_rope_utils.py` (`_compute_llama3_parameters`,
`standardize_rope_params`).
"""

from math import pi
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from opml_min.model.errors import CheckpointError
from opml_min.model.sources.checkpoint import Shape, check_shape

ARCHITECTURE, MODEL_TYPE = "LlamaForCausalLM", "llama"
PLAIN: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "hidden_act": ("silu", "swish"),  # two names of one function
    "partial_rotary_factor": (1, None),
    "quantization_config": (None,),
    "compression_config": (None,),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "num_local_experts": (0, None),
    "is_causal": (True, None),
    "is_encoder_decoder": (False, None),
}
"""What a plain LLaMA says under each key, if it says anything."""
DEFAULT_EPSILON, DEFAULT_THETA = 1e-6, 10000.0
FULL_ATTENTION = "full_attention"


def shape_of_config(config: dict[str, Any]) -> Shape:
    """Return the shape, or say what cannot be built."""
    if config.get("architectures") != [ARCHITECTURE]:
        raise CheckpointError(f"its architecture is {str(config.get('architectures'))[:80]}; only {ARCHITECTURE} can be built")
    if config.get("model_type", MODEL_TYPE) != MODEL_TYPE:
        raise CheckpointError(f"its model_type is {str(config['model_type'])[:80]}; only {MODEL_TYPE} can be built")
    for key, possible in PLAIN.items():
        if key in config and config[key] not in possible:
            raise CheckpointError(f"its {key} is {str(config[key])[:80]}; only {possible[0]} is possible")
    if not all(kind == FULL_ATTENTION for kind in config.get("layer_types") or []):
        raise CheckpointError(f"its layer_types are not all {FULL_ATTENTION}")
    dim, heads = _integer(config, "hidden_size"), _integer(config, "num_attention_heads")
    context = _integer(config, "max_position_embeddings")
    if config.get("sliding_window") is not None and _integer(config, "sliding_window") < context:
        raise CheckpointError(f"its sliding_window is {config['sliding_window']}; only attention to the whole context is possible")
    rope = _rope(config)
    theta = next((_number(each, "rope_theta") for each in (rope, config) if each.get("rope_theta") is not None), DEFAULT_THETA)
    head_size = _integer(config, "head_dim", dim // max(heads, 1))
    shape = Shape(
        dim=dim,
        hidden_dim=_integer(config, "intermediate_size"),
        layers=_integer(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=_integer(config, "num_key_value_heads", heads),
        vocabulary=_integer(config, "vocab_size"),
        context=context,
        head_size=head_size,
        epsilon=_number(config, "rms_norm_eps", DEFAULT_EPSILON),
        theta=theta,
    )
    check_shape(shape)
    return evolve(shape, frequency_divisors=_frequency_divisors(rope, 2 * pi * theta ** (np.arange(0, head_size, 2) / head_size)))


def is_tied(config: dict[str, Any]) -> bool:
    """Tell whether the classifier is the embedding."""
    tied = config.get("tie_word_embeddings")
    if tied not in (None, True, False):
        raise CheckpointError(f"its tie_word_embeddings is {str(tied)[:80]}")
    return bool(tied)


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """Return how the rotary embedding is scaled. Newer files have `rope_parameters`, older ones `rope_scaling`."""
    both = [config[key] for key in ("rope_scaling", "rope_parameters") if config.get(key) is not None]
    for rope in both:
        if not isinstance(rope, dict):
            raise CheckpointError(f"its rope_scaling or rope_parameters is {str(rope)[:80]}, not an object")
    if len(both) == 2 and both[0] != both[1]:
        raise CheckpointError("its rope_scaling and rope_parameters differ; remove the one that does not hold")
    rope = both[0] if both else {}
    if rope.get("partial_rotary_factor") not in (None, 1):
        raise CheckpointError("its partial_rotary_factor is not 1")
    return rope


def _frequency_divisors(rope: dict[str, Any], wavelengths: NDArray[np.float64]) -> tuple[float, ...]:
    """Return what divides each rotary frequency. wavelengths: positions per full turn, unscaled"""
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return ()
    if kind not in ("linear", "llama3"):
        raise CheckpointError(f"its rotary embedding is scaled in an unknown way, {str(kind)[:80]}")
    factor = _positive(rope, "factor")
    if kind == "linear":
        return (factor,) * len(wavelengths)
    low, high = _positive(rope, "low_freq_factor"), _positive(rope, "high_freq_factor")
    if low >= high:
        raise CheckpointError("its low_freq_factor is not below its high_freq_factor")
    turns = _positive(rope, "original_max_position_embeddings") / wavelengths  # over the context that the model was first trained on
    kept = np.clip((turns - low) / (high - low), 0, 1)  # the share of the frequency that is not divided
    return tuple((1 / (kept + (1 - kept) / factor)).tolist())


def _integer(values: dict[str, Any], key: str, default: int | None = None) -> int:
    value = values.get(key)
    value = default if value is None else value
    if type(value) is not int:
        raise CheckpointError(f"its config.json has no usable {key}: {str(value)[:80]}")
    return value


def _number(values: dict[str, Any], key: str, default: float | None = None) -> float:
    value: Any = values.get(key)
    value = default if value is None else value
    if type(value) not in (int, float) or not abs(value) < 1e300:
        raise CheckpointError(f"its config.json has no usable {key}: {str(value)[:80]}")
    return float(value)


def _positive(values: dict[str, Any], key: str) -> float:
    value = _number(values, key)
    if not 1e-30 < value < 1e30:
        raise CheckpointError(f"its config.json has no usable {key}: {value}")
    return value
