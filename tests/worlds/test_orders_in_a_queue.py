"""One engine, sixty programs of calls with tools between them: do the orders do what their papers promise?"""

import random
import statistics
from dataclasses import dataclass

import pytest

from perdure.scheduling.facts import Waiting
from perdure.scheduling.policies import NAMES, decide

PROGRAMS = 60
SEEDS = range(6)


@dataclass
class Program:
    """A chain of calls. Only the queue moves it."""

    arrived_s: float
    work_s: list[float]
    ready_s: float
    attained_s: float = 0.0
    done: int = 0
    job_s: float | None = None


def programs(chance: random.Random, *, heavy: bool) -> list[Program]:
    """Either alike (5 to 7 calls), or a heavy tail: four in five of 2 calls, one of 25. Load about 0.9."""
    made: list[Program] = []
    now_s = 0.0
    for _ in range(PROGRAMS):
        now_s += chance.expovariate(1 / 9.0)
        turns = chance.randint(5, 7) if not heavy else 2 if chance.random() < 0.8 else 25
        made.append(Program(now_s, [chance.uniform(0.8, 1.6) for _ in range(turns)], now_s))
    return made


def facts(program: Program, now_s: float) -> Waiting:
    left = float(len(program.work_s) - program.done)
    return Waiting(
        waited_s=now_s - program.ready_s,
        prompt_tokens=2000,
        max_output_tokens=400,
        uncached_tokens=1000.0,
        output_tokens_expected=250.0,
        tool_return=int(program.done > 0),
        program_age_s=now_s - program.arrived_s,
        program_attained_s=program.attained_s,
        session_attained_s=program.attained_s,
        declared=1,
        turns_left=left,
        critical_turns=left,
    )


def job_seconds(order: str, seed: int, *, heavy: bool) -> list[float]:
    """How long each program took, one call at a time in that order."""
    chance = random.Random(seed)
    everyone = programs(chance, heavy=heavy)
    now_s = 0.0
    while going := [program for program in everyone if program.job_s is None]:
        waiting = sorted((one for one in going if one.ready_s <= now_s), key=lambda one: one.ready_s)
        if not waiting:
            now_s = min(program.ready_s for program in going)
            continue
        chosen = decide("order", NAMES["order"][order], [facts(program, now_s) for program in waiting])
        program = waiting[chosen]
        work_s = program.work_s[program.done]
        now_s += work_s
        program.attained_s += work_s
        program.done += 1
        program.ready_s = now_s + chance.expovariate(1 / 3.0)
        if program.done == len(program.work_s):
            program.job_s = now_s - program.arrived_s
    return [program.job_s or 0.0 for program in everyone]


def times(order: str, *, heavy: bool) -> tuple[float, float]:
    """Mean and median time of a job, over all seeds."""
    taken = [seconds for seed in SEEDS for seconds in job_seconds(order, seed, heavy=heavy)]
    return statistics.fmean(taken), statistics.median(taken)


def test_with_a_heavy_tail_small_jobs_gain_by_least_service_and_least_work() -> None:
    """PLAS and SRPT take a third off the median job; going by programs makes small jobs wait."""
    fcfs_s, fcfs_median_s = times("fcfs", heavy=True)
    assert times("plas", heavy=True)[1] < 0.75 * fcfs_median_s
    assert times("srpt", heavy=True)[1] < 0.75 * fcfs_median_s
    assert times("srpt", heavy=True)[0] < fcfs_s
    assert times("program_fcfs", heavy=True)[1] > fcfs_median_s


def test_where_jobs_are_alike_bringing_them_to_an_end_wins() -> None:
    """Program first, tool first and SRPT beat first come first served; PLAS loses by taking turns."""
    fcfs_s, _ = times("fcfs", heavy=False)
    for order in ("program_fcfs", "tool_return_first", "srpt", "critical_path"):
        assert times(order, heavy=False)[0] < 0.95 * fcfs_s
    assert times("plas", heavy=False)[0] > fcfs_s


@pytest.mark.parametrize("order", NAMES["order"])
def test_every_job_ends_under_every_order(order: str) -> None:
    """No order loses a call: all jobs end, and the engine's work is the same whatever the order."""
    taken = job_seconds(order, 7, heavy=True)
    assert len(taken) == PROGRAMS
    assert all(seconds > 0 for seconds in taken)
