"""Where the time of each job went: queue, computing, tools and people, sub-agents; all of it, and no more."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perdure.models.cost_compiled import Floats, Integers
from perdure.traces.programs import Programs
from perdure.twin.kernel_arrays import World

# In the order in which a call meets them; what each is called for a person.
PARTS: Mapping[str, str] = {
    "sub_agents": "waiting for sub-agents",
    "tool": "a tool running",
    "tool_queue": "waiting for a tool worker",
    "person": "a person or a pause",
    "queue": "queued",
    "load": "loading KV from below HBM",
    "prefill": "prefill",
    "decode": "decode",
    "preempted": "set back by preemption",
}
DECILES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTimes:
    """Of each program that ended whole: where the time from its start to its end went.

    A program's time is told along one chain: the session that ended last, before it the one that forked it
    up to the fork, and so on to the start. What other sessions did while that chain waited for them is
    "waiting for sub-agents".

    program  [jobs] which program; jct_s [jobs]; seconds [jobs, parts] in the order of PARTS
    """

    program: Integers
    jct_s: Floats
    seconds: Floats

    def means(self) -> dict[str, float]:
        """Mean seconds of each part; empty where no program ended."""
        if not len(self.program):
            return {}
        return dict(zip(PARTS, (float(mean) for mean in self.seconds.mean(axis=0)), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Jobs of about the same length, and the mean seconds of each part."""

    title: str
    jobs: int
    jct_s: float
    seconds: tuple[float, ...]


def job_times(world: World, programs: Programs) -> JobTimes:
    """Where the time of each whole program went."""
    found = whole_programs(world)
    starts_s, children_s = gap_starts_s(world, programs), children_end_s(world, programs)
    parts = _parts_of_turns(world, starts_s, children_s)
    seconds = np.zeros((len(found), len(PARTS)))
    session = _last_sessions(world)[found]
    upto = world.sessions.last_turn[session]
    left = np.arange(len(found))
    while len(left):
        first = world.sessions.first_turn[session]
        seconds[left] += _sums(parts, first, upto)
        forked = programs.forked[session]
        left, session = left[forked], session[forked]
        parent = programs.parent[session]
        upto = world.sessions.first_turn[parent] + programs.fork_turn[session] + 1
        session = parent
    jct_s = np.asarray(world.programs.ended_s - world.programs.began_s)[found]
    return JobTimes(program=found, jct_s=jct_s, seconds=seconds)


def groups_of(times: JobTimes) -> list[Group]:
    """All jobs together, then by tenths of their length, the shortest first (fewer where jobs are few)."""
    if not len(times.program):
        return []
    order = np.argsort(times.jct_s, kind="stable")
    tenths = np.array_split(order, min(DECILES, len(order))) if len(order) > 1 else []
    named = [(f"{_tenth(number, len(tenths))}", places) for number, places in enumerate(tenths)]
    return [
        Group(
            title=title,
            jobs=len(places),
            jct_s=float(times.jct_s[places].mean()),
            seconds=tuple(float(mean) for mean in times.seconds[places].mean(axis=0)),
        )
        for title, places in (("all jobs", order), *named)
    ]


def whole_programs(world: World) -> Integers:
    """The programs that ended with every call answered."""
    programs = world.programs
    whole = (programs.open_sessions == 0) & (programs.failed == 0) & ~np.isnan(programs.ended_s)
    return np.flatnonzero(whole)


def _tenth(number: int, count: int) -> str:
    if number == 0:
        return "shortest"
    return "longest" if number == count - 1 else f"{number + 1} of {count}"


def _last_sessions(world: World) -> Integers:
    """[program] the session that ended last, the first of equals."""
    programs, ended_s = world.programs, np.asarray(world.sessions.ended_s)
    latest = np.maximum.reduceat(ended_s, programs.first_session)
    at_last = np.flatnonzero(ended_s == latest[world.sessions.program])
    firsts, places = np.unique(world.sessions.program[at_last], return_index=True)
    last = np.array(programs.first_session)
    last[firsts] = at_last[places]
    return last


def gap_starts_s(world: World, programs: Programs) -> Floats:
    """[turn] when what lies before its call began: the answer before, the fork, or the program's start."""
    ended_s = np.asarray(world.turns.ended_s)
    starts_s = np.concatenate([[0.0], ended_s[:-1]])
    fork = programs.first_turn[programs.parent] + programs.fork_turn
    began_s = np.asarray(world.programs.began_s)[programs.program]
    starts_s[programs.first_turn[:-1]] = np.where(programs.forked, ended_s[fork], began_s)
    return starts_s


def children_end_s(world: World, programs: Programs) -> Floats:
    """[turn] when the last of the sessions that it waited for was over; before all time where it had none."""
    ends_s = np.full(len(world.turns), -np.inf)
    joined = np.flatnonzero(programs.joined)
    waits = programs.first_turn[programs.parent[joined]] + programs.join_turn[joined]
    np.maximum.at(ends_s, waits, np.asarray(world.sessions.ended_s)[joined])
    return ends_s


def _parts_of_turns(world: World, starts_s: Floats, children_s: Floats) -> Floats:
    """[turn + 1, part] seconds; the last row is nobody's, so that every turn has one after it."""
    turns = world.turns
    ready_s = np.asarray(turns.ready_s)
    sub_agents_s = np.maximum(0.0, children_s - starts_s)
    gap_s = ready_s - starts_s - sub_agents_s
    queued_s = np.zeros(len(turns))
    if world.clock[0].tools_max > 0:
        # A tool had its own time; what else passed it waited for a worker.
        queued_s = np.where(turns.tool, np.maximum(0.0, gap_s - turns.gap_s * turns.attempts), 0.0)
    ran_s = gap_s - queued_s
    decode_s = turns.ended_s - turns.first_s - turns.redone_s
    columns = {
        "sub_agents": sub_agents_s,
        "tool": np.where(turns.tool, ran_s, 0.0),
        "tool_queue": queued_s,
        "person": np.where(turns.tool, 0.0, ran_s),
        "queue": turns.started_s - ready_s,
        "load": turns.load_s,
        "prefill": turns.first_s - turns.started_s - turns.load_s - turns.stalled_s,
        "decode": decode_s,
        "preempted": turns.stalled_s + turns.redone_s,
    }
    found = np.zeros((len(turns) + 1, len(PARTS)))
    for place, name in enumerate(PARTS):
        found[:-1, place] = columns[name]
    return found


def _sums(parts: Floats, first: Integers, upto: Integers) -> Floats:
    """[n, part] sums of the turns from each `first` to before its `upto`."""
    pairs = np.stack([first, upto], axis=1).ravel()
    return np.add.reduceat(parts, pairs, axis=0)[::2]
