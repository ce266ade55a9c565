"""The laws of cost where kernels were timed, on every calibrated chip and on faster variants of it."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.test_cost_laws import FASTER, SLACK, batches, decodes, improved, prefills

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Status
from perdure.catalog.load import load_catalog
from perdure.models.architecture import architecture_of
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost import Instance
from perdure.models.operations import Lowering
from perdure.models.parallel import Parallel
from perdure.models.precision import find_precision
from perdure.silicon.calibration import calibration_of
from perdure.silicon.calibration_family import FAMILIES
from perdure.silicon.efficiency import UNCALIBRATED
from perdure.silicon.price_machine import Hardware
from perdure.silicon.shapes import Message

CATALOG = load_catalog()
CHIPS = [chip for chip in CATALOG.entries["chips"] if calibration_of(chip) is not UNCALIBRATED]
# From the slower to the faster: those that share a board, and lines of one maker that rest on one timed chip.
LINES = (
    *FAMILIES,
    ("nvidia-a800", "nvidia-h100"),
    ("nvidia-h20", "nvidia-h200"),
    ("amd-mi300x", "amd-mi325x", "amd-mi355x"),
    ("ascend-910b", "ascend-910c", "ascend-960", "ascend-970"),
    ("ascend-950pr", "ascend-950dt", "ascend-960"),
    ("zhenwu-810e", "zhenwu-m890", "zhenwu-v900"),
)
PAIRS = [pair for line in LINES for pair in pairwise(line)]
LAYOUTS = {
    "qwen3-32b": [
        (Parallel(), ("bf16", "fp8", "fp4", "int4")),
        (Parallel(tp=8), ("bf16", "fp8-block", "int8")),
        (Parallel(tp=2, pp=2), ("bf16",)),
    ],
    "gpt-oss-120b": [(Parallel(tp=2), ("mxfp4", "mxfp4-bf16")), (Parallel(dp=4), ("bf16",))],
    "deepseek-v3": [(Parallel(tp=8), ("fp8-block", "fp4", "int4")), (Parallel(tp=2, dp=4, ep=8), ("fp8",))],
    "glm-5": [(Parallel(tp=8), ("fp8-block",)), (Parallel(dp=8, ep=8), ("fp8",))],
    "qwen3.5-397b": [(Parallel(tp=8), ("bf16", "fp8-block")), (Parallel(tp=2, dp=4, ep=8), ("fp8",))],
    "deepseek-v4-flash": [(Parallel(tp=8), ("fp8-block",)), (Parallel(dp=8, ep=8), ("fp8",))],
}
CASES = [
    (model, parallel, precision)
    for model, layouts in LAYOUTS.items()
    for parallel, precisions in layouts
    for precision in precisions
]
Case = tuple[str, Parallel, str]
numbers = st.integers(0, len(CASES) - 1)


def instance(case: Case, chip: Entry, rack: Entry | None) -> Instance:
    """On `chip`, calibrated as the chip of its name is."""
    model, parallel, precision = case
    return Instance(
        lowering=Lowering(
            model=architecture_of(CATALOG.model(model)),
            precision=find_precision(precision),
            parallel=parallel,
        ),
        hardware=Hardware(chip=chip, rack=rack),
        efficiency=calibration_of(chip.id),
    )


@cache
def there(chip_id: str, case: Case) -> Instance | None:
    """On a chip of the catalogue in its node; None where it lacks the precision, or nothing joins so many."""
    chip = CATALOG.chip(chip_id)
    rack = CATALOG.node_of(chip)
    found = instance(case, chip, rack)
    chips = found.lowering.parallel.chips
    if not set(found.lowering.arithmetics) <= set(chip.precisions):
        return None
    joined = [part.figure("domain_chips").mid for part in rack.parts.values()] if rack else []
    return found if chips <= max(joined, default=1) else None


@cache
def places(chip_id: str) -> list[Instance]:
    """All that a chip of the catalogue can run of CASES."""
    return [found for case in CASES if (found := there(chip_id, case))]


def place(chip_id: str, number: int) -> Instance:
    """One of them."""
    found = places(chip_id)
    return found[number % len(found)]


def seconds(found: Instance, batch: Batch) -> float:
    """With every guess at its mid."""
    return found.seconds(found.lowering.sums(batch))


def with_more(batch: Batch, more: Prefill | Decode, ranks: int) -> Batch:
    """`batch` with another prompt, or a decode at least as long as the longest in it.

    Decodes count as if all were as long as their mean, so a short one beside a long one is under a bound,
    below, and not under this law; nor is one of several ranks, which need not be the busiest.
    """
    if isinstance(more, Prefill):
        return replace(batch, prefills=(*batch.prefills, more))
    if ranks > 1 and batch.decodes:
        return batch
    longest = max((part.context_tokens for part in batch.decodes), default=1)
    longer = replace(more, context_tokens=max(longest, more.context_tokens))
    return replace(batch, decodes=(*batch.decodes, longer))


@pytest.mark.parametrize("chip_id", CHIPS)
@given(number=numbers, batch=batches, more=prefills | decodes)
@settings(max_examples=8)
def test_more_batch_never_costs_less(chip_id: str, number: int, batch: Batch, more: Prefill | Decode) -> None:
    """Law: a batch with another prompt, or another decode no shorter than those in it, takes no less."""
    found = place(chip_id, number)
    assert seconds(found, batch) <= seconds(found, with_more(batch, more, found.lowering.parallel.dp)) * SLACK


@pytest.mark.parametrize("chip_id", ["nvidia-h200", "nvidia-b200", "amd-mi300x", "zhenwu-m890"])
@given(number=numbers, batch=batches, more=decodes)
@settings(max_examples=20)
def test_a_short_decode_beside_long_ones_hardly_makes_them_cheaper(
    chip_id: str, number: int, batch: Batch, more: Decode
) -> None:
    """The mean stands for all contexts of a step, which may take a fifth off its price, and no more."""
    found = place(chip_id, number)
    larger = replace(batch, decodes=(*batch.decodes, more))
    assert seconds(found, batch) <= seconds(found, larger) / 0.8


@pytest.mark.parametrize("chip_id", CHIPS)
@given(number=numbers, batch=batches, name=st.sampled_from(FASTER), factor=st.sampled_from([1.1, 3.0, 50.0]))
@settings(max_examples=3)
def test_a_faster_part_never_makes_a_batch_slower(
    chip_id: str, number: int, batch: Batch, name: str, factor: float
) -> None:
    """Law: a better figure of the chip or its links never adds time, not at the mid and not at either end."""
    found = place(chip_id, number)
    rack = found.hardware.rack
    chip = improved(found.hardware.chip, name, factor)
    faster = replace(found, hardware=Hardware(chip=chip, rack=rack and improved(rack, name, factor)))
    before, after = found.price(batch).seconds, faster.price(batch).seconds
    assert after.low <= before.low * SLACK
    assert after.mid <= before.mid * SLACK
    assert after.high <= before.high * SLACK


@pytest.mark.parametrize("chip_id", CHIPS)
def test_a_faster_memory_is_felt_where_memory_binds(chip_id: str) -> None:
    """Twice the bandwidth takes a fifth or more off a decode of a dense model, whatever was timed."""
    found = there(chip_id, ("qwen3-32b", Parallel(), "bf16"))
    assert found is not None
    chip = improved(found.hardware.chip, "memory_bandwidth_bytes_per_s", 2.0)
    faster = replace(found, hardware=Hardware(chip=chip))
    batch = Batch(decodes=(Decode(context_tokens=4096, count=16),))
    assert seconds(faster, batch) < 0.8 * seconds(found, batch)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@given(number=numbers, batch=batches)
@settings(max_examples=8)
def test_a_faster_neighbour_never_makes_a_batch_slower(
    pair: tuple[str, str], number: int, batch: Batch
) -> None:
    """Law: of two chips of one line, that with the higher peaks takes no longer."""
    shared = [case for case in CASES if there(pair[0], case) and there(pair[1], case)]
    slower, faster = (there(chip_id, shared[number % len(shared)]) for chip_id in pair)
    assert slower is not None
    assert faster is not None
    peaks = [found.hardware.mid.chip.flops_per_s for found in (slower, faster)]
    # Of all peaks that were timed none falls within a line; B300 gave up INT8.
    if all(peaks[0][name] <= peaks[1][name] for name in slower.lowering.arithmetics):
        assert seconds(faster, batch) <= seconds(slower, batch) * SLACK


@given(chip_id=st.sampled_from(CHIPS), number=numbers, batch=batches)
@settings(max_examples=25)
def test_splitting_never_beats_the_roofline(chip_id: str, number: int, batch: Batch) -> None:
    """Law: chips that share a batch are held for no less than one large chip at its peaks would take."""
    found = place(chip_id, number)
    chip = improved(found.hardware.chip, "launch_s", 1e9)
    alone = replace(
        found,
        lowering=replace(found.lowering, parallel=Parallel()),
        hardware=Hardware(chip=chip),
        efficiency=UNCALIBRATED,
    )
    assert seconds(alone, batch) <= found.price(batch).chip_seconds.mid * SLACK


@given(chip_id=st.sampled_from(CHIPS), number=numbers, batch=batches)
@settings(max_examples=25)
def test_no_operation_beats_the_roofline_and_none_is_without_a_source(
    chip_id: str, number: int, batch: Batch
) -> None:
    """Law: every line takes its floor or more, says who measured it, and is a range where nobody did."""
    found = place(chip_id, number)
    chip, price = found.hardware.mid.chip, found.price(batch)
    for line in price.lines:
        shape, factor = line.operation.shape, line.factor
        assert factor.source
        assert 1.0 <= factor.times.low <= factor.times.mid <= factor.times.high or isinstance(shape, Message)
        assert (factor.status is Status.ESTIMATE) == (factor.times.guessed or factor.chance != "")
        if not isinstance(shape, Message) and line.operation.ranks == 1:
            taken_s = line.spent.seconds * SLACK
            assert taken_s * chip.flops_per_s[shape.arithmetic] >= shape.flops * line.operation.repeats
            assert taken_s * chip.memory_bytes_per_s >= shape.bytes_moved * line.operation.repeats


@given(chip_id=st.sampled_from(CHIPS), number=numbers, batch=batches)
@settings(max_examples=25)
def test_ranges_hold_their_mid_and_only_guesses_make_one(chip_id: str, number: int, batch: Batch) -> None:
    """Law: low <= mid <= high, apart where figure or kernel was guessed, equal where nothing was."""
    found = place(chip_id, number)
    price = found.price(batch)
    assert price.seconds.low <= price.seconds.mid <= price.seconds.high
    guessed = any(figure.guessed for figure in found.figures)
    guessed = guessed or any(factor.status is Status.ESTIMATE for factor in price.factors)
    assert guessed or price.seconds.low == price.seconds.high


@given(chip_id=st.sampled_from(CHIPS), number=numbers, batch=batches)
@settings(max_examples=15)
def test_the_quick_price_of_a_batch_is_the_sum_of_its_lines(chip_id: str, number: int, batch: Batch) -> None:
    """Law: draws of a guess are priced as the breakdown is, kernels that are carried over included."""
    found = place(chip_id, number)
    rating = found.rating(found.lowering.sums(batch))
    for machine in (found.hardware.mid, found.hardware.drawn[5]):
        assert rating.seconds(machine) == pytest.approx(rating.spent(machine).seconds, rel=1e-12)
