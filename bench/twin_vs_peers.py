"""How fast our twin is beside other simulators: whole commands on one machine, both numbers, the targets.

    .venv/bin/python bench/twin_vs_peers.py [--only a ...] [--repeats 3] [--json] [--shared ../shared]
        [--aisimulate BIN] [--dynamo BIN] [--sr-sim BIN]

docs/benchmarks.md says how each peer is installed and in what its case differs from ours. Cases a to e are
raced; f asks how our cost grows with turns. A peer that is not there is a row that says how to get it.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from twin_peers_cases import CASES, Asked, Case
from twin_peers_race import Row, growth_of, race, scale
from twin_peers_score import EXPONENT_MOST, Target

LIMIT_S = 900.0
PROGRAMS = (150, 1_500, 15_000, 150_000)
SCALING = "our cost from 10^4 to 10^7 turns: agent programs at one rate, Qwen3.5-397B on one AL128"
COLUMNS = (
    ("wall_s", "wall s", 1, "{:.2f}"),
    ("cpu_s", "CPU s", 1, "{:.2f}"),
    ("kernel_s", "kernel s", 1, "{:.3f}"),
    ("peak_rss_bytes", "RSS MiB", 2**20, "{:.0f}"),
    ("calls", "calls", 1, "{:,.0f}"),
    ("calls_per_kernel_s", "/kernel s", 1, "{:,.0f}"),
    ("calls_per_cpu_s", "/CPU s", 1, "{:,.0f}"),
    ("simulated_s", "sim. s", 1, "{:,.0f}"),
    ("ttft_mean_s", "TTFT s", 1, "{:.3f}"),
    ("tpot_mean_s", "TPOT s", 1, "{:.4f}"),
    ("prefix_hit_rate", "hits", 1, "{:.2f}"),
)


def main() -> None:
    """Race what was asked for and print it."""
    arguments = _arguments()
    asked = Asked(
        perdure=arguments.perdure,
        aisimulate=arguments.aisimulate,
        dynamo=arguments.dynamo,
        sr_sim=arguments.sr_sim,
        shared=arguments.shared,
        folder=arguments.folder,
    )
    found: list[dict[str, object]] = []
    for case in CASES:
        if case.letter in arguments.only:
            rows = race(case, asked, repeats=arguments.repeats, limit_s=arguments.limit_s, say=_say)
            found.append(_raced(case, rows))
            if not arguments.json:
                _print_case(case, rows)
    if "f" in arguments.only:
        rows = scale(asked, programs=arguments.programs, limit_s=arguments.limit_s, say=_say)
        found.append(_scaled(rows))
        if not arguments.json:
            _print_scaling(rows)
    if arguments.json:
        print(json.dumps({"machine": _machine(), "repeats": arguments.repeats, "cases": found}, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    letters = [*(case.letter for case in CASES), "f"]
    parser.add_argument("--only", nargs="+", choices=letters, default=letters, metavar="CASE")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="for one run")
    parser.add_argument("--programs", type=int, nargs="+", default=PROGRAMS, help="the sizes of case f")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="where traces/ lies")
    parser.add_argument("--folder", type=Path, default=Path("build/peers"), help="where cases are written")
    parser.add_argument("--perdure", default=str(Path(sys.executable).parent / "perdure"), metavar="BIN")
    parser.add_argument("--aisimulate", default="aisimulate", metavar="BIN")
    parser.add_argument("--dynamo", default="aisimulate-with-dynamo", metavar="BIN")
    parser.add_argument("--sr-sim", default="vllm-sr-sim", metavar="BIN")
    return parser.parse_args()


def _say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def _machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def _raced(case: Case, rows: Sequence[Row]) -> dict[str, object]:
    ours = rows[0].figures
    return {
        "case": case.letter,
        "title": case.title,
        "rows": [asdict(row) for row in rows],
        "targets": [
            {**asdict(one), "ours": ours.get(one.figure), "met": one.met(ours)} for one in case.targets
        ],
    }


def _scaled(rows: Sequence[Row]) -> dict[str, object]:
    fits = {figure: growth_of(rows, figure) for figure in ("kernel_s", "cpu_s")}
    return {
        "case": "f",
        "title": SCALING,
        "rows": [asdict(row) for row in rows],
        "growth": {figure: asdict(fit) if fit else None for figure, fit in fits.items()},
        "targets": [{"figure": "exponent of kernel_s", "side": "at most", "limit": EXPONENT_MOST}],
        "met": fits["kernel_s"].linear if fits["kernel_s"] else None,
    }


def _print_case(case: Case, rows: Sequence[Row]) -> None:
    print(f"\n{case.letter}. {case.title}")
    _print_rows(rows)
    for target in case.targets:
        print(f"   {_verdict(target, rows[0])}")
    for row in rows[1:]:
        if row.times_faster:
            said = ", ".join(f"{_label(name)} {value:.1f}x" for name, value in row.times_faster.items())
            print(f"   {row.contender} over ours: {said}")


def _print_scaling(rows: Sequence[Row]) -> None:
    print(f"\nf. {SCALING}")
    _print_rows(rows)
    for figure in ("kernel_s", "cpu_s"):
        fit = growth_of(rows, figure)
        if fit:
            steps = ", ".join(f"{step:.2f}" for step in fit.steps)
            verdict = "linear" if fit.linear else f"more than linear ({EXPONENT_MOST:g} allowed for noise)"
            print(f"   {_label(figure)} ~ turns^{fit.exponent:.3f}; from size to size {steps}: {verdict}")


def _print_rows(rows: Sequence[Row]) -> None:
    print("   " + " " * 22 + "".join(f"{label:>12}" for _, label, _, _ in COLUMNS))
    for row in rows:
        print(f"   {row.contender:22}" + "".join(f"{_cell(row, *column):>12}" for column in COLUMNS))
        if row.note:
            print(f"       {row.note}")
        if row.first_wall_s is not None:
            print(f"       first run, not counted: {row.first_wall_s:.2f} s")
        if row.failure:
            print(f"       {row.failure}")


def _cell(row: Row, figure: str, _label: str, unit: float, form: str) -> str:
    value = row.figures.get(figure)
    return "-" if value is None else form.format(value / unit)


def _label(figure: str) -> str:
    return next(label for name, label, _, _ in COLUMNS if name == figure)


def _verdict(target: Target, ours: Row) -> str:
    unit, form = next((unit, form) for name, _, unit, form in COLUMNS if name == target.figure)
    limit = f"{_label(target.figure)} {target.side} {form.format(target.limit / unit)}"
    met = target.met(ours.figures)
    if met is None:
        return f"target {limit}: not measured"
    return f"target {limit}: {'met' if met else 'MISSED'} ({form.format(ours.figures[target.figure] / unit)})"


if __name__ == "__main__":
    main()
