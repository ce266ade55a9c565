"""Which Hugging Face configs we can count, and why the others are refused."""

import re
from collections.abc import Mapping

from perdure.catalog.complete import LAYER_FIGURES
from perdure.errors import BadRequest
from perdure.models.hugging_face_fields import Config, family_of, int_of, list_of

# Parts that we do not know how to count, unless they have the value that means "absent".
_UNCOUNTED: Mapping[str, tuple[object, ...]] = {
    "hybrid_override_pattern": (None,),
    "hybrid_layer_pattern": (None,),
    "block_configs": (None,),
    "attention_chunk_size": (None,),
    "ssm_state_size": (None,),
    "mamba_d_state": (None,),
    "index_topk_freq": (None, 1),
    "index_topk_pattern": (None,),
    "interleave_moe_layer_step": (None, 1),
    "kv_layer_share_count": (None,),
    "num_kv_shared_layers": (None, 0),
    "encoder_layers": (None, 0),
    "sparse_attention_config": (None,),
    "global_head_dim": (None,),
    "num_global_key_value_heads": (None,),
    "attention_k_eq_v": (None, False),
}
# Their feed-forward part has two matrices, not three.
_UNGATED = ("bloom", "falcon", "gpt_neox", "gptj", "mpt", "nemotron", "opt", "phi", "starcoder2")
# The families whose layers are counted here, by `model_type` with the suffix `_text` taken off.
_UNDERSTOOD = (
    *("cohere2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_v4"),
    *("gemma", "gemma2", "gemma3", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "glm4v_moe", "glm_moe_dsa"),
    *("gpt_oss", "granite", "granitemoe", "internlm2", "kimi_k2", "kimi_k25", "kimi_linear"),
    *("llama", "mimo", "minimax_m2", "mistral", "mixtral", "olmo2", "phi3"),
    *("qwen2", "qwen2_5_vl", "qwen2_moe", "qwen2_vl", "qwen3", "qwen3_5", "qwen3_5_moe", "qwen3_moe"),
    *("qwen3_next", "qwen3_vl", "qwen3_vl_moe", "seed_oss", "smollm3"),
)
# How configs call what the catalogue asks for.
_CONFIG_KEYS: Mapping[str, str] = {
    "hidden_channels": "hidden_size",
    "vocabulary_tokens": "vocab_size",
    "window_tokens": "max_position_embeddings",
    "query_heads": "num_attention_heads",
    "feed_forward_channels": "intermediate_size",
    "full_attention_layers": "num_hidden_layers",
    "sliding_window_tokens": "sliding_window",
    "active_experts": "num_experts_per_tok",
    "expert_channels": "moe_intermediate_size",
    "kv_latent_channels": "kv_lora_rank",
    "rope_channels": "qk_rope_head_dim",
    "nope_channels": "qk_nope_head_dim",
    "value_channels": "v_head_dim",
    "query_latent_channels": "q_lora_rank",
    "linear_key_heads": "linear_num_key_heads",
    "linear_value_heads": "linear_num_value_heads",
    "linear_head_channels": "linear_value_head_dim",
    "index_heads": "index_n_heads",
    "index_head_channels": "index_head_dim",
    "index_top_tokens": "index_topk",
    "output_groups": "o_groups",
    "output_latent_channels": "o_lora_rank",
}
_NEEDED = ("hidden_channels", "vocabulary_tokens", "window_tokens", "query_heads", "full_attention_layers")
LAYER_WORDS = ("full_attention", "sliding_attention", "linear_attention")


def refuse_uncountable(text: Config, file: str) -> None:
    """Raise BadRequest where a model has a part, a family or a lack that would make its count wrong."""
    _refuse_uncounted(text, file)
    _refuse_unknown(family_of(text), file)
    _refuse_missing(text, file)


def check_layers(text: Config, counts: Mapping[str, int], file: str) -> None:
    """Raise BadRequest where the layers by kind are not as many as the config says in all."""
    layers = int_of(text, "num_hidden_layers")
    listed = sum(counts.get(name, 0) for name in LAYER_FIGURES)
    if layers != listed:
        raise BadRequest(
            f"{file}: num_hidden_layers is {layers}, but {listed} layers are described", param="model"
        )


def _refuse_unknown(family: str, file: str) -> None:
    if family not in _UNDERSTOOD:
        raise BadRequest(
            f"{file}: model_type: {family or 'missing'!r} is not understood here, and the model would be "
            f"priced wrongly; understood are {', '.join(_UNDERSTOOD)}",
            param="model",
        )


def _refuse_missing(text: Config, file: str) -> None:
    missing = [_CONFIG_KEYS[name] for name in _NEEDED if _CONFIG_KEYS[name] not in text]
    if missing:
        raise BadRequest(
            f"{file}: a number is missing: {', '.join(missing)}; take the whole config.json of the model",
            param="model",
        )


def in_words_of_config(message: str) -> str:
    """What the catalogue says is wrong, with the key that the config has for it."""
    named = [(name, key) for name, key in _CONFIG_KEYS.items() if re.search(rf"\b{name}\b", message)]
    if "missing" in message and named:
        return f"a number is missing: {named[0][1]}; take the whole config.json of the model"
    keys = "".join(f" ({name} is {key} in the config)" for name, key in named[:1])
    return f"a number is missing or makes no sense: {message}{keys}"


def _refuse_uncounted(text: Config, file: str) -> None:
    if text.get("model_type") in _UNGATED:
        raise BadRequest(
            f"{file}: model_type: {text['model_type']} has a feed-forward part that is not counted here",
            param="model",
        )
    if isinstance(pattern := text.get("sliding_window_pattern"), str) and not list_of(text, "layer_types"):
        raise BadRequest(
            f"{file}: sliding_window_pattern: {pattern!r} is not read here; write layer_types instead",
            param="model",
        )
    for key, absent in _UNCOUNTED.items():
        if text.get(key) not in absent:
            raise BadRequest(
                f"{file}: {key}: this kind of layer is not counted here, and the model would be priced "
                "wrongly; take a relative from perdure catalog models",
                param="model",
            )
    kinds = [kind for kind in list_of(text, "layer_types") if kind not in LAYER_WORDS]
    ratios = [ratio for ratio in list_of(text, "compress_ratios") if ratio not in (0, 4, 128)]
    if kinds or ratios:
        raise BadRequest(
            f"{file}: layer_types: {(kinds or ratios)[0]!r} is not a kind of layer that is counted here",
            param="model",
        )
