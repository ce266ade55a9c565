"""How the programs and calls of a run ended, and what each way of ending means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_records import OUTCOMES
from perdure.twin.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """How many programs came to which end; together they are all of the workload's.

    whole      every call was answered
    failed     a call could not be served, by the outcome of the first such call
    cut        were under way when the run ended; unstarted: had not begun by then
    """

    whole: int
    failed: Mapping[str, int]
    cut: int
    unstarted: int

    @property
    def programs(self) -> int:
        """All of them."""
        return self.whole + sum(self.failed.values()) + self.cut + self.unstarted


def endings_of(world: World) -> Endings:
    """How the programs of a run ended."""
    programs = world.programs
    began = ~np.isnan(programs.began_s)
    failed = np.asarray(programs.failed)
    counts = np.bincount(failed[failed > 0], minlength=len(OUTCOMES))
    over = began & (programs.open_sessions == 0)
    return Endings(
        whole=int((over & (failed == 0)).sum()),
        failed={name: int(counts[number]) for number, name in enumerate(OUTCOMES) if counts[number]},
        cut=int((began & ~over & (failed == 0)).sum()),
        unstarted=int((~began).sum()),
    )


def outcome_text(name: str, pools: Sequence[Pool]) -> str:
    """What it means that a call ended so, and what to do about it."""
    windows = sorted({pool.window_tokens for pool in pools})
    window = " or ".join(f"{tokens:,}" for tokens in windows)
    return {
        "open": "the run ended first",
        "too_long": f"prompt and answer do not fit the model's window of {window} tokens: take a model "
        "with a larger one, or a workload whose contexts are compacted in time (agents:..,window=..)",
        "no_room": "prompt and answer do not fit the KV of one replica: take more chips for each",
        "preempted_too_often": "it had to give way to others too many times: take more KV, or admit fewer",
        "refused": "it was refused",
    }.get(name, name.replace("_", " "))
