"""What the job came to: the best kernel beside the baseline, chance, the machine's peak and a library."""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from kernel_measure import BASELINE_SHA256, Bench, Measured, Peak
from kernel_record import Evaluation, Record
from kernel_search import Chance, Found
from kernel_shapes import SHAPES, Shape, geomean, of_phase, speedups
from kernel_space import Point, Space, source_of, written

from perdure.agents.tools import Completed, Finish, Runs, ToolContext

FINAL_ROUNDS = 3
SEEDS_MAX = 16
LIBRARY_S_MAX = 60.0
LOAD_GENERATOR_NOTE = (
    "A 135M model is a load generator: it makes legal moves, it does not reason about kernels. Whether any "
    "model helps is what the comparison with random search says."
)


def conclude(context: ToolContext, space: Space, record: Record, bench: Bench) -> Finish:
    """Search by chance with the same budget, measure the finalists side by side, and report."""
    template = (context.folder / "kernel.c.in").read_text(encoding="utf-8")
    chance = Chance(
        space=space,
        measure=lambda point: bench.measure(source_of(point, template)),
        baseline_s=record.baseline_seconds(bench),
        evaluations=len(record.evaluations),
        progress=_progress,
    )
    searches = [chance.random_search(seed) for seed in _seeds(context, "search_seeds")]
    edits = [chance.random_edits(seed) for seed in _seeds(context, "edit_seeds")]
    best = record.best
    finalists = {"baseline": bench.baseline_source()}
    if best is not None:
        finalists["best"] = _source(best, bench, template)
    finalists |= {one.name: source_of(one.best, template) for one in (*searches, *edits) if one.best}
    seconds = {"baseline": tuple(chance.baseline_s), **_side_by_side(finalists, bench)}
    peak = bench.peak()
    _progress("library attention")
    result = {
        **_of_best(record, best, seconds, peak),
        **_of_chance(chance, searches, edits, seconds),
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
    argv = [sys.executable, str(script), msgspec.json.encode([sizes(shape) for shape in SHAPES]).decode()]
    visible = tuple(sorted(path for path in prefixes if not path.is_relative_to("/usr")))
    rounds = [
        _answer(sandbox.run(argv, timeout_s=LIBRARY_S_MAX, read_only=visible)) for _ in range(FINAL_ROUNDS)
    ]
    answer = rounds[-1]
    if all(one.get("seconds") for one in rounds):
        answer["seconds"] = [min(column) for column in zip(*(one["seconds"] for one in rounds), strict=True)]
        ratios = speedups(baseline_s, answer["seconds"])
        answer["speedup_geomean"] = geomean(ratios)
        answer["speedups"] = ratios
    return answer


def sizes(shape: Shape) -> list[int]:
    """The shape as library_attention.py takes it."""
    return [shape.heads, shape.kv_heads, shape.queries, shape.keys, shape.dim]


def summary(result: dict[str, Any]) -> str:
    """The result in a few lines, for the model and for people."""
    lines = [
        f"best kernel {result['speedup_geomean']:.1f}x the baseline "
        f"(prefill {result['speedup_prefill']:.1f}x, decode {result['speedup_decode']:.1f}x), "
        f"{result['gflops_geomean']:.0f} GFLOP/s, {result['peak_share']:.0%} of the measured peak "
        f"of {result['peak_gflops']:.0f}"
    ]
    for name in ("random search", "random edits"):
        chance = result[name.replace(" ", "_")]
        if chance is not None:
            lines.append(
                f"the model {'beat' if chance['beaten'] else 'did NOT beat'} {name}: {chance['versus']} "
                f"({chance['min']:.1f}x / {chance['median']:.1f}x / {chance['max']:.1f}x, min / median / max "
                f"of {len(chance['speedups'])} seeds of {chance['evaluations_each']})"
            )
    library = result["library"]
    if library.get("speedup_geomean"):
        lines.append(f"{library['name']}: {library['speedup_geomean']:.1f}x the baseline")
    else:
        lines.append(f"no library attention: {library['reason']}")
    return "\n".join([*lines, LOAD_GENERATOR_NOTE])


def _seeds(context: ToolContext, setting: str) -> range:
    first = int(context.settings["seed"])
    return range(first, first + min(int(context.settings[setting]), SEEDS_MAX))


def _side_by_side(finalists: dict[str, str], bench: Bench) -> dict[str, tuple[float, ...]]:
    """Each finalist's seconds on each shape: the lowest median of rounds in which all take turns.

    The winner of many noisy measurements looks better than it is; measuring all finalists again takes that
    away from each of them alike. What else the machine does only ever adds time; a round that it spoilt is
    not counted against anyone. One that is wrong now is left out.
    """
    rounds: dict[str, list[Measured]] = {name: [] for name in finalists}
    for count in range(1, FINAL_ROUNDS + 1):
        _progress(f"final round {count}/{FINAL_ROUNDS}: {', '.join(finalists)}")
        for name, source in finalists.items():
            rounds[name].append(bench.measure(source, again=True))
    return {
        name: tuple(min(column) for column in zip(*(one.seconds for one in measured), strict=True))
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
            "point": None if best.point is None else written(msgspec.convert(best.point, Point)),
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
    chance: Chance, searches: list[Found], edits: list[Found], seconds: dict[str, tuple[float, ...]]
) -> dict[str, Any]:
    """Chance beside the model, which beats it only if it beats every seed."""
    found = {"random_search": searches, "random_edits": edits}
    beside = {name: _beside(chance, ones, seconds) for name, ones in found.items()}
    search = beside["random_search"]
    return {
        **beside,
        "random_search_speedup_geomean": None if search is None else search["median"],
        "beats_random_search": None if search is None else search["beaten"],
    }


def _beside(
    chance: Chance, found: list[Found], seconds: dict[str, tuple[float, ...]]
) -> dict[str, Any] | None:
    """The model beside one kind of chance, all measured again; None where no seed was asked for."""
    if not found:
        return None
    names = ("best", *(one.name for one in found))
    model, *again = (
        geomean(speedups(seconds["baseline"], seconds[name])) if name in seconds else 0.0 for name in names
    )
    if model > max(again):
        versus = "above every seed"
    else:
        versus = "within the spread of its seeds" if model >= min(again) else "below every seed"
    return {
        "beaten": model > max(again),
        "versus": versus,
        "evaluations_each": chance.evaluations,
        "min": min(again),
        "median": statistics.median(again),
        "max": max(again),
        "speedups": again,
        "seeds": [one.name for one in found],
        "wrong": [one.wrong for one in found],
        "best_points": [None if one.best is None else written(one.best) for one in found],
    }


def _source(best: Evaluation, bench: Bench, template: str) -> str:
    if best.point is not None:
        return source_of(msgspec.convert(best.point, Point), template)
    assert best.source is not None
    return bench.kept_source(best.source)


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
