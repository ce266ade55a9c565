"""`perdure validate`: how far our predictions lie from what was measured."""

import argparse
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from perdure.cli.validate_twin import twin_report
from perdure.errors import BadRequest, PerdureError, Unavailable
from perdure.twin.validate_predict import predict
from perdure.twin.validate_rows import Row, Split, of_split, read_rows, without_duplicates
from perdure.twin.validate_score import Errors, Score, noise_floor_ape, score

PACKAGE = "aiconfigurator_core"
PEER = Path("build/aiconfigurator.json")
SAMPLE_HINT = (
    "the measured rows come with aiconfigurator-core: pip install 'perdure[nvidia]', "
    "or give a copy with --sample"
)
PEER_HINT = "run `python bench/aiconfigurator.py` once to have AIConfigurator's own predictions beside ours"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure validate`."""
    parser.add_argument(
        "what",
        choices=["silicon", "twin"],
        help="the cost model, on times per token of measured rows; or the twin, on their times to the first "
        "token and on measured vLLM runs",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        help="twin: a copy of bench/examples of LLMServingSim, runs of vLLM with the times of each request",
    )
    parser.add_argument(
        "--split",
        choices=["held-out", "fit", "all"],
        default="held-out",
        help="rows of models to which nothing was fitted, the others, or all (default: %(default)s)",
    )
    parser.add_argument(
        "--sample", type=Path, metavar="CSV", help="the rows; default: those of the extra `nvidia`"
    )
    parser.add_argument(
        "--aiconfigurator",
        type=Path,
        default=PEER,
        metavar="JSON",
        help="its predictions, as bench/aiconfigurator.py writes them (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the scores, or their JSON."""
    if arguments.what == "twin":
        return _twin(arguments)
    rows = _rows(arguments.sample or _sample(), arguments.split)
    ours = score(rows, _predictions(rows))
    peer = score(rows, _peer(arguments.aiconfigurator))
    noise = noise_floor_ape(rows)
    if arguments.json:
        print(json.dumps(_json(arguments.split, ours, peer, noise)))
    else:
        _print(Console(), arguments.split, ours, peer, noise)
    return 0


def _twin(arguments: argparse.Namespace) -> int:
    """Judge the twin by whatever there is to judge it by; raises Unavailable where there is nothing."""
    sample: Path | None = arguments.sample or _installed_sample()
    if sample is None and arguments.runs is None:
        raise Unavailable(f"there is nothing to judge the twin by: add --runs DIR; {SAMPLE_HINT}")
    rows = None if sample is None else _rows(sample, arguments.split)
    report = twin_report(arguments.split, rows, arguments.runs)
    if arguments.json:
        print(json.dumps(report.json))
    else:
        report.print(Console())
    return 0


def _rows(sample: Path, split: Split) -> tuple[Row, ...]:
    return of_split(without_duplicates(read_rows(sample)), split)


def _sample() -> Path:
    found = _installed_sample()
    if found is None:
        raise Unavailable(f"there is nothing to score against: {SAMPLE_HINT}")
    return found


def _installed_sample() -> Path | None:
    """The rows that come with the extra `nvidia`; None where that is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "systems" / "silicon_sample.csv"


def _predictions(rows: Sequence[Row]) -> Mapping[str, float]:
    """Ours, in seconds by the id of the row; a row that the model refuses is not in it."""
    predicted_s: dict[str, float] = {}
    for row in rows:
        if row.lacks is None:
            try:
                predicted_s[row.id] = predict(row).tpot_s
            except PerdureError:
                continue
    return predicted_s


def _peer(path: Path) -> Mapping[str, float]:
    """AIConfigurator's own, by the id of the row; none where they were not made."""
    if not path.exists():
        return {}
    try:
        rows: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (ValueError, KeyError) as error:
        raise BadRequest(f"{path} is not what bench/aiconfigurator.py writes: {error}") from error
    return {name: answer["tpot_s"] for name, answer in rows.items() if "tpot_s" in answer}


def _json(split: str, ours: Score, peer: Score, noise: float | None) -> dict[str, object]:
    return {
        "split": split,
        "rows": ours.rows,
        "computable": ours.computable,
        "computed": ours.computed,
        "not_computable": ours.not_computable,
        "precision_inferred": ours.precision_inferred,
        "tpot": _errors_json(ours.errors),
        "aiconfigurator": {"computed": peer.computed, "tpot": _errors_json(peer.errors)},
        "noise_floor_ape": noise,
        "cells": [
            {
                "model": cell.model,
                "system": cell.system,
                "backend": cell.backend,
                "rows": cell.rows,
                "computed": cell.computed,
                "tpot_median_ape": cell.tpot_median_ape,
                "tpot_bias": cell.bias,
                "aiconfigurator_tpot_median_ape": other.tpot_median_ape,
            }
            for cell, other in zip(ours.cells, peer.cells, strict=True)
        ],
    }


def _errors_json(errors: Errors | None) -> dict[str, object] | None:
    if errors is None:
        return None
    return {
        "median_ape": errors.median_ape,
        "mean_ape": errors.mean_ape,
        "mean_of_model_medians": errors.mean_of_model_medians,
        "worst_model_median": errors.worst_model_median,
        "model_medians": dict(errors.model_medians),
    }


def _print(console: Console, split: str, ours: Score, peer: Score, noise: float | None) -> None:
    console.print(f"{ours.rows} measured rows ({split}), duplicates dropped; {ours.computable} computable")
    for reason, count in ours.not_computable.items():
        console.print(f"  {count} not computable: {reason}")
    console.print(f"  {ours.precision_inferred} with the precision taken from the model's name")
    console.print(_summary(ours, peer))
    if noise is not None:
        console.print(f"The same setting measured again differs by {noise:.1%} (median).")
    if peer.computed == 0:
        console.print(f"[dim]{PEER_HINT}[/dim]")
    console.print(_cells(ours, peer))


def _summary(ours: Score, peer: Score) -> Table:
    table = Table(title="error of the time per output token")
    for column in ("", "rows", "mean of models' medians", "worst model", "median of rows", "mean of rows"):
        table.add_column(column, justify="left" if not column else "right")
    for name, found in (("Perdure", ours), ("AIConfigurator 0.12.0", peer)):
        if (errors := found.errors) is not None:
            numbers = (
                errors.mean_of_model_medians,
                errors.worst_model_median,
                errors.median_ape,
                errors.mean_ape,
            )
            table.add_row(name, str(found.computed), *(f"{number:.1%}" for number in numbers))
    return table


def _cells(ours: Score, peer: Score) -> Table:
    # Without a frame or padding, so that the longest names are whole on a screen of 80 columns.
    table = Table(
        title="by model, system and stack: median error", box=SIMPLE_HEAD, padding=0, show_edge=False
    )
    for column in ("model", "system", "stack"):
        table.add_column(column, overflow="fold")
    for column in ("rows", "computed", "Perdure", "bias", "AIConfigurator"):
        table.add_column(column, justify="right", overflow="fold")
    for cell, other in zip(ours.cells, peer.cells, strict=True):
        numbers = (cell.tpot_median_ape, cell.bias, other.tpot_median_ape)
        table.add_row(
            cell.model,
            cell.system,
            cell.backend,
            str(cell.rows),
            str(cell.computed),
            *("-" if number is None else f"{number:.1%}" for number in numbers),
        )
    return table
