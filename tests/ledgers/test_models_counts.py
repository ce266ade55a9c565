"""Parameters, bytes and operations of known models, against their makers' numbers and counts on paper."""

import pytest

from perdure.catalog.load import load_catalog
from perdure.models.architecture import Architecture, architecture_of
from perdure.models.cost import decode_work, memory_bytes_per_chip, prefill_work, touched_experts
from perdure.models.precision import PRECISIONS, file_precision, find_precision

BF16 = PRECISIONS["bf16"]


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
    assert qwen.weight_bytes(BF16) == pytest.approx(4_892_388_705_238, rel=1e-5)
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


def test_a_decode_step_reads_every_weight_once() -> None:
    """Ledger: with nothing cached, decode moves the weights without the table that only looks tokens up."""
    for name, parameters in (
        ("smollm2-135m", 134_515_008),  # tied: the table is also the head
        ("qwen3-32b", 32_762_123_264 - 151_936 * 5120),
    ):
        work = decode_work(model(name), BF16, context_tokens=0)
        moved_bytes = sum(operation.bytes_moved * operation.repeats for operation in work.operations)
        assert moved_bytes == pytest.approx(2 * parameters, rel=1e-12)


def test_a_decode_step_reads_the_cache_once() -> None:
    """Ledger: each token of context adds 262,144 bytes to a step of Qwen3-32B."""
    qwen = model("qwen3-32b")
    with_cache, without = (
        sum(op.bytes_moved * op.repeats for op in decode_work(qwen, BF16, context_tokens=tokens).operations)
        for tokens in (1000, 0)
    )
    assert with_cache - without == pytest.approx(1000 * 262_144)


def test_prefill_flops() -> None:
    """Ledger: 2 per weight and token, the head's for one token; 4 per head channel and pair of tokens."""
    smol = model("smollm2-135m")
    head = 49_152 * 576 + 576
    pairs = 100 * 50 + 100 * 101 / 2  # 100 new tokens see 50 cached ones, those before, and themselves
    expected = 2 * 100 * (134_515_008 - head) + 2 * head + 30 * 4 * pairs * 9 * 64
    work = prefill_work(smol, BF16, new_tokens=100, cached_tokens=50)
    assert sum(op.flops * op.repeats for op in work.operations) == pytest.approx(expected, rel=1e-12)


def test_experts_that_tokens_touch() -> None:
    """Ledger: one token meets its 10 of 512; two meet 512 * (1 - (502/512)^2); many meet all."""
    qwen = model("qwen3.8-2.4t-a95b")
    assert touched_experts(qwen, 1) == pytest.approx(10)
    assert touched_experts(qwen, 2) == pytest.approx(512 * (1 - (502 / 512) ** 2))
    assert touched_experts(qwen, 100_000) == pytest.approx(512)
    assert touched_experts(model("qwen3-32b"), 5) == 0


def test_memory_of_one_instance() -> None:
    """Ledger: weights and the cache of one sequence; a KV head is copied where chips outnumber heads."""
    qwen = model("qwen3-32b")
    alone = memory_bytes_per_chip(qwen, BF16, context_tokens=1000)
    assert alone == 2 * 32_762_123_264 + 1000 * 262_144
    split = memory_bytes_per_chip(qwen, BF16, context_tokens=1000, chips=16)
    assert split == 2 * 32_762_123_264 / 16 + 1000 * 262_144 / 8


def test_mxfp4_experts_take_four_and_a_quarter_bits() -> None:
    """Ledger: 32 four-bit numbers and one scale byte; the rest of the model stays at one byte."""
    qwen = model("qwen3.8-2.4t-a95b")
    expected = qwen.dense_parameters + qwen.routed_parameters * 4.25 / 8
    assert qwen.weight_bytes(find_precision("mxfp4-fp8")) == pytest.approx(expected)


def test_a_file_precision_spreads_the_file_over_the_weights() -> None:
    """Ledger: the GGUF of 98,362,432 bytes is read whole by a decode step of a tied model."""
    smol = model("smollm2-135m")
    precision = file_precision(file_bytes=98_362_432, parameters=smol.parameters)
    work = decode_work(smol, precision, context_tokens=0)
    assert sum(op.bytes_moved * op.repeats for op in work.operations) == pytest.approx(98_362_432)
