"""What a recorded agent session would take on other hardware, at the roofline.

A floor at batch 1, not a forecast: one call after another, every kernel at its chip's peak, recorded token
counts and tool times kept as they are. Where a figure is a guess the result is a range over joint draws of
all guesses, the same draws on every row.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from perdure.catalog.figure import Figure, Status, least_sure
from perdure.models.architecture import Architecture
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost import Instance
from perdure.models.memory import Memory
from perdure.silicon.price import Rating
from perdure.silicon.ranges import Range, exactly, range_of
from perdure.silicon.roofline import Bound, Spent
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
    prefills, decodes = _works(records, instance)
    tool_s = _tool_s(records)
    prefill, decode = _spent(prefills, instance), _spent(decodes, instance)
    whole = prefill + decode
    prefill_drawn, decode_drawn = _drawn(prefills, instance), _drawn(decodes, instance)
    both_drawn = zip(prefill_drawn, decode_drawn, strict=True)
    return Times(
        prefill_s=range_of(prefill.seconds, prefill_drawn),
        decode_s=range_of(decode.seconds, decode_drawn),
        tool_s=tool_s,
        job_s=range_of(whole.seconds + tool_s, [first + then + tool_s for first, then in both_drawn]),
        bound=whole.bound,
        bound_share=dict(whole.shares)[whole.bound] / whole.seconds,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """A batch, and how often it is computed."""

    rating: Rating
    times: int


def _works(records: Sequence[CallRecord], instance: Instance) -> tuple[list[_Work], list[_Work]]:
    """All prefills, and all decodes, of `records` one call at a time."""

    def work(batch: Batch, times: int) -> _Work:
        return _Work(instance.rating(instance.lowering.sums(batch)), times)

    prefills: list[_Work] = []
    decodes: list[_Work] = []
    for record in records:
        new_tokens = prefill_tokens(record)
        cached_tokens = max(0, record.prompt_tokens - new_tokens)
        prefill = Prefill(new_tokens=new_tokens, cached_tokens=cached_tokens)
        prefills.append(work(Batch(prefills=(prefill,)), 1))
        # The prefill gives the first token; each step takes the one before it and gives the next. The mean
        # step of a run stands for each of them.
        steps = max(0, record.output_tokens - 1)
        mean_tokens = record.prompt_tokens + (steps + 1) / 2
        decodes.append(work(Batch(decodes=(Decode(context_tokens=mean_tokens),)), steps))
    return prefills, decodes


def _spent(works: Sequence[_Work], instance: Instance) -> Spent:
    """On what the seconds go, with every guess at its mid."""
    total = Spent()
    for work in works:
        total = total + work.rating.spent(instance.hardware.mid).times(work.times)
    return total


def _drawn(works: Sequence[_Work], instance: Instance) -> list[float]:
    """Seconds in every draw of the guesses; nothing where none is guessed."""
    return [
        sum(work.rating.seconds(machine) * work.times for work in works)
        for machine in instance.machines(works[0].rating)
    ]


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
