"""Parameters and bytes of known models, against their makers' numbers and counts on paper."""

import pytest

from perdure.catalog.load import load_catalog
from perdure.models.architecture import Architecture, architecture_of
from perdure.models.memory import model_bytes
from perdure.models.precision import PRECISIONS, find_precision

BF16 = PRECISIONS["bf16"]
MODELS = load_catalog().entries["models"]


def model(name: str) -> Architecture:
    return architecture_of(load_catalog().model(name))


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        # 49152*576 + 30*(2*576*576 + 2*576*192 + 3*576*1536 + 2*576) + 576
        (model("smollm2-135m"), 134_515_008),
        # 2*151936*5120 + 64*(2*5120*8192 + 2*5120*1024 + 3*5120*25600 + 2*5120 + 2*128) + 5120
        (model("qwen3-32b"), 32_762_123_264),
        # The 30.5 B of its model card.
        (model("qwen3-30b-a3b"), 30_532_122_624),
        # The 79.7 B that public tools report of its checkpoint without the draft layer.
        (model("qwen3-next-80b-a3b"), 79_674_391_296),
    ],
    ids=lambda value: value.name if isinstance(value, Architecture) else "",
)
def test_parameters_are_those_of_the_maker(architecture: Architecture, parameters: int) -> None:
    """Ledger: layer shapes from config.json, added up by hand, give the published size."""
    assert architecture.parameters == parameters


def test_the_2_4t_model_weighs_what_its_checkpoint_says() -> None:
    """Ledger: the index of the BF16 checkpoint says 4,892,388,705,238 bytes; the name says 95 B active."""
    qwen = model("qwen3.8-2.4t-a95b")
    assert model_bytes(qwen, BF16) == pytest.approx(4_892_388_705_238, rel=1e-5)
    assert qwen.active_parameters == pytest.approx(95e9, rel=0.01)
    assert qwen.layers == 92


def test_a_dense_model_is_all_active() -> None:
    """Ledger: without experts every parameter is met by every token."""
    assert model("qwen3-32b").active_parameters == model("qwen3-32b").parameters
    assert model("qwen3-30b-a3b").active_parameters == pytest.approx(3.3e9, rel=0.02)


@pytest.mark.parametrize(
    ("name", "kv_bytes"),
    [
        ("smollm2-135m", 23_040),  # 2 * 30 layers * 3 heads * 64 channels * 2 bytes
        ("qwen3-32b", 262_144),  # 2 * 64 * 8 * 128 * 2
        ("qwen3.8-2.4t-a95b", 94_208),  # 2 * 23 full-attention layers * 4 * 256 * 2
    ],
)
def test_kv_bytes_per_token(name: str, kv_bytes: int) -> None:
    """Ledger: keys and values, layers, KV heads, channels of a head, two bytes."""
    assert model(name).kv_bytes_per_token(BF16) == kv_bytes


def test_linear_state_bytes_per_sequence() -> None:
    """Ledger: 36 layers * 32 heads * 128 * 128 * 4 bytes = 75,497,472 for Qwen3-Next; no KV grows in them."""
    assert model("qwen3-next-80b-a3b").state_bytes_per_sequence == 75_497_472
    assert model("qwen3-next-80b-a3b").kv_bytes_per_token(BF16) == 24_576
    assert model("qwen3.8-2.4t-a95b").state_bytes_per_sequence == 69 * 128 * 128 * 128 * 4


def test_mxfp4_experts_take_four_and_a_quarter_bits() -> None:
    """Ledger: 32 four-bit numbers and a scale byte; tables of words in BF16; the rest at a byte or two."""
    qwen = model("qwen3.8-2.4t-a95b")
    expected = qwen.dense_parameters + qwen.routed_parameters * 4.25 / 8 + 2 * 248_320 * 8192
    assert model_bytes(qwen, find_precision("mxfp4-fp8")) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", [n for n, e in MODELS.items() if not e.text("stand_in")])
def test_in_bf16_every_parameter_takes_two_bytes(name: str) -> None:
    """Ledger: memory is reckoned with all that the parameters add up to, draft layers and norms among it."""
    assert model_bytes(model(name), BF16) == 2 * model(name).parameters
