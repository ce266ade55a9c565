"""How an estimate is shown: as a table with footnotes for people, as JSON for programs."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from perdure.catalog.figure import Figure, Status
from perdure.silicon.ranges import DRAWS, Range
from perdure.traces.record import CallRecord
from perdure.twin.estimate import Row, Times
from perdure.units import seconds_text

READING = (
    "Read it as a floor, not a forecast: one call at a time (batch 1), every kernel at its chip's peak, the "
    "recorded tokens and tool times kept; real systems take longer, and another model would take other turns."
)
RANGE_READING = (
    f"Ranges hold nine in ten of {DRAWS} joint draws of the guesses, the same draws on every row; "
    "above them is every guess at its mid."
)


def rows_table(rows: Sequence[Row]) -> Table:
    """`rows` as a table that fits 80 columns; the numbers behind GUESS point at the footnotes."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0, leading=1)
    table.add_column("hardware\nmodel", min_width=_NAME_COLUMNS)
    for heading in ("prefill", "decode", "tools", "job"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("bound by")
    table.add_column("rests on")
    numbers = {_key(figure): number for number, figure in enumerate(guesses(rows), start=1)}
    for row in rows:
        style = "yellow" if row.status is Status.ESTIMATE else ""
        table.add_row(
            Text(f"{row.hardware}\n{row.model} {row.precision}"),
            *_times_cells(row),
            Text(_rests_on(row, numbers), style=style),
        )
    return table


def footnotes(rows: Sequence[Row]) -> list[str]:
    """What the table cannot say in a cell: each guess with its reason, stand-ins, what a row lacks."""
    notes = [
        f"[{number}] GUESS: {_label(figure)} {figure.text}: {figure.source}"
        for number, figure in enumerate(guesses(rows), start=1)
    ]
    for row in rows:
        if row.stands_in_for:
            notes.append(f"{row.model} stands in for {row.stands_in_for}, which is served by API only")
        if row.problem:
            notes.append(f"{row.hardware}, {row.model} {row.precision}: {row.problem}")
        notes += [f"{row.hardware}, {row.model}: {note}" for note in row.notes]
    return list(dict.fromkeys(notes))


def guesses(rows: Sequence[Row]) -> list[Figure]:
    """The guessed figures that `rows` rest on, each once, in the order of the rows."""
    by_name = {_key(figure): figure for row in rows if row.times for figure in row.rests_on if figure.guessed}
    return list(by_name.values())


def trace_text(records: Sequence[CallRecord]) -> str:
    """One line on what was recorded."""
    prompt = sum(record.prompt_tokens for record in records)
    cached = sum(record.cached_tokens for record in records)
    output = sum(record.output_tokens for record in records)
    share = cached / prompt if prompt else 0.0
    tokens = f"{prompt:,} prompt tokens ({share:.0%} cached), {output:,} output tokens"
    sessions = len({record.session for record in records})
    return f"{len(records):,} model calls in {sessions:,} session{'s' * (sessions > 1)}: {tokens}"


def report(rows: Sequence[Row], records: Sequence[CallRecord]) -> Group:
    """Table, footnotes and how to read them, to print with rich."""
    ranged = any(row.times and row.times.job_s.low < row.times.job_s.high for row in rows)
    reading = f"{READING} {RANGE_READING}" if ranged else READING
    notes = [Padding(Text(note), (0, 0, 0, 2)) for note in footnotes(rows)]
    blank = Text()
    return Group(Text(trace_text(records)), blank, rows_table(rows), blank, *notes, blank, Text(reading))


def render(rows: Sequence[Row], records: Sequence[CallRecord], *, width: int = 120) -> str:
    """The report as plain text, `width` columns wide."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(report(rows, records))
    return capture.get()


def rows_json(rows: Sequence[Row], records: Sequence[CallRecord]) -> dict[str, Any]:
    """The report for programs; equal ends of a range mean that nothing in it was guessed."""
    return {
        "calls": len(records),
        "prompt_tokens": sum(record.prompt_tokens for record in records),
        "cached_tokens": sum(record.cached_tokens for record in records),
        "output_tokens": sum(record.output_tokens for record in records),
        "reading": READING,
        "rows": [_row_json(row) for row in rows],
    }


def _row_json(row: Row) -> dict[str, Any]:
    times = row.times
    return {
        "hardware": row.hardware,
        "chips": row.chips,
        "model": row.model,
        "stands_in_for": row.stands_in_for,
        "precision": row.precision,
        "prefill_s": _range_json(times and times.prefill_s),
        "decode_s": _range_json(times and times.decode_s),
        "tool_s": times and times.tool_s,
        "job_s": _range_json(times and times.job_s),
        "bound": times and times.bound,
        "bound_share": times and times.bound_share,
        "memory_bytes_per_chip": row.memory_bytes_per_chip,
        "memory_bytes_available": row.memory_bytes_available,
        "problem": row.problem,
        "status": str(row.status),
        "rests_on": [_figure_json(figure) for figure in row.rests_on],
        "notes": list(row.notes),
    }


def _range_json(seconds: Range | None) -> dict[str, float] | None:
    return None if seconds is None else {"low": seconds.low, "mid": seconds.mid, "high": seconds.high}


def _figure_json(figure: Figure) -> dict[str, Any]:
    return {
        "of": figure.owner,
        "name": figure.name,
        "low": figure.low,
        "mid": figure.mid,
        "high": figure.high,
        "status": str(figure.status),
        "source": figure.source,
    }


def _key(figure: Figure) -> tuple[str, str]:
    return figure.owner, figure.name


def _label(figure: Figure) -> str:
    """What a figure is of, for a person: `zhenwu-m890 memory bandwidth`, `zhenwu-m890 bf16 compute`."""
    owner = figure.owner.partition("/")[2]
    return f"{owner} {figure.quantity.replace('_dense', ' compute').replace('_', ' ')}"


def _times_cells(row: Row) -> tuple[str, str, str, str, str]:
    if row.times is None:
        return "-", "-", "-", "-", (row.problem or "").partition(":")[0]
    times = row.times
    return (
        _range_text(times.prefill_s),
        _range_text(times.decode_s),
        seconds_text(times.tool_s),
        _range_text(times.job_s),
        _bound_text(times),
    )


def _range_text(seconds: Range) -> str:
    """The mid, and under it both ends in one unit: `0.41-3.1 s`."""
    mid = seconds_text(seconds.mid)
    if seconds.low == seconds.high:
        return mid
    scale, unit = next(
        (scale, unit) for below_s, scale, unit in _SPAN_UNITS if below_s is None or seconds.high < below_s
    )
    low, high = seconds.low / scale, seconds.high / scale
    return f"{mid}\n{low:.{_decimals(low)}f}-{high:.{_decimals(high)}f} {unit}"


# As wide as the longest name of a model.
_NAME_COLUMNS = 17

_SPAN_UNITS = ((1.0, 1e-3, "ms"), (120.0, 1.0, "s"), (7200.0, 60.0, "min"), (None, 3600.0, "h"))


def _decimals(number: float) -> int:
    return 0 if number >= 10 else 1 if number >= 1 else 2


def _bound_text(times: Times) -> str:
    """What most of the job goes to; where that is the model, on what it spends it."""
    parts = (("tools", times.tool_s), ("prefill", times.prefill_s.mid), ("decode", times.decode_s.mid))
    name, seconds = max(parts, key=lambda part: part[1])
    share = seconds / times.job_s.mid if times.job_s.mid else 0.0
    part = f"{name} {share:.0%}"
    return f"{part}\n{'then ' if name == 'tools' else 'by '}{times.bound}" if times.bound else part


def _rests_on(row: Row, numbers: dict[tuple[str, str], int]) -> str:
    if row.status is not Status.ESTIMATE:
        return str(row.status)
    marks = [numbers[_key(figure)] for figure in row.rests_on if _key(figure) in numbers]
    return f"GUESS\n{' '.join(map(str, sorted(marks)))}".strip()
