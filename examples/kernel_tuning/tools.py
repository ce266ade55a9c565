"""The tools of the kernel-tuning agent: evaluate a kernel, look back, note, submit."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec

sys.path.append(str(Path(__file__).resolve().parent))  # the other files of this agent

from kernel_measure import SOURCE_CHARS_MAX, Bench, Measured, sha256
from kernel_record import Evaluation, Record
from kernel_report import conclude
from kernel_search import score
from kernel_shapes import geomean, of_phase, speedups
from kernel_space import Point, machine_space, source_of, written

from perdure.agents.tools import Effect, Finish, ToolContext, tool

SPACE = machine_space()
NOTE_CHARS_MAX = 80
HISTORY_LAST = 3
EVALUATIONS_BETWEEN_OTHERS = 3


@tool(effect=Effect.REPEATABLE, parameters=SPACE.schema())
def evaluate(context: ToolContext, change: list[str]) -> str:
    """Change the best kernel so far, compile it, check it and time it."""
    record = Record(context)
    if record.used_up:
        return record.refusal
    point = SPACE.changed(record.base, change)
    before = record.same_as(point)
    if before is not None:
        return record.add_again(point, before)
    source = source_of(point, (context.folder / "kernel.c.in").read_text(encoding="utf-8"))
    return _evaluate(record, Bench(context), source, point)


@tool(effect=Effect.REPEATABLE)
def evaluate_source(
    context: ToolContext, source: Annotated[str, msgspec.Meta(min_length=1, max_length=SOURCE_CHARS_MAX)]
) -> str:
    """Check and time a whole C source of your own."""
    record = Record(context)
    if not context.settings["allow_source"]:
        return "refused: whole sources are off. Use evaluate, or run with --set allow_source=true."
    if record.used_up:
        return record.refusal
    before = record.same_as(sha256(source))
    if before is not None:
        return record.add_again(sha256(source), before)
    bench = Bench(context)
    return _evaluate(record, bench, source, bench.keep_source(source))


@tool(effect=Effect.REPEATABLE)
def history(context: ToolContext) -> str:
    """Show the best kernel and the last ones."""
    record = Record(context)
    best, last = record.best, record.evaluations[-HISTORY_LAST:]
    if best is None:
        return f"{len(record.evaluations)} evaluated, none correct yet"
    recent = ", ".join(f"#{one.number} {one.speedup:.1f}x" for one in last)
    return f"best #{best.number} {best.speedup:.1f}x {_compact(best)}; last: {recent}"


@tool(effect=Effect.TRANSACTIONAL)
def note(
    context: ToolContext, text: Annotated[str, msgspec.Meta(min_length=1, max_length=NOTE_CHARS_MAX)]
) -> str:
    """Keep a short note."""
    return Record(context).add_note(text)


@tool(effect=Effect.REPEATABLE)
def submit(context: ToolContext) -> Finish:
    """Hand in the best kernel. Ends the job."""
    return conclude(context, SPACE, Record(context), Bench(context))


def choose(context: ToolContext) -> tuple[str, ...]:
    """Which tools may be called next: evaluations, others now and then, submit when none is left."""
    if Record(context).used_up:
        return ("submit",)
    evaluating = ("evaluate", "evaluate_source") if context.settings["allow_source"] else ("evaluate",)
    latest = [past.tool for past in context.history[-EVALUATIONS_BETWEEN_OTHERS:]]
    if len(latest) == EVALUATIONS_BETWEEN_OTHERS and all(name in evaluating for name in latest):
        return (*evaluating, "history", "note")
    return evaluating


def _evaluate(record: Record, bench: Bench, source: str, what: Point | str) -> str:
    baseline_s = record.baseline_seconds(bench)
    measured = bench.measure(source)
    return record.add(what, score(measured, baseline_s), _in_words(measured, baseline_s))


def _in_words(measured: Measured, baseline_s: list[float]) -> str:
    if not measured.ok:
        return f"0x: {measured.reason}"
    ratios = speedups(baseline_s, measured.seconds)
    prefill, decode = geomean(of_phase(ratios, "prefill")), geomean(of_phase(ratios, "decode"))
    return f"{geomean(ratios):.1f}x (prefill {prefill:.1f}x, decode {decode:.1f}x) ok"


def _compact(evaluation: Evaluation) -> str:
    if evaluation.point is None:
        return f"source {evaluation.source}"
    return written(msgspec.convert(evaluation.point, Point))
