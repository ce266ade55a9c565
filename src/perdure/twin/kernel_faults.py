"""What happens when replicas break, are drained or slow down, and when they are mended.

A replica that breaks loses its batch, its calls' KV and its caches at once. The router hears of it later, and
only then sends the calls elsewhere; until then it goes on sending there. What shared tiers hold survives.
"""

import math

import numpy as np

from perdure.compiling import inner
from perdure.scheduling.facts import Place
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_cache import node_blocks
from perdure.twin.kernel_engine import cut_run, end_steps, run_within, set_due
from perdure.twin.kernel_gap import fail_session, release_hold, release_pin, tell_later
from perdure.twin.kernel_handover import send
from perdure.twin.kernel_records import (
    BREAK,
    DOWN,
    DRAIN,
    END,
    IDLE,
    LOADING,
    MEND,
    NOTICE,
    QUEUED,
    REPLICA_LOST,
    RESTART,
    RUNNING,
)
from perdure.twin.kernel_route import append_waiting, forget_sent, remove_waiting, uncount_sent, wake
from perdure.twin.kernel_slots import give_up_slot, remove_prompt, stop_decoding_early
from perdure.twin.kernel_tiers import cut_end


@inner
def handle_fault(w: World, kind: int, number: int, place: Place) -> None:
    """Let a fault begin, be noticed or end; or begin to empty a replica that is to be restarted."""
    fault = w.faults[number]
    if kind == BREAK:
        if fault.begun:
            return
        fault.begun = True
        tell_later(w, w.clock[0].now_s + fault.noticed_s, np.int64(NOTICE), number)
        if fault.for_s < math.inf:
            tell_later(w, w.clock[0].now_s + fault.for_s, np.int64(MEND), number)
    for replica in range(fault.first_replica, fault.last_replica):
        if kind == DRAIN:
            drain(w, replica, number, place)
        elif fault.slows:
            if kind != NOTICE:
                slow(w, replica, fault.slowness if kind == BREAK else 1.0 / fault.slowness)
        elif kind == BREAK:
            stop(w, replica)
        elif kind == NOTICE:
            notice(w, replica, place)
        else:
            mend(w, replica, fault.drains, place)
    if kind == MEND and fault.then != 0:
        tell_later(w, w.clock[0].now_s, np.int64(DRAIN), fault.then - 1)


@inner
def slow(w: World, replica: int, factor: float) -> None:
    """A replica's steps take so many times as long, from the next one on."""
    rep = w.replicas[replica]
    if rep.doing == RUNNING:
        cut_run(w, replica, w.clock[0].now_s)
    rep.slowness *= factor
    rep.pace *= factor


@inner
def drain(w: World, replica: int, number: int, place: Place) -> None:
    """Send nothing more to a replica: what waits goes elsewhere, what runs may end, for a while."""
    rep, clock = w.replicas[replica], w.clock[0]
    rep.closed += 1
    rep.draining = number + 1
    send_elsewhere(w, replica, place)
    wait_s = w.faults[number].drain_s if rep.running > 0 or rep.handing > 0 else 0.0
    tell_later(w, clock.now_s + wait_s, np.int64(BREAK), number)


@inner
def stop(w: World, replica: int) -> None:
    """A replica breaks: the batch is lost, and so is all KV there."""
    rep, now_s = w.replicas[replica], w.clock[0].now_s
    rep.broken += 1
    rep.draining = 0
    if rep.broken > 1:
        return
    rep.down_at_s = now_s
    if rep.doing == RUNNING:
        lose_batch(w, replica)
    for number in range(rep.sequences_max):
        if w.slots[replica, number].taken:
            lose_slot(w, replica, number)
    while rep.first_pin != 0:
        release_pin(w, rep.first_pin - 1)
    if rep.handing > 0:
        lose_handed(w, replica)
    holder = rep.holder
    while holder != 0 and not w.holders[holder].shared:
        while w.holders[holder].oldest != 0:
            node = w.holders[holder].oldest
            cut_end(w, node, node_blocks(w, node, w.holders[holder].block_tokens))
        assert w.holders[holder].used_blocks == 0
        holder = w.holders[holder].below
    rep.doing = DOWN
    set_due(w, replica, math.inf)


@inner
def lose_batch(w: World, replica: int) -> None:
    """Of the batch under way, whole steps that only decode were heard of; one with prompts in it was not."""
    rep = w.replicas[replica]
    spent_s = w.clock[0].now_s - rep.now_s
    steps = np.int64(0)
    if rep.chunks > 0:
        for place in range(rep.prefilling):
            w.slots[replica, w.prompts[replica, place]].chunk = 0
        rep.chunks = 0
    else:
        steps = min(rep.run_steps - 1, run_within(w, replica, rep.run_steps, spent_s)[0])
    rep.run_steps, rep.run_s = steps, spent_s
    end_steps(w, replica)


@inner
def lose_slot(w: World, replica: int, number: int) -> None:
    """A running call has lost its KV: it stays with the broken replica until that is noticed."""
    rep, slot, now_s = w.replicas[replica], w.slots[replica, number], w.clock[0].now_s
    session_number, held = slot.session, slot.computed
    session = w.sessions[session_number]
    turn = w.turns[session.turn]
    if slot.decodes:
        session.generated += 1 + rep.step - slot.joined_step
        held = stop_decoding_early(w, replica, number)
        turn.redone_s -= now_s
    elif slot.loads:
        slot.loads = False
        rep.loading -= 1
        if session.handed:
            compute_here(w, session_number)
        elif session.generated == 0:
            turn.load_s -= max(0.0, slot.ready_s - now_s)
            turn.stalled_s -= now_s
    else:
        remove_prompt(w, replica, number)
        if session.generated == 0:
            turn.stalled_s -= now_s
    give_up_slot(w, replica, number, held)
    w.clock[0].lost_tokens += held
    session.lost = True
    session.doing = QUEUED
    append_waiting(w, session_number, replica)


@inner
def lose_handed(w: World, replica: int) -> None:
    """Prompts computed on a broken replica that no other has fetched yet are computed where they wait.

    What is on its way already arrives.
    """
    for number in range(len(w.sessions)):
        session = w.sessions[number]
        if session.holds and session.prompt_home == replica:
            if session.doing == LOADING:
                release_hold(w, number)
                session.handed = True
            else:
                w.clock[0].lost_tokens += w.turns[session.turn].prompt + session.generated
                compute_here(w, number)


@inner
def compute_here(w: World, number: int) -> None:
    """A call whose first token is there will not get the KV of its prompt: that is computed again."""
    session, now_s = w.sessions[number], w.clock[0].now_s
    turn = w.turns[session.turn]
    turn.move_s += now_s
    turn.redone_s -= now_s
    session.generated += 1
    release_hold(w, number)


@inner
def notice(w: World, replica: int, place: Place) -> None:
    """The router hears that a replica is broken: nothing is held there, and its calls go elsewhere."""
    rep = w.replicas[replica]
    if rep.broken == 0 or rep.noticed:
        return
    rep.noticed = True
    rep.closed += 1
    for segment in range(len(w.segments)):
        w.beliefs[segment, replica] = 0
    send_elsewhere(w, replica, place)


@inner
def send_elsewhere(w: World, replica: int, place: Place) -> None:
    """Calls that wait at a replica are sent anew; where no other is open they come back."""
    rep, clock = w.replicas[replica], w.clock[0]
    for _ in range(rep.waiting):
        number = rep.first_waiting - 1
        session = w.sessions[number]
        turn = w.turns[session.turn]
        remove_waiting(w, number, replica)
        lost, session.lost = session.lost, False
        turn.rerouted += 1
        if lost and clock.on_loss == END:
            forget_sent(w, replica, number)
            fail_session(w, number, np.int64(REPLICA_LOST))
            continue
        uncount_sent(w, replica, number)
        if lost and clock.on_loss == RESTART and session.generated > 0:
            session.generated = 0
            turn.first_s = math.nan
            turn.redone_s, turn.move_s = 0.0, 0.0
            turn.stalled_s -= clock.now_s
        send(w, number, place)


@inner
def mend(w: World, replica: int, drained: bool, place: Place) -> None:
    """A replica is there again, empty."""
    rep, clock = w.replicas[replica], w.clock[0]
    if rep.broken > 1:
        rep.broken -= 1
        return
    notice(w, replica, place)
    rep.broken = 0
    rep.noticed = False
    rep.closed -= 2 if drained else 1
    rep.down_s += clock.now_s - rep.down_at_s
    rep.doing = IDLE
    if rep.waiting > 0:
        wake(w, replica, clock.now_s)
    pool = w.pools[rep.pool]
    for other in range(pool.first_replica, pool.first_replica + pool.replicas):
        if w.replicas[other].doing == DOWN and w.replicas[other].noticed and w.replicas[other].waiting > 0:
            send_elsewhere(w, other, place)
