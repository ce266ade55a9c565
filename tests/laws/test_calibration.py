"""Laws of calibration: what a table says between its points, and what is said of what nobody timed."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perdure.catalog.figure import Case, Status
from perdure.catalog.load import load_catalog
from perdure.errors import CatalogBroken, NotFound
from perdure.models.batch import Batch, Decode
from perdure.models.cost import Price
from perdure.silicon.calibration import calibration_of
from perdure.silicon.calibration_family import FAMILIES, fitted_table
from perdure.silicon.calibration_kernels import Kernels
from perdure.silicon.calibration_software import software_of
from perdure.silicon.calibration_table import Table, table_from, tables_of
from perdure.silicon.chip import chip_at
from perdure.silicon.efficiency import UNCALIBRATED, Timed
from perdure.silicon.roofline import parts_s
from perdure.silicon.shapes import Attention, Computation, Elementwise, Experts, Gemm, Message, Shape
from perdure.twin.deployment_text import parse_deployment

TIMED = ("nvidia-h100", "nvidia-h200", "nvidia-b200", "nvidia-b300", "nvidia-gb200", "nvidia-gb300")
RECORD = {"chip": "c", "stack": "any", "family": "gemm", "variant": "x", "version": "1"}
# 1 us at (1, 128), doubling with each doubling of either size; the last point was not measured.
GRID = {**RECORD, "axes": [[1, 4], [128, 256]], "cells": [498, 548, 598, None]}

sizes = st.floats(min_value=1, max_value=65536)


def made() -> Table:
    """The table of GRID."""
    return table_from(GRID, "made up")


def chip_of(chip_id: str):
    """The chip, with guesses at their mid."""
    return chip_at(load_catalog().chip(chip_id), Case.MID)


def product_of(rows: float, outputs: float = 5120, inputs: float = 8192, weights: str = "bf16") -> Gemm:
    """A matrix product in BF16 or FP8."""
    arithmetic = "bf16" if weights == "bf16" else "fp8"
    return Gemm(
        rows=rows,
        outputs=outputs,
        inputs=inputs,
        weights=weights,
        weight_bytes=2.0 if weights == "bf16" else 1.0,
        arithmetic=arithmetic,
    )


def decode_of(sequences: float, context: float) -> Attention:
    """Grouped-query attention of 8 query heads over one KV head of 128 channels."""
    return Attention(
        phase="decode",
        sequences=sequences,
        new_tokens=sequences,
        pairs=sequences * context,
        context_tokens=sequences * context,
        query_heads=8,
        kv_heads=1,
        key_channels=128,
        value_channels=128,
        kv_channels=256,
        kv_channel_bytes=2,
        arithmetic="bf16",
    )


def mixture_of(tokens: float, experts: int = 128) -> Experts:
    """The experts of Qwen3-235B, or fewer or more of them."""
    return Experts(
        tokens=tokens,
        hidden_channels=4096,
        expert_channels=1536,
        experts=experts,
        active=8,
        weights="bf16",
        weight_bytes=2,
        arithmetic="bf16",
    )


SHAPES: tuple[Shape, ...] = (
    product_of(64),
    product_of(3, weights="fp8-block"),
    decode_of(32, 4096),
    mixture_of(64),
    Elementwise(rows=4, bytes_moved=1e6),
    Message(family="all_reduce", message_bytes=2**20, chips=8),
)


def test_a_table_gives_back_what_was_measured() -> None:
    """At a point of the grid the time is that of the grid."""
    assert made().seconds(1, 256) == pytest.approx(2 ** (548 / 50) * 1e-9)


def test_a_point_that_did_not_fit_is_in_proportion_to_the_one_before() -> None:
    """What was not measured for want of memory takes twice the time at twice the size."""
    assert made().seconds(4, 256) == pytest.approx(2 * made().seconds(4, 128))


@given(first=sizes, second=sizes, step=st.floats(min_value=1.0, max_value=1.001))
def test_a_table_is_continuous(first: float, second: float, step: float) -> None:
    """A thousandth more in size is at most about a thousandth more in time, inside the grid and beyond."""
    ratio = made().seconds(first * step, second) / made().seconds(first, second)
    assert 1 - 1e-9 <= ratio <= step**1.2 + 1e-9


@given(first=sizes, second=sizes, inputs=st.sampled_from([128.0, 2048.0, 8192.0]))
def test_more_rows_never_take_less(first: float, second: float, inputs: float) -> None:
    """Timings dip where a library picks another kernel; what is priced does not."""
    table = tables_of("nvidia-b200", "any")["gemm/fp8_block"]
    fewer, more = sorted((first, second))
    assert table.seconds(fewer, 5120, inputs) <= table.seconds(more, 5120, inputs) * (1 + 1e-12)


@given(rows=sizes)
def test_a_timed_product_never_beats_the_roofline(rows: float) -> None:
    """Measured over floor is at least one."""
    factor = calibration_of("nvidia-h200").factor(product_of(rows), chip_of("nvidia-h200"))
    assert factor.times.low >= 1.0


CALIBRATED = [chip for chip in load_catalog().entries["chips"] if calibration_of(chip) is not UNCALIBRATED]
KINDS: dict[str, Callable[[float], Computation]] = {
    "product": product_of,
    "wide product": lambda rows: product_of(rows, 128_256, 4096),
    "mixture": mixture_of,
    "untimed mixture": lambda tokens: mixture_of(tokens, experts=96),
    "decodes": lambda sequences: decode_of(sequences, 4096),
    "context": lambda tokens: decode_of(8, tokens),
}


@pytest.mark.parametrize("chip_id", CALIBRATED)
@pytest.mark.parametrize("kind", KINDS)
@given(size=sizes, more=st.floats(1, 16))
@settings(max_examples=15)
def test_more_of_the_same_never_takes_less(kind: str, chip_id: str, size: float, more: float) -> None:
    """Law: on no chip does a kernel of more rows, tokens, sequences or context take less time."""
    chip, calibration = chip_of(chip_id), calibration_of(chip_id)

    def seconds(shape: Computation) -> float:
        factor = calibration.factor(shape, chip)
        return max(parts_s(shape, chip)) * factor.times.mid

    assert seconds(KINDS[kind](size)) <= seconds(KINDS[kind](size * more)) * (1 + 1e-9)


@given(rows=st.floats(min_value=1, max_value=8192))
def test_efficiency_is_continuous_in_rows(rows: float) -> None:
    """Tables interpolate between batches, so a little more work never jumps in price."""
    h200, chip = calibration_of("nvidia-h200"), chip_of("nvidia-h200")

    def seconds(count: float) -> float:
        shape = product_of(count)
        floor_s = max(shape.flops / chip.flops_per_s["bf16"], shape.bytes_moved / chip.memory_bytes_per_s)
        return floor_s * h200.factor(shape, chip).times.mid

    assert seconds(rows * 1.001) == pytest.approx(seconds(rows), rel=3e-3)


@pytest.mark.parametrize("chip_id", TIMED)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.family)
def test_timed_chips_answer_for_every_kind_of_kernel(chip_id: str, shape: Shape) -> None:
    """What was timed is no guess: equal ends, a source, and a finite factor."""
    if isinstance(shape, Message) and chip_id.startswith("nvidia-gb"):
        shape = replace(shape, chips=4)  # as many as a node of these has
    factor = calibration_of(chip_id).factor(shape, chip_of(chip_id))
    assert factor.status is Status.MEASURED
    assert factor.times.low == factor.times.high
    assert math.isfinite(factor.times.mid)
    assert factor.source


def test_a_mixture_that_nobody_timed_is_a_range_around_its_nearest_kin() -> None:
    """The range contains its mid, and the reason names what it was taken from."""
    factor = calibration_of("nvidia-h200").factor(mixture_of(64, experts=96), chip_of("nvidia-h200"))
    assert factor.status is Status.ESTIMATE
    assert factor.times.low <= factor.times.mid < factor.times.high
    assert "the nearest timed kernel" in factor.source


@pytest.mark.parametrize("chip_id", ["nvidia-h20", "amd-mi300x", "ascend-910c", "zhenwu-810e", "zhenwu-m890"])
@pytest.mark.parametrize("shape", SHAPES[:1] + SHAPES[2:4], ids=lambda shape: shape.family)
def test_a_chip_that_nobody_timed_is_a_range(chip_id: str, shape: Shape) -> None:
    """Efficiency carried over from a relative is an estimate with its reason, never a bare number."""
    factor = calibration_of(chip_id).factor(shape, chip_of(chip_id))
    assert factor.status is Status.ESTIMATE
    assert 1.0 <= factor.times.low <= factor.times.mid < factor.times.high
    assert factor.source
    assert factor.chance


def test_a_chip_without_a_relative_is_priced_at_its_floor_and_says_so() -> None:
    """No calibration is no silent guess."""
    assert calibration_of("cpu-2-socket") is UNCALIBRATED


@pytest.mark.parametrize(
    "broken",
    [
        {**GRID, "cells": [498, 548, 598]},
        {**GRID, "axes": [[4, 1], [128, 256]]},
        {**GRID, "cells": [None, None, None, None]},
    ],
)
def test_a_malformed_table_is_refused(broken: dict[str, object]) -> None:
    """Cells that do not fill the axes, an axis that falls, a table of nothing."""
    with pytest.raises(CatalogBroken):
        table_from(broken, "made up")


def test_unknown_software_names_what_there_is() -> None:
    """The message lists the generations that were fitted."""
    with pytest.raises(NotFound, match="vllm-2025"):
        software_of("vllm-2077")


@pytest.mark.parametrize("chip_id", TIMED)
@pytest.mark.parametrize("rows", [1, 64, 8192])
def test_int4_weights_borrow_how_far_bf16_kernels_fall_short(chip_id: str, rows: float) -> None:
    """No INT4 product was timed: BF16's timing stands for it, as a range that says whose it is."""
    timed, chip = calibration_of(chip_id), chip_of(chip_id)
    bf16 = product_of(rows)
    int4 = replace(bf16, weights="int4", weight_bytes=0.515625)
    lent, own = timed.factor(int4, chip), timed.factor(bf16, chip)
    assert lent.times.low <= lent.times.mid < lent.times.high
    assert lent.status is Status.ESTIMATE
    assert "borrowed from BF16" in lent.source
    floors = [max(parts_s(shape, chip)) for shape in (bf16, int4)]
    over_s = floors[0] * (own.times.mid - 1.0)
    assert floors[1] * (lent.times.high - 1.0) >= over_s * (1 - 1e-9)
    assert floors[1] <= floors[1] * lent.times.mid <= floors[0] * own.times.mid * (1 + 1e-9)


@pytest.mark.parametrize("chip_id", ["nvidia-b200", "nvidia-gb300"])
def test_a_cache_in_fp4_borrows_the_kernels_of_fp8(chip_id: str) -> None:
    """Nobody timed attention over keys and values in FP4: it is a range that says so."""
    over_fp8 = replace(decode_of(32, 32_768), kv_channel_bytes=1.0)
    factors = [
        calibration_of(chip_id).factor(shape, chip_of(chip_id))
        for shape in (over_fp8, replace(over_fp8, kv_channel_bytes=0.5625))
    ]
    assert [factor.status for factor in factors] == [Status.MEASURED, Status.ESTIMATE]
    assert factors[1].times.low < factors[1].times.mid < factors[1].times.high
    assert "over an FP8 cache" in factors[1].source


def test_a_cache_in_int8_borrows_the_kernels_of_fp8() -> None:
    """An H200 that keeps keys and values in INT8 takes as long as one in FP8, and says how it is known."""
    catalog = load_catalog()
    found: list[Price] = []
    for kv in ("fp8", "int8"):
        deployment = parse_deployment(f"h200/qwen3-8b:kv={kv}", catalog)
        found.append(deployment.instance.price(Batch(decodes=(Decode(context_tokens=8000, count=8),))))
    over_fp8, over_int8 = found
    assert over_int8.seconds.mid == over_fp8.seconds.mid == over_fp8.seconds.high
    assert over_int8.seconds.low <= over_int8.seconds.mid < over_int8.seconds.high
    assert any("as none over one in INT8 was timed" in factor.source for factor in over_int8.factors)


def test_a_mixture_timed_on_a_neighbour_is_borrowed_and_says_so() -> None:
    """B300 lacks mixtures in BF16 that B200 has: it takes B200's timing, as an estimate."""
    shape = replace(mixture_of(64, experts=256), hidden_channels=7168, expert_channels=2048, ep=8)
    factors = [
        calibration_of(chip_id).factor(shape, chip_of(chip_id)) for chip_id in ("nvidia-b200", "nvidia-b300")
    ]
    assert [factor.status for factor in factors] == [Status.MEASURED, Status.ESTIMATE]
    assert "on nvidia-b200" in factors[1].source
    assert factors[1].times.mid == pytest.approx(factors[0].times.mid)


SHORT = st.floats(0.01, 1.0)
RATIOS = st.tuples(st.floats(0.1, 10), st.floats(0.1, 10))
MORE = st.tuples(st.floats(1, 10), st.floats(1, 10), st.floats(1, 10))


@given(seconds=st.floats(1.0, 5.0), flow=SHORT, fetch=SHORT, ratios=RATIOS, more=MORE)
@example(seconds=1.0, flow=0.99, fetch=1.0, ratios=(0.2, 1.0), more=(1.0, 1.02, 1.0))
def test_a_timing_is_carried_over_without_ever_falling(
    seconds: float,
    flow: float,
    fetch: float,
    ratios: tuple[float, float],
    more: tuple[float, float, float],
) -> None:
    """Law: neither a larger kernel nor slower parts take less, and all parts alike scale it."""
    timed = Timed(seconds=seconds, flow_s=flow, fetch_s=fetch)
    larger = Timed(seconds=seconds * more[0], flow_s=flow * more[1], fetch_s=fetch * more[2])
    here = flow * ratios[0], fetch * ratios[1]
    carried = timed.carried_s(*here)
    assert carried <= larger.carried_s(larger.flow_s * ratios[0], larger.fetch_s * ratios[1]) * (1 + 1e-9)
    assert carried <= timed.carried_s(here[0] * more[1], here[1] * more[2]) * (1 + 1e-9)
    assert timed.carried_s(flow * ratios[0], fetch * ratios[0]) == pytest.approx(seconds * ratios[0])
    assert timed.carried_s(flow, fetch) == seconds
    assert min(ratios) * seconds <= carried * (1 + 1e-9)
    assert carried <= max(ratios) * seconds * (1 + 1e-9)


@given(rows=sizes, outputs=st.floats(64, 1e6), inputs=st.floats(64, 1e6))
@pytest.mark.parametrize("family", [family for family in FAMILIES if len(family) > 1])
def test_a_faster_neighbour_is_never_slower_on_one_product(
    family: tuple[str, ...], rows: float, outputs: float, inputs: float
) -> None:
    """Law: inside the tables, between their points and beyond them."""
    slower, faster = (Kernels(chip, "vllm").timing(product_of(rows, outputs, inputs)) for chip in family)
    assert slower is not None
    assert faster is not None
    assert faster.seconds <= slower.seconds * (1 + 1e-12)


def test_no_timing_is_moved_further_than_half_way_to_its_neighbours() -> None:
    """What neighbours agree on lies between what each of them took, and most of it is what each took."""
    moved = total = 0
    for slow, fast in FAMILIES:
        own, other = tables_of(slow, "any")["gemm/bfloat16"], tables_of(fast, "any")["gemm/bfloat16"]
        fitted = fitted_table(slow, "any", "gemm/bfloat16")
        assert fitted is not None
        for cell, neighbour, agreed in zip(own.cells, other.cells, fitted.table.cells, strict=True):
            assert abs(agreed - cell) <= max(0.0, neighbour - cell) / 2 + 1e-12
            moved, total = moved + (agreed != cell), total + 1
    assert moved < 0.4 * total


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_ordered_by_its_peaks(family: tuple[str, ...]) -> None:
    """Each chip of a family has no peak below those before it, INT8 apart, which no kernel was timed in."""
    chips = [chip_of(chip_id) for chip_id in family]
    for slower, faster in pairwise(chips):
        assert slower.memory_bytes_per_s <= faster.memory_bytes_per_s
        for arithmetic in slower.flops_per_s.keys() - {"int8"}:
            assert slower.flops_per_s[arithmetic] <= faster.flops_per_s[arithmetic]
