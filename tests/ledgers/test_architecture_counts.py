"""Parameters, cached bytes and states of every model of the catalogue, against makers and counts on paper."""

import pytest

from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.models.architecture import Architecture, architecture_of
from perdure.models.architecture_attention import CompressedAttention, GroupedQueryAttention, LatentAttention
from perdure.models.architecture_feed_forward import Experts
from perdure.models.precision import find_precision

BF16 = find_precision("bf16")
CATALOG = load_catalog()


def model(name: str) -> Architecture:
    return architecture_of(CATALOG.model(name))


def run_parameters(name: str) -> int:
    """Those that run: draft layers left out, as makers count."""
    found = model(name)
    drafts = found.prediction
    routed = drafts.count * drafts.feed_forward.routed_parameters(found.hidden_channels) if drafts else 0
    return found.parameters - found.prediction_parameters - routed


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # What the checkpoints hold; 0.6B and 1.7B with the table counted once, for it is also the head.
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.1-70b", 70_553_706_496),
        ("qwen3-0.6b", 596_049_920),
        ("qwen3-1.7b", 1_720_574_976),
        ("qwen3-8b", 8_190_735_360),
        ("qwen3-235b", 235_093_634_560),
        ("qwen3-coder-480b", 480_154_875_392),
        # The 671 B of its paper: 61 layers, without the draft layer that follows them in the checkpoint.
        ("deepseek-v3", 671_026_419_200),
        # Model cards of gpt-oss: 116.83 B and 20.91 B.
        ("gpt-oss-120b", 116_829_156_672),
        ("gpt-oss-20b", 20_914_757_184),
    ],
)
def test_parameters_to_the_last_one(name: str, parameters: int) -> None:
    """Ledger: shapes from config.json add up to what the maker's checkpoint holds."""
    assert run_parameters(name) == parameters


@pytest.mark.parametrize(
    ("name", "billions", "active_billions"),
    [
        ("deepseek-v3", 671, 37),
        ("deepseek-v4-flash", 284, 13),
        ("deepseek-v4-pro", 1600, 49),
        ("glm-5", 744, 40),
        ("kimi-k2.5", 1030, 32),
        ("minimax-m2.5", 229, 10),
        ("qwen3.5-397b", 397, 17),
        ("qwen3.5-122b", 122, 10),
        ("qwen3.5-27b", 27, 27),
    ],
)
def test_parameters_are_those_in_the_name(name: str, billions: float, active_billions: float) -> None:
    """Ledger: within 2 % of what the maker says in all, and near what it says is active.

    Makers leave the table of tokens out of the active ones; it is in ours.
    """
    found = model(name)
    assert run_parameters(name) == pytest.approx(billions * 1e9, rel=0.02)
    without_table = found.active_parameters - found.embedding_parameters
    assert active_billions * 0.9e9 < without_table < active_billions * 1.06e9


def test_one_mla_layer_of_deepseek_v3() -> None:
    """Ledger: 7168 x (1536 + 512 + 64), 1536 x 128 x 192, 512 x 128 x 256, 128 x 128 x 7168; three norms."""
    first = model("deepseek-v3").groups[0]
    assert isinstance(first.attention, LatentAttention)
    matrices = 7168 * 2112 + 1536 * 24_576 + 512 * 32_768 + 16_384 * 7168
    assert first.attention_parameters(7168) == matrices + 1536 + 512 + 7168
    assert first.count == 3
    assert first.feed_forward.always_on_parameters(7168) == 3 * 7168 * 18_432


@pytest.mark.parametrize(
    ("name", "kv_bytes"),
    [
        ("deepseek-v3", 70_272),  # 61 layers x (512 + 64) x 2 bytes
        ("deepseek-r1", 70_272),
        ("kimi-k2.5", 70_272),
        ("deepseek-v3.2", 70_272 + 61 * 132),  # and an index key of 128 FP8 numbers and a scale
        ("glm-5", 89_856 + 78 * 132),
        ("kimi-k3", 24 * 576 * 2),
        ("qwen3-32b", 262_144),  # 2 x 64 layers x 8 heads x 128 x 2 bytes
        ("qwen3-235b", 192_512),
        ("qwen3-coder-480b", 253_952),
        ("minimax-m2.5", 253_952),
        ("llama-3.1-70b", 327_680),
        ("qwen3.5-397b", 30_720),
        ("gpt-oss-120b", 36_864),  # 18 full layers; the 18 with a window of 128 add nothing beyond it
        ("gpt-oss-20b", 24_576),
    ],
)
def test_kv_bytes_of_one_more_token(name: str, kv_bytes: int) -> None:
    """Ledger: what one more token of a long context keeps in BF16, layer by layer."""
    assert model(name).kv_bytes_per_token(BF16) == pytest.approx(kv_bytes, rel=1e-9)


def test_a_sliding_window_keeps_its_tokens_and_no_more() -> None:
    """Ledger: gpt-oss-120b keeps 73,728 B a token up to 128 tokens, and half of that for each after them."""
    found = model("gpt-oss-120b")
    assert found.kv_bytes(100, BF16) == 100 * 73_728
    assert found.kv_bytes(1000, BF16) == 1000 * 36_864 + 128 * 36_864
    sliding = next(group.attention for group in found.groups if group.attention.attends(1e6) == 128)
    assert isinstance(sliding, GroupedQueryAttention)


def test_an_indexer_lets_a_query_meet_2048_tokens() -> None:
    """Ledger: DSA of DeepSeek-V3.2 attends to all of a short context and to 2,048 tokens of a long one."""
    attention = model("deepseek-v3.2").groups[0].attention
    assert attention.attends(1000) == 1000
    assert attention.attends(100_000) == 2048


def test_compressed_layers_keep_one_entry_for_four_or_128_tokens() -> None:
    """Ledger: DeepSeek-V4-Flash is 2 layers of window only, 20 of 128 and 21 of 4; 512 channels an entry.

    At 128,000 tokens: 43 x 128 in windows, 20 x 1,000 and 21 x 32,000 entries of 512 numbers, and an index
    key of 68 bytes with each of the latter: 128 four-bit numbers and a scale for every 32.
    """
    found = model("deepseek-v4-flash")
    counts = {
        group.attention.compression_tokens: group.count
        for group in found.groups
        if isinstance(group.attention, CompressedAttention)
    }
    assert counts == {None: 2, 128: 20, 4: 21}
    entries = 43 * 128 + 20 * 1000 + 21 * 32_000
    assert found.kv_bytes(128_000, BF16) == pytest.approx(entries * 512 * 2 + 21 * 32_000 * 68)
    light = next(group.attention for group in found.groups if group.attention.attends(1e6) == 128 + 512)
    assert isinstance(light, CompressedAttention)
    assert light.compression_tokens == 4


@pytest.mark.parametrize(
    ("name", "state_bytes"),
    [
        ("qwen3-next-80b", 75_497_472),  # 36 layers x 32 heads x 128 x 128 x 4 bytes
        ("qwen3.5-27b", 150_994_944),
        ("qwen3.5-35b", 62_914_560),
        ("qwen3.5-122b", 150_994_944),
        ("qwen3.5-397b", 188_743_680),
        ("kimi-k3", 69 * 96 * 128 * 128 * 4),
        ("qwen3-32b", 0),
    ],
)
def test_state_bytes_of_one_sequence(name: str, state_bytes: int) -> None:
    """Ledger: linear layers x value heads x channels squared x 4 bytes, whatever the context."""
    assert model(name).state_bytes_per_sequence == state_bytes


def test_a_snapshot_costs_as_much_as_thousands_of_tokens() -> None:
    """Ledger: the state of Qwen3.5-397B weighs as much as 6,144 tokens of its keys and values."""
    found = model("qwen3.5-397b")
    assert found.state_bytes_per_sequence / found.kv_bytes_per_token(BF16) == 6144


def test_experts_of_kimi_k3_see_half_of_the_channels() -> None:
    """Ledger: 3 x 3584 x 3072 parameters an expert, 896 of them in each of 92 layers, 2.72 T in all."""
    found = model("kimi-k3")
    assert found.routed_parameters == 92 * 896 * 3 * 3584 * 3072
    block = found.groups[-1].feed_forward
    assert isinstance(block, Experts)
    assert [(m.inputs, m.outputs) for m in block.expert_matrices(7168)] == [(3584, 6144), (3072, 3584)]


def test_dense_layers_come_first() -> None:
    """GLM-5 has 3 dense layers of 78, Kimi-K3 one, which is linear; Qwen3-235B has none."""
    dense = {
        name: sum(group.count for group in model(name).groups if not isinstance(group.feed_forward, Experts))
        for name in ("glm-5", "kimi-k3", "qwen3-235b", "deepseek-v4-pro")
    }
    assert dense == {"glm-5": 3, "kimi-k3": 1, "qwen3-235b": 0, "deepseek-v4-pro": 0}
    assert model("kimi-k3").groups[0].attention.kv_parts_max == 96


@pytest.mark.parametrize("name", [n for n, e in CATALOG.entries["models"].items() if not e.text("stand_in")])
def test_matrices_and_vectors_are_all_there_is(name: str) -> None:
    """The parts that a price is made of add up to the parameters that a memory plan is made of."""
    found = model(name)
    hidden = found.hidden_channels
    layers = sum(
        group.count * (group.attention_parameters(hidden) + group.always_on_parameters(hidden))
        for group in found.groups
    )
    tables = found.embedding_parameters * (1 if found.tied_embeddings else 2)
    known = layers + tables + hidden + found.prediction_parameters + found.routed_parameters
    mixing = found.parameters - known
    assert mixing == 0 if found.residual_streams == 1 else 0 < mixing < 0.001 * found.parameters


def test_a_model_of_its_maker_alone_stands_on_its_stand_in() -> None:
    """Qwen3.7-Max has a window and prices but no shape; asked for one, the stand-in is named."""
    served = CATALOG.model("qwen3.7-max")
    assert served.figure("window_tokens").mid == 1_000_000
    assert served.parts["international"].figure("input_usd_per_mtok").mid == 2.5
    with pytest.raises(BadRequest, match=r"its stand-in, qwen3\.8-2\.4t-a95b"):
        architecture_of(served)
    stand_in = CATALOG.stand_in(served)
    assert stand_in.short_id == "qwen3.8-2.4t"
    assert stand_in.text("stands_in_for") == served.title
    assert CATALOG.stand_in(stand_in) is stand_in
