"""What holds for every recorded session on every chip: better hardware and more cache never cost time."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Case
from perdure.catalog.load import load_catalog
from perdure.models.parallel import Parallel
from perdure.models.precision import PRECISIONS
from perdure.silicon.chip import chip_at, link_at
from perdure.traces.record import CallRecord
from perdure.twin.deployment import Deployment
from perdure.twin.estimate import Times, estimate_row

CATALOG = load_catalog()


@st.composite
def sessions(draw: st.DrawFn) -> list[CallRecord]:
    """A few calls of any lengths that fit every window."""
    calls: list[CallRecord] = []
    for start_s in range(draw(st.integers(1, 4))):
        prompt = draw(st.integers(1, 6000))
        calls.append(
            CallRecord(
                model="smollm2-135m",
                start_s=start_s,
                prompt_tokens=prompt,
                cached_tokens=draw(st.integers(0, prompt)),
                output_tokens=draw(st.integers(0, 2000)),
                reason="stop",
                tool_s=draw(st.one_of(st.none(), st.floats(0, 100))),
            )
        )
    return calls


deployments = st.sampled_from(
    [
        Deployment(
            hardware=f"{chip}/{model}",
            chip=CATALOG.chip(chip),
            model=CATALOG.model(model),
            precision=PRECISIONS["bf16"],
        )
        for chip in ("zhenwu-m890", "nvidia-h200")
        for model in ("smollm2-135m", "qwen3-32b")
    ]
    + [
        Deployment(
            hardware="al128",
            chip=CATALOG.chip("zhenwu-m890"),
            rack=CATALOG.rack("al128"),
            model=CATALOG.model("qwen3.8-2.4t-a95b"),
            precision=PRECISIONS["mxfp4-fp8"],
            parallel=Parallel(tp=64),
        )
    ]
)


def times_of(records: list[CallRecord], deployment: Deployment) -> Times:
    times = estimate_row(records, deployment).times
    assert times is not None
    return times


@given(records=sessions(), deployment=deployments)
@settings(max_examples=50)
def test_a_range_holds_its_mid_and_only_guesses_make_one(
    records: list[CallRecord], deployment: Deployment
) -> None:
    """Law: best <= mid <= worst, equal where nothing was guessed, and the job is the sum of its parts."""
    row = estimate_row(records, deployment)
    assert row.times is not None
    job = row.times.job_s
    assert job.low <= job.mid <= job.high
    if not any(figure.guessed for figure in row.rests_on):
        assert job.low == job.high
    assert job.mid >= row.times.tool_s


@given(records=sessions(), deployment=deployments)
@settings(max_examples=50)
def test_a_full_cache_never_makes_a_session_slower(records: list[CallRecord], deployment: Deployment) -> None:
    """Law: with every prompt cached the job takes no longer, with none it takes no less."""
    cold = [_with_cache(record, 0) for record in records]
    warm = [_with_cache(record, record.prompt_tokens) for record in records]
    recorded_s = times_of(records, deployment).job_s
    assert times_of(warm, deployment).job_s.mid <= recorded_s.mid * (1 + 1e-9)
    assert recorded_s.mid <= times_of(cold, deployment).job_s.mid * (1 + 1e-9)


@given(
    records=sessions(),
    deployment=deployments,
    factor=st.floats(1, 50),
    name=st.sampled_from(
        ["memory_bandwidth_bytes_per_s", "bf16_dense_flop_per_s", "link_bytes_per_s", "launch_s"]
    ),
)
@settings(max_examples=50)
def test_a_faster_chip_never_makes_a_session_slower(
    records: list[CallRecord], deployment: Deployment, factor: float, name: str
) -> None:
    """Law: a better figure, wherever in the range one looks, never adds time."""
    faster = replace(deployment, chip=_improved(deployment.chip, name, factor))
    before, after = times_of(records, deployment).job_s, times_of(records, faster).job_s
    assert after.low <= before.low * (1 + 1e-9)
    assert after.mid <= before.mid * (1 + 1e-9)
    assert after.high <= before.high * (1 + 1e-9)


@given(records=sessions(), deployment=deployments)
@settings(max_examples=20)
def test_provenance_is_never_lost(records: list[CallRecord], deployment: Deployment) -> None:
    """Law: whatever figure changes the result stands in `rests_on`, with its source."""
    row = estimate_row(records, deployment)
    named = {(figure.owner, figure.name) for figure in row.rests_on}
    assert all(figure.source for figure in row.rests_on)
    entries = [deployment.chip, deployment.model, *([deployment.rack] if deployment.rack else [])]
    for entry in entries:
        for figure in entry.figures.values():
            if (figure.owner, figure.name) not in named:
                assert _is_unused(entry, figure.name, records, deployment), figure.name


def test_the_best_case_of_every_guess_is_the_fast_one() -> None:
    """Law: best is no slower than mid, and mid than worst, figure by figure."""
    rack, m890 = CATALOG.rack("al128"), CATALOG.chip("zhenwu-m890")
    best, mid, worst = (chip_at(m890, case) for case in (Case.BEST, Case.MID, Case.WORST))
    assert best.memory_bytes_per_s > mid.memory_bytes_per_s > worst.memory_bytes_per_s
    assert best.launch_s < mid.launch_s < worst.launch_s
    assert link_at(rack, m890, Case.BEST).step_s < link_at(rack, m890, Case.WORST).step_s


def _with_cache(record: CallRecord, cached_tokens: int) -> CallRecord:
    return CallRecord(
        model=record.model,
        start_s=record.start_s,
        prompt_tokens=record.prompt_tokens,
        cached_tokens=cached_tokens,
        output_tokens=record.output_tokens,
        reason=record.reason,
        tool_s=record.tool_s,
    )


def _improved(chip: Entry, name: str, factor: float) -> Entry:
    figure = chip.figures[name]
    scale = factor if figure.more_is_faster else 1 / factor
    better = replace(figure, low=figure.low * scale, mid=figure.mid * scale, high=figure.high * scale)
    return replace(chip, figures={**chip.figures, name: better})


def _is_unused(entry: Entry, name: str, records: list[CallRecord], deployment: Deployment) -> bool:
    """Whether making the figure much worse leaves every time as it was."""
    worse = _improved(entry, name, 1 / 16)
    kind = {"chips": "chip", "racks": "rack", "models": "model"}[entry.kind]
    changed = estimate_row(records, replace(deployment, **{kind: worse}))
    return changed.times == times_of(records, deployment)
