"""What chance alone finds: equal-budget random search over the same space, measured by the same code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kernel_measure import Measured
from kernel_shapes import geomean, speedups
from kernel_space import Point, Space

from perdure.rng import seeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best that one search found; None where every point it drew was wrong."""

    seed: int
    best: Point | None
    speedup: float
    wrong: int


def random_search(
    *,
    space: Space,
    measure: Callable[[Point], Measured],
    baseline_s: Sequence[float],
    seed: int,
    evaluations: int,
    progress: Callable[[str], None],
) -> Found:
    """Draw `evaluations` points uniformly and keep the fastest correct one."""
    rng = seeded(seed, "random search for kernels")
    best: Point | None = None
    best_speedup, wrong = 0.0, 0
    for count in range(1, evaluations + 1):
        point = space.draw(rng)
        measured = measure(point)
        speedup = score(measured, baseline_s)
        wrong += not measured.ok
        if speedup > best_speedup:
            best, best_speedup = point, speedup
        progress(f"random search, seed {seed}: {count}/{evaluations}, best {best_speedup:.1f}x")
    return Found(seed=seed, best=best, speedup=best_speedup, wrong=wrong)


def score(measured: Measured, baseline_s: Sequence[float]) -> float:
    """The geometric mean of the speedups over all shapes; a wrong kernel scores nothing."""
    return geomean(speedups(baseline_s, measured.seconds)) if measured.ok else 0.0
