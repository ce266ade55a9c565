"""Families that a config.json describes by what it leaves out: biases and windows of Qwen2 and its kin."""

from typing import Any

import pytest

from perdure.catalog.figure import Figure
from perdure.models.architecture import architecture_of
from perdure.models.hugging_face import config_entry

QWEN2_7B: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 152064,
}


def figures(**changes: Any) -> dict[str, Figure]:
    """What is read of Qwen2-7B with `changes`."""
    return dict(config_entry({**QWEN2_7B, **changes}, model_id="m", file="m").figures)


def parameters(**changes: Any) -> int:
    """How many numbers it has."""
    return architecture_of(config_entry({**QWEN2_7B, **changes}, model_id="m", file="m")).parameters


def test_qwen2_has_biases_that_its_config_does_not_mention() -> None:
    """Ledger: Qwen2-7B has 7,615,616,512 parameters, 28 * (3584 + 2 * 512) of them biases."""
    assert parameters() == 7_615_616_512
    unbiased = 2 * 152064 * 3584 + 28 * (2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944 + 2 * 3584) + 3584
    assert parameters() == unbiased + 28 * (3584 + 2 * 512)


def test_an_attention_bias_is_of_both_matrices_but_where_the_family_has_one() -> None:
    """Ledger: Llama's is of the output too; Seed-OSS has one of queries, keys and values alone."""
    made, out = 28 * (3584 + 2 * 512), 28 * 3584
    plain = parameters(model_type="llama")
    assert parameters(model_type="llama", attention_bias=True) == plain + made + out
    assert parameters(model_type="seed_oss", attention_bias=True) == plain + made


@pytest.mark.parametrize(
    ("changes", "full", "sliding"),
    [
        ({}, 28, 0),
        ({"use_sliding_window": True, "max_window_layers": 20, "sliding_window": 4096}, 20, 8),
        ({"use_sliding_window": True, "max_window_layers": 0, "sliding_window": 4096}, 0, 28),
        ({"model_type": "mistral", "sliding_window": None}, 28, 0),
    ],
)
def test_layers_of_qwen2_slide_from_the_one_that_the_config_names(
    changes: dict[str, Any], full: int, sliding: int
) -> None:
    """Ledger: the first `max_window_layers` attend to all, and all of them where windows are off."""
    found = figures(**changes)
    assert (found["full_attention_layers"].mid if "full_attention_layers" in found else 0) == full
    assert (found["sliding_attention_layers"].mid if sliding else 0) == sliding
