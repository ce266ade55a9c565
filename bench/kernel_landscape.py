"""What the kernel space holds: a long random search, then a climb, one parameter at a time, from its best.

.venv/bin/python bench/kernel_landscape.py [--points 200] [--seed 1] [--sweeps 2]
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples" / "kernel_tuning"))

from kernel_measure import Bench
from kernel_search import score
from kernel_shapes import SHAPES, geomean, speedups
from kernel_space import Point, machine_space, source_of, written

from kernel_tuning import bench_in, measured, template
from perdure.clock import SystemClock
from perdure.rng import seeded

WORTH_A_MOVE = 1.01  # a smaller gain is noise
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sweeps", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        bench = bench_in(Path(workspace), repeats=5)
        turns = [measured(bench, bench.baseline_source()) for _ in range(5)]
        baseline_s = [min(column) for column in zip(*turns, strict=True)]

        def rate(point: Point) -> float:
            return max(
                score(bench.measure(source_of(point, template()), again=True), baseline_s) for _ in "ab"
            )

        best = _search(rate, chosen.points, chosen.seed)
        best = _climb(rate, best, chosen.sweeps)
        _describe(bench, best)


def _search(rate: Callable[[Point], float], count: int, seed: int) -> Point:
    """Draw `count` points, print how their speedups are spread, and return the best."""
    space, rng, clock = machine_space(), seeded(seed, "the landscape of kernels"), SystemClock()
    started_s = clock.monotonic_s()
    found = sorted(
        ((rate(point), place, point) for place, point in enumerate(space.draw(rng) for _ in range(count))),
        reverse=True,
    )
    spent_s = clock.monotonic_s() - started_s
    print(
        f"{space.size:,} points in the space; {count} drawn, {spent_s / count:.2f} s each, "
        f"{sum(speedup == 0 for speedup, _, _ in found)} wrong"
    )
    spread = ", ".join(f"top {share:.0%} {found[int(count * share)][0]:.1f}x" for share in QUANTILES)
    print(f"speedup over the baseline: {spread}")
    return found[0][2]


def _climb(rate: Callable[[Point], float], point: Point, sweeps: int) -> Point:
    """Try every other value of every parameter, keep what is faster, `sweeps` times over."""
    best = rate(point)
    for _ in range(sweeps):
        for name, values in machine_space().values.items():
            for value in values:
                changed = replace(point, **{name: value})
                speedup = rate(changed)
                if speedup > best * WORTH_A_MOVE:
                    best, point = speedup, changed
                    print(f"  {name}={value}: {best:.1f}x", file=sys.stderr)
    return point


def _describe(bench: Bench, point: Point) -> None:
    """The point measured again beside the baseline, in turns."""
    rounds = [
        (measured(bench, bench.baseline_source()), measured(bench, source_of(point, template())))
        for _ in range(5)
    ]
    before, after = (
        [min(column) for column in zip(*seconds, strict=True)] for seconds in zip(*rounds, strict=True)
    )
    peak = bench.peak()
    print(f"best after the climb: {geomean(speedups(before, after)):.1f}x  {written(point)}")
    for shape, was_s, is_s in zip(SHAPES, before, after, strict=True):
        flops_per_s = shape.operations / is_s
        print(
            f"  {shape.name:20} {was_s * 1e3:6.2f} -> {is_s * 1e3:5.2f} ms  {was_s / is_s:5.1f}x  "
            f"{flops_per_s / 1e9:5.0f} GFLOP/s, {flops_per_s / peak.flops_per_s:.0%} of peak; "
            f"KV at {shape.kv_bytes / is_s / 1e9:.1f} GB/s"
        )
    print(
        f"measured peak {peak.flops_per_s / 1e9:.0f} GFLOP/s, reading {peak.read_bytes_per_s / 1e9:.0f} GB/s"
    )


if __name__ == "__main__":
    main()
