"""`perdure validate twin`: what is printed of how far the twin lies from measured runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from perdure.twin.measured_run import read_runs
from perdure.twin.validate_rows import Row
from perdure.twin.validate_twin_figures import METRICS, RunScore
from perdure.twin.validate_twin_rows import TtftScore, score_ttft
from perdure.twin.validate_twin_runs import score_runs

TARGET_APE, TTFT_TARGET_APE = 0.10, 0.20
RUNS_HINT = "add --runs DIR, a copy of LLMServingSim's bench/examples, to have whole vLLM runs replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinReport:
    """Whole runs replayed, and first tokens of closed-loop rows; None where there was nothing to judge by."""

    split: str
    runs: tuple[RunScore, ...] | None
    ttft: TtftScore | None

    @property
    def json(self) -> dict[str, object]:
        """Errors are the twin's figure over the measured one, less 1."""
        return {
            "runs": None
            if self.runs is None
            else {"target_ape": TARGET_APE, "scores": [_run_json(score) for score in self.runs]},
            "ttft": None if self.ttft is None else _ttft_json(self.split, self.ttft),
        }

    def print(self, console: Console) -> None:
        """As tables."""
        if self.runs is None:
            console.print(f"[dim]{RUNS_HINT}[/dim]")
        else:
            console.print(_runs_table(self.runs))
            console.print(_p99_table(self.runs))
        if self.ttft is not None:
            console.print(
                f"TTFT of {self.ttft.computed} of {self.ttft.rows} measured rows ({self.split}), "
                f"{self.ttft.settings} settings: median error {self.ttft.median_ape:.1%}, "
                f"mean over models and stacks {self.ttft.mean_of_group_medians:.1%}"
            )
            console.print(_groups_table(self.ttft))


def twin_report(split: str, rows: Sequence[Row] | None, runs: Path | None) -> TwinReport:
    """Judge the twin by `rows`, and by the runs below a folder."""
    return TwinReport(
        split=split,
        runs=None if runs is None else tuple(score_runs(read_runs(runs))),
        ttft=None if rows is None else score_ttft(rows),
    )


def _overhead(score: RunScore) -> str:
    if score.overhead.fitted_to is None:
        return "as shipped"
    return "fitted to it" if score.overhead.fitted_to == score.run else f"from {score.overhead.fitted_to}"


def _runs_table(scores: Sequence[RunScore]) -> Table:
    table = Table(
        title="vLLM runs: error of mean, median, 90th percentile", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for column in ("run", "step overhead"):
        table.add_column(column, overflow="fold")
    for column in (*(metric.removesuffix("_s").upper() for metric in METRICS), "worst"):
        table.add_column(column, justify="right")
    for score in scores:
        cells = [
            " ".join(f"{score.errors[f'{metric}.{name}']:+.1%}" for name in ("mean", "p50", "p90"))
            for metric in METRICS
        ]
        table.add_row(score.run, _overhead(score), *cells, f"{score.worst_ape:.1%}")
    return table


def _p99_table(scores: Sequence[RunScore]) -> Table:
    table = Table(
        title="error of the 99th percentile, and 95 % of resampled requests",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in ("run", "step overhead"):
        table.add_column(column, overflow="fold")
    for metric in METRICS:
        table.add_column(metric.removesuffix("_s").upper(), justify="right")
    for score in scores:
        cells = [
            f"{value:+.1%} ({low:+.1%} to {high:+.1%})"
            for low, value, high in (score.p99[metric] for metric in METRICS)
        ]
        table.add_row(score.run, _overhead(score), *cells)
    return table


def _groups_table(score: TtftScore) -> Table:
    table = Table(title="TTFT by model and stack: median error", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("model", "stack"):
        table.add_column(column, overflow="fold")
    for column in ("rows", "error", "bias"):
        table.add_column(column, justify="right")
    for group in score.groups:
        table.add_row(
            group.model, group.backend, str(group.rows), f"{group.median_ape:.1%}", f"{group.bias:+.1%}"
        )
    return table


def _run_json(score: RunScore) -> dict[str, object]:
    return {
        "run": score.run,
        "fitted_to": score.overhead.fitted_to,
        "step_s": score.overhead.step_s,
        "sequence_s": score.overhead.sequence_s,
        "preemptions": score.preemptions,
        "measured": dict(score.measured),
        "errors": dict(score.errors),
        "p99": {
            metric: {"low": low, "error": value, "high": high}
            for metric, (low, value, high) in score.p99.items()
        },
        "worst_ape": score.worst_ape,
        "mean_ape": score.mean_ape,
        "within_target": score.worst_ape <= TARGET_APE,
    }


def _ttft_json(split: str, score: TtftScore) -> dict[str, object]:
    return {
        "split": split,
        "rows": score.rows,
        "computed": score.computed,
        "settings": score.settings,
        "median_ape": score.median_ape,
        "mean_of_group_medians": score.mean_of_group_medians,
        "target_ape": TTFT_TARGET_APE,
        "groups": [
            {
                "model": group.model,
                "backend": group.backend,
                "rows": group.rows,
                "median_ape": group.median_ape,
                "bias": group.bias,
            }
            for group in score.groups
        ],
    }
