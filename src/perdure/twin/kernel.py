"""The twin's clock: events and replicas in order of time, until all is done or the run is cut off.

A total order of (time, kind, sequence): events first, then replicas by index. What is due at a replica at the
same time sees all that happened at that time.
"""

import math

import numpy as np

from perdure.compiling import DEBUG, compiled, inner
from perdure.scheduling.facts import Admit, Order, Place, Retain
from perdure.twin.kernel_admit import admit_outside, ask_again, enters, go, go_on, wait_outside
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_batch import turn_replica
from perdure.twin.kernel_check import check_world
from perdure.twin.kernel_engine import end_steps, run_within, set_due
from perdure.twin.kernel_faults import handle_fault
from perdure.twin.kernel_gap import drop_superseded, end_tool, fail_session, start_gap
from perdure.twin.kernel_heap import pop_event
from perdure.twin.kernel_learned import learn_gap
from perdure.twin.kernel_records import (
    ADMIT,
    AGAIN,
    ASK,
    CALL,
    IDLE,
    NO_ROOM,
    QUOTA,
    RUNNING,
    TOO_LONG,
    TOOL_ENDED,
)


@compiled
def run(w: World, order: Order, place: Place, admit: Admit, retain: Retain, handled_max: int) -> bool:
    """Go on for at most `handled_max` events and batches; whether there is more to do."""
    clock = w.clock[0]
    for _ in range(handled_max):
        arrival_s = next_arrival_s(w)
        event_s = math.inf
        if clock.events > 0:
            event_s = w.events[0].time_s
        replica = w.winners[1]
        due_s = w.due_s[replica]
        now_s = min(arrival_s, event_s, due_s)
        if now_s == math.inf or (clock.faults > 0 and all_over(w)):
            return False
        if now_s > clock.end_s:
            cut_off(w)
            return False
        assert now_s >= clock.now_s
        if now_s >= clock.next_sample_s:
            take_sample(w, now_s)
        clock.now_s = now_s
        clock.handled += 1
        if arrival_s <= event_s and arrival_s <= due_s:
            start_program(w)
        elif event_s <= due_s:
            kind, who = w.events[0].kind, w.events[0].who
            clock.events = pop_event(w.events, clock.events)
            handle(w, kind, who, place, admit, retain)
        else:
            turn_replica(w, replica, order, place, retain)
        if DEBUG:
            check_world(w)
    return True


@inner
def all_over(w: World) -> bool:
    """Whether every program has ended, so that nobody cares what else may break."""
    clock = w.clock[0]
    return clock.open_programs == 0 and clock.next_program == len(w.starts)


@inner
def handle(w: World, kind: int, who: int, place: Place, admit: Admit, retain: Retain) -> None:
    """Do what an event says."""
    if kind == CALL:
        call(w, who, place, admit, retain)
    elif kind == TOOL_ENDED:
        end_tool(w)
        call(w, who, place, admit, retain)
    elif kind == ADMIT:
        admit_outside(w, who, place, admit)
    elif kind == AGAIN:
        ask_again(w, who, place, admit)
    elif kind == QUOTA:
        go_on(w, who, place)
    else:
        handle_fault(w, kind, who, place)


@inner
def next_arrival_s(w: World) -> float:
    """When the next program starts: not before it arrives, and in a closed loop not before one has ended."""
    clock = w.clock[0]
    if clock.next_program == len(w.starts):
        return math.inf
    if clock.concurrency > 0 and clock.open_programs >= clock.concurrency:
        return math.inf
    return max(clock.now_s, w.programs[w.starts[clock.next_program]].arrival_s)


@inner
def start_program(w: World) -> None:
    """The next program starts: its sessions that nobody forks begin."""
    clock = w.clock[0]
    number = w.starts[clock.next_program]
    clock.next_program += 1
    clock.open_programs += 1
    program = w.programs[number]
    program.began_s = clock.now_s
    for session in range(program.first_session, program.last_session):
        if not w.sessions[session].forked:
            start_gap(w, session)


@inner
def call(w: World, number: int, place: Place, admit: Admit, retain: Retain) -> None:
    """A gap has ended: the session calls, unless it must wait for others, for its program, or in vain."""
    clock, session = w.clock[0], w.sessions[number]
    turn = w.turns[session.turn]
    pool = w.pools[session.pool]
    clock.sequence += 1
    session.sequence = clock.sequence
    session.ready_s = clock.now_s
    turn.ready_s = clock.now_s
    if session.turn > session.first_turn:
        learn_gap(w, turn.tool, clock.now_s - session.ended_s)
        drop_superseded(w, number, retain)
    if turn.prompt + turn.output > pool.window_tokens:
        fail_session(w, number, np.int64(TOO_LONG))
    elif turn.prompt + turn.output > pool.capacity_tokens:
        fail_session(w, number, np.int64(NO_ROOM))
    elif clock.admit_kind == ASK and not enters(w, number, admit):
        wait_outside(w, number)
    else:
        go(w, number, place)


@inner
def cut_off(w: World) -> None:
    """The run's end lies within what replicas compute: whole steps until then count."""
    clock = w.clock[0]
    clock.now_s = clock.end_s
    for replica in range(len(w.replicas)):
        rep = w.replicas[replica]
        if rep.doing == RUNNING and rep.chunks == 0:
            rep.run_steps, rep.run_s = run_within(w, replica, rep.run_steps, clock.end_s - rep.now_s)
            end_steps(w, replica)
        rep.doing = IDLE
        set_due(w, replica, math.inf)


@inner
def take_sample(w: World, now_s: float) -> None:
    """Note what each pool is doing; when the notes are full, keep every other one and take half as many."""
    clock = w.clock[0]
    if clock.samples == len(w.samples):
        for place in range(len(w.samples) // 2):
            for pool in range(len(w.pools)):
                w.samples[place, pool] = w.samples[2 * place, pool]
            w.tier_samples[place] = w.tier_samples[2 * place]
        clock.samples = len(w.samples) // 2
        clock.sample_every_s *= 2.0
    for pool in range(len(w.pools)):
        here = w.samples[clock.samples, pool]
        here.time_s = now_s
        here.outside = w.pools[pool].outside
        here.finished = clock.finished_turns
        here.running, here.waiting = 0, 0
        here.used_blocks, here.evictable_blocks = 0, 0
        first = w.pools[pool].first_replica
        for replica in range(first, first + w.pools[pool].replicas):
            here.running += w.replicas[replica].running
            here.waiting += w.replicas[replica].waiting
    w.tier_samples[clock.samples] = 0
    for place in range(1, len(w.holders)):
        holder = w.holders[place]
        if holder.is_lower:
            w.tier_samples[clock.samples, holder.pool, holder.level - 1] += holder.used_blocks
        else:
            here = w.samples[clock.samples, holder.pool]
            here.used_blocks += holder.used_blocks
            here.evictable_blocks += holder.evictable_blocks
    clock.samples += 1
    clock.next_sample_s = now_s + clock.sample_every_s
