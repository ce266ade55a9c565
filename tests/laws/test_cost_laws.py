"""What holds for every chip, model, layout and batch: better parts and less work never cost more."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Figure
from perdure.catalog.load import load_catalog
from perdure.models.architecture import architecture_of
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost import Instance
from perdure.models.operations import Lowering
from perdure.models.parallel import Parallel
from perdure.models.precision import find_precision
from perdure.silicon.chip import Chip
from perdure.silicon.collectives import message_floor
from perdure.silicon.efficiency import UNCALIBRATED
from perdure.silicon.price import Machine, rate
from perdure.silicon.price_machine import Hardware
from perdure.silicon.ranges import ALL_DRAWS, DRAWS, Range, chance_of, drawn_entry, range_of
from perdure.silicon.ranks import busiest
from perdure.silicon.roofline import Operation
from perdure.silicon.shapes import Elementwise, Exchange, Message

CATALOG = load_catalog()
SLACK = 1 + 1e-9
LUCK = 0.15299862357729985
LAYOUTS = {
    "qwen3-32b": [Parallel(), Parallel(tp=8), Parallel(tp=2, pp=4)],
    "smollm2-135m": [Parallel(), Parallel(pp=2)],
    "gpt-oss-120b": [Parallel(), Parallel(tp=8), Parallel(tp=2, dp=4, ep=8), Parallel(dp=8)],
    "deepseek-v3": [Parallel(tp=8), Parallel(tp=8, ep=8), Parallel(tp=2, dp=8, ep=16), Parallel(dp=16, ep=4)],
    "glm-5": [Parallel(tp=8), Parallel(tp=4, dp=4, ep=16, pp=2)],
    "qwen3.5-397b": [Parallel(tp=8), Parallel(tp=2, dp=4, ep=8)],
    "deepseek-v4-flash": [Parallel(tp=8), Parallel(dp=8, ep=8)],
}
layouts = st.sampled_from([(model, parallel) for model, found in LAYOUTS.items() for parallel in found])
prefills = st.builds(
    Prefill,
    new_tokens=st.integers(1, 8192),
    cached_tokens=st.integers(0, 100_000),
    count=st.integers(1, 4),
)
decodes = st.builds(
    Decode,
    context_tokens=st.integers(1, 100_000),
    draft_tokens=st.integers(0, 3),
    count=st.integers(1, 64),
)
batches = st.builds(
    lambda first, second: Batch(prefills=tuple(first), decodes=tuple(second)),
    st.lists(prefills, max_size=3),
    st.lists(decodes, max_size=3),
).filter(lambda batch: batch.sequences > 0)


def instance(layout: tuple[str, Parallel], chip: Entry | None = None, rack: Entry | None = None) -> Instance:
    """On an AL128, which is full of guesses, unless another chip is given."""
    name, parallel = layout
    return Instance(
        lowering=Lowering(
            model=architecture_of(CATALOG.model(name)), precision=find_precision("fp8"), parallel=parallel
        ),
        hardware=Hardware(chip=chip or CATALOG.chip("m890"), rack=rack or CATALOG.rack("al128")),
    )


def improved(entry: Entry, name: str, factor: float) -> Entry:
    """`entry` with one figure, of its own or of all its parts, better by `factor`."""

    def better(figures: dict[str, Figure]) -> dict[str, Figure]:
        if name not in figures:
            return figures
        figure = figures[name]
        scale = factor if figure.more_is_faster else 1 / factor
        scaled = replace(figure, low=figure.low * scale, mid=figure.mid * scale, high=figure.high * scale)
        return {**figures, name: scaled}

    parts = {key: replace(part, figures=better(dict(part.figures))) for key, part in entry.parts.items()}
    return replace(entry, figures=better(dict(entry.figures)), parts=parts)


@given(layout=layouts, batch=batches, more=prefills | decodes)
@settings(max_examples=40)
def test_more_batch_never_costs_less(
    layout: tuple[str, Parallel], batch: Batch, more: Prefill | Decode
) -> None:
    """Law: a batch with another prompt or another decode in it takes no less in all."""
    larger = (
        replace(batch, prefills=(*batch.prefills, more))
        if isinstance(more, Prefill)
        else replace(batch, decodes=(*batch.decodes, more))
    )
    there = instance(layout)
    less, more_s = (there.seconds(there.lowering.sums(found)) for found in (batch, larger))
    assert less <= more_s * SLACK


@given(layout=layouts, batch=batches)
@settings(max_examples=40)
def test_batching_never_costs_more_than_running_apart(layout: tuple[str, Parallel], batch: Batch) -> None:
    """Law: prompts and decodes together take no longer than one after the other."""
    there = instance(layout)

    def seconds(found: Batch) -> float:
        return there.seconds(there.lowering.sums(found)) if found.sequences else 0.0

    apart = seconds(Batch(prefills=batch.prefills)) + seconds(Batch(decodes=batch.decodes))
    assert seconds(batch) <= apart * SLACK


FASTER = [
    "memory_bandwidth_bytes_per_s",
    "bf16_dense_flop_per_s",
    "fp8_dense_flop_per_s",
    "link_bytes_per_s",
    "launch_s",
    "software_s",
    "hop_s",
    "bandwidth_bytes_per_s",
]


@given(layout=layouts, batch=batches, name=st.sampled_from(FASTER), factor=st.floats(1, 50))
@settings(max_examples=20)
def test_a_faster_part_never_makes_a_batch_slower(
    layout: tuple[str, Parallel], batch: Batch, name: str, factor: float
) -> None:
    """Law: a better figure, of the chip or of a link, never adds time: not at the mid, not at either end."""
    before = instance(layout).price(batch).seconds
    chip = improved(CATALOG.chip("m890"), name, factor)
    after = instance(layout, chip, improved(CATALOG.rack("al128"), name, factor)).price(batch).seconds
    assert after.low <= before.low * SLACK
    assert after.mid <= before.mid * SLACK
    assert after.high <= before.high * SLACK


@given(layout=layouts, batch=batches)
@settings(max_examples=20)
def test_splitting_never_beats_the_roofline(layout: tuple[str, Parallel], batch: Batch) -> None:
    """Law: chips that share a batch are held for no less than one chip, large enough, would take alone."""
    split, alone = instance(layout), instance((layout[0], Parallel()))
    whole_s = alone.price(batch).seconds.mid
    shared_s = split.price(batch).chip_seconds.mid
    assert whole_s <= shared_s * SLACK


@given(layout=layouts, batch=batches)
@settings(max_examples=20)
def test_no_operation_beats_the_roofline(layout: tuple[str, Parallel], batch: Batch) -> None:
    """Law: neither compute nor memory is ever faster than its peak, and every second has one cause."""
    there = instance(layout)
    chip = there.hardware.mid.chip
    price = there.price(batch)
    for line in price.lines:
        shape = line.operation.shape
        # Of prompts that are dealt out, a rank has a share.
        if not isinstance(shape, Message) and line.operation.ranks == 1:
            seconds = line.spent.seconds * SLACK
            repeats = line.operation.repeats
            assert seconds * chip.flops_per_s[shape.arithmetic] >= shape.flops * repeats
            assert seconds * chip.memory_bytes_per_s >= shape.bytes_moved * repeats
    assert price.seconds.mid == pytest.approx(sum(line.spent.seconds for line in price.lines))
    assert price.spent.seconds == pytest.approx(sum(seconds for _, seconds in price.spent.shares))
    assert price.spent.busy_s <= price.spent.seconds * SLACK


@given(layout=layouts, prompt=st.integers(2, 50_000), share=st.floats(0, 1), more=st.floats(0, 1))
@settings(max_examples=40)
def test_more_cached_tokens_never_make_a_prefill_slower(
    layout: tuple[str, Parallel], prompt: int, share: float, more: float
) -> None:
    """Law: of the same prompt, computing fewer tokens never takes longer."""
    there = instance(layout)
    few = min(prompt - 1, int(share * prompt))
    many = min(prompt - 1, few + int(more * (prompt - few)))
    slow, fast = (
        there.seconds(
            there.lowering.sums(Batch(prefills=(Prefill(new_tokens=prompt - cached, cached_tokens=cached),)))
        )
        for cached in (few, many)
    )
    assert fast <= slow * SLACK


@given(layout=layouts, batch=batches)
@settings(max_examples=20)
def test_ranges_hold_their_mid_and_only_guesses_make_one(layout: tuple[str, Parallel], batch: Batch) -> None:
    """Law: low <= mid <= high, apart where something was guessed, equal where nothing was."""
    price = instance(layout).price(batch)
    assert price.seconds.low <= price.seconds.mid <= price.seconds.high
    assert price.seconds.low < price.seconds.high
    sure = instance((layout[0], layout[1]), CATALOG.chip("h200"), CATALOG.rack("hgx-h200"))
    if layout[1].chips <= 8:
        figures = sure.figures
        seconds = sure.price(batch).seconds
        assert (seconds.low == seconds.high) == (not any(figure.guessed for figure in figures))


@given(layout=layouts, batch=batches, name=st.sampled_from(FASTER))
@settings(max_examples=40)
def test_provenance_is_never_lost(layout: tuple[str, Parallel], batch: Batch, name: str) -> None:
    """Law: whatever figure changes the seconds stands among those that they rest on, with its source."""
    there = instance(layout)
    named = {figure.name for figure in there.figures}
    assert all(figure.source for figure in there.figures)
    chip, rack = (improved(entry, name, 1 / 16) for entry in (CATALOG.chip("m890"), CATALOG.rack("al128")))
    sums = there.lowering.sums(batch)
    if instance(layout, chip, rack).seconds(sums) != there.seconds(sums):
        assert name in named


@given(
    loads=st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 9)), max_size=6), ranks=st.integers(1, 16)
)
def test_the_busiest_rank_carries_a_fair_share_or_more(loads: list[tuple[int, int]], ranks: int) -> None:
    """Law: never less than the mean or the largest load, never more than all of it, and it only grows."""
    most, total = busiest(loads, ranks), sum(load * count for load, count in loads)
    assert total / ranks <= most * SLACK
    assert most <= total * SLACK
    assert max((load for load, _ in loads), default=0) <= most * SLACK
    assert most <= busiest([*loads, (7, 2)], ranks) * SLACK


@given(low=st.floats(0, 1e6), first=st.floats(0, 1e6), second=st.floats(0, 1e6))
def test_a_guess_is_drawn_from_its_triangle_and_the_draws_are_common(
    low: float, first: float, second: float
) -> None:
    """Law: every draw lies between low and high, rises with its luck, and is the same each time."""
    guess = Range(low=low, mid=low + first, high=low + first + second)
    values = [(draw.luck("x"), guess.at(draw.luck("x"))) for draw in ALL_DRAWS]
    assert all(guess.low <= value * SLACK and value <= guess.high * SLACK for _, value in values)
    ordered = [value for _, value in sorted(values, key=lambda pair: pair[0] or 0.0)]
    assert all(before <= after * SLACK for before, after in pairwise(ordered))
    assert values == [(draw.luck("x"), guess.at(draw.luck("x"))) for draw in ALL_DRAWS]
    assert len(values) == DRAWS >= 32
    assert {draw.luck("x") for draw in ALL_DRAWS} != {draw.luck("y") for draw in ALL_DRAWS}


def test_draws_are_the_same_in_every_process() -> None:
    """Results of two days may be compared draw by draw."""
    assert ALL_DRAWS[7].luck("chips/x/memory_bandwidth") == pytest.approx(LUCK, rel=1e-12)


def test_peaks_of_one_chip_are_drawn_together() -> None:
    """A draw in which an M890 computes BF16 well is one in which it computes FP8 and FP4 well."""
    m890 = CATALOG.chip("m890")
    chances = {chance_of(m890.figure(f"{name}_dense_flop_per_s")) for name in ("bf16", "fp8", "fp4")}
    assert len(chances) == 1
    for draw in ALL_DRAWS:
        drawn = drawn_entry(m890, draw)
        bf16, fp8 = (drawn.figure(f"{name}_dense_flop_per_s").mid for name in ("bf16", "fp8"))
        assert bf16 < fp8


@given(mid=st.floats(1, 100), drawn=st.lists(st.floats(1, 100), min_size=1, max_size=100))
def test_a_range_of_draws_holds_the_mid_and_nine_in_ten(mid: float, drawn: list[float]) -> None:
    """Law: no more than a tenth of the draws lie outside."""
    found = range_of(mid, drawn)
    assert found.low <= mid <= found.high
    outside = [value for value in drawn if not found.low <= value <= found.high]
    assert len(outside) <= 0.1 * len(drawn)


@given(layout=layouts, batch=batches)
@settings(max_examples=40)
def test_the_quick_price_of_a_batch_is_the_sum_of_its_lines(
    layout: tuple[str, Parallel], batch: Batch
) -> None:
    """Law: whatever the batch, draws are priced as the breakdown is."""
    there = instance(layout)
    rating = there.rating(there.lowering.sums(batch))
    for machine in (there.hardware.mid, there.hardware.drawn[5]):
        assert rating.seconds(machine) == pytest.approx(rating.spent(machine).seconds, rel=1e-12)


@given(
    flops=st.floats(0, 1e18),
    moved=st.floats(0, 1e13),
    peak=st.floats(1e9, 1e16),
    bandwidth=st.floats(1e9, 1e16),
    launch_s=st.floats(0, 1e-3),
)
def test_a_price_added_up_quickly_is_the_price(
    flops: float, moved: float, peak: float, bandwidth: float, launch_s: float
) -> None:
    """Law: the quick sum that draws use is the sum of the breakdown."""
    chip = Chip(
        name="any",
        memory_bytes=1e12,
        memory_bytes_per_s=bandwidth,
        flops_per_s={"bf16": peak},
        launch_s=launch_s,
    )
    shape = Elementwise(rows=1, flops=flops, bytes_moved=moved)
    rating = rate([Operation(name="x", shape=shape, repeats=3, launches=2)], chip, UNCALIBRATED)
    assert rating.seconds(Machine(chip=chip)) == pytest.approx(rating.spent(Machine(chip=chip)).seconds)


@given(
    size=st.floats(1, 1e10),
    chips=st.integers(2, 128),
    family=st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p"]),
    factor=st.floats(1, 50),
)
def test_a_better_link_never_makes_an_exchange_slower(
    size: float, chips: int, family: Exchange, factor: float
) -> None:
    """Law: more bandwidth or a shorter step never adds time, more bytes never save any."""
    rack = instance(("qwen3-32b", Parallel())).hardware.mid.rack
    assert rack is not None
    message = Message(family=family, message_bytes=size, chips=chips)
    base = message_floor(message, rack)
    wider = replace(
        rack, tiers=tuple(replace(tier, bytes_per_s=tier.bytes_per_s * factor) for tier in rack.tiers)
    )
    shorter = replace(
        rack, tiers=tuple(replace(tier, software_s=tier.software_s / factor) for tier in rack.tiers)
    )
    assert message_floor(message, wider).seconds <= base.seconds * SLACK
    assert message_floor(message, shorter).seconds <= base.seconds * SLACK
    assert base.seconds <= message_floor(replace(message, message_bytes=size * factor), rack).seconds * SLACK
    assert base.wire_s * rack.scale_up.bytes_per_s >= size / 2 / SLACK
