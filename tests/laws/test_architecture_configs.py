"""Which models a Hugging Face config.json describes, and which configs are refused with a reason."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from perdure.catalog.entry import Entry
from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.models.architecture import architecture_of
from perdure.models.hugging_face import config_entry, config_table, read_config
from perdure.models.precision import find_precision

DENSE = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
LATENT = {
    "model_type": "deepseek_v32",
    "first_k_dense_replace": 3,
    "hidden_size": 7168,
    "index_head_dim": 128,
    "index_n_heads": 64,
    "index_topk": 2048,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "topk_method": "noaux_tc",
    "v_head_dim": 128,
    "vocab_size": 129280,
}
HYBRID = {
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "qwen3_5_moe_text",
        "attn_output_gate": True,
        "head_dim": 256,
        "hidden_size": 4096,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 15,
        "linear_conv_kernel_dim": 4,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 64,
        "linear_value_head_dim": 128,
        "max_position_embeddings": 262144,
        "moe_intermediate_size": 1024,
        "mtp_num_hidden_layers": 1,
        "num_attention_heads": 32,
        "num_experts": 512,
        "num_experts_per_tok": 10,
        "num_hidden_layers": 60,
        "num_key_value_heads": 2,
        "shared_expert_intermediate_size": 1024,
        "vocab_size": 248320,
    },
}
SLIDING = {
    "model_type": "gpt_oss",
    "attention_bias": True,
    "head_dim": 64,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131072,
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "sliding_window": 128,
    "vocab_size": 201088,
}
COMPRESSED = {
    "model_type": "deepseek_v4",
    "compress_ratios": [0, 0] + [4, 128] * 20 + [4, 0],
    "hc_mult": 4,
    "head_dim": 512,
    "hidden_size": 4096,
    "index_head_dim": 128,
    "index_n_heads": 64,
    "index_topk": 512,
    "max_position_embeddings": 1048576,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 64,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 43,
    "num_nextn_predict_layers": 1,
    "o_groups": 8,
    "o_lora_rank": 1024,
    "q_lora_rank": 1024,
    "sliding_window": 128,
    "topk_method": "noaux_tc",
    "vocab_size": 129280,
}
KIMI = {
    "model_type": "kimi_linear",
    "linear_attn_config": {
        "full_attn_layers": [4, 5],
        "head_dim": 128,
        "kda_layers": [1, 2, 3],
        "num_heads": 96,
        "short_conv_kernel_size": 4,
    },
    **{key: LATENT[key] for key in ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim")},
    "first_k_dense_replace": 1,
    "hidden_size": 7168,
    "intermediate_size": 33792,
    "max_position_embeddings": 1048576,
    "mla_use_output_gate": True,
    "moe_intermediate_size": 3072,
    "num_attention_heads": 96,
    "num_experts": 896,
    "num_experts_per_token": 16,
    "num_hidden_layers": 5,
    "num_shared_experts": 2,
    "routed_expert_hidden_size": 3584,
    "v_head_dim": 128,
    "vocab_size": 163840,
}
SAME = {
    "llama-3.1-8b": DENSE,
    "deepseek-v3.2": LATENT,
    "qwen3.5-397b": HYBRID,
    "gpt-oss-20b": SLIDING,
    "deepseek-v4-flash": COMPRESSED,
}


def entry_of_config(folder: Path, config: object, name: str = "my-model") -> Entry:
    path = folder / name / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(config), encoding="utf-8")
    return read_config(path)


@pytest.mark.parametrize(("name", "config"), SAME.items(), ids=SAME)
def test_a_config_says_what_the_catalogue_says(tmp_path: Path, name: str, config: dict[str, Any]) -> None:
    """Importer and catalogue agree on every kind of layer: dense, MLA, hybrid, sliding, compressed."""
    imported = architecture_of(entry_of_config(tmp_path, config))
    known = architecture_of(load_catalog().model(name))
    assert imported.groups == known.groups
    assert imported.prediction == known.prediction
    assert imported.parameters == known.parameters
    assert imported.window_tokens == known.window_tokens


def test_a_hybrid_of_kimi_linear_is_counted(tmp_path: Path) -> None:
    """KDA layers keep a state, MLA layers 576 numbers a token; the first layer is linear and dense."""
    found = architecture_of(entry_of_config(tmp_path, KIMI))
    assert [group.count for group in found.groups] == [1, 2, 2]
    assert found.state_bytes_per_sequence == 3 * 96 * 128 * 128 * 4
    assert found.kv_bytes_per_token(find_precision("bf16")) == 2 * 576 * 2


def test_a_config_is_named_by_its_folder_and_itself_its_source(tmp_path: Path) -> None:
    """A model read from a file is called as its folder is, and every figure says which file."""
    entry = entry_of_config(tmp_path, DENSE, "My-Model-7B")
    assert entry.id == "my-model-7b"
    assert {figure.source for figure in entry.figures.values()} == {str(tmp_path / "My-Model-7B/config.json")}
    assert read_config(tmp_path / "My-Model-7B").figures.keys() == entry.figures.keys()


def test_heads_default_as_transformers_has_it() -> None:
    """Without key-value heads there are as many as query heads; a head is the hidden state's share."""
    config = {key: value for key, value in DENSE.items() if key != "num_key_value_heads"}
    _, counts = config_table(config, title="x")
    assert (counts["kv_heads"], counts["head_channels"]) == (32, 128)


def test_a_window_that_is_switched_off_is_none() -> None:
    """`use_sliding_window: false` means full attention, whatever window is written beside it."""
    _, off = config_table({**DENSE, "sliding_window": 4096, "use_sliding_window": False}, title="x")
    _, on = config_table({**DENSE, "sliding_window": 4096}, title="x")
    assert off["full_attention_layers"] == 32
    assert (on["sliding_attention_layers"], on["sliding_window_tokens"]) == (32, 4096)


@pytest.mark.parametrize(
    ("changes", "full"),
    [
        ({"model_type": "gemma3_text", "sliding_window_pattern": 6}, 5),
        ({"model_type": "gemma3_text"}, 5),
        ({"model_type": "gemma2"}, 16),
        ({"model_type": "cohere2"}, 8),
        ({"model_type": "mistral"}, 0),
    ],
)
def test_every_so_many_layers_attend_to_all(changes: dict[str, Any], full: int) -> None:
    """A pattern of 6 in 32 layers is 5 full ones and 27 that slide; families have patterns of their own."""
    _, counts = config_table({**DENSE, "sliding_window": 1024, **changes}, title="x")
    assert (counts.get("full_attention_layers", 0), counts["sliding_attention_layers"]) == (full, 32 - full)


def test_a_text_part_without_a_family_is_of_the_whole_models() -> None:
    """Gemma 3 that also sees slides 5 layers in 6, whether or not its text part repeats the name."""
    text = {key: value for key, value in DENSE.items() if key != "model_type"}
    config = {"model_type": "gemma3", "text_config": {**text, "sliding_window": 1024}}
    found = config_entry(config, model_id="any", file="config.json")
    assert found.figures["full_attention_layers"].mid == 5


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({**DENSE, "hybrid_override_pattern": "M-M*"}, "hybrid_override_pattern"),
        ({**DENSE, "layer_types": ["mamba"] * 32}, "'mamba' is not a kind of layer"),
        ({**COMPRESSED, "compress_ratios": [16] * 44}, "16 is not a kind of layer"),
        ({**LATENT, "index_topk_freq": 4}, "index_topk_freq"),
        ({**DENSE, "model_type": "gpt_neox"}, "gpt_neox has a feed-forward part"),
        ({"model_type": "llama"}, "missing: hidden_size, vocab_size, max_position_embeddings"),
        ({**LATENT, "v_head_dim": None}, "a number is missing: v_head_dim"),
        ({**DENSE, "intermediate_size": None}, "a number is missing: intermediate_size"),
        ({**DENSE, "model_type": "rwkv7"}, "'rwkv7' is not understood here.* understood are .*llama"),
        ({**DENSE, "model_type": "lfm2", "full_attn_idxs": [2, 5]}, "'lfm2' is not understood"),
        ({**DENSE, "model_type": "bert"}, "'bert' is not understood"),
        ({**DENSE, "model_type": "totally_unknown"}, "'totally_unknown' is not understood"),
        ({**DENSE, "model_type": None}, "model_type: 'missing'"),
        ({**DENSE, "sliding_window": 9, "sliding_window_pattern": "LLLG"}, "sliding_window_pattern: 'LLLG'"),
        ({**DENSE, "hidden_size": -4}, "negative"),
        ({**DENSE, "vocab_size": "many"}, "vocab_size"),
        ([1, 2], "one JSON object"),
        ("{", "one JSON object"),
    ],
)
def test_a_config_that_cannot_be_counted_is_refused(tmp_path: Path, config: object, reason: str) -> None:
    """Half a model would be priced wrongly: the file and the part that we cannot count are named."""
    with pytest.raises(BadRequest, match=reason) as refusal:
        entry_of_config(tmp_path, config)
    assert "config.json" in refusal.value.message
    assert "guesses/" not in refusal.value.message


KEYS = sorted({*DENSE, *LATENT, *HYBRID["text_config"], *SLIDING, *COMPRESSED, *KIMI, "text_config"})
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


@given(
    base=st.sampled_from([DENSE, LATENT, HYBRID["text_config"], SLIDING, COMPRESSED, KIMI]),
    changes=st.dictionaries(st.sampled_from(KEYS), values, max_size=4),
)
def test_any_config_is_counted_or_refused(base: dict[str, Any], changes: dict[str, Any]) -> None:
    """Law: whatever a config says, it is a model with a size, or BadRequest; never another error."""
    try:
        found = architecture_of(config_entry({**base, **changes}, model_id="any", file="config.json"))
    except BadRequest as refusal:
        event(refusal.message[:40])
        return
    assert found.parameters > 0
    assert found.kv_bytes(1000, find_precision("bf16")) + found.state_bytes_per_sequence > 0


def test_a_file_that_is_no_json_or_not_there_is_refused(tmp_path: Path) -> None:
    """What cannot be read is refused with its name."""
    with pytest.raises(BadRequest, match=r"nothing/config\.json: cannot be read"):
        read_config(tmp_path / "nothing" / "config.json")
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(BadRequest, match="cannot be read"):
        read_config(tmp_path)
