"""A plan as one JSON object, and as rows for a spreadsheet: what `--json` and `--csv` print."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from perdure.silicon.ranges import Range
from perdure.twin.plan_choice import Chosen, best_priced, break_even
from perdure.twin.plan_facts import YOURS
from perdure.twin.plan_judge import feasible, on_front
from perdure.twin.plan_measure import (
    AXES,
    JOULES,
    MONEY,
    confidence,
    electricity_usd_per_job,
    mean,
    spread,
    usd_per_h,
)
from perdure.twin.plan_targets import METRICS, Target
from perdure.twin.plan_trials import Candidate
from perdure.twin.result import Result, with_ranges
from perdure.twin.run_json import result_json

# What `perdure simulate --json` promises; a candidate has it even where nothing was simulated.
CONTRACT = (
    *("requests", "turns", "programs", "output_tokens", "simulated_s", "jct_s", "ttft_s", "tpot_s"),
    *("prefix_hit_rate", "prefill_tokens_computed", "kv_peak_bytes", "energy_j", "money_usd", "ranges"),
    "provenance",
)
CSV_COLUMNS = (
    "candidate",
    "feasible",
    "pareto",
    "chosen",
    "chips",
    "jct_s_mean",
    "jct_s_p95",
    "ttft_s_p95",
    "tpot_s_p95",
    "usd_per_job",
    "joules_per_job",
    "usd_per_h",
    "prefix_hit_rate",
    "reason",
)


def plan_json(
    found: Sequence[Candidate],
    chosen: Chosen | None,
    facts: Mapping[str, Any],
    targets: Sequence[Target],
) -> dict[str, Any]:
    """Every candidate with the figures of `perdure simulate --json`, and the choice."""
    marks = on_front(found)
    cheapest = best_priced(found)
    return {
        **facts,
        "candidates": _all_alike(
            [
                _candidate(one, mark, found[cheapest] if cheapest is not None else None, facts, targets)
                for one, mark in zip(found, marks, strict=True)
            ]
        ),
        "choice": None
        if chosen is None
        else {
            "candidate": found[chosen.place].name,
            "on": found[chosen.place].layout.text,
            "policy": found[chosen.place].choice.name,
            "by": chosen.axis,
            "why": chosen.why,
            "stable": chosen.stable,
            "stability": chosen.stability,
            "wins": {found[place].name: count for place, count in chosen.wins.items()},
            "would_flip": list(chosen.flips),
        },
    }


def plan_csv(found: Sequence[Candidate], chosen: Chosen | None) -> str:
    """One line for each candidate."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for place, (one, mark) in enumerate(zip(found, on_front(found), strict=True)):
        cost = usd_per_h(one)
        writer.writerow(
            [
                one.name,
                feasible(one),
                mark,
                chosen is not None and chosen.place == place,
                one.layout.chips or "",
                *(
                    _cell(mean(one, name))
                    for name in ("jct_s.mean", "jct_s.p95", "ttft_s.p95", "tpot_s.p95", MONEY, JOULES)
                ),
                _cell(cost.mid if cost else None),
                _cell(mean(one, "prefix_hit_rate")),
                one.reason or "",
            ]
        )
    return text.getvalue()


def drawn_result(one: Candidate) -> Result:
    """The result on the first seed, with the ranges that the draws gave it."""
    return with_ranges(one.result, [trial.result for trial in one.draws])


def _candidate(
    one: Candidate,
    mark: bool,
    cheapest: Candidate | None,
    facts: Mapping[str, Any],
    targets: Sequence[Target],
) -> dict[str, Any]:
    price = break_even(one, cheapest) if cheapest is not None and one.seeds and feasible(one) else None
    names = dict.fromkeys([*AXES, *(target.figure for target in targets if target.name in METRICS)])
    mine: dict[str, Any] = {
        "candidate": one.name,
        "on": one.layout.text,
        "policies": dict(one.choice.names),
        "chips": one.layout.chips or None,
        "feasible": feasible(one),
        "reason": one.reason,
        "pareto": mark,
        "usd_per_job": _ends(spread(one, MONEY)),
        "joules_per_job": _ends(spread(one, JOULES)),
        "electricity_usd_per_job": electricity_usd_per_job(one) if one.seeds else None,
        "usd_per_h": _ends(usd_per_h(one)),
        "break_even_usd_per_chip_h": _ends(price),
        "means": {name: mean(one, name) for name in names},
        "confidence_95": {
            name: {"low": found[0], "high": found[1]}
            for name in names
            if (found := confidence(one, name)) is not None
        },
        "drawn": one.drawn,
        "workload": facts["workload"],
        "seed": facts["seed"],
        "kernel_s": one.kernel_s,
    }
    if not one.seeds:
        return mine
    answer = result_json(drawn_result(one), mine)
    for fact in answer["provenance"]:
        fact["status"] = YOURS if fact["source"].startswith(YOURS) else fact["status"]
    return answer


def _all_alike(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same keys in every row: what was never simulated has nothing in those of a simulation."""
    keys: dict[str, dict[str, Any] | None] = {
        key: {} if isinstance(value, dict) else None for row in rows for key, value in row.items()
    }
    return [{**dict.fromkeys(CONTRACT), **keys, **row} for row in rows]


def _ends(value: Range | None) -> dict[str, float] | None:
    return None if value is None else {"low": value.low, "mid": value.mid, "high": value.high}


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
