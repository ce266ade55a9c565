"""To which replica a call goes, and what the router believes of replicas: what it sent there and was told."""

import math

from perdure.compiling import inner
from perdure.scheduling import fair
from perdure.scheduling.facts import Candidate, Order, Place, Waiting
from perdure.scheduling.fair import Tenant
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_cache import read_path
from perdure.twin.kernel_engine import cut_run, set_due
from perdure.twin.kernel_records import FIRST_COME, FORMING, IDLE, QUEUED, RUNNING
from perdure.twin.kernel_tenants import call_ended

weighted_service, rejoined = inner(fair.weighted_service), inner(fair.rejoined)

RECENT_S = 180.0  # over how long the router remembers the work that it sent to a replica


@inner
def take_in_told(w: World, now_s: float) -> None:
    """What engines told the router arrives after its lag."""
    clock = w.clock[0]
    size = len(w.told)
    while clock.believed < clock.beliefs:
        word = w.told[clock.believed % size]
        if word.time_s + clock.belief_lag_s > now_s:
            break
        if w.beliefs[word.segment, word.replica] > word.end:
            w.beliefs[word.segment, word.replica] = word.end
        clock.believed += 1


@inner
def believed_tokens(w: World, length: int, replica: int, limit: int, block_tokens: int) -> int:
    """How far the router believes the chain in `path` to be held at a replica, in whole blocks."""
    found = 0
    for place in range(length):
        segment = w.path[place]
        upto = limit
        if place + 1 < length:
            upto = min(limit, w.segments[w.path[place + 1]].begin)
        if upto <= found:
            continue
        found = max(found, min(upto, w.beliefs[segment, replica] // block_tokens * block_tokens))
        if found < upto:
            break
    return found


@inner
def believe(w: World, leaf: int, replica: int, upto: int) -> None:
    """The router takes a chain to be held at a replica up to so many tokens."""
    segment, end = leaf, upto
    while segment != 0:
        if w.beliefs[segment, replica] < end:
            w.beliefs[segment, replica] = end
        end = min(end, w.segments[segment].begin)
        segment = w.segments[segment].parent


@inner
def expected_output(w: World, session_number: int) -> float:
    """How long the answer is expected to be: learned from the session, then from its pool."""
    session = w.sessions[session_number]
    if session.output_count > 0:
        return session.output_mean
    return w.pools[session.pool].output_mean


@inner
def recent_work(w: World, replica: int, now_s: float) -> float:
    """Seconds of work that the router sent to a replica, the older the less."""
    rep = w.replicas[replica]
    left = max(0.0, 1.0 - (now_s - rep.recent_at_s) / RECENT_S)
    return rep.recent_s * left


@inner
def find_place(w: World, number: int, now_s: float, place: Place) -> tuple[int, int]:
    """The replica whose score is lowest, and how much of the prompt the router believes to be held there.

    Where some replicas compute prompts for others, a call goes to one of those first.
    """
    session = w.sessions[number]
    turn = w.turns[session.turn]
    pool = w.pools[session.pool]
    first, count, token_s = pool.first_replica, pool.replicas, pool.prefill_s_per_token
    home, routed, answer_s = session.home, session.routed, pool.decode_s_per_token
    if session.handed:
        first, count = first + pool.prefill_replicas, count - pool.prefill_replicas
        token_s = w.holders[w.replicas[first].holder].kv_bytes_per_token / pool.near_bytes_per_s
    elif pool.prefill_replicas > 0:
        count, answer_s = pool.prefill_replicas, 0.0
        home, routed = session.prompt_home, session.prompt_routed
    length = read_path(w, turn.leaf, w.path)
    limit = (turn.prompt - 1) // pool.block_tokens * pool.block_tokens
    if count == 1:
        return first, believed_tokens(w, length, first, limit, pool.block_tokens)
    best = 0
    for replica in range(first, first + count):
        believed = believed_tokens(w, length, replica, limit, pool.block_tokens)
        w.believed[replica] = believed
        best = max(best, believed)
    output = expected_output(w, number)
    chosen, lowest = first, math.inf
    for replica in range(first, first + count):
        rep = w.replicas[replica]
        if rep.closed > 0:
            continue
        facts = Candidate(
            turn.prompt,
            float(w.believed[replica]),
            float(best),
            output,
            1 if routed and home == replica else 0,
            rep.sent_running,
            rep.sent_waiting,
            rep.sent_uncached,
            rep.sent_context,
            pool.capacity_tokens,
            recent_work(w, replica, now_s),
            token_s,
            answer_s,
            count,
        )
        score = place(facts)
        if score < lowest:
            chosen, lowest = replica, score
    return chosen, w.believed[chosen]


@inner
def enqueue(w: World, number: int, replica: int, believed: int, now_s: float) -> None:
    """Send a call to a replica: it waits there, in order of arrival."""
    session, rep = w.sessions[number], w.replicas[replica]
    turn = w.turns[session.turn]
    pool = w.pools[rep.pool]
    answer_s = pool.decode_s_per_token
    if rep.prefills_only:
        session.prompt_home, session.prompt_routed, answer_s = replica, True, 0.0
    else:
        session.home, session.routed = replica, True
    session.doing = QUEUED
    session.uncached = 0.0
    if math.isnan(turn.first_s):
        session.uncached = float(turn.prompt - believed)
        rep.sent_waiting += 1
    else:
        rep.sent_running += 1
    rep.sent_uncached += session.uncached
    rep.sent_context += turn.prompt
    work = session.uncached * pool.prefill_s_per_token + expected_output(w, number) * answer_s
    rep.recent_s = recent_work(w, replica, now_s) + work
    rep.recent_at_s = now_s
    turn.replica = replica
    believe(w, turn.leaf, replica, turn.prompt)
    append_waiting(w, number, replica)
    wake(w, replica, now_s)


@inner
def rejoin(w: World, tenant: int) -> None:
    """A tenant has a call more under way; its first for a while puts it level with who had least."""
    if w.calls[tenant] == 0:
        least = math.inf
        for other in range(len(w.calls)):
            if w.calls[other] > 0:
                least = min(least, weighted_service(Tenant(w.served[other], w.weights[other])))
        if least < math.inf:
            w.served[tenant] = rejoined(Tenant(w.served[tenant], w.weights[tenant]), least)
    w.calls[tenant] += 1


@inner
def note_first_token(w: World, replica: int, number: int) -> None:
    """The router sees the first token of an answer: that call runs, and its prompt is computed."""
    rep, session = w.replicas[replica], w.sessions[number]
    rep.sent_waiting -= 1
    rep.sent_running += 1
    rep.sent_uncached -= session.uncached
    session.uncached = 0.0


@inner
def forget_sent(w: World, replica: int, number: int) -> None:
    """A call has ended, one way or the other: the router counts it no more."""
    session = w.sessions[number]
    program = w.programs[session.program]
    uncount_sent(w, replica, number)
    if program.pool == session.pool:
        program.calls -= 1
    if w.clock[0].fair:
        w.calls[program.tenant] -= 1
    if w.clock[0].quotas:
        call_ended(w, program.tenant)


@inner
def uncount_sent(w: World, replica: int, number: int) -> None:
    """A call is at this replica no more, as far as the router knows."""
    rep, session = w.replicas[replica], w.sessions[number]
    turn = w.turns[session.turn]
    if math.isnan(turn.first_s):
        rep.sent_waiting -= 1
        rep.sent_uncached -= session.uncached
        session.uncached = 0.0
    else:
        rep.sent_running -= 1
    rep.sent_context -= turn.prompt


@inner
def wake(w: World, replica: int, now_s: float) -> None:
    """A replica has something new to look at: now if it is idle, else when the step under way ends."""
    rep = w.replicas[replica]
    if rep.doing == IDLE:
        rep.doing = FORMING
        set_due(w, replica, now_s)
    elif rep.doing == FORMING and w.due_s[replica] > now_s:
        set_due(w, replica, now_s)
    elif rep.doing == RUNNING and rep.running < rep.sequences_max:
        cut_run(w, replica, now_s)


@inner
def append_waiting(w: World, number: int, replica: int) -> None:
    """Put a session last among those that wait at a replica."""
    rep, session = w.replicas[replica], w.sessions[number]
    session.next_waiting = 0
    session.previous_waiting = rep.last_waiting
    if rep.last_waiting != 0:
        w.sessions[rep.last_waiting - 1].next_waiting = number + 1
    else:
        rep.first_waiting = number + 1
    rep.last_waiting = number + 1
    rep.waiting += 1


@inner
def prepend_waiting(w: World, number: int, replica: int) -> None:
    """Put a session first among those that wait at a replica: it was preempted."""
    rep, session = w.replicas[replica], w.sessions[number]
    session.previous_waiting = 0
    session.next_waiting = rep.first_waiting
    if rep.first_waiting != 0:
        w.sessions[rep.first_waiting - 1].previous_waiting = number + 1
    else:
        rep.last_waiting = number + 1
    rep.first_waiting = number + 1
    rep.waiting += 1


@inner
def remove_waiting(w: World, number: int, replica: int) -> None:
    """Take a session out of those that wait at a replica."""
    rep, session = w.replicas[replica], w.sessions[number]
    before, after = session.previous_waiting, session.next_waiting
    if before != 0:
        w.sessions[before - 1].next_waiting = after
    else:
        rep.first_waiting = after
    if after != 0:
        w.sessions[after - 1].previous_waiting = before
    else:
        rep.last_waiting = before
    rep.waiting -= 1


@inner
def waiting_facts(w: World, number: int, now_s: float) -> Waiting:
    """What the scheduler knows of a call that waits."""
    session = w.sessions[number]
    program = w.programs[session.program]
    turn = w.turns[session.turn]
    return Waiting(
        now_s - session.ready_s,
        turn.prompt,
        turn.max_output,
        session.uncached,
        expected_output(w, number),
        1 if turn.tool and session.turn > session.first_turn else 0,
        now_s - program.began_s,
        program.attained_s,
        session.attained_s,
        1 if program.declared else 0,
        float(program.turns_left),
        float(session.last_turn - session.turn) if program.declared else 0.0,
        program.priority,
    )


@inner
def next_waiting(w: World, replica: int, now_s: float, order: Order) -> int:
    """The session that goes next at a replica: of the tenant that had least, the one of the lowest score."""
    rep, clock = w.replicas[replica], w.clock[0]
    first = rep.first_waiting
    if rep.waiting == 1 or (clock.order_kind == FIRST_COME and not clock.fair):
        return first - 1
    chosen, lowest, least, earliest = 0, math.inf, math.inf, 0
    waiting = first
    while waiting != 0:
        session = w.sessions[waiting - 1]
        served = 0.0
        if clock.fair:
            tenant = w.programs[session.program].tenant
            served = weighted_service(Tenant(w.served[tenant], w.weights[tenant]))
        if chosen == 0 or served <= least:
            score = order(waiting_facts(w, waiting - 1, now_s))
            if math.isnan(score):
                score = math.inf
            better = served < least or score < lowest
            if chosen == 0 or better or (score == lowest and session.sequence < earliest):
                chosen, lowest, least, earliest = waiting, score, served, session.sequence
        waiting = session.next_waiting
    return chosen - 1
