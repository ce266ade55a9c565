"""FLOPs and bytes that a batch makes a chip do, against counts on paper."""

import pytest

from perdure.catalog.load import load_catalog
from perdure.models.architecture import architecture_of
from perdure.models.architecture_feed_forward import Experts as LayerExperts
from perdure.models.batch import Batch, Decode, Prefill, Span
from perdure.models.operations import Lowering
from perdure.models.operations_feed_forward import ranks_met
from perdure.models.parallel import Parallel
from perdure.models.precision import file_precision, find_precision
from perdure.silicon.ranks import busiest
from perdure.silicon.roofline import Operation
from perdure.silicon.shapes import Attention, Elementwise, Experts, Gemm, Message


def lowering(name: str, precision: str = "bf16", *, kv: str = "bf16", **degrees: int) -> Lowering:
    return Lowering(
        model=architecture_of(load_catalog().model(name)),
        precision=find_precision(precision, kv=kv),
        parallel=Parallel(**degrees),
    )


def operations(lowered: Lowering, batch: Batch) -> list[Operation]:
    return lowered.operations(lowered.sums(batch))


def one_decode(context_tokens: float = 1000, count: int = 1, draft_tokens: int = 0) -> Batch:
    return Batch(decodes=(Decode(context_tokens=context_tokens, count=count, draft_tokens=draft_tokens),))


def one_prefill(new_tokens: int, cached_tokens: int = 0, count: int = 1) -> Batch:
    return Batch(prefills=(Prefill(new_tokens=new_tokens, cached_tokens=cached_tokens, count=count),))


def weight_bytes_read(found: list[Operation]) -> float:
    """Bytes of matrices and of experts that are met."""
    total = 0.0
    for operation in found:
        shape = operation.shape
        if isinstance(shape, Gemm):
            total += shape.held_bytes * operation.repeats
        if isinstance(shape, Experts):
            total += shape.touched * shape.expert_weights * shape.weight_bytes * operation.repeats
            total += beside_weight_bytes(shape) * operation.repeats
    return total


def beside_weight_bytes(shape: Experts) -> float:
    """Of the matrices of one shared expert that runs beside, without what goes into and out of them."""
    hidden, inner = shape.hidden_channels, shape.expert_channels
    passed = shape.tokens * 2 * ((hidden + 2 * inner) + (inner + hidden) + 3 * inner)
    return shape.beside_bytes - (1 - shape.tokens / 1024) * passed if shape.beside_bytes else 0.0


def cache_bytes_read(found: list[Operation]) -> float:
    """Bytes of keys and values that attention reads."""
    return sum(
        operation.repeats
        * operation.shape.context_tokens
        * operation.shape.kv_channels
        * operation.shape.kv_channel_bytes
        for operation in found
        if isinstance(operation.shape, Attention)
    )


def flops(found: list[Operation]) -> float:
    return sum(
        operation.shape.flops * operation.repeats
        for operation in found
        if not isinstance(operation.shape, Message)
    )


@pytest.mark.parametrize(
    ("name", "read_bytes"),
    [
        # 2 B * (30 * (2*576*576 + 2*576*192 + 3*576*1536) + 49152*576): tied, so the table is the head.
        ("smollm2-135m", 2 * 134_479_872),
        # 2 B * (64 * (2*5120*8192 + 2*5120*1024 + 3*5120*25600) + 151936*5120)
        ("qwen3-32b", 2 * (64 * (83_886_080 + 10_485_760 + 393_216_000) + 777_912_320)),
        # 2 B * (80 * (2*8192*8192 + 2*8192*1024 + 3*8192*28672) + 128256*8192)
        ("llama-3.1-70b", 2 * (80 * (134_217_728 + 16_777_216 + 704_643_072) + 1_050_673_152)),
        # 2 B * (94 * (4096*8192*2 + 2*4096*512 + 4096*128 + 8 * 3*4096*1536) + 151936*4096): 8 of 128 experts
        ("qwen3-235b", 2 * (94 * (67_108_864 + 4_194_304 + 524_288 + 150_994_944) + 622_329_856)),
        # 2 B * (36 * (2880*(4096+1024) + 4096*2880 + 2880*128 + 4 * 3*2880*2880) + 201088*2880)
        ("gpt-oss-120b", 2 * (36 * (14_745_600 + 11_796_480 + 368_640 + 99_532_800) + 579_133_440)),
        # 2 B * (61 * (7168*(1536+512+64) + 1536*24576 + 512*32768 + 16384*7168)
        #        + 3 * 3*7168*18432 + 58 * (7168*256 + 9 * 3*7168*2048) + 129280*7168): 8 of 256 and a shared
        (
            "deepseek-v3",
            2
            * (
                61 * (15_138_816 + 37_748_736 + 16_777_216 + 117_440_512)
                + 3 * 396_361_728
                + 58 * (1_835_008 + 396_361_728)
                + 926_679_040
            ),
        ),
    ],
)
def test_a_decode_step_reads_the_weights_it_needs_once(name: str, read_bytes: int) -> None:
    """Ledger: matrices from config.json, added up by hand, two bytes each; of experts, those of one token."""
    assert weight_bytes_read(operations(lowering(name), one_decode())) == pytest.approx(read_bytes, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "kv_bytes"),
    [
        ("smollm2-135m", 23_040),  # 2 * 30 layers * 3 heads * 64 channels * 2 bytes
        ("qwen3-0.6b", 114_688),  # 2 * 28 * 8 * 128 * 2
        ("qwen3-8b", 147_456),  # 2 * 36 * 8 * 128 * 2
        ("qwen3-32b", 262_144),  # 2 * 64 * 8 * 128 * 2
        ("qwen3-235b", 192_512),  # 2 * 94 * 4 * 128 * 2
        ("llama-3.1-70b", 327_680),  # 2 * 80 * 8 * 128 * 2
        ("minimax-m2.5", 253_952),  # 2 * 62 * 8 * 128 * 2
        ("deepseek-v3", 70_272),  # 61 * (512 + 64) * 2
        ("kimi-k2.5", 70_272),
        ("qwen3-next-80b", 24_576),  # 2 * 12 full layers * 2 * 256 * 2
        ("qwen3.8-2.4t", 94_208),  # 2 * 23 full layers * 4 * 256 * 2
        ("gpt-oss-120b", 36_864),  # 2 * 18 full layers * 8 * 64 * 2; the window's layers no longer grow
    ],
)
def test_a_decode_step_reads_the_cache_once(name: str, kv_bytes: int) -> None:
    """Ledger: one more token of context is its published bytes of cache more to read."""
    lowered = lowering(name)
    less, more = (cache_bytes_read(operations(lowered, one_decode(tokens))) for tokens in (100_000, 100_001))
    assert more - less == pytest.approx(kv_bytes)


def test_a_cache_in_fp8_is_half_as_much_to_read() -> None:
    """Ledger: one byte a number instead of two."""
    whole, half = (
        cache_bytes_read(operations(lowering("qwen3-32b", kv=kv), one_decode())) for kv in ("bf16", "fp8")
    )
    assert half == whole / 2


def test_sparse_attention_reads_its_index_and_what_it_picks() -> None:
    """Ledger: GLM-5 at 100,000 tokens: 78 layers of 132 B index keys each, and 2,048 entries of 576 * 2 B."""
    read = cache_bytes_read(operations(lowering("glm-5"), one_decode(100_000)))
    assert read == pytest.approx(78 * (100_000 * 132 + 2048 * 576 * 2))


def test_compressed_attention_reads_the_index_keys_that_it_keeps() -> None:
    """Ledger: DeepSeek-V4-Flash at 100,000 tokens, entries of 512 * 2 B: 43 windows of 128, in 20 layers one
    for 128 tokens, in 21 the 512 picked; and there 25,000 keys of 68 B: 128 * 4 bits, 4 scales of a byte."""
    read = cache_bytes_read(operations(lowering("deepseek-v4-flash"), one_decode(100_000)))
    entries = 43 * 128 + 20 * 100_000 / 128 + 21 * 512
    assert read == pytest.approx(entries * 512 * 2 + 21 * 25_000 * 68)


def test_prefill_flops() -> None:
    """Ledger: 2 per weight and token, the head's for one token; 4 per head channel and pair of tokens."""
    head = 49_152 * 576
    pairs = 100 * 50 + 100 * 101 / 2  # 100 new tokens see 50 cached ones, those before, and themselves
    expected = 2 * 100 * (134_479_872 - head) + 2 * head + 30 * 4 * pairs * 9 * 64
    found = operations(lowering("smollm2-135m"), one_prefill(100, 50))
    assert flops(found) == pytest.approx(expected, rel=1e-12)


def test_latent_attention_expands_in_prefill_and_not_in_decode() -> None:
    """Ledger: DeepSeek-V3 scores 192 and sums 128 channels a head in prefill; 576 and 512 in decode."""
    lowered = lowering("deepseek-v3")
    (prefill, decode) = (
        sum(
            operation.shape.flops * operation.repeats
            for operation in operations(lowered, batch)
            if isinstance(operation.shape, Attention)
        )
        for batch in (one_prefill(1, 999), one_decode(1000))
    )
    assert prefill == pytest.approx(61 * 2 * 1000 * 128 * (192 + 128))
    assert decode == pytest.approx(61 * 2 * 1000 * 128 * (576 + 512))


def test_a_sliding_window_bounds_what_is_seen() -> None:
    """Ledger: gpt-oss-20b at 100,000 tokens sees all in 12 layers and 128 in the others."""
    found = operations(lowering("gpt-oss-20b"), one_decode(100_000))
    seen = [
        operation.shape.pairs * operation.repeats
        for operation in found
        if isinstance(operation.shape, Attention)
    ]
    assert sorted(seen) == [12 * 128, 12 * 100_000]


def test_experts_that_tokens_touch() -> None:
    """Ledger: one token meets its 10 of 512; two meet 512 * (1 - (502/512)^2); many meet all."""
    for tokens, touched in ((1, 10.0), (2, 512 * (1 - (502 / 512) ** 2)), (100_000, 512.0)):
        found = operations(lowering("qwen3.8-2.4t"), one_decode(count=tokens))
        shapes = [operation.shape for operation in found if isinstance(operation.shape, Experts)]
        assert shapes
        assert all(shape.touched == pytest.approx(touched) for shape in shapes)


def test_experts_dealt_out_or_cut_are_the_same_bytes() -> None:
    """Ledger: 8 chips that hold 16 of 128 experts each, or an eighth of each expert, hold the same."""
    held = [
        sum(
            operation.shape.held_bytes * operation.repeats
            for operation in operations(lowering("qwen3-235b", tp=8, ep=ep), one_decode())
            if isinstance(operation.shape, Experts)
        )
        for ep in (1, 2, 8)
    ]
    # 94 layers * 128 experts * 3 * 4096 * 1536 numbers of two bytes, over 8 chips
    assert held == pytest.approx([94 * 128 * 18_874_368 * 2 / 8] * 3)


def test_a_head_of_keys_and_values_is_copied_where_chips_outnumber_heads() -> None:
    """Ledger: Qwen3-235B has 4: each of 8 chips makes 8 of 64 query heads and a whole KV head."""
    found = operations(lowering("qwen3-235b", tp=8), one_decode(1000))
    (made,) = [op.shape for op in found if op.name == "query, key, value"]
    assert isinstance(made, Gemm)
    assert made.outputs == (8 + 2) * 128
    assert cache_bytes_read(found) == 1000 * 192_512 / 4


def test_tensor_parallel_chips_join_their_parts_twice_a_layer() -> None:
    """Ledger: Qwen3-32B over 8 chips: 128 all-reduces of 5120 channels * 2 B for each of 32 tokens."""
    found = operations(lowering("qwen3-32b", tp=8), one_decode(count=32))
    messages = [operation for operation in found if isinstance(operation.shape, Message)]
    assert sum(message.repeats for message in messages) == 128
    assert {message.shape.message_bytes for message in messages if isinstance(message.shape, Message)} == {
        32 * 5120 * 2
    }


def test_attention_groups_send_tokens_to_experts_and_back() -> None:
    """Ledger: DeepSeek-V3 on 16 groups of one chip, 16 tokens each: FP8 there, BF16 back, 58 layers."""
    found = operations(lowering("deepseek-v3", "fp8-block", dp=16, ep=16), one_decode(count=256))
    sent = {
        operation.name: operation.shape.message_bytes
        for operation in found
        if isinstance(operation.shape, Message)
    }
    met = 16 * (1 - (15 / 16) ** 8)  # distinct chips of a token's 8 experts
    assert sent["send to experts"] == pytest.approx(16 * met * 7168 * 1)
    assert sent["return from experts"] == pytest.approx(16 * met * 7168 * 2)


def test_chips_that_a_token_meets() -> None:
    """Ledger: with one choice one chip; with many, all of them."""
    assert ranks_met(1, 8) == pytest.approx(1)
    assert ranks_met(1000, 8) == pytest.approx(8)


def test_pipeline_stages_pass_tokens_on() -> None:
    """Ledger: 4 stages hand 10 tokens of 5120 channels over three times, each of 2 chips its half."""
    found = operations(lowering("qwen3-32b", tp=2, pp=4), one_prefill(10))
    (passed,) = [op for op in found if isinstance(op.shape, Message) and op.shape.family == "p2p"]
    assert isinstance(passed.shape, Message)
    assert passed.repeats == 3
    assert passed.shape.message_bytes == 10 * 5120 * 2 / 2


def test_drafted_tokens_are_computed_but_read_no_more_cache() -> None:
    """Ledger: three drafts make four rows of every matrix; the cache is read once for all four."""
    plain, drafted = (
        operations(lowering("qwen3-32b"), one_decode(1000, draft_tokens=drafts)) for drafts in (0, 3)
    )
    assert cache_bytes_read(drafted) == cache_bytes_read(plain)
    assert flops(drafted) == pytest.approx(4 * flops(plain))


def test_a_draft_layer_guesses_each_draft() -> None:
    """Ledger: DeepSeek-V3's own layer guesses 2 tokens for 10 sequences: its weights twice, and the head."""
    lowered = lowering("deepseek-v3")
    model = lowered.model
    plain = operations(lowered, one_decode(1000, count=30))
    drafted = operations(lowered, one_decode(1000, count=10, draft_tokens=2))
    group = model.prediction
    assert group is not None
    hidden = model.hidden_channels
    matrices = sum(matrix.parameters for matrix in group.attention.matrices(hidden))
    matrices += sum(matrix.parameters for matrix in group.feed_forward.matrices(hidden)) + 2 * hidden**2
    assert isinstance(group.feed_forward, LayerExperts)
    experts = group.feed_forward.touched(10) * group.feed_forward.expert_parameters(hidden)
    head = model.embedding_parameters
    extra = weight_bytes_read(drafted) - weight_bytes_read(plain)
    assert extra == pytest.approx(2 * 2 * (matrices + experts + head))


def test_a_shared_expert_hides_beside_few_tokens() -> None:
    """Ledger: of DeepSeek's shared expert a sixteenth shows with 64 tokens, all of it with 2,048."""
    for tokens, shown in ((64, 1 / 16), (2048, 1.0)):
        found = operations(lowering("deepseek-v3"), one_prefill(tokens))
        (shared,) = [operation for operation in found if operation.name == "shared expert up"]
        (experts,) = [operation for operation in found if isinstance(operation.shape, Experts)]
        assert isinstance(experts.shape, Experts)
        assert shared.repeats == pytest.approx(58 * shown)
        assert experts.shape.beside_flops == pytest.approx((1 - shown) * 2 * tokens * 3 * 7168 * 2048)


def test_routers_stay_as_wide_as_the_head() -> None:
    """Ledger: an FP8 checkpoint of DeepSeek keeps its 256 x 7168 router in BF16, like its table."""
    (router,) = [
        op for op in operations(lowering("deepseek-v3", "fp8-block"), one_decode()) if op.name == "router"
    ]
    assert isinstance(router.shape, Gemm)
    assert router.shape.arithmetic == "bf16"
    assert router.shape.held_bytes == 2 * 256 * 7168


def test_an_index_has_a_chain_of_small_kernels() -> None:
    """Ledger: six in each of GLM-5's 78 layers, each passing a token's 128 channels in and out."""
    small = [op for op in operations(lowering("glm-5"), one_decode()) if op.name == "index small kernels"]
    assert sum(op.repeats for op in small) == 6 * 78
    assert all(isinstance(op.shape, Elementwise) and op.shape.bytes_moved == 2 * 128 * 2 for op in small)


def test_chips_add_up_what_a_joint_norm_needs() -> None:
    """Ledger: MiniMax norms all heads of a token at once: two FP32 sums a token go round, each layer."""
    found = operations(lowering("minimax-m2.5", tp=4), one_decode(count=10))
    (sums,) = [op for op in found if op.name == "all-reduce, query and key norm"]
    assert isinstance(sums.shape, Message)
    assert (sums.repeats, sums.shape.message_bytes) == (62, 10 * 2 * 4)
    alone = operations(lowering("minimax-m2.5"), one_decode(count=10))
    assert not [op for op in alone if isinstance(op.shape, Message)]


def test_a_window_slides_along_a_chunk() -> None:
    """Ledger: 10 tokens behind 5 with a window of 8: they see 6, 7, 8, 8 ..., and read 15 entries."""
    chunk = Prefill(new_tokens=10, cached_tokens=5)
    assert Span(limit_entries=8).pairs(chunk) == 6 + 7 + 8 * 8
    assert Span(limit_entries=8).read(chunk) == 15
    assert Span(limit_entries=8).read(Prefill(new_tokens=10, cached_tokens=100)) == 18
    assert Span().pairs(chunk) == sum(range(6, 16))
    assert Span(every_tokens=4).seen(100) == 25


def test_the_busiest_rank() -> None:
    """Ledger: 9 equal sequences on 8 ranks put two on one; one long one is alone; else it is the mean."""
    assert busiest([(5, 9)], 8) == 10
    assert busiest([(100, 1), (1, 7)], 8) == 100
    assert busiest([(5, 16)], 8) == 10
    assert busiest([(5, 9)], 1) == 45
    assert busiest([], 8) == 0


@pytest.mark.parametrize(
    ("precision", "layer_bytes"),
    [
        ("bf16", 2.0),
        ("fp8", 1.0),
        ("fp8-block", 1 + 4 / 16384),  # one FP32 scale for 128 x 128
        ("fp4", 0.5 + 1 / 16),
        ("int8", 1.0),
        ("int4", 0.5 + 2 / 128),
    ],
)
def test_bytes_of_a_weight_in_each_precision(precision: str, layer_bytes: float) -> None:
    """Ledger: layers shrink with the precision, scales counted; the head stays in BF16."""
    read = weight_bytes_read(operations(lowering("qwen3-32b", precision), one_decode()))
    assert read == pytest.approx(64 * 487_587_840 * layer_bytes + 2 * 777_912_320)


def test_a_file_precision_spreads_the_file_over_the_weights() -> None:
    """Ledger: a decode step reads the matrices' part of a GGUF of 98,362,432 bytes."""
    smol = architecture_of(load_catalog().model("smollm2-135m"))
    precision = file_precision(file_bytes=98_362_432, parameters=smol.parameters)
    read = weight_bytes_read(operations(Lowering(model=smol, precision=precision), one_decode()))
    assert read == pytest.approx(98_362_432 * 134_479_872 / 134_515_008)
