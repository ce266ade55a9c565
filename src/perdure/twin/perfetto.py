"""A run of the twin as Chrome trace events, which ui.perfetto.dev opens: `perdure simulate --perfetto`.

A process for each replica, in which the calls that it served lie in as many lanes as ran at once; one for
each of the first programs, with a lane for each session; and one for each pool with counters.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.models.cost_compiled import Integers
from perdure.traces.programs import Programs
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_records import DONE, OUTCOMES
from perdure.twin.report_series import timeline, turn_numbers
from perdure.twin.report_time import children_end_s, gap_starts_s
from perdure.twin.run import Run

CALLS_MAX = 20_000  # shown on replicas, and again on programs; five slices each make a file of some 15 MB
PROGRAMS_MAX = 100

# Processes are numbered: pools first, so that their counters stand on top.
POOLS, REPLICAS, PROGRAMS = 1, 1_000, 1_000_000

Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is written, and one sentence on what was left out for want of room; None where nothing was."""

    content: dict[str, Any]
    left_out: str | None


def trace_of(run: Run) -> Trace:
    """The calls of a run until there are CALLS_MAX, and its first PROGRAMS_MAX programs."""
    world, programs = run.world, run.layout.programs
    began = np.flatnonzero(~np.isnan(world.turns.started_s))
    calls = began[np.argsort(world.turns.ready_s[began], kind="stable")]
    first = _first_programs(world)
    cuts = _Calls(world, programs)
    shown = np.zeros(len(world.programs), np.bool_)
    shown[first] = True
    reached = np.flatnonzero(shown[cuts.program] & ~np.isnan(world.turns.ready_s))
    told = reached[np.argsort(world.turns.ready_s[reached], kind="stable")][:CALLS_MAX]
    events = [
        *_counters(run),
        *_replicas(run, cuts, calls[:CALLS_MAX]),
        *_programs(run, cuts, first, told),
    ]
    left_out = _left_out(world, len(calls), len(reached), calls[:CALLS_MAX], told)
    about = left_out or "nothing was left out"
    return Trace(
        content={"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"left out": about}},
        left_out=left_out,
    )


class _Calls:
    """Cuts calls into slices. Its columns [turn] are copies: the world's are slow to read one by one."""

    def __init__(self, world: World, programs: Programs) -> None:
        turns = world.turns
        self.session = programs.turn_session
        self.program = programs.program[self.session]
        self.number = turn_numbers(programs)
        self.gap_starts_s = gap_starts_s(world, programs)
        self.children_s = children_end_s(world, programs)
        self.tool = programs.tool
        self.counts = {
            name: np.array(turns[name]) for name in ("prompt", "cached", "loaded", "output", "preempted")
        }
        self.replica, self.outcome = np.array(turns.replica), np.array(turns.outcome)
        self.ready_s = np.array(turns.ready_s)
        now_s = float(world.clock[0].now_s)
        self.served = ~np.isnan(turns.started_s)
        # What had not come about when the run ended is drawn up to there.
        self.ended_s = np.nan_to_num(turns.ended_s, nan=now_s)
        self.started_s = np.fmin(np.nan_to_num(turns.started_s, nan=now_s), self.ended_s)
        self.first_s = np.fmin(np.nan_to_num(turns.first_s, nan=now_s), self.ended_s)
        load_s = np.where(self.outcome == DONE, turns.load_s, 0.0)
        self.loaded_s = np.fmin(self.started_s + load_s, self.first_s)

    def slices(self, turn: int, process: int, lane: int) -> Iterator[Event]:
        """A call, and within it its queue, load, prefill and decode."""
        name = f"program {self.program[turn]} call {self.number[turn]}"
        facts = {f"{what}_tokens": int(column[turn]) for what, column in self.counts.items()}
        if self.served[turn]:
            facts["replica"] = int(self.replica[turn])
        yield _slice(
            name,
            self.ready_s[turn],
            self.ended_s[turn],
            process,
            lane,
            session=int(self.session[turn]),
            outcome=OUTCOMES[self.outcome[turn]],
            preempted=facts.pop("preempted_tokens"),
            **facts,
        )
        ends_s = (self.started_s, self.loaded_s, self.first_s, self.ended_s)
        from_s = self.ready_s[turn]
        for what, end_s in zip(("queue", "load", "prefill", "decode"), ends_s, strict=True):
            if end_s[turn] > from_s:
                yield _slice(what, from_s, end_s[turn], process, lane)
            from_s = end_s[turn]

    def gap(self, turn: int, process: int, lane: int) -> Iterator[Event]:
        """What lies before a call: sub-agents that it waits for, then a tool, or a person."""
        from_s, ready_s = self.gap_starts_s[turn], self.ready_s[turn]
        joined_s = min(max(from_s, self.children_s[turn]), ready_s)
        name = "tool" if self.tool[turn] else "person or pause"
        for what, start_s, end_s in (("sub-agents", from_s, joined_s), (name, joined_s, ready_s)):
            if end_s > start_s:
                yield _slice(what, start_s, end_s, process, lane)


def _counters(run: Run) -> Iterator[Event]:
    for number, pool in enumerate(run.layout.pools):
        process = POOLS + number
        yield from _named(process, f"pool {pool.name}")
        line = timeline(run.world, pool, number)
        for place, time_s in enumerate(line.time_s):
            calls = {
                "running": int(line.running[place]),
                "waiting": int(line.waiting[place]),
                "not admitted": int(line.outside[place]),
            }
            held = {"needed": line.used_bytes[place] / 1e9, "kept": line.evictable_bytes[place] / 1e9}
            yield _counter("calls", float(time_s), process, calls)
            yield _counter("KV in HBM, GB", float(time_s), process, held)
            if line.tiers:
                below = {name: sizes[place] / 1e9 for name, sizes in line.tiers}
                yield _counter("KV below HBM, GB", float(time_s), process, below)


def _replicas(run: Run, calls: _Calls, turns: Integers) -> Iterator[Event]:
    """Each call in the lowest lane of its replica that is free."""
    busy: list[list[tuple[float, int]]] = []  # when a lane will be free, and which it is
    free: list[list[int]] = []
    for pool in run.layout.pools:
        for number in range(pool.replicas):
            yield from _named(REPLICAS + len(busy), f"replica {number} of {pool.name}")
            busy.append([])
            free.append([])
    for turn in turns.tolist():
        replica = int(calls.replica[turn])
        here, idle = busy[replica], free[replica]
        while here and here[0][0] <= calls.ready_s[turn]:
            heapq.heappush(idle, heapq.heappop(here)[1])
        lane = heapq.heappop(idle) if idle else len(here)
        heapq.heappush(here, (float(calls.ended_s[turn]), lane))
        yield from calls.slices(turn, REPLICAS + replica, lane)


def _programs(run: Run, calls: _Calls, programs: Sequence[int], turns: Integers) -> Iterator[Event]:
    """Programs in order of their start; a lane for each session, in which gaps and calls take turns."""
    columns = run.layout.programs
    for program in programs:
        tenant = columns.tenants[int(columns.tenant[program])]
        yield from _named(PROGRAMS + program, f"program {program} of {tenant}")
    for turn in turns.tolist():
        session = int(calls.session[turn])
        process = PROGRAMS + int(calls.program[turn])
        if calls.number[turn] == 1:
            model = columns.models[int(columns.model[session])]
            name = {"name": f"session {session}, {model}"}
            yield {"ph": "M", "name": "thread_name", "pid": process, "tid": session, "args": name}
        yield from calls.gap(turn, process, session)
        yield from calls.slices(turn, process, session)


def _first_programs(world: World) -> list[int]:
    began_s = np.asarray(world.programs.began_s)
    order = [int(program) for program in np.argsort(began_s, kind="stable") if not np.isnan(began_s[program])]
    return order[:PROGRAMS_MAX]


def _left_out(world: World, calls: int, reached: int, shown: Integers, told: Integers) -> str | None:
    parts: list[str] = []
    if calls > len(shown):
        upto_s = float(world.turns.ready_s[shown[-1]])
        parts.append(f"replicas show the first {len(shown):,} of {calls:,} calls, up to {upto_s:,.0f} s")
    began = int((~np.isnan(world.programs.began_s)).sum())
    if began > PROGRAMS_MAX:
        parts.append(f"tracks are those of the first {PROGRAMS_MAX} of {began:,} programs")
    if reached > len(told):
        parts.append(f"of their calls the first {len(told):,} of {reached:,}")
    return "; ".join(parts) if parts else None


def _named(process: int, name: str) -> Iterator[Event]:
    yield {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": name}}
    yield {"ph": "M", "name": "process_sort_index", "pid": process, "tid": 0, "args": {"sort_index": process}}


def _counter(name: str, time_s: float, process: int, values: dict[str, Any]) -> Event:
    plain = {key: float(value) for key, value in values.items()}
    return {"ph": "C", "name": name, "ts": _us(time_s), "pid": process, "args": plain}


def _slice(name: str, from_s: float, to_s: float, process: int, lane: int, **facts: Any) -> Event:
    """Ends, not lengths, are rounded, so that slices that touch do not overlap."""
    start, end = _us(float(from_s)), _us(float(to_s))
    event: Event = {
        "ph": "X",
        "name": name,
        "ts": start,
        "dur": round(end - start, 3),
        "pid": process,
        "tid": lane,
    }
    if facts:
        event["args"] = facts
    return event


def _us(time_s: float) -> float:
    """The format's microseconds, to the nanosecond."""
    return round(time_s * 1e6, 3)
