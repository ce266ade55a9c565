"""How far predictions lie from measured rows: over all of them, by model, and cell by cell."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from perdure.twin.validate_rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Absolute errors of times per output token, as fractions of the measured ones.

    Over rows: median and mean. Over models, so that one with many rows does not speak for all: the mean and
    the worst of their medians.
    """

    median_ape: float
    mean_ape: float
    mean_of_model_medians: float
    worst_model_median: float
    model_medians: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One model on one chip under one stack. `bias` is the median of the signed errors; None without any."""

    model: str
    system: str
    backend: str
    rows: int
    computed: int
    tpot_median_ape: float | None
    bias: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a predictor makes of `rows` measured runs, of which `computable` have what it takes.

    not_computable      rows by what they lack
    precision_inferred  computable rows whose precision was taken from the model's name
    errors              None where nothing was computed
    """

    rows: int
    computable: int
    computed: int
    not_computable: Mapping[str, int]
    precision_inferred: int
    errors: Errors | None
    cells: tuple[Cell, ...]


def score(rows: Sequence[Row], predicted_s: Mapping[str, float]) -> Score:
    """Score `predicted_s`, seconds per output token by the id of a row, on `rows`."""
    computable = [row for row in rows if row.lacks is None]
    computed = [row for row in computable if row.id in predicted_s]
    return Score(
        rows=len(rows),
        computable=len(computable),
        computed=len(computed),
        not_computable=dict(Counter(row.lacks for row in rows if row.lacks is not None)),
        precision_inferred=sum(row.precision_inferred for row in computable),
        errors=_errors(computed, predicted_s),
        cells=_cells(computable, predicted_s),
    )


def noise_floor_ape(rows: Iterable[Row]) -> float | None:
    """How far the same setting lies from itself: the median over settings that were measured repeatedly.

    Each measurement is predicted by the mean of the others. Versions of the software may differ between them,
    as nobody who asks for a prediction knows of the next release. None where nothing was repeated.
    """
    groups: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for row in rows:
        if row.lacks is None:
            groups[row.setting].append(row.tpot_s)
    repeated = [times for times in groups.values() if len(times) > 1]
    return statistics.median(map(_spread, repeated)) if repeated else None


def _spread(times_s: Sequence[float]) -> float:
    total_s, others = sum(times_s), len(times_s) - 1
    return statistics.mean(abs((total_s - time_s) / others / time_s - 1) for time_s in times_s)


def _errors(rows: Sequence[Row], predicted_s: Mapping[str, float]) -> Errors | None:
    if not rows:
        return None
    models: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        models[row.model].append(abs(_error(row, predicted_s)))
    everything = [error for errors in models.values() for error in errors]
    medians = {model: statistics.median(errors) for model, errors in sorted(models.items())}
    return Errors(
        median_ape=statistics.median(everything),
        mean_ape=statistics.mean(everything),
        mean_of_model_medians=statistics.mean(medians.values()),
        worst_model_median=max(medians.values()),
        model_medians=medians,
    )


def _cells(rows: Sequence[Row], predicted_s: Mapping[str, float]) -> tuple[Cell, ...]:
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.model, row.system, row.backend].append(row)
    return tuple(_cell(*key, group, predicted_s) for key, group in sorted(groups.items()))


def _cell(model: str, system: str, backend: str, rows: list[Row], predicted_s: Mapping[str, float]) -> Cell:
    errors = [_error(row, predicted_s) for row in rows if row.id in predicted_s]
    return Cell(
        model=model,
        system=system,
        backend=backend,
        rows=len(rows),
        computed=len(errors),
        tpot_median_ape=statistics.median(map(abs, errors)) if errors else None,
        bias=statistics.median(errors) if errors else None,
    )


def _error(row: Row, predicted_s: Mapping[str, float]) -> float:
    return predicted_s[row.id] / row.tpot_s - 1
