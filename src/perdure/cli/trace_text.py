"""How a workload in numbers looks in a terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from perdure.traces.calls import ImportReport
from perdure.traces.statistics import QUANTILES, Spread, Statistics
from perdure.units import seconds_text

MODELS_SHOWN_MAX = 8
SHOWN = {
    "turns_per_session": "turns of a session",
    "turns_per_program": "turns of a program",
    "prompt_tokens": "prompt tokens",
    "new_tokens": "new tokens of a prompt",
    "output_tokens": "output tokens",
    "longest_context_tokens": "longest context of a session",
    "turn_reuse": "share of a prompt known before",
    "tool_gap_s": "seconds of a tool",
    "other_gap_s": "seconds of a person, or a pause",
}


def statistics_text(statistics: Statistics) -> Group:
    """Counts, then quantiles."""
    return Group(_counts(statistics), Text(), _spreads(statistics.spreads))


def report_text(report: ImportReport) -> Group:
    """What was read, and what was not as it should be."""
    lines = [Text(f"{report.calls:,} calls read ({report.format})")]
    lines += [Text(f"  repaired {count:,}: {reason}") for reason, count in report.repaired.items()]
    lines += [Text(f"  left out {count:,}: {reason}") for reason, count in report.skipped.items()]
    if report.unseen_tokens:
        lines.append(
            Text(f"  {report.unseen_tokens:,} prompt tokens come back from a context older than the last one")
        )
    lines += [Text(f"  {note}") for note in report.notes]
    return Group(*lines)


def _counts(statistics: Statistics) -> Group:
    sub_agents = f", {statistics.sub_agents:,} of them started by another ({statistics.awaited:,} waited for)"
    loop = (
        f"{statistics.concurrency:,} programs at a time"
        if statistics.concurrency is not None
        else f"arrivals over {seconds_text(statistics.arrivals_s)}"
    )
    end = "" if statistics.end_s is None else f", cut off after {seconds_text(statistics.end_s)}"
    models = list(statistics.models.items())
    shown = ", ".join(f"{name} {turns:,}" for name, turns in models[:MODELS_SHOWN_MAX])
    more = f" and {len(models) - MODELS_SHOWN_MAX} more" if len(models) > MODELS_SHOWN_MAX else ""
    shared = statistics.shared_tokens / statistics.prompt_tokens
    return Group(
        Text(
            f"{statistics.programs:,} programs, {statistics.sessions:,} sessions"
            f"{sub_agents if statistics.sub_agents else ''}, {statistics.turns:,} turns; {loop}{end}"
        ),
        Text(
            f"{statistics.prompt_tokens:,} prompt tokens, {statistics.reuse:.1%} of them known before "
            f"({shared:.1%} from other sessions); {statistics.output_tokens:,} output tokens"
        ),
        Text(f"{statistics.compactions:,} contexts cut short; {statistics.tenants:,} tenants"),
        Text(f"turns by model: {shown}{more}"),
    )


def _spreads(spreads: dict[str, Spread]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in ("of", "mean", *(name for name, _ in QUANTILES), "most"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, spread in spreads.items():
        figures = (spread.mean, *spread.quantiles.values(), spread.most)
        table.add_row(SHOWN[name], f"{spread.count:,}", *(_figure(figure) for figure in figures))
    return table


def _figure(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 or figure == int(figure) else f"{figure:.3g}"
