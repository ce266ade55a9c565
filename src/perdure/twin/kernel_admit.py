"""Which programs are active: who enters, who is set aside at a tool's return, and who goes to the engines."""

import numpy as np

from perdure.compiling import inner
from perdure.scheduling.facts import Admit, Entering, Place
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_gap import count_context, fail_session, tell_later
from perdure.twin.kernel_handover import send
from perdure.twin.kernel_records import ADMIT, AGAIN, OUTSIDE, REFUSED
from perdure.twin.kernel_route import expected_output, rejoin
from perdure.twin.kernel_tenants import must_wait, next_within_quota

AGAIN_S = 60.0  # between two times that those outside are asked about, though no program has ended
# Where no program is active, nothing but time can change an answer: after so long a wait it is taken as no.
REFUSED_S = 3600.0


@inner
def enters(w: World, number: int, admit: Admit) -> bool:
    """Whether a call's program is active, or may be from now on; asked whenever it has no call under way."""
    session = w.sessions[number]
    program = w.programs[session.program]
    if program.pool != session.pool or (program.active and program.calls > 0):
        return True
    pool = w.pools[program.pool]
    chosen = int(admit(entering_facts(w, number))) == 1
    if chosen == program.active:
        return chosen
    program.active = chosen
    if chosen:
        pool.active_programs += 1
        pool.active_tokens += program.context_tokens
    else:
        pool.active_programs -= 1
        pool.active_tokens -= program.context_tokens
        if pool.outside > 0:
            tell_later(w, w.clock[0].now_s, np.int64(ADMIT), session.pool)
    return chosen


@inner
def entering_facts(w: World, number: int) -> Entering:
    """What a server knows of a program that wants to begin, or to go on."""
    session = w.sessions[number]
    program, pool = w.programs[session.program], w.pools[session.pool]
    turn = w.turns[session.turn]
    others = pool.active_programs > (1 if program.active else 0)
    return Entering(
        w.clock[0].now_s - session.ready_s,
        pool.active_programs,
        pool.outside,
        program.context_tokens - session.counted_tokens + turn.prompt,
        float(min(program.shared_tokens, turn.prompt)) if others else 0.0,
        pool.active_tokens,
        pool.capacity_tokens * pool.replicas,
        expected_output(w, number),
        1 if program.active else 0,
    )


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
    if not pool.asks:
        pool.asks = True
        tell_later(w, w.clock[0].now_s + AGAIN_S, np.int64(AGAIN), session.pool)


@inner
def leave_outside(w: World, pool_number: int, before: int, here: int) -> None:
    """Take session `here - 1` out of those outside; `before` stands before it (0: nobody)."""
    pool, after = w.pools[pool_number], w.sessions[here - 1].next_waiting
    if before != 0:
        w.sessions[before - 1].next_waiting = after
    else:
        pool.first_outside = after
    if after == 0:
        pool.last_outside = before
    pool.outside -= 1


@inner
def admit_outside(w: World, pool_number: int, place: Place, admit: Admit) -> None:
    """Room was made: ask for those outside, in order of arrival, until one is refused.

    Calls of programs that are active by now go along, wherever they stand: else others would wait in vain for
    those programs to end.
    """
    before, here = 0, w.pools[pool_number].first_outside
    refused = False
    while here != 0:
        number, after = here - 1, w.sessions[here - 1].next_waiting
        if w.programs[w.sessions[number].program].active or (not refused and enters(w, number, admit)):
            leave_outside(w, pool_number, before, here)
            go(w, number, place)
        else:
            refused = True
            before = here
        here = after


@inner
def ask_again(w: World, pool_number: int, place: Place, admit: Admit) -> None:
    """A minute has gone by: those outside have waited longer, and policies may care."""
    pool, clock = w.pools[pool_number], w.clock[0]
    pool.asks = False
    admit_outside(w, pool_number, place, admit)
    if pool.outside > 0 and pool.active_programs == 0:
        here = pool.first_outside
        if clock.now_s - w.sessions[here - 1].ready_s >= REFUSED_S:
            leave_outside(w, pool_number, np.int64(0), here)
            fail_session(w, here - 1, np.int64(REFUSED))
    if pool.outside > 0 and not pool.asks:
        pool.asks = True
        tell_later(w, clock.now_s + AGAIN_S, np.int64(AGAIN), pool_number)


@inner
def go(w: World, number: int, place: Place) -> None:
    """Send a call to the replica that the policy names, if its tenant may have one more under way."""
    if not (w.clock[0].quotas and must_wait(w, number)):
        start(w, number, place)


@inner
def go_on(w: World, tenant: int, place: Place) -> None:
    """A tenant's call has ended: those that waited for that go, as many as may."""
    here = next_within_quota(w, tenant)
    while here != 0:
        start(w, here - 1, place)
        here = next_within_quota(w, tenant)


@inner
def start(w: World, number: int, place: Place) -> None:
    """Count a call as under way, and send it."""
    session = w.sessions[number]
    program = w.programs[session.program]
    count_context(w, number, w.turns[session.turn].prompt)
    if program.pool == session.pool:
        program.calls += 1
    if w.clock[0].fair:
        rejoin(w, program.tenant)
    send(w, number, place)
