"""What a recorded step costs beside the bare SQLite commit that it cannot go below, on this disk.

    .venv/bin/python bench/journal.py

One step is what a turn's tool call writes: the intent (an event and a ledger row) and the result (an event of
1 KiB, the ledger row). Medians and 99th percentiles of 2,000, and the last tenth over the first.
"""

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from perdure.clock import SystemClock
from perdure.journal.event import EffectChange, EffectState, NewEvent
from perdure.journal.store import Journal

STEPS = 2000
OUTPUT = os.urandom(512).hex()


def bare(folder: Path, synchronous: str) -> Callable[[int], None]:
    """One row of 1 KiB and one commit."""
    db = sqlite3.connect(folder / f"bare-{synchronous}.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, body BLOB)")
    return lambda step: db.execute("INSERT INTO events VALUES (?, ?)", (step, OUTPUT)) and None


def recorded(folder: Path, *, power: bool) -> Callable[[int], None]:
    """An intent and a result, as the loop writes them."""
    journal = Journal(folder / f"journal-{power}.db", clock=SystemClock())
    journal.create("s", "session")

    def step(number: int) -> None:
        key = f"s/{number}"
        intent = EffectChange(key=key, state=EffectState.INTENDED)
        done = EffectChange(key=key, state=EffectState.DONE)
        head = 2 * number
        event = NewEvent(kind="effect_intended", body={"key": key, "tool": "t", "arguments": {"n": number}})
        journal.append("s", [event], expected_head=head, effects=(intent,), power=power)
        event = NewEvent(kind="effect_done", body={"key": key, "tool": "t", "output": OUTPUT, "values": {}})
        journal.append("s", [event], expected_head=head + 1, effects=(done,), power=power)

    return step


def main() -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd() / "build") as name:
        folder = Path(name)
        cases = {
            "bare commit, kill-safe": bare(folder, "NORMAL"),
            "our step, kill-safe (2 commits)": recorded(folder, power=False),
            "bare commit, power-safe": bare(folder, "FULL"),
            "our step, power-safe (2 commits)": recorded(folder, power=True),
        }
        times: dict[str, list[float]] = {label: [] for label in cases}
        for number in range(STEPS):  # in turn, so that the disk's moods hit all alike
            for label, step in cases.items():
                started = time.perf_counter()
                step(number)
                times[label].append((time.perf_counter() - started) * 1000)
        for label, taken in times.items():
            tenth = STEPS // 10
            drift = statistics.median(taken[-tenth:]) / statistics.median(taken[:tenth])
            p99 = statistics.quantiles(taken, n=100)[98]
            print(
                f"{label:34} p50 {statistics.median(taken):6.3f} ms  p99 {p99:7.3f} ms  "
                f"last/first {drift:.2f}"
            )
        size = (folder / "journal-False.db").stat().st_size
        print(f"{'bytes a step of 1 KiB':34} {size / STEPS:,.0f}")


if __name__ == "__main__":
    Path("build").mkdir(exist_ok=True)
    main()
