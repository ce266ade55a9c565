"""The twin's clock: events and replicas in order of time, until all is done or the run is cut off.

A total order of (time, kind, sequence): events first, then replicas by index. What is due at a replica at the
same time sees all that happened at that time.
"""

import math

import numpy as np

from perdure.compiling import compiled, inner
from perdure.scheduling.facts import Admit, Entering, Order, Place, Retain
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_batch import turn_replica
from perdure.twin.kernel_gap import (
    drop_superseded,
    end_tool,
    fail_session,
    learn_gap,
    release_pin,
    start_gap,
)
from perdure.twin.kernel_heap import pop_event
from perdure.twin.kernel_records import ADMIT, ASK, CALL, NO_ROOM, OUTSIDE, TOO_LONG, TOOL_ENDED
from perdure.twin.kernel_route import enqueue, expected_output, find_place, take_in_told


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
        if now_s > clock.end_s or now_s == math.inf:
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
            turn_replica(w, replica, order, retain)
    return True


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
def enters(w: World, number: int, admit: Admit) -> bool:
    """Whether a call's program is active, or may be from now on."""
    clock, session = w.clock[0], w.sessions[number]
    program = w.programs[session.program]
    if program.pool != session.pool:
        return True
    pool = w.pools[program.pool]
    turn = w.turns[session.turn]
    if not program.active:
        shared = float(min(program.shared_tokens, turn.prompt)) if pool.active_programs > 0 else 0.0
        facts = Entering(
            clock.now_s - session.ready_s,
            pool.active_programs,
            pool.outside,
            float(turn.prompt),
            shared,
            pool.active_tokens,
            pool.capacity_tokens * pool.replicas,
            expected_output(w, number),
        )
        if int(admit(facts)) != 1:
            return False
        program.active = True
        pool.active_programs += 1
        program.context_tokens = 0.0
    return True


@inner
def wait_outside(w: World, number: int) -> None:
    """A call waits until its program is admitted."""
    session = w.sessions[number]
    pool = w.pools[session.pool]
    session.doing = OUTSIDE
    session.next_waiting = 0
    if pool.last_outside != 0:
        w.sessions[pool.last_outside - 1].next_waiting = number + 1
    else:
        pool.first_outside = number + 1
    pool.last_outside = number + 1
    pool.outside += 1


@inner
def admit_outside(w: World, pool_number: int, place: Place, admit: Admit) -> None:
    """Room was made: ask again for those outside, in order of arrival, until one is refused."""
    pool = w.pools[pool_number]
    while pool.first_outside != 0:
        number = pool.first_outside - 1
        if not enters(w, number, admit):
            return
        pool.first_outside = w.sessions[number].next_waiting
        if pool.first_outside == 0:
            pool.last_outside = 0
        pool.outside -= 1
        go(w, number, place)


@inner
def go(w: World, number: int, place: Place) -> None:
    """Send a call to the replica that the policy names."""
    clock, session = w.clock[0], w.sessions[number]
    count_context(w, number)
    if clock.believed < clock.beliefs:
        take_in_told(w, clock.now_s)
    replica, believed = find_place(w, number, clock.now_s, place)
    if session.pinned and session.pin_replica != replica:
        release_pin(w, number)
    enqueue(w, number, replica, believed, clock.now_s)


@inner
def count_context(w: World, number: int) -> None:
    """Count what a call adds to the contexts of active programs; what sessions share counts once."""
    session = w.sessions[number]
    program = w.programs[session.program]
    if not program.active or program.pool != session.pool:
        return
    turn = w.turns[session.turn]
    own = float(turn.prompt + turn.output - session.shared_tokens)
    grown = own - session.counted_tokens
    session.counted_tokens = own
    program.context_tokens += grown
    w.pools[program.pool].active_tokens += grown


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
