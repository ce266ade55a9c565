"""Which model a Hugging Face `config.json` describes.

Configs name the same thing in several ways; what we find is written as a catalogue entry and passes the same
rules. A config with a part that we cannot count is refused, because half a model would be priced wrongly.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from perdure.catalog.complete import check_complete
from perdure.catalog.entry import Entry
from perdure.catalog.quantity import GROUP
from perdure.catalog.read import entry_of
from perdure.catalog.rules import Place
from perdure.errors import BadRequest, CatalogBroken
from perdure.models.hugging_face_fields import Config, family_of, int_of, list_of, table_of, text_part
from perdure.models.hugging_face_refusals import (
    LAYER_WORDS,
    check_layers,
    in_words_of_config,
    refuse_uncountable,
)

CONFIG_BYTES_MAX = 4 * 1024 * 1024

# Norms of queries and keys that the code has and the config does not mention.
_NORMED = ("qwen3", "olmo2", "gemma3")
_GATED = ("qwen3_next",)
_ROUTER_BIASED = ("minimax_m2", "gpt_oss", "kimi_linear")
_BIASED_EXPERTS = ("gpt_oss",)
# Their queries, keys and values have biases, and what brings the heads together has none: Qwen2 always, the
# others where the config says `attention_bias` (transformers, modeling_*.py).
_QUERY_BIASED_ALWAYS = ("qwen2",)
_QUERY_BIASED = ("glm", "glm4", "glm4_moe", "glm4_moe_lite", "glm4v_moe", "mimo", "seed_oss")
# They slide only where the config says so, and from `max_window_layers` on (transformers, Qwen2Config).
_SLIDE_WHEN_TOLD = ("mimo", "qwen2", "qwen3")
# Every so many layers one attends to all, where the config does not say: the defaults of transformers.
_SLIDING_PATTERN: Mapping[str, int] = {"cohere2": 4, "gemma2": 2, "gemma3": 6}


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
    text = text_part(config)
    refuse_uncountable(text, file)
    words, counts = config_table(config, title=model_id)
    table = {**words, GROUP: {"status": "published", "source": file, **counts}}
    place = Place(file, "models", f"models/{model_id}")
    check_layers(text, counts, file)
    try:
        entry = entry_of(model_id.lower(), "models", table, place)
        check_complete(entry)
    except CatalogBroken as error:
        raise BadRequest(f"{file}: {in_words_of_config(error.message)}") from error
    return entry


def config_table(config: Config, *, title: str) -> tuple[dict[str, str | bool], dict[str, int]]:
    """The words and counts of the catalogue that `config` gives; zeros are left out."""
    text = text_part(config)
    kind = str(text.get("model_type", ""))
    layers = int_of(text, "num_hidden_layers")
    counts = {
        "hidden_channels": int_of(text, "hidden_size"),
        "vocabulary_tokens": int_of(text, "vocab_size"),
        "window_tokens": int_of(text, "max_position_embeddings"),
        "residual_streams": int_of(text, "hc_mult"),
        "prediction_layers": int_of(text, "num_nextn_predict_layers", "mtp_num_hidden_layers"),
        **_attention_counts(text, layers),
        **_expert_counts(text, layers),
    }
    words: dict[str, str | bool] = {
        "title": title,
        "maker": str(config.get("author") or "see config.json"),
        "tied_embeddings": bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        "query_key_norm": kind.startswith(_NORMED) or bool(text.get("use_qk_norm")),
        "query_key_norm_joint": bool(text.get("use_qk_norm")) and text.get("qk_norm_type") == "per_layer",
        "output_gate": bool(text.get("attn_output_gate") or text.get("mla_use_output_gate"))
        or kind.startswith(_GATED),
        **_biases(text),
        "attention_sinks": kind == "gpt_oss",
        "shared_expert_gate": bool(text.get("shared_expert_intermediate_size")) or _qwen_shared(text, kind),
        "router_bias": text.get("topk_method") == "noaux_tc" or kind in _ROUTER_BIASED,
        "expert_bias": kind in _BIASED_EXPERTS,
        "linear_rule": "kimi-delta" if table_of(text, "linear_attn_config") else "gated-delta",
    }
    if not (counts.get("linear_attention_layers")):
        del words["linear_rule"]
    kept = {word: value for word, value in words.items() if value or word == "tied_embeddings"}
    return kept, {name: count for name, count in counts.items() if count}


def _biases(text: Config) -> dict[str, str | bool]:
    """Whether both matrices of attention have biases, or the first one alone."""
    family, told = family_of(text), bool(text.get("attention_bias"))
    first = family.startswith(_QUERY_BIASED_ALWAYS) or (told and family in _QUERY_BIASED)
    return {"query_bias": first, "attention_bias": told and not first}


def _qwen_shared(text: Config, kind: str) -> bool:
    return kind.startswith("qwen") and int_of(text, "shared_expert_intermediate_size") > 0


def _attention_counts(text: Config, layers: int) -> dict[str, int]:
    heads = int_of(text, "num_attention_heads")
    counts = {"query_heads": heads, **_layer_counts(text, layers)}
    if list_of(text, "compress_ratios"):
        return {**counts, **_compressed_counts(text), **_index_counts(text)}
    if counts["linear_attention_layers"]:
        counts |= _linear_counts(text)
    if counts["sliding_attention_layers"]:
        counts["sliding_window_tokens"] = int_of(text, "sliding_window")
    if int_of(text, "kv_lora_rank"):
        return {**counts, **_latent_counts(text), **_index_counts(text)}
    return {
        **counts,
        "kv_heads": int_of(text, "num_key_value_heads") or heads,
        "head_channels": int_of(text, "head_dim") or (int_of(text, "hidden_size") // heads if heads else 0),
    }


def _layer_counts(text: Config, layers: int) -> dict[str, int]:
    """How many layers attend in which way."""
    if ratios := list_of(text, "compress_ratios"):
        by_ratio = Counter(ratios[:layers])
        return {
            "window_only_layers": by_ratio[0],
            "light_compression_layers": by_ratio[4],
            "heavy_compression_layers": by_ratio[128],
        }
    kinds = Counter(_layer_kinds(text, layers))
    return {f"{kind}_layers": kinds[kind] for kind in LAYER_WORDS}


def _layer_kinds(text: Config, layers: int) -> list[str]:
    if kimi := table_of(text, "linear_attn_config"):
        linear = len(list_of(kimi, "kda_layers"))
        return ["linear_attention"] * linear + ["full_attention"] * (layers - linear)
    if listed := list_of(text, "layer_types"):
        return [str(kind) for kind in listed]
    if every := int_of(text, "full_attention_interval"):
        return [
            "full_attention" if (layer + 1) % every == 0 else "linear_attention" for layer in range(layers)
        ]
    told = family_of(text).startswith(_SLIDE_WHEN_TOLD)
    slides = int_of(text, "sliding_window") and text.get("use_sliding_window", not told)
    if slides and told:
        full = min(int_of(text, "max_window_layers"), layers)
        return ["full_attention"] * full + ["sliding_attention"] * (layers - full)
    pattern = int_of(text, "sliding_window_pattern") or _SLIDING_PATTERN.get(family_of(text), 0)
    if slides and pattern > 0:
        return [
            "full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(layers)
        ]
    return ["sliding_attention" if slides else "full_attention"] * layers


def _linear_counts(text: Config) -> dict[str, int]:
    if kimi := table_of(text, "linear_attn_config"):
        return {
            "linear_key_heads": int_of(kimi, "num_heads"),
            "linear_value_heads": int_of(kimi, "num_heads"),
            "linear_head_channels": int_of(kimi, "head_dim"),
            "linear_convolution_tokens": int_of(kimi, "short_conv_kernel_size"),
        }
    return {
        "linear_key_heads": int_of(text, "linear_num_key_heads"),
        "linear_value_heads": int_of(text, "linear_num_value_heads"),
        "linear_head_channels": int_of(text, "linear_value_head_dim"),
        "linear_convolution_tokens": int_of(text, "linear_conv_kernel_dim"),
    }


def _latent_counts(text: Config) -> dict[str, int]:
    return {
        "query_latent_channels": int_of(text, "q_lora_rank"),
        "kv_latent_channels": int_of(text, "kv_lora_rank"),
        "rope_channels": int_of(text, "qk_rope_head_dim"),
        "nope_channels": int_of(text, "qk_nope_head_dim"),
        "value_channels": int_of(text, "v_head_dim"),
    }


def _compressed_counts(text: Config) -> dict[str, int]:
    """DeepSeek-V4. Its light compression is of 4 tokens, its heavy one of 128; others are refused."""
    return {
        "head_channels": int_of(text, "head_dim"),
        "query_latent_channels": int_of(text, "q_lora_rank"),
        "output_groups": int_of(text, "o_groups"),
        "output_latent_channels": int_of(text, "o_lora_rank"),
        "sliding_window_tokens": int_of(text, "sliding_window"),
        "light_compression_tokens": 4,
        "heavy_compression_tokens": 128,
    }


def _index_counts(text: Config) -> dict[str, int]:
    return {
        "index_heads": int_of(text, "index_n_heads"),
        "index_head_channels": int_of(text, "index_head_dim"),
        "index_top_tokens": int_of(text, "index_topk"),
    }


def _expert_counts(text: Config, layers: int) -> dict[str, int]:
    routed = int_of(text, "num_experts", "n_routed_experts", "num_local_experts")
    if routed == 0:
        return {"feed_forward_channels": int_of(text, "intermediate_size")}
    channels = int_of(text, "moe_intermediate_size", "intermediate_size")
    shared = int_of(text, "n_shared_experts", "num_shared_experts") * channels
    dense = _dense_layers(text, layers)
    return {
        "routed_experts": routed,
        "active_experts": int_of(text, "num_experts_per_tok", "num_experts_per_token", "top_k_experts"),
        "expert_channels": channels,
        "expert_input_channels": int_of(text, "routed_expert_hidden_size"),
        "shared_expert_channels": int_of(text, "shared_expert_intermediate_size") or shared,
        "dense_layers": dense,
        "feed_forward_channels": int_of(text, "dense_intermediate_size", "intermediate_size") if dense else 0,
    }


def _dense_layers(text: Config, layers: int) -> int:
    """Layers without experts in a model that has them: the first few, or those between."""
    if first := int_of(text, "first_k_dense_replace"):
        return first
    if only := list_of(text, "mlp_only_layers"):
        return len(only)
    if listed := list_of(text, "moe_layer_freq"):
        return listed.count(0)
    step = int_of(text, "decoder_sparse_step", "moe_layer_freq") or 1
    return layers - layers // step
