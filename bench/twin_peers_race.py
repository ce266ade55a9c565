"""How a case is run, contenders in turn so that the machine's moods hit all alike, and what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twin_peers import Contender, Figures, perdure
from twin_peers_cases import Asked, Case, agents
from twin_peers_command import run_command
from twin_peers_score import Growth, growth, medians, times_faster, with_rates

COMPARED = ("wall_s", "cpu_s", "kernel_s", "peak_rss_bytes")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A contender in a case: medians of its runs, or in `failure` why there are none.

    first_wall_s  the run before the timed ones, in which ours compiles; peers have none
    times_faster  how many of our runs fit into one of this contender's
    """

    contender: str
    note: str = ""
    failure: str = ""
    runs: int = 0
    first_wall_s: float | None = None
    figures: Figures
    times_faster: Figures


def race(case: Case, asked: Asked, *, repeats: int, limit_s: float, say: Say) -> list[Row]:
    """Medians of `repeats` runs of every contender, ours first."""
    lacking = [name for name in case.needs if not (asked.shared / name).exists()]
    contenders = case.contenders(asked)
    if lacking:
        return [_failed(one, f"--shared has no {', '.join(lacking)}") for one in contenders]
    entries = [_enter(one, limit_s, say) for one in contenders]
    for _ in range(repeats):
        for entry in entries:
            entry.run(limit_s, say)
    ours = entries[0].row({})
    return [ours, *(entry.row(ours.figures) for entry in entries[1:])]


def scale(asked: Asked, *, programs: Sequence[int], limit_s: float, say: Say) -> list[Row]:
    """Ours once for each number of programs, at one rate on one rack; what compiles does so before."""
    rows: list[Row] = []
    for count in programs:
        contender = perdure(asked.perdure, ("--workload", agents(count), "--on", "al128/qwen3.5-397b"))
        entry = _Entry(contender, note=f"{count:,} programs")
        if not rows:
            entry.warm_up(limit_s, say)
        entry.run(limit_s, say)
        rows.append(entry.row({}))
    return rows


def growth_of(rows: Sequence[Row], figure: str) -> Growth | None:
    """How `figure` grows with the calls of `rows`, as far as they ran."""
    ran = [row.figures for row in rows if {"calls", figure} <= row.figures.keys()]
    return growth([one["calls"] for one in ran], [one[figure] for one in ran])


def attempt(contender: Contender, limit_s: float) -> tuple[Figures, str]:
    """One run: its figures, or why it has none."""
    ended = run_command(contender.words, limit_s=limit_s, environment=contender.environment)
    if ended.exit_code is None:
        return {}, f"ended after {limit_s:.0f} s, {ended.cpu_s:.0f} of them on a core, without an answer"
    if ended.exit_code != 0:
        return {}, f"exit {ended.exit_code}: {ended.complaint}"
    figures = contender.read(ended)
    if figures.get("calls", 0.0) < figures.get("asked", 0.0):
        return {}, f"ended only {figures['calls']:,.0f} of {figures['asked']:,.0f} calls: no equal race"
    used = {"wall_s": ended.wall_s, "cpu_s": ended.cpu_s, "peak_rss_bytes": float(ended.peak_rss_bytes)}
    return {**used, **figures}, ""


class _Entry:
    """A contender and its runs so far; only `race` and `scale` move it."""

    def __init__(self, contender: Contender, *, note: str = "", failure: str = "") -> None:
        self.contender, self.note, self.failure = contender, note, failure
        self.runs: list[Figures] = []
        self.first_wall_s: float | None = None

    def warm_up(self, limit_s: float, say: Say) -> None:
        """A run that does not count."""
        say(f"{self.contender.name}: first run")
        figures, self.failure = attempt(self.contender, limit_s)
        self.first_wall_s = figures.get("wall_s")

    def run(self, limit_s: float, say: Say) -> None:
        """A run that counts, unless one failed before."""
        if not self.failure:
            say(f"{self.contender.name}: run {len(self.runs) + 1}")
            figures, self.failure = attempt(self.contender, limit_s)
            self.runs += [figures] if figures else []

    def row(self, ours: Figures) -> Row:
        """What came of it, beside `ours`."""
        figures = medians(self.runs)
        return Row(
            contender=self.contender.name,
            note=self.note,
            failure=self.failure,
            runs=len(self.runs),
            first_wall_s=self.first_wall_s,
            figures=with_rates(figures),
            times_faster=times_faster(ours, figures, COMPARED),
        )


def _enter(contender: Contender, limit_s: float, say: Say) -> _Entry:
    if not contender.words:
        return _Entry(contender, note=contender.note, failure=f"not installed: {contender.missing}")
    say(f"{contender.name}: making ready")
    prepared = contender.prepare()
    note = "; ".join(part for part in (contender.note, prepared.note) if part)
    entry = _Entry(contender, note=note, failure=prepared.failure)
    if contender.warms_up and not entry.failure:
        entry.warm_up(limit_s, say)
    return entry


def _failed(contender: Contender, failure: str) -> Row:
    return Row(contender=contender.name, note=contender.note, failure=failure, figures={}, times_faster={})
