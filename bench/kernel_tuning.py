"""Attention on this processor: the baseline, one point of the space, onnxruntime and numpy, side by side.

    .venv/bin/python bench/kernel_tuning.py [--point "vec=16 rows=8 ..."] [--rounds 5]

Makes an environment of its own under build/bench for onnxruntime and onnx (180 MB), which Perdure does not
depend on. All take turns in every round; each figure is the lowest of its medians. The
decode of onnxruntime includes what its operator does on every call: it copies the past keys and values.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples" / "kernel_tuning"))

from kernel_measure import Bench
from kernel_report import sizes
from kernel_shapes import SHAPES, geomean, speedups
from kernel_space import CHANGES_MAX, START, Point, machine_space, source_of

from perdure.agents.sandbox import Bubblewrap
from perdure.agents.tools import ToolContext
from perdure.clock import SystemClock

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "kernel_tuning"
POINT = "vec=8 rows=4 unroll=2 threads=2 pin=1 layout=direct order=kv exp=p4 acc=float q=8 kv=64 prefetch=16"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--point", default=POINT, help="the kernel, as all its changes")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    python = _environment(ROOT / "build" / "bench" / "attention")
    with tempfile.TemporaryDirectory() as workspace:
        bench = bench_in(Path(workspace))
        baseline = bench.baseline_source()
        kernel = source_of(point_of(chosen.point), template())
        contestants: dict[str, Callable[[], list[float]]] = {
            "baseline": lambda: measured(bench, baseline),
            "kernel": lambda: measured(bench, kernel),
            "onnxruntime": lambda: _library(python),
            "numpy": lambda: _library(python, "numpy"),
        }
        rounds: list[dict[str, list[float]]] = []
        for number in range(1, chosen.rounds + 1):
            print(f"round {number}/{chosen.rounds}", file=sys.stderr)
            rounds.append({name: call() for name, call in contestants.items()})
        peak = bench.peak()
    _print(
        {
            name: [min(column) for column in zip(*(one[name] for one in rounds), strict=True)]
            for name in contestants
        },
        peak.flops_per_s,
    )


def bench_in(workspace: Path, *, repeats: int = 9) -> Bench:
    """A bench on the real sandbox, outside any session."""
    clock = SystemClock()
    return Bench(
        ToolContext(
            run_id="bench",
            key="bench",
            workspace=workspace,
            folder=EXAMPLE,
            settings={"repeats": repeats},
            state={},
            history=(),
            sandbox=Bubblewrap(workspace=workspace, clock=clock, on_start=lambda process: None),
            clock=clock,
        )
    )


def template() -> str:
    """The template that every point of the space is generated from."""
    return (EXAMPLE / "kernel.c.in").read_text(encoding="utf-8")


def point_of(text: str) -> Point:
    """The point written as all its changes, the way history writes it."""
    changes, point = text.split(), START
    for place in range(0, len(changes), CHANGES_MAX):
        point = machine_space().changed(point, changes[place : place + CHANGES_MAX])
    return point


def measured(bench: Bench, source: str) -> list[float]:
    """Seconds of a kernel that must be right."""
    found = bench.measure(source, again=True)
    if not found.ok:
        raise SystemExit(f"this kernel does not pass: {found.reason}")
    return list(found.seconds)


def _environment(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not python.is_file():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        wanted = ["onnxruntime", "onnx", "numpy"]
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), *wanted], check=True)
    return python


def _library(python: Path, *which: str) -> list[float]:
    shapes = json.dumps([sizes(shape) for shape in SHAPES])
    argv = [str(python), str(EXAMPLE / "library_attention.py"), shapes, *which]
    ended = subprocess.run(argv, check=True, capture_output=True, text=True)
    answer: dict[str, list[float]] = json.loads(ended.stdout)
    return answer["seconds"]


def _print(medians: dict[str, list[float]], peak_flops_per_s: float) -> None:
    print(f"{'ms':20}" + "".join(f"{name:>13}" for name in medians) + "   kernel GFLOP/s, of peak")
    for place, shape in enumerate(SHAPES):
        rate = shape.operations / medians["kernel"][place]
        row = "".join(f"{seconds[place] * 1e3:13.2f}" for seconds in medians.values())
        print(f"{shape.name:20}{row}   {rate / 1e9:14.0f}, {rate / peak_flops_per_s:6.1%}")
    ratios = (geomean(speedups(medians["baseline"], seconds)) for seconds in medians.values())
    print(f"{'speedup, geomean':20}" + "".join(f"{ratio:12.1f}x" for ratio in ratios))


if __name__ == "__main__":
    main()
