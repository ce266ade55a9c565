"""What happens when an answer is complete: what its KV is worth until the next call, and who goes on."""

import numpy as np

from perdure.compiling import inner
from perdure.scheduling.facts import DROP, KEEP, Idle, Retain
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_cache import leave_chain, read_path, use_chain
from perdure.twin.kernel_heap import push_event
from perdure.twin.kernel_learned import gap_mean_s, gap_quantile_s, learn_output
from perdure.twin.kernel_records import (
    ADMIT,
    ASK,
    AWAITING,
    CALL,
    DONE,
    GAP,
    OVER,
    TOOL_ENDED,
)
from perdure.twin.kernel_route import believe, wake
from perdure.twin.kernel_tiers import drop_chain


@inner
def tell_later(w: World, time_s: float, kind: int, who: int) -> None:
    """Make an event."""
    clock = w.clock[0]
    clock.sequence += 1
    clock.events = push_event(w.events, clock.events, time_s, clock.sequence, kind, who)


@inner
def count_context(w: World, number: int, tokens: int) -> None:
    """A session's context has so many tokens: count what that adds to the contexts of active programs.

    What it shares with a context before it is counted there.
    """
    session = w.sessions[number]
    program = w.programs[session.program]
    if not program.active or program.pool != session.pool:
        return
    own = float(tokens - session.shared_tokens)
    grown = own - session.counted_tokens
    session.counted_tokens = own
    program.context_tokens += grown
    w.pools[program.pool].active_tokens += grown


@inner
def compute_seconds(w: World, pool_number: int, start: int, upto: int) -> float:
    """About how long a replica of a pool computes tokens `start` to `upto` of one context."""
    pool = w.pools[pool_number]
    squares = float(upto) * upto - float(start) * start
    return (upto - start) * pool.prefill_s_per_token + squares * pool.prefill_s_per_token2


@inner
def restore_saves(w: World, pool: int, held: int, loaded: int, load_s: float) -> bool:
    """Whether loading tokens takes less time than computing them."""
    return load_s < compute_seconds(w, pool, held, loaded)


@inner
def idle_facts(
    w: World, number: int, turn_number: int, replica: int, superseded: int, elapsed_s: float
) -> Idle:
    """What a server knows of a session between calls; `turn_number` is the call that ended last."""
    session, rep = w.sessions[number], w.replicas[replica]
    turn = w.turns[turn_number]
    pool = w.pools[rep.pool]
    holder = w.holders[rep.holder]
    context = float(turn.prompt + turn.output)
    ended = turn_number + 1 >= session.last_turn
    tool = False
    if not ended:
        tool = w.turns[turn_number + 1].tool
    save_s, restore_s = 0.0, 0.0
    if holder.below != 0:
        tier = w.holders[holder.below]
        save_s = context * tier.kv_bytes_per_token / tier.write_bytes_per_s
        restore_s = context * tier.kv_bytes_per_token / tier.read_bytes_per_s + tier.latency_s
    return Idle(
        context,
        pool.capacity_tokens,
        gap_mean_s(w, tool),
        gap_quantile_s(w, tool, 0.9),
        elapsed_s,
        1 if tool else 0,
        compute_seconds(w, rep.pool, np.int64(0), np.int64(context)),
        save_s,
        restore_s,
        1 if holder.below != 0 else 0,
        (holder.used_blocks - holder.evictable_blocks) / holder.capacity_blocks,
        rep.waiting,
        rep.sent_uncached,
        rep.running,
        1 if ended else 0,
        superseded,
        1.0,
    )


@inner
def pin(w: World, number: int, replica: int, leaf: int) -> None:
    """Keep a session's chain where it is, whatever else wants room."""
    session, rep = w.sessions[number], w.replicas[replica]
    length = read_path(w, leaf, w.path)
    use_chain(w, w.path, length, rep.holder)
    session.pinned = True
    session.pin_leaf = leaf
    session.pin_replica = replica
    session.next_pin = 0
    session.previous_pin = rep.last_pin
    if rep.last_pin != 0:
        w.sessions[rep.last_pin - 1].next_pin = number + 1
    else:
        rep.first_pin = number + 1
    rep.last_pin = number + 1
    rep.pins += 1


@inner
def release_pin(w: World, number: int) -> None:
    """Let a session's chain be evicted in turn, if it was pinned."""
    session = w.sessions[number]
    if not session.pinned:
        return
    session.pinned = False
    rep = w.replicas[session.pin_replica]
    before, after = session.previous_pin, session.next_pin
    if before != 0:
        w.sessions[before - 1].next_pin = after
    else:
        rep.first_pin = after
    if after != 0:
        w.sessions[after - 1].previous_pin = before
    else:
        rep.last_pin = before
    rep.pins -= 1
    leave_chain(w, session.pin_leaf, rep.holder)


@inner
def release_hold(w: World, number: int) -> None:
    """The replica that computed a call's prompt need not keep its KV for the call any longer."""
    session = w.sessions[number]
    session.handed = False
    if session.holds:
        session.holds = False
        rep = w.replicas[session.prompt_home]
        rep.handing -= 1
        leave_chain(w, w.turns[session.turn].leaf, rep.holder)
        wake(w, session.prompt_home, w.clock[0].now_s)


@inner
def unpin_for_room(w: World, replica: int, retain: Retain) -> bool:
    """Room is short: ask again for each pinned session, the longest pinned first; whether one was let go.

    Where the policy would keep them all, the longest pinned one is let go all the same.
    """
    rep = w.replicas[replica]
    if rep.pins == 0:
        return False
    now_s = w.clock[0].now_s
    pinned = rep.first_pin
    while pinned != 0:
        session = w.sessions[pinned - 1]
        after = session.next_pin
        choice = KEEP
        if session.doing == GAP or session.doing == AWAITING:
            elapsed_s = now_s - session.ended_s
            ended = session.turn - 1
            choice = int(retain(idle_facts(w, pinned - 1, ended, replica, np.int64(0), elapsed_s)))
        if choice != KEEP:
            leaf = session.pin_leaf
            release_pin(w, pinned - 1)
            if choice == DROP:
                drop_chain(w, leaf, pinned - 1, rep.holder, np.int64(0))
            return True
        pinned = after
    release_pin(w, rep.first_pin - 1)
    return True


@inner
def retain_context(w: World, number: int, replica: int, retain: Retain) -> None:
    """Decide what a session's KV is worth now that its call has ended, and do it."""
    session, rep = w.sessions[number], w.replicas[replica]
    if w.clock[0].retain_kind != ASK:
        return
    choice = int(retain(idle_facts(w, number, session.turn, replica, np.int64(0), 0.0)))
    leaf = w.turns[session.turn].leaf
    if choice == KEEP and session.turn + 1 < session.last_turn:
        pin(w, number, replica, leaf)
    elif choice == DROP:
        drop_chain(w, leaf, number, rep.holder, np.int64(0))


@inner
def drop_superseded(w: World, number: int, retain: Retain) -> None:
    """The context was edited: what the turn before left behind may go at once."""
    session = w.sessions[number]
    dead = w.turns[session.turn].dead_leaf
    if dead == 0 or not session.routed or w.clock[0].retain_kind != ASK:
        return
    home, ended = session.home, session.turn - 1
    elapsed_s = w.clock[0].now_s - session.ended_s
    if int(retain(idle_facts(w, number, ended, home, np.int64(1), elapsed_s))) == DROP:
        unpin(w, number)
        drop_chain(w, dead, number, w.replicas[home].holder, w.turns[session.turn].leaf)
        if w.replicas[home].waiting > 0:
            wake(w, home, w.clock[0].now_s)


@inner
def unpin(w: World, number: int) -> None:
    """Release a session's pin from outside of its replica, where somebody may wait for that room."""
    session = w.sessions[number]
    if session.pinned:
        release_pin(w, number)
        if w.replicas[session.pin_replica].waiting > 0:
            wake(w, session.pin_replica, w.clock[0].now_s)


@inner
def answered(w: World, number: int, replica: int, held: int, retain: Retain) -> None:
    """A call's answer is complete: note it, fork, and begin the gap before the next call."""
    clock, session = w.clock[0], w.sessions[number]
    turn = w.turns[session.turn]
    now_s = clock.now_s
    turn.ended_s = now_s
    turn.outcome = DONE
    count_context(w, number, turn.prompt + turn.output)
    clock.finished_turns += 1
    session.ended_s = now_s
    believe(w, turn.leaf, replica, held)
    learn_output(w, number)
    retain_context(w, number, replica, retain)
    start_children(w, session.turn)
    if session.turn + 1 == session.last_turn:
        end_session(w, number)
        return
    session.turn += 1
    if w.turns[session.turn].awaits > 0:
        session.doing = AWAITING
    else:
        start_gap(w, number)


@inner
def start_children(w: World, turn_number: int) -> None:
    """Start the sessions that an answer forks."""
    child = w.turns[turn_number].first_child
    while child != 0:
        session = w.sessions[child - 1]
        session.attained_s = w.sessions[session.parent].attained_s
        start_gap(w, child - 1)
        child = session.next_sibling


@inner
def start_gap(w: World, number: int) -> None:
    """The tool runs, or the person thinks; with few workers for tools, it may have to wait for one."""
    clock, session = w.clock[0], w.sessions[number]
    turn = w.turns[session.turn]
    session.doing = GAP
    session.generated = 0
    session.preempted = 0
    session.began = False
    session.attempts = turn.attempts
    if clock.tools_max > 0 and turn.tool and turn.gap_s > 0.0:
        if clock.tools_free == 0:
            queue_tool(w, number)
            return
        clock.tools_free -= 1
        tell_later(w, clock.now_s + turn.gap_s * turn.attempts, np.int64(TOOL_ENDED), number)
        return
    tell_later(w, clock.now_s + turn.gap_s * turn.attempts, np.int64(CALL), number)


@inner
def queue_tool(w: World, number: int) -> None:
    """A tool waits for a worker, first come, first served."""
    clock, session = w.clock[0], w.sessions[number]
    session.next_waiting = 0
    if clock.last_tool != 0:
        w.sessions[clock.last_tool - 1].next_waiting = number + 1
    else:
        clock.first_tool = number + 1
    clock.last_tool = number + 1


@inner
def end_tool(w: World) -> None:
    """A worker is free: the tool that waits longest has it."""
    clock = w.clock[0]
    if clock.first_tool == 0:
        clock.tools_free += 1
        return
    number = clock.first_tool - 1
    clock.first_tool = w.sessions[number].next_waiting
    if clock.first_tool == 0:
        clock.last_tool = 0
    turn = w.turns[w.sessions[number].turn]
    tell_later(w, clock.now_s + turn.gap_s * turn.attempts, np.int64(TOOL_ENDED), number)


@inner
def end_session(w: World, number: int) -> None:
    """A session will call no more: whoever waits for it goes on, and perhaps its program ends."""
    session = w.sessions[number]
    session.doing = OVER
    program = w.programs[session.program]
    if session.joined:
        awaited = w.turns[session.join_turn]
        awaited.awaits -= 1
        parent = session.parent
        waits = w.sessions[parent].doing == AWAITING and w.sessions[parent].turn == session.join_turn
        if awaited.awaits == 0 and waits:
            start_gap(w, parent)
    program.open_sessions -= 1
    if program.open_sessions == 0:
        end_program(w, session.program)


@inner
def end_program(w: World, number: int) -> None:
    """All sessions of a program are over: it counts no more among the active ones."""
    clock, program = w.clock[0], w.programs[number]
    program.ended_s = clock.now_s
    clock.open_programs -= 1
    if program.active:
        program.active = False
        pool = w.pools[program.pool]
        pool.active_programs -= 1
        pool.active_tokens -= program.context_tokens
        if pool.outside > 0:
            tell_later(w, clock.now_s, np.int64(ADMIT), program.pool)


@inner
def fail_session(w: World, number: int, outcome: int) -> None:
    """A call cannot be served: its session ends here, and so do those that it would have forked."""
    session = w.sessions[number]
    unpin(w, number)
    release_hold(w, number)
    turn = w.turns[session.turn]
    turn.outcome = outcome
    turn.ended_s = w.clock[0].now_s
    program = w.programs[session.program]
    if program.failed == 0:
        program.failed = outcome
    for later in range(session.turn, session.last_turn):
        child = w.turns[later].first_child
        while child != 0:
            lose_session(w, child - 1)
            child = w.sessions[child - 1].next_sibling
    end_session(w, number)


@inner
def lose_session(w: World, number: int) -> None:
    """A session that will never be forked, and all that it would have forked, are over."""
    stack = number + 1
    w.sessions[number].next_waiting = 0
    while stack != 0:
        here = stack - 1
        stack = w.sessions[here].next_waiting
        session = w.sessions[here]
        for later in range(session.first_turn, session.last_turn):
            child = w.turns[later].first_child
            while child != 0:
                w.sessions[child - 1].next_waiting = stack
                stack = child
                child = w.sessions[child - 1].next_sibling
        end_session(w, here)
