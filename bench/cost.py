"""How long the cost model itself takes, each of the three ways to ask it, and how far they are apart.

python bench/cost.py [--on h200x8/qwen3-32b:tp=8]
"""

import argparse
import random
import time
import timeit
from collections.abc import Callable

import numpy as np
from numba import njit
from rich.console import Console
from rich.table import Table

from perdure.catalog.load import load_catalog
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost_compiled import arrays_of, batch_seconds, decode_run, vector_of
from perdure.models.cost_live import LiveCost
from perdure.models.cost_sample import Sample
from perdure.models.cost_table import CostTable
from perdure.twin.deployment import Deployment
from perdure.twin.deployment_text import parse_deployment

BATCHES, LOOPS, STEPS = 300, 20_000, 5_000


@njit
def _many(table: object, sums: np.ndarray, times: int) -> float:
    """`times` batches in compiled code, as a simulation prices them."""
    total_s = 0.0
    for _ in range(times):
        total_s += batch_seconds(table, sums)
    return total_s


def _best_s(work: Callable[[], object], loops: int = 1, rounds: int = 5) -> float:
    """Seconds of one loop, in the best of several rounds."""
    return min(timeit.repeat(work, number=loops, repeat=rounds)) / loops


def _batch(chance: random.Random) -> Batch:
    prefills = [
        Prefill(new_tokens=chance.randint(1, 4096), cached_tokens=chance.randint(0, 20_000))
        for _ in range(chance.randint(0, 2))
    ]
    decodes = [
        Decode(context_tokens=chance.randint(1, 40_000), count=chance.randint(1, 64))
        for _ in range(chance.randint(1, 3))
    ]
    return Batch(prefills=tuple(prefills), decodes=tuple(decodes))


def _apart(deployment: Deployment, table: CostTable) -> float:
    """The largest difference between the table and the plain price, as a fraction."""
    chance, instance = random.Random(1), deployment.instance
    sums = [instance.lowering.sums(_batch(chance)) for _ in range(BATCHES)]
    return max(abs(table.seconds(one) / instance.seconds(one) - 1) for one in sums)


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", default="h200x8/qwen3-32b:tp=8")
    deployment = parse_deployment(parser.parse_args().on, load_catalog())
    instance = deployment.instance
    batch = Batch(decodes=(Decode(context_tokens=4096, count=32),))
    sums = instance.lowering.sums(batch)
    started = time.perf_counter()
    table = Sample(instance).table()
    built_s = time.perf_counter() - started
    live, arrays, vector = LiveCost(table), arrays_of(table), vector_of(sums, table)
    growth = np.full(len(table.spans), 32.0)
    live.decode_step_s(32, 32 * 4096.0)
    live.prefill_s(700, 8192)
    _many(arrays, vector, 1)
    decode_run(arrays, vector.copy(), growth, 1, 1e9)
    loops = range(LOOPS)
    calls = _best_s(lambda: [None for _ in loops]) / LOOPS
    decode_s = _best_s(lambda: [live.decode_step_s(32, 131072.0) for _ in loops]) / LOOPS - calls
    prefill_s = _best_s(lambda: [live.prefill_s(700, 8192) for _ in loops]) / LOOPS - calls
    found = Table("what", "time", title=parser.parse_args().on)
    priced_s = _best_s(lambda: instance.price(batch))
    compiled_s = _best_s(lambda: _many(arrays, vector, LOOPS)) / LOOPS
    jump_s = _best_s(lambda: decode_run(arrays, vector.copy(), growth, STEPS, 1e9), 20)
    found.add_row("plain price with its breakdown and range", f"{priced_s * 1e3:.1f} ms")
    found.add_row("plain seconds", f"{_best_s(lambda: instance.seconds(sums), 50) * 1e6:.0f} us")
    found.add_row("make the table", f"{built_s:.2f} s")
    found.add_row("one batch from the table", f"{_best_s(lambda: table.seconds(sums), 2000) * 1e6:.1f} us")
    found.add_row("live decode step", f"{decode_s * 1e9:.0f} ns")
    found.add_row("live prefill", f"{prefill_s * 1e9:.0f} ns")
    found.add_row("one batch, compiled", f"{compiled_s * 1e9:.0f} ns")
    found.add_row(f"a run of {STEPS:,} decode steps, compiled", f"{jump_s * 1e6:.0f} us")
    found.add_row(
        f"table and plain price apart, at most, {BATCHES} batches", f"{_apart(deployment, table):.2%}"
    )
    Console().print(found)


if __name__ == "__main__":
    main()
