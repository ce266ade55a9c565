"""What chance alone finds with the same budget, the same space and the same measuring code.

Random search draws each kernel from the whole space. Random edits make the moves that a model makes through
`evaluate`, changes of the best kernel so far, but draw them: who beats random search and not random edits has
the tool to thank.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kernel_measure import Measured
from kernel_shapes import geomean, speedups
from kernel_space import START, Point, Space

from perdure.rng import seeded

PROGRESS_EVERY = 10  # evaluations between two lines of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best that one search found; None where every point it drew was wrong."""

    name: str
    best: Point | None
    speedup: float
    wrong: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """Searches with `evaluations` evaluations each; `measure` answers a point measured before from memory."""

    space: Space
    measure: Callable[[Point], Measured]
    baseline_s: Sequence[float]
    evaluations: int
    progress: Callable[[str], None]

    def random_search(self, seed: int) -> Found:
        """Every point drawn uniformly from the space."""
        rng = seeded(seed, "random search for kernels")
        return self._run(f"random search {seed}", lambda best: self.space.draw(rng))

    def random_edits(self, seed: int) -> Found:
        """Every point the best so far with changes drawn uniformly."""
        rng = seeded(seed, "random edits of kernels")
        return self._run(
            f"random edits {seed}",
            lambda best: self.space.changed(best or START, self.space.draw_changes(rng)),
        )

    def _run(self, name: str, propose: Callable[[Point | None], Point]) -> Found:
        best: Point | None = None
        best_speedup, wrong = 0.0, 0
        for count in range(1, self.evaluations + 1):
            point = propose(best)
            measured = self.measure(point)
            speedup = score(measured, self.baseline_s)
            wrong += not measured.ok
            if speedup > best_speedup:
                best, best_speedup = point, speedup
            if count % PROGRESS_EVERY == 0 or count == self.evaluations:
                self.progress(f"{name}: {count}/{self.evaluations}, best {best_speedup:.1f}x")
        return Found(name=name, best=best, speedup=best_speedup, wrong=wrong)


def score(measured: Measured, baseline_s: Sequence[float]) -> float:
    """The geometric mean of the speedups over all shapes; a wrong kernel scores nothing."""
    return geomean(speedups(baseline_s, measured.seconds)) if measured.ok else 0.0
