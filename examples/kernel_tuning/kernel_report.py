"""What the job came to: the best kernel beside the baseline, chance, the machine's peak and a library."""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from kernel_measure import BASELINE_SHA256, Bench, Measured, Peak
from kernel_record import Evaluation, Record
from kernel_search import Found, random_search
from kernel_shapes import SHAPES, geomean, of_phase, speedups
from kernel_space import Point, Space, source_of, written

from perdure.agents.tools import Completed, Finish, Runs, ToolContext

FINAL_ROUNDS = 3
SEARCH_SEEDS_MAX = 16
LIBRARY_S_MAX = 60.0
LOAD_GENERATOR_NOTE = (
    "A 135M model is a load generator: it makes legal moves, it does not reason about kernels. Whether any "
    "model helps is what the comparison with random search says."
)


def conclude(context: ToolContext, space: Space, record: Record, bench: Bench) -> Finish:
    """Search at random with the same budget, measure the finalists side by side, and report."""
    template = (context.folder / "kernel.c.in").read_text(encoding="utf-8")
    searches = _searches(context, space, record, bench, template)
    best = record.best
    finalists = {"baseline": bench.baseline_source()}
    if best is not None:
        finalists["best"] = _source(best, bench, template)
    for found in searches:
        if found.best is not None:
            finalists[f"seed {found.seed}"] = source_of(found.best, template)
    seconds = {"baseline": tuple(record.baseline_seconds(bench)), **_side_by_side(finalists, bench)}
    peak = bench.peak()
    _progress("library attention")
    result = {
        **_of_best(record, best, seconds, peak),
        **_of_chance(record, searches, seconds),
        "peak_gflops": peak.flops_per_s / 1e9,
        "read_gbytes_per_s": peak.read_bytes_per_s / 1e9,
        "library": library_attention(context.sandbox, context.folder, seconds["baseline"]),
        "baseline_sha256": BASELINE_SHA256,
        "machine": bench.machine,
        "model_is_load_generator": LOAD_GENERATOR_NOTE,
    }
    return Finish(output=summary(result), result=_rounded(result))


def library_attention(sandbox: Runs, folder: Path, baseline_s: Sequence[float]) -> dict[str, Any]:
    """The attention of onnxruntime or numpy on the same shapes, where one is installed beside us."""
    script = folder / "library_attention.py"
    prefixes = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), folder.resolve()}
    argv = [sys.executable, str(script), msgspec.json.encode([_sizes(shape) for shape in SHAPES]).decode()]
    visible = tuple(sorted(path for path in prefixes if not path.is_relative_to("/usr")))
    ended = sandbox.run(argv, timeout_s=LIBRARY_S_MAX, read_only=visible)
    answer = _answer(ended)
    if answer.get("seconds"):
        ratios = speedups(baseline_s, answer["seconds"])
        answer["speedup_geomean"] = geomean(ratios)
        answer["speedups"] = ratios
    return answer


def summary(result: dict[str, Any]) -> str:
    """The result in a few lines, for the model and for people."""
    chance = result["random_search"]
    lines = [
        f"best kernel {result['speedup_geomean']:.1f}x the baseline "
        f"(prefill {result['speedup_prefill']:.1f}x, decode {result['speedup_decode']:.1f}x), "
        f"{result['gflops_geomean']:.0f} GFLOP/s, {result['peak_share']:.0%} of the measured peak "
        f"of {result['peak_gflops']:.0f}",
        f"random search, {len(chance['seeds'])} seeds of {chance['evaluations_each']}: "
        f"{chance['min']:.1f}x / {chance['median']:.1f}x / {chance['max']:.1f}x (min, median, max)",
        f"the model {'beat' if result['beats_random_search'] else 'did NOT beat'} random search: "
        f"{result['versus_random_search']}",
    ]
    library = result["library"]
    if library.get("speedup_geomean"):
        lines.append(f"{library['name']}: {library['speedup_geomean']:.1f}x the baseline")
    else:
        lines.append(f"no library attention: {library['reason']}")
    return "\n".join([*lines, LOAD_GENERATOR_NOTE])


def _searches(context: ToolContext, space: Space, record: Record, bench: Bench, template: str) -> list[Found]:
    """One random search for each seed, each with as many evaluations as the model used."""
    seed, count = int(context.settings["seed"]), int(context.settings["search_seeds"])
    baseline_s = record.baseline_seconds(bench)
    return [
        random_search(
            space=space,
            measure=lambda point: bench.measure(source_of(point, template)),
            baseline_s=baseline_s,
            seed=seed + place,
            evaluations=len(record.evaluations),
            progress=_progress,
        )
        for place in range(min(count, SEARCH_SEEDS_MAX))
    ]


def _side_by_side(finalists: dict[str, str], bench: Bench) -> dict[str, tuple[float, ...]]:
    """Each finalist's median seconds on each shape over rounds in which all take turns.

    The winner of many noisy measurements looks better than it is; measuring all finalists again takes that
    away from each of them alike, and turns share out whatever else the machine does. One that is wrong now
    is left out.
    """
    rounds: dict[str, list[Measured]] = {name: [] for name in finalists}
    for count in range(1, FINAL_ROUNDS + 1):
        for name, source in finalists.items():
            _progress(f"final round {count}/{FINAL_ROUNDS}: {name}")
            rounds[name].append(bench.measure(source, again=True))
    return {
        name: tuple(
            statistics.median(column) for column in zip(*(one.seconds for one in measured), strict=True)
        )
        for name, measured in rounds.items()
        if all(one.ok for one in measured)
    }


def _of_best(
    record: Record, best: Evaluation | None, seconds: dict[str, tuple[float, ...]], peak: Peak
) -> dict[str, Any]:
    """The figures of the best kernel; zeros where every kernel was wrong."""
    counts = {
        "evaluations": len(record.evaluations),
        "evaluations_wrong": sum(one.speedup == 0 for one in record.evaluations),
        "evaluations_repeated": sum(one.same_as is not None for one in record.evaluations),
    }
    if best is None or "best" not in seconds:
        nothing = ("speedup_geomean", "speedup_prefill", "speedup_decode", "gflops_geomean", "peak_share")
        return {**counts, **dict.fromkeys(nothing, 0.0), "best": None, "shapes": []}
    ratios = speedups(seconds["baseline"], seconds["best"])
    rates = [shape.operations / taken for shape, taken in zip(SHAPES, seconds["best"], strict=True)]
    return {
        **counts,
        "speedup_geomean": geomean(ratios),
        "speedup_prefill": geomean(of_phase(ratios, "prefill")),
        "speedup_decode": geomean(of_phase(ratios, "decode")),
        "gflops_geomean": geomean(rates) / 1e9,
        "peak_share": geomean(rates) / peak.flops_per_s,
        "peak_share_prefill": geomean(of_phase(rates, "prefill")) / peak.flops_per_s,
        "best": {
            "evaluation": best.number,
            "point": best.point,
            "source_sha256": best.source,
            "speedup_when_evaluated": best.speedup,
        },
        "shapes": [
            {
                "name": shape.name,
                "baseline_ms": before * 1e3,
                "best_ms": after * 1e3,
                "speedup": ratio,
                "gflops": rate / 1e9,
                "peak_share": rate / peak.flops_per_s,
                "kv_gbytes_per_s": shape.kv_bytes / after / 1e9,
            }
            for shape, before, after, ratio, rate in zip(
                SHAPES, seconds["baseline"], seconds["best"], ratios, rates, strict=True
            )
        ],
    }


def _of_chance(
    record: Record, searches: list[Found], seconds: dict[str, tuple[float, ...]]
) -> dict[str, Any]:
    """Random search beside the model. The model beats it only if it beats every seed."""
    again = [
        geomean(speedups(seconds["baseline"], seconds[f"seed {found.seed}"]))
        if f"seed {found.seed}" in seconds
        else 0.0
        for found in searches
    ] or [0.0]
    model = geomean(speedups(seconds["baseline"], seconds["best"])) if "best" in seconds else 0.0
    if model > max(again):
        versus = "above every seed"
    else:
        versus = "within the spread of its seeds" if model >= min(again) else "below every seed"
    return {
        "random_search_speedup_geomean": statistics.median(again),
        "beats_random_search": model > max(again),
        "versus_random_search": versus,
        "random_search": {
            "seeds": [found.seed for found in searches],
            "evaluations_each": len(record.evaluations),
            "speedups": again,
            "min": min(again),
            "median": statistics.median(again),
            "max": max(again),
            "wrong": [found.wrong for found in searches],
            "best_points": [_point(found.best) for found in searches],
        },
    }


def _point(point: Point | None) -> dict[str, Any] | None:
    return None if point is None else written(point)


def _source(best: Evaluation, bench: Bench, template: str) -> str:
    if best.point is not None:
        return source_of(msgspec.convert(best.point, Point), template)
    assert best.source is not None
    return bench.kept_source(best.source)


def _sizes(shape: Any) -> list[int]:
    return [shape.heads, shape.kv_heads, shape.queries, shape.keys, shape.dim]


def _answer(ended: Completed) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = msgspec.json.decode(ended.stdout, type=dict[str, Any])
    except msgspec.DecodeError:
        lines = ended.stderr.strip().splitlines() or [f"it ended with code {ended.exit_code}"]
        return {"name": None, "reason": f"the script failed: {lines[-1][:200]}"}
    return answer


def _rounded(value: Any) -> Any:
    """The same with floats to five significant digits, for people."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _progress(line: str) -> None:
    print(line, file=sys.stderr)
