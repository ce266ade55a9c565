"""What a recorded agent session would take on other hardware, at the roofline.

A floor at batch 1, not a forecast: one call after another, every kernel at its chip's peak, recorded token
counts and tool times kept as they are. Where a figure is a guess the result is a range over joint draws of
all guesses, the same draws on every row.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from perdure.catalog.figure import Figure, Status, least_sure
from perdure.models.architecture import Architecture
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost import Instance
from perdure.models.memory import Memory
from perdure.silicon.price import Rated, Rating
from perdure.silicon.ranges import Range, exactly, range_of
from perdure.silicon.roofline import Bound
from perdure.traces.record import CallRecord
from perdure.twin.deployment import Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Where the seconds of a job go; `job_s` is all of them, one thing after another.

    bound  what most of the model's own seconds go to, `bound_share` of them
    """

    prefill_s: Range
    decode_s: Range
    tool_s: float
    job_s: Range
    bound: Bound | None
    bound_share: float


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
    model = deployment.architecture
    longest_tokens = max(record.prompt_tokens + record.output_tokens for record in records)
    memory = deployment.instance.memory(Batch(decodes=(Decode(context_tokens=longest_tokens),)))
    problem = _problem(model, longest_tokens, memory)
    figures = deployment.rests_on
    return Row(
        hardware=deployment.hardware,
        model=model.name,
        stands_in_for=deployment.model.text("stands_in_for"),
        precision=deployment.precision.name,
        chips=deployment.chips,
        times=None if problem else _times(records, deployment.instance),
        problem=problem,
        memory_bytes_per_chip=memory.needed_bytes,
        memory_bytes_available=memory.available_bytes,
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
    tool_s = _tool_s(records)
    return Row(
        hardware=hardware,
        model=model,
        precision="as recorded",
        chips=1,
        times=Times(
            prefill_s=exactly(sum(prefill_s)),
            decode_s=exactly(sum(decode_s)),
            tool_s=tool_s,
            job_s=exactly(sum(prefill_s) + sum(decode_s) + tool_s),
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


def _times(records: Sequence[CallRecord], instance: Instance) -> Times:
    prefill, decode = (_rated(works, instance) for works in _works(records))
    tool_s, mid = _tool_s(records), instance.hardware.mid
    first, then = prefill.spent(mid), decode.spent(mid)
    machines = instance.machines(prefill)
    first_drawn, then_drawn = ([part.seconds(machine) for machine in machines] for part in (prefill, decode))
    jobs = [tool_s + sum(both) for both in zip(first_drawn, then_drawn, strict=True)]
    whole = first + then
    return Times(
        prefill_s=range_of(first.seconds, first_drawn),
        decode_s=range_of(then.seconds, then_drawn),
        tool_s=tool_s,
        job_s=range_of(tool_s + whole.seconds, jobs),
        bound=whole.bound,
        bound_share=dict(whole.shares)[whole.bound] / whole.seconds,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """A batch, and how often it is computed."""

    batch: Batch
    times: int


def _works(records: Sequence[CallRecord]) -> tuple[list[_Work], list[_Work]]:
    """All prefills, and all decodes, of `records` one call at a time."""
    prefills: list[_Work] = []
    decodes: list[_Work] = []
    for record in records:
        new_tokens = prefill_tokens(record)
        cached_tokens = max(0, record.prompt_tokens - new_tokens)
        prefill = Prefill(new_tokens=new_tokens, cached_tokens=cached_tokens)
        prefills.append(_Work(Batch(prefills=(prefill,)), 1))
        # The prefill gives the first token; each step takes the one before it and gives the next. The mean
        # step of a run stands for each of them.
        steps = max(0, record.output_tokens - 1)
        mean_tokens = record.prompt_tokens + (steps + 1) / 2
        decodes.append(_Work(Batch(decodes=(Decode(context_tokens=mean_tokens),)), steps))
    return prefills, decodes


def _rated(works: Sequence[_Work], instance: Instance) -> Rating:
    """All of `works` as one, equal operations together: they follow each other, so their seconds add up."""
    repeats: dict[Rated, float] = defaultdict(float)
    step = instance.efficiency.step(instance.hardware.mid.chip)
    for work in works:
        rating = instance.rating(instance.lowering.sums(work.batch))
        for rated in rating.operations:
            once = replace(rated, operation=replace(rated.operation, repeats=1.0))
            repeats[once] += rated.operation.repeats * work.times
    merged = tuple(
        replace(once, operation=replace(once.operation, repeats=count)) for once, count in repeats.items()
    )
    return Rating(operations=merged, step=step, batches=sum(work.times for work in works))


def _problem(model: Architecture, longest_tokens: int, memory: Memory) -> str | None:
    if longest_tokens > model.window_tokens:
        return (
            f"does not run: the longest call has {longest_tokens:,} tokens, "
            f"the model's window is {model.window_tokens:,}"
        )
    return memory.problem


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
