"""Which model a Hugging Face `config.json` describes.

Configs name the same thing in several ways; what we find is written as a catalogue entry and passes the same
rules. A config with a part that we cannot count is refused, because half a model would be priced wrongly.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from perdure.catalog.complete import LAYER_FIGURES, check_complete
from perdure.catalog.entry import Entry
from perdure.catalog.quantity import GROUP
from perdure.catalog.read import entry_of
from perdure.catalog.rules import Place
from perdure.errors import BadRequest, CatalogBroken

CONFIG_BYTES_MAX = 4 * 1024 * 1024

# Norms of queries and keys that the code has and the config does not mention.
_NORMED = ("qwen3", "olmo2", "gemma3")
_GATED = ("qwen3_next",)
_ROUTER_BIASED = ("minimax_m2", "gpt_oss", "kimi_linear")
_BIASED_EXPERTS = ("gpt_oss",)
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
    *("llama", "minimax_m2", "mistral", "mixtral", "olmo2", "phi3"),
    *("qwen2", "qwen2_5_vl", "qwen2_moe", "qwen2_vl", "qwen3", "qwen3_5", "qwen3_5_moe", "qwen3_moe"),
    *("qwen3_next", "qwen3_vl", "qwen3_vl_moe", "seed_oss", "smollm3"),
)
# Every so many layers one attends to all, where the config does not say: the defaults of transformers.
_SLIDING_PATTERN: Mapping[str, int] = {"cohere2": 4, "gemma2": 2, "gemma3": 6}
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
_LAYER_WORDS = ("full_attention", "sliding_attention", "linear_attention")

Config = Mapping[str, Any]


def read_config(path: Path, *, model_id: str | None = None) -> Entry:
    """The model in the config.json at `path`, or in the folder `path`; its id is the folder's name.

    Raises BadRequest where the file is no config, lacks a number, or has a part that we cannot count.
    """
    file = path / "config.json" if path.is_dir() else path
    name = model_id or (file.parent.name if file.name == "config.json" else file.stem)
    try:
        if file.stat().st_size > CONFIG_BYTES_MAX:
            raise BadRequest(f"{file}: larger than {CONFIG_BYTES_MAX} bytes; that is no config.json")
        config = json.loads(file.read_bytes())  # the standard parser, because configs say Infinity
    except (OSError, ValueError, RecursionError) as error:
        raise BadRequest(f"{file}: cannot be read as a Hugging Face config.json: {error}") from error
    if not isinstance(config, dict):
        raise BadRequest(f"{file}: is no Hugging Face config.json, which is one JSON object")
    return config_entry(cast("Config", config), model_id=name, file=str(file))


def config_entry(config: Config, *, model_id: str, file: str) -> Entry:
    """The model that `config` describes. A model that also sees has its text part counted."""
    text = _text_part(config)
    _refuse_uncounted(text, file)
    _refuse_unknown(_family(text), file)
    _refuse_missing(text, file)
    words, counts = config_table(config, title=model_id)
    table = {**words, GROUP: {"status": "published", "source": file, **counts}}
    place = Place(file, "models", f"models/{model_id}")
    _check_layers(text, counts, file)
    try:
        entry = entry_of(model_id.lower(), "models", table, place)
        check_complete(entry)
    except CatalogBroken as error:
        raise BadRequest(f"{file}: {_in_words_of_config(error.message)}") from error
    return entry


def config_table(config: Config, *, title: str) -> tuple[dict[str, str | bool], dict[str, int]]:
    """The words and counts of the catalogue that `config` gives; zeros are left out."""
    text = _text_part(config)
    kind = str(text.get("model_type", ""))
    layers = _int(text, "num_hidden_layers")
    counts = {
        "hidden_channels": _int(text, "hidden_size"),
        "vocabulary_tokens": _int(text, "vocab_size"),
        "window_tokens": _int(text, "max_position_embeddings"),
        "residual_streams": _int(text, "hc_mult"),
        "prediction_layers": _int(text, "num_nextn_predict_layers", "mtp_num_hidden_layers"),
        **_attention_counts(text, layers),
        **_expert_counts(text, layers),
    }
    words: dict[str, str | bool] = {
        "title": title,
        "maker": str(config.get("author") or "see config.json"),
        "tied_embeddings": bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        "query_key_norm": kind.startswith(_NORMED) or bool(text.get("use_qk_norm")),
        "output_gate": bool(text.get("attn_output_gate") or text.get("mla_use_output_gate"))
        or kind.startswith(_GATED),
        "attention_bias": bool(text.get("attention_bias")),
        "attention_sinks": kind == "gpt_oss",
        "shared_expert_gate": bool(text.get("shared_expert_intermediate_size")) or _qwen_shared(text, kind),
        "router_bias": text.get("topk_method") == "noaux_tc" or kind in _ROUTER_BIASED,
        "expert_bias": kind in _BIASED_EXPERTS,
        "linear_rule": "kimi-delta" if _table(text, "linear_attn_config") else "gated-delta",
    }
    if not (counts.get("linear_attention_layers")):
        del words["linear_rule"]
    kept = {word: value for word, value in words.items() if value or word == "tied_embeddings"}
    return kept, {name: count for name, count in counts.items() if count}


def _qwen_shared(text: Config, kind: str) -> bool:
    return kind.startswith("qwen") and _int(text, "shared_expert_intermediate_size") > 0


def _attention_counts(text: Config, layers: int) -> dict[str, int]:
    heads = _int(text, "num_attention_heads")
    counts = {"query_heads": heads, **_layer_counts(text, layers)}
    if _list(text, "compress_ratios"):
        return {**counts, **_compressed_counts(text), **_index_counts(text)}
    if counts["linear_attention_layers"]:
        counts |= _linear_counts(text)
    if counts["sliding_attention_layers"]:
        counts["sliding_window_tokens"] = _int(text, "sliding_window")
    if _int(text, "kv_lora_rank"):
        return {**counts, **_latent_counts(text), **_index_counts(text)}
    return {
        **counts,
        "kv_heads": _int(text, "num_key_value_heads") or heads,
        "head_channels": _int(text, "head_dim") or (_int(text, "hidden_size") // heads if heads else 0),
    }


def _layer_counts(text: Config, layers: int) -> dict[str, int]:
    """How many layers attend in which way."""
    if ratios := _list(text, "compress_ratios"):
        by_ratio = Counter(ratios[:layers])
        return {
            "window_only_layers": by_ratio[0],
            "light_compression_layers": by_ratio[4],
            "heavy_compression_layers": by_ratio[128],
        }
    kinds = Counter(_layer_kinds(text, layers))
    return {f"{kind}_layers": kinds[kind] for kind in _LAYER_WORDS}


def _layer_kinds(text: Config, layers: int) -> list[str]:
    if kimi := _table(text, "linear_attn_config"):
        linear = len(_list(kimi, "kda_layers"))
        return ["linear_attention"] * linear + ["full_attention"] * (layers - linear)
    if listed := _list(text, "layer_types"):
        return [str(kind) for kind in listed]
    if every := _int(text, "full_attention_interval"):
        return [
            "full_attention" if (layer + 1) % every == 0 else "linear_attention" for layer in range(layers)
        ]
    slides = _int(text, "sliding_window") and text.get("use_sliding_window", True)
    pattern = _int(text, "sliding_window_pattern") or _SLIDING_PATTERN.get(_family(text), 0)
    if slides and pattern > 0:
        return [
            "full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(layers)
        ]
    return ["sliding_attention" if slides else "full_attention"] * layers


def _linear_counts(text: Config) -> dict[str, int]:
    if kimi := _table(text, "linear_attn_config"):
        return {
            "linear_key_heads": _int(kimi, "num_heads"),
            "linear_value_heads": _int(kimi, "num_heads"),
            "linear_head_channels": _int(kimi, "head_dim"),
            "linear_convolution_tokens": _int(kimi, "short_conv_kernel_size"),
        }
    return {
        "linear_key_heads": _int(text, "linear_num_key_heads"),
        "linear_value_heads": _int(text, "linear_num_value_heads"),
        "linear_head_channels": _int(text, "linear_value_head_dim"),
        "linear_convolution_tokens": _int(text, "linear_conv_kernel_dim"),
    }


def _latent_counts(text: Config) -> dict[str, int]:
    return {
        "query_latent_channels": _int(text, "q_lora_rank"),
        "kv_latent_channels": _int(text, "kv_lora_rank"),
        "rope_channels": _int(text, "qk_rope_head_dim"),
        "nope_channels": _int(text, "qk_nope_head_dim"),
        "value_channels": _int(text, "v_head_dim"),
    }


def _compressed_counts(text: Config) -> dict[str, int]:
    """DeepSeek-V4. Its light compression is of 4 tokens, its heavy one of 128; others are refused."""
    return {
        "head_channels": _int(text, "head_dim"),
        "query_latent_channels": _int(text, "q_lora_rank"),
        "output_groups": _int(text, "o_groups"),
        "output_latent_channels": _int(text, "o_lora_rank"),
        "sliding_window_tokens": _int(text, "sliding_window"),
        "light_compression_tokens": 4,
        "heavy_compression_tokens": 128,
    }


def _index_counts(text: Config) -> dict[str, int]:
    return {
        "index_heads": _int(text, "index_n_heads"),
        "index_head_channels": _int(text, "index_head_dim"),
        "index_top_tokens": _int(text, "index_topk"),
    }


def _expert_counts(text: Config, layers: int) -> dict[str, int]:
    routed = _int(text, "num_experts", "n_routed_experts", "num_local_experts")
    if routed == 0:
        return {"feed_forward_channels": _int(text, "intermediate_size")}
    channels = _int(text, "moe_intermediate_size", "intermediate_size")
    shared = _int(text, "n_shared_experts", "num_shared_experts") * channels
    dense = _dense_layers(text, layers)
    return {
        "routed_experts": routed,
        "active_experts": _int(text, "num_experts_per_tok", "num_experts_per_token", "top_k_experts"),
        "expert_channels": channels,
        "expert_input_channels": _int(text, "routed_expert_hidden_size"),
        "shared_expert_channels": _int(text, "shared_expert_intermediate_size") or shared,
        "dense_layers": dense,
        "feed_forward_channels": _int(text, "dense_intermediate_size", "intermediate_size") if dense else 0,
    }


def _dense_layers(text: Config, layers: int) -> int:
    """Layers without experts in a model that has them: the first few, or those between."""
    if first := _int(text, "first_k_dense_replace"):
        return first
    if only := _list(text, "mlp_only_layers"):
        return len(only)
    if listed := _list(text, "moe_layer_freq"):
        return listed.count(0)
    step = _int(text, "decoder_sparse_step", "moe_layer_freq") or 1
    return layers - layers // step


def _text_part(config: Config) -> Config:
    """What is said of the text model; its family is the whole model's where it names none."""
    text = _table(config, "text_config")
    return {"model_type": config.get("model_type"), **text} if text else config


def _family(text: Config) -> str:
    return str(text.get("model_type") or "").removesuffix("_text")


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


def _in_words_of_config(message: str) -> str:
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
    if isinstance(pattern := text.get("sliding_window_pattern"), str) and not _list(text, "layer_types"):
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
    kinds = [kind for kind in _list(text, "layer_types") if kind not in _LAYER_WORDS]
    ratios = [ratio for ratio in _list(text, "compress_ratios") if ratio not in (0, 4, 128)]
    if kinds or ratios:
        raise BadRequest(
            f"{file}: layer_types: {(kinds or ratios)[0]!r} is not a kind of layer that is counted here",
            param="model",
        )


def _check_layers(text: Config, counts: Mapping[str, int], file: str) -> None:
    """Raise BadRequest where the layers by kind are not as many as the config says in all."""
    layers = _int(text, "num_hidden_layers")
    listed = sum(counts.get(name, 0) for name in LAYER_FIGURES)
    if layers != listed:
        raise BadRequest(
            f"{file}: num_hidden_layers is {layers}, but {listed} layers are described", param="model"
        )


def _list(config: Config, key: str) -> list[Any]:
    """The list that `config` gives for `key`; empty where it gives none."""
    value = config.get(key)
    return cast("list[Any]", value) if isinstance(value, list) else []


def _table(config: Config, key: str) -> Config:
    """The object that `config` gives for `key`; empty where it gives none."""
    value = config.get(key)
    return cast("Config", value) if isinstance(value, dict) else {}


def _int(config: Config, *keys: str) -> int:
    """The first of `keys` that `config` gives a number for; zero where it gives none."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0
