"""What batches cost on chips of the catalogue, against counts on paper."""

import pytest

from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest, NotFound
from perdure.models.architecture import architecture_of
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost import Instance
from perdure.models.memory import memory_of, weights_bytes
from perdure.models.operations import Lowering
from perdure.models.parallel import Parallel, check_parallel
from perdure.models.precision import find_precision
from perdure.silicon.chip import Chip
from perdure.silicon.efficiency import UNCALIBRATED, Factor
from perdure.silicon.price import Machine, rate
from perdure.silicon.price_machine import Hardware
from perdure.silicon.price_rent import catalogue_rent, typed_rents
from perdure.silicon.ranges import Range, exactly
from perdure.silicon.roofline import Operation
from perdure.silicon.shapes import Elementwise, Shape

CATALOG = load_catalog()
CHIP = Chip(name="test", memory_bytes=1e9, memory_bytes_per_s=1e12, flops_per_s={"bf16": 1e15}, launch_s=1e-6)


def instance(
    chip: str,
    model: str,
    precision: str = "bf16",
    *,
    rack: str | None = None,
    kv: str = "bf16",
    **degrees: int,
) -> Instance:
    return Instance(
        lowering=Lowering(
            model=architecture_of(CATALOG.model(model)),
            precision=find_precision(precision, kv=kv),
            parallel=Parallel(**degrees),
        ),
        hardware=Hardware(chip=CATALOG.chip(chip), rack=CATALOG.rack(rack) if rack else None),
    )


def decodes(context_tokens: float, count: int = 1) -> Batch:
    return Batch(decodes=(Decode(context_tokens=context_tokens, count=count),))


class Halved:
    """Every kernel takes twice its floor and 10 us, measured on no machine."""

    name = "twice the floor"

    def factor(self, shape: Shape, chip: Chip) -> Factor:
        return Factor(times=exactly(2.0), launch_s=exactly(1e-5), status=None, source="made up")

    def step(self, chip: Chip) -> Factor:
        return Factor(times=exactly(1.0), launch_s=exactly(1e-3), status=None, source="made up")


def test_an_operation_takes_the_slower_of_compute_and_memory_plus_launch() -> None:
    """Ledger: 2e12 FLOP at 1e15/s are 2 ms, 1e9 bytes at 1e12/s are 1 ms; the launch adds 1 us."""
    shape = Elementwise(rows=1, flops=2e12, bytes_moved=1e9)
    rating = rate([Operation(name="x", shape=shape, repeats=3)], CHIP, UNCALIBRATED)
    spent = rating.spent(Machine(chip=CHIP))
    assert spent.compute_s == pytest.approx(3 * 2e-3)
    assert spent.memory_s == 0
    assert spent.launch_s == pytest.approx(3e-6)
    assert spent.bound == "compute"


def test_efficiency_stretches_the_floor_and_replaces_the_launch() -> None:
    """Ledger: floor 2 ms, twice, and 10 us; then 1 ms of software for the whole batch."""
    shape = Elementwise(rows=1, flops=2e12, bytes_moved=1e9)
    rating = rate([Operation(name="x", shape=shape, repeats=3)], CHIP, Halved())
    spent = rating.spent(Machine(chip=CHIP))
    assert spent.compute_s == pytest.approx(3 * 4e-3)
    assert spent.launch_s == pytest.approx(3e-5)
    assert spent.software_s == pytest.approx(1e-3)
    assert spent.busy_s == pytest.approx(3 * 2e-3)
    assert rating.seconds(Machine(chip=CHIP)) == pytest.approx(spent.seconds, rel=1e-12)


def test_decode_floor_on_an_h200_is_bytes_over_bandwidth() -> None:
    """Ledger: Qwen3-32B at context 1,000 reads 63,967,592,448 B of matrices and 262,144,000 B of cache, and
    passes 18 MB of activations, at 4.8 TB/s: 13.38 ms. Launches come on top: 8 in each of 64 layers, 129
    norms, embedding and head, 643 of 3 us.
    """
    matrices = 2 * (64 * 487_587_840 + 151_936 * 5120)
    layer = (5120 + 10_240) + (8192 + 5120) + (5120 + 51_200) + (25_600 + 5120)  # into and out of matrices
    layer += 2 * 8192 + 2 * 10_240 + 2 * 9216 + 3 * 25_600  # queries and results, rotation, their norm, gate
    activations = 2 * (64 * layer + (5120 + 151_936) + 129 * 4 * 5120 + 2 * 5120)
    price = instance("h200", "qwen3-32b").price(decodes(1000))
    assert price.spent.memory_s == pytest.approx((matrices + 1000 * 262_144 + activations) / 4.8e12)
    assert price.spent.launch_s == pytest.approx(643 * 3e-6)
    assert price.spent.bound == "memory"
    assert price.seconds.low == price.seconds.mid == price.seconds.high


def test_a_long_prefill_on_an_h200_is_bound_by_compute() -> None:
    """Ledger: 4,096 tokens of Qwen3-32B are 2 * 4096 * 31.2 B FLOP at 989 TFLOP/s, 0.26 s, and attention."""
    price = instance("h200", "qwen3-32b").price(Batch(prefills=(Prefill(new_tokens=4096),)))
    matrices_s = 2 * 4096 * 64 * 487_587_840 / 989e12
    attention_s = 64 * 4 * (4096 * 4097 / 2) * 64 * 128 / 989e12
    assert price.spent.compute_s == pytest.approx(matrices_s + attention_s)
    assert price.spent.bound == "compute"


def test_a_decode_step_of_the_2_4t_model_on_a_domain_of_m890s() -> None:
    """Ledger: 184 all-reduces of 16 KiB (8192 channels of 2 bytes) among 64 chips, in one step of 5.15 us."""
    price = instance("m890", "qwen3.8-2.4t", "mxfp4-fp8", rack="al128", tp=64).price(decodes(1000))
    assert price.spent.link_s == pytest.approx(184 * (5.15e-6 + 63 * 16_384 / 384.15e9))


def test_arithmetic_that_a_chip_lacks_is_refused() -> None:
    """An H200 has no FP4: the message says what it has."""
    with pytest.raises(BadRequest, match=r"H200 does not compute in fp4.*bf16 or fp8 or int8"):
        instance("h200", "qwen3-32b", "fp4").price(decodes(1000))


def test_a_cache_in_a_format_that_a_chip_lacks_is_refused() -> None:
    """An 810E keeps no FP8 cache: the message says what it keeps."""
    with pytest.raises(BadRequest, match="does not keep keys and values in fp8"):
        instance("810e", "qwen3-32b", "bf16", kv="fp8").price(decodes(1000))


def test_memory_of_one_instance() -> None:
    """Ledger: weights and the cache of one sequence; a KV head is copied where chips outnumber heads."""
    alone = memory_of(instance("h200", "qwen3-32b").lowering, decodes(1000), available_bytes=141e9)
    assert alone.weights_bytes == 2 * 32_762_123_264
    assert alone.kv_bytes == 1000 * 262_144
    assert alone.state_bytes == 0
    assert alone.reserve_bytes == pytest.approx(14.1e9)
    split = memory_of(instance("h200", "qwen3-32b", tp=16).lowering, decodes(1000), available_bytes=141e9)
    assert split.kv_bytes == 1000 * 262_144 / 8


def test_memory_of_a_hybrid_has_a_state_for_each_sequence() -> None:
    """Ledger: 36 layers * 32 heads * 128 * 128 * 4 B = 75,497,472 B for each of 10 sequences."""
    lowered = instance("h200", "qwen3-next-80b").lowering
    assert memory_of(lowered, decodes(1000, 10), available_bytes=141e9).state_bytes == 10 * 75_497_472


def test_a_pipeline_stage_holds_its_part_of_the_layers() -> None:
    """Ledger: 2 stages of Qwen3-32B hold 32 layers and one table of words each."""
    one, two = (weights_bytes(instance("h200", "qwen3-32b", pp=pp).lowering) for pp in (1, 2))
    table = 2 * 777_912_320
    assert two == pytest.approx((one - 2 * table) / 2 + table)


def test_a_model_that_does_not_fit_says_by_how_many_bytes() -> None:
    """Ledger: what is needed less what there is, to the byte."""
    memory = instance("h200", "qwen3.8-2.4t").memory(decodes(1000))
    assert memory.problem is not None
    assert f"({-memory.free_bytes:,.0f} bytes)" in memory.problem
    assert memory.needed_bytes - 141e9 == pytest.approx(-memory.free_bytes)
    assert instance("h200", "qwen3-32b").memory(decodes(1000)).problem is None


def test_dollars_are_chip_hours_times_rent() -> None:
    """Ledger: 2 $ for each of 8 chips and an hour."""
    rented = Instance(
        lowering=instance("h200", "qwen3-32b", tp=8).lowering,
        hardware=Hardware(chip=CATALOG.chip("h200"), rack=CATALOG.rack("hgx-h200")),
        rent=typed_rents(["h200=2"])["h200"],
    )
    price = rented.price(decodes(1000))
    assert price.money_usd is not None
    assert price.money_usd.mid == pytest.approx(8 * price.seconds.mid / 3600 * 2)
    assert price.money_usd.low == price.money_usd.high


def test_a_range_of_rents_makes_a_range_of_dollars() -> None:
    """The catalogue's contracts differ, so the dollars are a range, and the seconds are not."""
    rented = Instance(
        lowering=instance("h200", "qwen3-32b").lowering,
        hardware=Hardware(chip=CATALOG.chip("h200")),
        rent=catalogue_rent(CATALOG.chip("h200")),
    )
    price = rented.price(decodes(1000))
    assert price.money_usd is not None
    assert price.money_usd.low < price.money_usd.mid < price.money_usd.high
    assert price.seconds.low == price.seconds.high


def test_a_chip_without_a_rent_has_no_dollars() -> None:
    """No price of an M890 is public."""
    assert catalogue_rent(CATALOG.chip("m890")) is None
    assert instance("m890", "qwen3-32b").price(decodes(1000)).money_usd is None


@pytest.mark.parametrize(
    "text", ["m890", "m890=", "m890=a..b", "m890=3..2", "m890=-1", "=2", "m890=0", "m890=nan"]
)
def test_a_price_that_makes_no_sense_is_refused(text: str) -> None:
    """The message shows how to write one."""
    with pytest.raises(BadRequest, match=r"CHIP=LOW\.\.HIGH"):
        typed_rents([text])


@pytest.mark.parametrize(
    ("model", "degrees", "message"),
    [
        ("qwen3-32b", {"tp": 3}, "tp=3 does not divide the 64 heads"),
        ("qwen3-32b", {"ep": 2, "tp": 2}, "no routed experts to deal out"),
        ("qwen3-32b", {"dp": 2}, "count instances instead"),
        ("qwen3-32b", {"pp": 65}, "more than the 64 layers"),
        ("deepseek-v3", {"tp": 2, "dp": 2, "ep": 3}, "does not divide the tp \\* dp = 4"),
        ("gpt-oss-20b", {"dp": 64, "ep": 64}, "does not divide the 32 experts"),
    ],
)
def test_a_layout_that_no_engine_runs_is_refused(model: str, degrees: dict[str, int], message: str) -> None:
    """The message names the degree and what it must divide."""
    with pytest.raises(BadRequest, match=message):
        check_parallel(architecture_of(CATALOG.model(model)), Parallel(**degrees))


def test_an_unknown_precision_lists_those_there_are() -> None:
    """Whoever misspells one sees all of them."""
    with pytest.raises(NotFound, match="bf16, fp8, fp8-block, fp4, int8, int4"):
        find_precision("fp16")
    with pytest.raises(NotFound, match="bf16, fp8"):
        find_precision("bf16", kv="int3")


def test_a_triangle_is_drawn_at_its_quantiles() -> None:
    """Ledger: low 0, mid 1, high 4: a quarter lies below the mid, and 9/16 of the rest's square above it."""
    guess = Range(low=0.0, mid=1.0, high=4.0)
    assert guess.at(None) == 1.0
    assert guess.at(0.25) == pytest.approx(1.0)
    assert guess.at(0.0) == 0.0
    assert guess.at(1.0) == 4.0
    assert guess.at(0.8125) == pytest.approx(2.5)  # 1 - (4 - 2.5)^2 / (4 * 3)
