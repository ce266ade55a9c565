"""The price of a batch is the same number however it is asked for: plainly, from a table, compiled, live."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.catalog.figure import Status
from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.models.architecture import architecture_of
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost import Instance
from perdure.models.cost_compiled import (
    READS,
    CompiledTable,
    arrays_of,
    batch_seconds,
    decode_run,
    vector_of,
)
from perdure.models.cost_live import LiveCost
from perdure.models.cost_sample import Sample
from perdure.models.cost_table import CostTable, Limits
from perdure.models.operations import Lowering
from perdure.models.parallel import Parallel
from perdure.models.precision import find_precision
from perdure.silicon.calibration import Calibrated, calibration_of
from perdure.silicon.chip import Chip
from perdure.silicon.efficiency import UNCALIBRATED, Efficiency, Factor
from perdure.silicon.price_machine import Hardware
from perdure.silicon.ranges import Range, exactly
from perdure.silicon.shapes import Attention, Gemm, Shape
from perdure.silicon.table import Grid

WITHIN = 0.01
LIMITS = Limits(tokens=4096, sequences=512, context_tokens=131_072)


class Wavy:
    """An efficiency that depends on sizes, as that of measured kernels does, and is a guess besides."""

    name = "wavy"

    def factor(self, shape: Shape, chip: Chip) -> Factor:
        times = 1.3
        if isinstance(shape, Gemm):
            times += 0.5 / (1 + shape.rows / 64) + 0.05 * math.sin(math.log(1 + shape.rows))
        if isinstance(shape, Attention):
            tokens, seen = max(shape.new_tokens, 1), shape.pairs / max(shape.new_tokens, 1)
            times += 0.4 / (1 + tokens / 128) + 0.6 / (1 + seen / 2000)
        return Factor(
            times=Range(low=0.9 * times, mid=times, high=1.2 * times),
            launch_s=exactly(2e-6),
            status=Status.ESTIMATE,
            source="made up",
            chance="wavy",
        )

    def step(self, chip: Chip) -> Factor:
        return Factor(times=exactly(1.0), launch_s=exactly(5e-4), status=None, source="made up")


CASES: list[tuple[str, Parallel, str, Efficiency]] = [
    ("qwen3-32b", Parallel(tp=8), "bf16", UNCALIBRATED),
    ("qwen3-32b", Parallel(tp=8), "bf16", Wavy()),
    ("deepseek-v3", Parallel(tp=2, dp=4, ep=8), "fp8-block", Wavy()),
    ("gpt-oss-120b", Parallel(tp=2), "bf16", Wavy()),
    ("qwen3.5-397b", Parallel(tp=8, ep=8), "fp8", UNCALIBRATED),
    ("glm-5", Parallel(tp=8), "fp8", UNCALIBRATED),
    ("qwen3-32b", Parallel(tp=2), "bf16", calibration_of("nvidia-h200")),
    ("gpt-oss-120b", Parallel(tp=4), "mxfp4-bf16", calibration_of("nvidia-h200")),
]
GUESSED = Hardware(chip=load_catalog().chip("m890"), rack=load_catalog().rack("al128"))
TIMED = Hardware(chip=load_catalog().chip("h200"), rack=load_catalog().rack("hgx-h200"))
cases = st.integers(0, len(CASES) - 1)
prefills = st.lists(
    st.builds(
        Prefill,
        new_tokens=st.integers(1, 1000),
        cached_tokens=st.integers(0, 100_000),
        count=st.integers(1, 2),
    ),
    max_size=2,
)
decodes = st.lists(
    st.builds(Decode, context_tokens=st.integers(1, 100_000), count=st.integers(1, 100)), max_size=3
)
batches = st.builds(
    lambda first, second: Batch(prefills=tuple(first), decodes=tuple(second)), prefills, decodes
).filter(lambda batch: batch.sequences > 0)


@cache
def instance(case: int) -> Instance:
    name, parallel, precision, efficiency = CASES[case]
    return Instance(
        lowering=Lowering(
            model=architecture_of(load_catalog().model(name)),
            precision=find_precision(precision),
            parallel=parallel,
        ),
        hardware=TIMED if isinstance(efficiency, Calibrated) else GUESSED,
        efficiency=efficiency,
    )


@cache
def sample(case: int) -> Sample:
    return Sample(instance(case), LIMITS)


@cache
def table(case: int) -> CostTable:
    return sample(case).table()


@cache
def arrays(case: int) -> CompiledTable:
    return arrays_of(table(case))


@cache
def live(case: int) -> LiveCost:
    return LiveCost(table(case))


@given(case=cases, batch=batches)
@settings(max_examples=100)
def test_table_and_compiled_code_agree_with_the_plain_price(case: int, batch: Batch) -> None:
    """Law: within one per cent of the breakdown, whatever the batch, model, layout and efficiency."""
    sums = instance(case).lowering.sums(batch)
    plain_s = instance(case).price_of(sums).seconds.mid
    assert table(case).seconds(sums) == pytest.approx(plain_s, rel=WITHIN)
    assert batch_seconds(arrays(case), vector_of(sums, table(case))) == pytest.approx(
        table(case).seconds(sums), rel=1e-9
    )


@given(case=cases, sequences=st.integers(1, 512), context=st.integers(1, 131_072))
@settings(max_examples=60)
def test_the_live_decode_step_agrees_with_the_plain_price(case: int, sequences: int, context: int) -> None:
    """Law: within one per cent, for sequences as long as their mean."""
    ranks = CASES[case][1].dp
    batch = Batch(decodes=(Decode(context_tokens=context, count=sequences * ranks),))
    plain_s = instance(case).price(batch).seconds.mid
    assert live(case).decode_step_s(sequences, context * sequences) == pytest.approx(plain_s, rel=WITHIN)


@given(case=cases, new=st.integers(1, 4096), cached=st.integers(0, 131_072))
@settings(max_examples=60)
def test_the_live_prefill_agrees_with_the_plain_price(case: int, new: int, cached: int) -> None:
    """Law: within one per cent, for one prompt."""
    batch = Batch(prefills=(Prefill(new_tokens=new, cached_tokens=cached),))
    plain_s = instance(case).price(batch).seconds.mid
    assert live(case).prefill_s(new, cached) == pytest.approx(plain_s, rel=WITHIN)


@given(case=cases, context=st.integers(1, 60_000), sequences=st.integers(1, 200), steps=st.integers(1, 400))
@settings(max_examples=30)
def test_a_run_of_steps_is_the_sum_of_its_steps(case: int, context: int, sequences: int, steps: int) -> None:
    """Law: jumping over a run costs what walking it does, and half its time holds the steps that fit."""
    sums = instance(case).lowering.sums(Batch(decodes=(Decode(context_tokens=context, count=sequences),)))
    growth = growth_of(case, sums.decode_sequences)
    walked, each = vector_of(sums, table(case)), []
    for _ in range(steps):
        each.append(batch_seconds(arrays(case), walked))
        walked[READS:] += growth
    done, seconds = decode_run(arrays(case), vector_of(sums, table(case)), growth, steps, math.inf)
    assert done == steps
    assert seconds == pytest.approx(sum(each), rel=1e-9)
    half = seconds / 2
    fitting, spent = decode_run(arrays(case), vector_of(sums, table(case)), growth, steps, half)
    assert spent <= half * (1 + 1e-9)
    assert spent + each[min(fitting, steps - 1)] >= half * (1 - 1e-9)


def test_a_run_moves_its_sums_to_the_next_step() -> None:
    """A run of three steps of ten sequences leaves thirty more tokens to read."""
    sums = instance(0).lowering.sums(Batch(decodes=(Decode(context_tokens=1000, count=10),)))
    moved = vector_of(sums, table(0))
    decode_run(arrays(0), moved, growth_of(0, 10.0), 3, math.inf)
    assert moved[READS] == 10 * 1003


def test_nothing_fits_into_no_time() -> None:
    """Without time there is no step; with a little less than two steps' time there is one."""
    sums = instance(0).lowering.sums(Batch(decodes=(Decode(context_tokens=1000, count=10),)))
    step_s = batch_seconds(arrays(0), vector_of(sums, table(0)))
    growth = growth_of(0, 10.0)
    assert decode_run(arrays(0), vector_of(sums, table(0)), growth, 5, 0.0)[0] == 0
    assert decode_run(arrays(0), vector_of(sums, table(0)), growth, 5, 1.99 * step_s)[0] == 1


@pytest.mark.parametrize("case", [0, 1])
def test_every_draw_has_a_table_of_its_own(case: int) -> None:
    """The tables of all draws have the range that the plain price has, for the draws are the same."""
    batch = Batch(decodes=(Decode(context_tokens=3000, count=7),))
    sums = instance(case).lowering.sums(batch)
    seconds = sorted(drawn.seconds(sums) for drawn in sample(case).tables())
    price = instance(case).price(batch).seconds
    assert seconds[3] == pytest.approx(price.low, rel=WITHIN)
    assert seconds[-4] == pytest.approx(price.high, rel=WITHIN)
    assert price.low < price.high


def test_a_chip_without_guesses_needs_no_draws() -> None:
    """An H200 alone has one table."""
    alone = Instance(
        lowering=instance(0).lowering.__class__(
            model=instance(0).lowering.model, precision=find_precision("bf16")
        ),
        hardware=Hardware(chip=load_catalog().chip("h200")),
    )
    assert Sample(alone, Limits(tokens=64, sequences=8, context_tokens=1024)).tables() == ()


@given(per_octave=st.sampled_from([1, 2, 8, 32]), number=st.floats(0, 100_000))
def test_a_number_lies_in_its_cell(per_octave: int, number: float) -> None:
    """Law: the cell that arithmetic gives is the one between whose knots the number lies."""
    grid = Grid(per_octave, 100_000)
    cell = grid.cell(number)
    assert grid.knots[cell] <= number < grid.knots[cell + 1]


@pytest.mark.parametrize(("sequences", "new"), [(0, 0), (513, 4097)])
def test_a_question_beyond_the_table_is_refused(sequences: int, new: int) -> None:
    """The message says how far the table reaches."""
    with pytest.raises(BadRequest, match="1 to 512"):
        live(0).decode_step_s(sequences, 1000.0)
    with pytest.raises(BadRequest, match="1 to 4096"):
        live(0).prefill_s(new, 0)


def growth_of(case: int, sequences: float) -> np.ndarray:
    """What each span's decodes read more at every step, of contexts that no window bounds."""
    return np.array(
        [
            0.0 if span.limit_entries is not None else sequences / span.every_tokens
            for span in instance(case).lowering.spans
        ]
    )
