"""What a recorded agent session would take on other hardware, at the roofline.

A floor at batch 1, not a forecast: one call after another, every kernel at its chip's peak, recorded token
counts and tool times kept as they are. Where a figure is a guess the result is a range, whose ends have
every guess at its best and at its worst at once.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perdure.catalog.figure import Case, Figure, Status, least_sure
from perdure.models.architecture import Architecture, architecture_of
from perdure.models.cost import Work, decode_work, memory_bytes_per_chip, prefill_work
from perdure.silicon.chip import chip_at, link_at
from perdure.silicon.collectives import all_reduce_floor
from perdure.silicon.roofline import Bound, Spent, floor_of
from perdure.traces.record import CallRecord
from perdure.twin.deployment import Deployment
from perdure.units import bytes_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A number of seconds: `low` if every guess came out at its best, `high` at its worst."""

    low: float
    mid: float
    high: float

    def plus(self, seconds: float) -> "Range":
        """The range moved by `seconds`."""
        return Range(low=self.low + seconds, mid=self.mid + seconds, high=self.high + seconds)

    def with_(self, other: "Range") -> "Range":
        """Both after one another: best with best and worst with worst, for they rest on the same guesses."""
        return Range(low=self.low + other.low, mid=self.mid + other.mid, high=self.high + other.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Where the seconds of a job go. `bound`: what most of the model's own go to, `bound_share` of them."""

    prefill_s: Range
    decode_s: Range
    tool_s: float
    bound: Bound | None
    bound_share: float

    @property
    def job_s(self) -> Range:
        """All of it, one thing after another."""
        return self.prefill_s.with_(self.decode_s).plus(self.tool_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    times                  None where the model cannot run there; `problem` then says why
    memory_bytes_per_chip  weights and the cache of the longest call, against `memory_bytes_available`
    status                 how sure the least sure figure is; `rests_on` has them all
    """

    hardware: str
    model: str
    stands_in_for: str | None = None
    precision: str
    chips: int
    times: Times | None
    problem: str | None = None
    memory_bytes_per_chip: float | None = None
    memory_bytes_available: float | None = None
    status: Status
    rests_on: tuple[Figure, ...]
    notes: tuple[str, ...] = ()


def estimate_row(records: Sequence[CallRecord], deployment: Deployment) -> Row:
    """What `records` would take on `deployment`, at least."""
    model = architecture_of(deployment.model)
    longest_tokens = max(record.prompt_tokens + record.output_tokens for record in records)
    needed = memory_bytes_per_chip(
        model, deployment.precision, context_tokens=longest_tokens, chips=deployment.chips
    )
    available = deployment.chip.figure("memory_bytes").at(Case.WORST)
    problem = _problem(model, longest_tokens=longest_tokens, needed=needed, available=available)
    figures = deployment.rests_on
    return Row(
        hardware=deployment.hardware,
        model=model.name,
        stands_in_for=deployment.model.text("stands_in_for"),
        precision=deployment.precision.name,
        chips=deployment.chips,
        times=None if problem else _times(records, deployment, model),
        problem=problem,
        memory_bytes_per_chip=needed,
        memory_bytes_available=available,
        status=least_sure(figures),
        rests_on=figures,
        notes=(*_state_notes(model), *_tool_notes(records)),
    )


def recorded_row(records: Sequence[CallRecord], *, hardware: str, model: str) -> Row | None:
    """What `records` took where they were recorded, or None where a call lacks its times."""
    prefill_s = [record.prefill_s for record in records if record.prefill_s is not None]
    decode_s = [record.decode_s for record in records if record.decode_s is not None]
    if len(prefill_s) < len(records) or len(decode_s) < len(records):
        return None
    return Row(
        hardware=hardware,
        model=model,
        precision="as recorded",
        chips=1,
        times=Times(
            prefill_s=_exactly(sum(prefill_s)),
            decode_s=_exactly(sum(decode_s)),
            tool_s=_tool_s(records),
            bound=None,
            bound_share=0.0,
        ),
        status=Status.MEASURED,
        rests_on=(),
        notes=("the engine's own times of this run, not an estimate", *_tool_notes(records)),
    )


def recorded_model(records: Sequence[CallRecord]) -> str:
    """The model that most of the calls asked for; the first of several as frequent."""
    return Counter(record.model for record in records).most_common(1)[0][0]


def prefill_tokens(record: CallRecord) -> int:
    """Tokens that must be computed before the first one comes out: the last is never taken from a cache."""
    return max(1, record.prompt_tokens - record.cached_tokens)


def _times(records: Sequence[CallRecord], deployment: Deployment, model: Architecture) -> Times:
    spent = {case: _spent(records, deployment, model, case) for case in Case}
    whole = spent[Case.MID][0] + spent[Case.MID][1]
    bound_s = dict(whole.shares)[whole.bound]
    return Times(
        prefill_s=_range(lambda case: spent[case][0].seconds),
        decode_s=_range(lambda case: spent[case][1].seconds),
        tool_s=_tool_s(records),
        bound=whole.bound,
        bound_share=bound_s / whole.seconds,
    )


def _spent(
    records: Sequence[CallRecord], deployment: Deployment, model: Architecture, case: Case
) -> tuple[Spent, Spent]:
    """Seconds of all prefills and of all decodes, with the guesses as in `case`."""
    chip = chip_at(deployment.chip, case)
    link = link_at(deployment.rack, deployment.chip, case) if deployment.rack else None

    def floor(work: Work) -> Spent:
        total = floor_of(work.operations, chip)
        for reduce in work.reduces:
            assert link is not None, "several chips are joined by a rack"
            total = total + all_reduce_floor(reduce, link)
        return total

    prefill, decode = Spent(), Spent()
    for record in records:
        new_tokens = prefill_tokens(record)
        prefill = prefill + floor(
            prefill_work(
                model,
                deployment.precision,
                new_tokens=new_tokens,
                cached_tokens=max(0, record.prompt_tokens - new_tokens),
                chips=deployment.chips,
            )
        )
        # The prefill gives the first token; each step takes the one before it and gives the next.
        steps = max(0, record.output_tokens - 1)
        mean_context = record.prompt_tokens + (steps + 1) / 2
        step = decode_work(model, deployment.precision, context_tokens=mean_context, chips=deployment.chips)
        decode = decode + floor(step).times(steps)
    return prefill, decode


def _problem(model: Architecture, *, longest_tokens: int, needed: float, available: float) -> str | None:
    if longest_tokens > model.window_tokens:
        return (
            f"does not run: the longest call has {longest_tokens:,} tokens, "
            f"the model's window is {model.window_tokens:,}"
        )
    if needed > available:
        return (
            f"does not fit: needs {bytes_text(needed)} a chip, has {bytes_text(available)}: "
            f"{bytes_text(needed - available)} too many"
        )
    return None


def _range(seconds: Callable[[Case], float]) -> Range:
    return Range(low=seconds(Case.BEST), mid=seconds(Case.MID), high=seconds(Case.WORST))


def _exactly(seconds: float) -> Range:
    return Range(low=seconds, mid=seconds, high=seconds)


def _tool_s(records: Sequence[CallRecord]) -> float:
    return sum(record.tool_s or 0.0 for record in records)


def _state_notes(model: Architecture) -> tuple[str, ...]:
    if model.linear_attention_layers == 0:
        return ()
    return ("cached tokens count as reused, which its linear layers need a snapshot of their state for",)


def _tool_notes(records: Sequence[CallRecord]) -> tuple[str, ...]:
    untimed = sum(record.tool is not None and record.tool_s is None for record in records)
    if untimed == 0:
        return ()
    return (f"{untimed} tool calls have no recorded time and count as zero",)
