"""What is computed: the shapes of attention that every kernel is timed on, and their operation counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Causal attention of the last `queries` positions over `keys` positions, float32."""

    name: str
    phase: Literal["prefill", "decode"]
    heads: int
    kv_heads: int
    queries: int
    keys: int
    dim: int

    @property
    def operations(self) -> int:
        """Multiplies and adds of both products over the keys that each query sees, no exponentials."""
        seen = sum(self.keys - self.queries + query + 1 for query in range(self.queries))
        return 4 * self.dim * self.heads * seen

    @property
    def kv_bytes(self) -> int:
        """Keys and values, read once."""
        return 2 * 4 * self.kv_heads * self.keys * self.dim


SHAPES = (
    Shape(name="prefill-640", phase="prefill", heads=4, kv_heads=2, queries=640, keys=640, dim=64),
    Shape(name="prefill-512-wide", phase="prefill", heads=2, kv_heads=2, queries=512, keys=512, dim=128),
    Shape(name="prefill-128-of-1536", phase="prefill", heads=4, kv_heads=2, queries=128, keys=1536, dim=64),
    Shape(name="decode-12k", phase="decode", heads=16, kv_heads=2, queries=1, keys=12288, dim=64),
    Shape(name="decode-6k-wide", phase="decode", heads=16, kv_heads=2, queries=1, keys=6144, dim=128),
)


def speedups(baseline_s: Sequence[float], kernel_s: Sequence[float]) -> list[float]:
    """How many times faster the kernel is than the baseline, shape by shape."""
    return [before / after for before, after in zip(baseline_s, kernel_s, strict=True)]


def geomean(values: Sequence[float]) -> float:
    """The geometric mean: the mean of ratios that does not depend on which side is called the baseline."""
    return math.exp(sum(math.log(value) for value in values) / len(values))


def of_phase(values: Sequence[float], phase: Literal["prefill", "decode"]) -> list[float]:
    """Those of `values`, one for each shape, that belong to `phase`."""
    return [value for value, shape in zip(values, SHAPES, strict=True) if shape.phase == phase]
