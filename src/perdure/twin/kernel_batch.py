"""Which calls are in the next batch of a replica: who goes on, who is admitted, who must give way."""

import math

import numpy as np

from perdure.compiling import inner
from perdure.scheduling.facts import Order, Place, Retain
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_cache import (
    blocks_beside,
    extend_chain,
    held_tokens,
    node_at,
    read_path,
    take_blocks,
    use_chain,
    wanted_blocks,
)
from perdure.twin.kernel_engine import (
    end_steps,
    grow_decodes,
    growth_blocks,
    set_due,
    start_batch,
    steps_with_room,
)
from perdure.twin.kernel_gap import (
    answered,
    fail_session,
    release_pin,
    restore_saves,
    tell_later,
    unpin_for_room,
)
from perdure.twin.kernel_handover import admit_handed, hand_over, take_over
from perdure.twin.kernel_records import (
    BREAK,
    DECODING,
    FORMING,
    IDLE,
    LOADING,
    NO_ROOM,
    PREEMPTED_TOO_OFTEN,
    PREFILLING,
    QUEUED,
)
from perdure.twin.kernel_route import (
    forget_sent,
    next_waiting,
    note_first_token,
    prepend_waiting,
    remove_waiting,
)
from perdure.twin.kernel_slots import (
    begin_decoding,
    end_decoding,
    extend_slot,
    give_up_slot,
    newest_slot,
    pop_ended,
    remove_prompt,
    room_for,
    steps_until_crossing,
    stop_decoding_early,
    take_slot,
)
from perdure.twin.kernel_tiers import arrived_s, held_anywhere, note_loads, swap_out, touch_tiers


@inner
def turn_replica(w: World, replica: int, order: Order, place: Place, retain: Retain) -> None:
    """Do what is due at a replica: look at what its batch left, or form the next one."""
    rep = w.replicas[replica]
    if rep.doing == FORMING:
        form_batch(w, replica, order, retain)
        return
    rep.doing = FORMING
    rep.now_s = w.clock[0].now_s
    end_steps(w, replica)
    if rep.chunks > 0:
        for _ in range(rep.run_steps - 1):
            end_answers(w, replica, retain)
            grow_decodes(w, replica, np.int64(1))
    # In the order in which they run: of what ends together, the first to end is the first to be evicted.
    end_answers(w, replica, retain)
    end_chunks(w, replica, place, retain)
    set_due(w, replica, w.clock[0].now_s)


@inner
def end_answers(w: World, replica: int, retain: Retain) -> None:
    """Answers that are complete at this step end."""
    slot = pop_ended(w, replica)
    while slot != 0:
        finish_slot(w, replica, slot - 1, end_decoding(w, replica, slot - 1), retain)
        slot = pop_ended(w, replica)


@inner
def end_chunks(w: World, replica: int, place: Place, retain: Retain) -> None:
    """Prompts whose last chunk was computed have their first token."""
    rep = w.replicas[replica]
    looked_at = 0
    while looked_at < rep.prefilling:
        number = w.prompts[replica, looked_at]
        slot = w.slots[replica, number]
        slot.computed += slot.chunk
        rep.computed_tokens += slot.chunk
        slot.chunk = 0
        if slot.computed < slot.prompt:
            looked_at += 1
            continue
        remove_prompt(w, replica, number)
        session = w.sessions[slot.session]
        turn = w.turns[session.turn]
        rep.output_tokens += 1
        if session.generated == 0:
            turn.first_s = w.clock[0].now_s
            note_first_token(w, replica, slot.session)
        else:
            turn.redone_s += w.clock[0].now_s
        left = turn.output - session.generated - 1
        if left == 0:
            finish_slot(w, replica, number, slot.prompt, retain)
        elif rep.prefills_only:
            hand_over(w, replica, number, place)
        else:
            session.doing = DECODING
            begin_decoding(w, replica, number, slot.prompt + 1, left)


@inner
def finish_slot(w: World, replica: int, number: int, held: int, retain: Retain) -> None:
    """Free the slot of a complete answer, and let its session go on."""
    session_number = w.slots[replica, number].session
    give_up_slot(w, replica, number, held)
    forget_sent(w, replica, session_number)
    answered(w, session_number, replica, held, retain)


@inner
def form_batch(w: World, replica: int, order: Order, retain: Retain) -> None:
    """Form the next batch and start it; or wait for what is being loaded; or be idle."""
    rep = w.replicas[replica]
    rep.now_s = w.clock[0].now_s
    if rep.loading > 0:
        end_loads(w, replica)
    preempted = make_decodes_fit(w, replica, retain)
    left = rep.batch_tokens_max - rep.decoding * (1 + rep.drafts)
    left, gave_way = chunk_prompts(w, replica, left, retain)
    if not (preempted or gave_way):
        admit_waiting(w, replica, left, order, retain)
    if rep.decoding > 0 or chunked(w, replica):
        start_batch(w, replica, run_length(w, replica), next_load_s(w, replica))
    elif rep.loading > 0:
        set_due(w, replica, next_load_s(w, replica))
    elif rep.waiting > 0 and rep.prefilling == 0 and rep.handing == 0:
        set_due(w, replica, w.clock[0].now_s)  # somebody was ended for want of room: look again
    else:
        rep.doing = IDLE
        set_due(w, replica, math.inf)
        if rep.draining > 0 and rep.handing == 0:
            tell_later(w, w.clock[0].now_s, np.int64(BREAK), rep.draining - 1)


@inner
def chunked(w: World, replica: int) -> bool:
    """Whether any prompt has a chunk in the batch."""
    for place in range(w.replicas[replica].prefilling):
        if w.slots[replica, w.prompts[replica, place]].chunk > 0:
            return True
    return False


@inner
def run_length(w: World, replica: int) -> int:
    """Steps until an answer is complete, a span's limit is reached, or blocks run out."""
    rep = w.replicas[replica]
    if rep.decoding == 0:
        return 1
    steps = min(w.clock[0].run_steps_max, w.endings[replica][0].step - rep.step)
    steps = steps_until_crossing(w, replica, steps)
    holder = w.holders[rep.holder]
    blocks = holder.capacity_blocks - holder.used_blocks + holder.evictable_blocks + rep.grown
    return max(1, steps_with_room(w, replica, steps, blocks, holder.block_tokens))


@inner
def end_loads(w: World, replica: int) -> None:
    """Slots whose KV has been loaded have prompts to compute: only now do they join those that run."""
    rep = w.replicas[replica]
    for number in range(rep.sequences_max):
        slot = w.slots[replica, number]
        if slot.taken and slot.loads and slot.ready_s <= rep.now_s:
            slot.loads = False
            rep.admitted += 1
            slot.admitted = rep.admitted
            rep.loading -= 1
            if w.sessions[slot.session].handed:
                take_over(w, replica, number)
                continue
            w.prompts[replica, rep.prefilling] = number
            rep.prefilling += 1
            w.sessions[slot.session].doing = PREFILLING


@inner
def next_load_s(w: World, replica: int) -> float:
    """When the next slot has its KV loaded."""
    rep = w.replicas[replica]
    soonest = math.inf
    if rep.loading > 0:
        for number in range(rep.sequences_max):
            slot = w.slots[replica, number]
            if slot.taken and slot.loads:
                soonest = min(soonest, slot.ready_s)
    return soonest


@inner
def make_decodes_fit(w: World, replica: int, retain: Retain) -> bool:
    """Take the blocks that the next step of decodes begins; whether somebody had to give way."""
    rep = w.replicas[replica]
    holder = w.holders[rep.holder]
    gave_way = False
    while rep.decoding > 0:
        wanted = growth_blocks(w.phases, replica, rep.step, 1 + rep.drafts, rep.decoding, holder.block_tokens)
        if room_for(w, replica, wanted):
            rep.grown = wanted
            take_blocks(w, rep.holder, wanted)
            break
        if unpin_for_room(w, replica, retain):
            continue
        preempt(w, replica, newest_slot(w, replica))
        gave_way = True
    return gave_way


@inner
def chunk_prompts(w: World, replica: int, left: int, retain: Retain) -> tuple[int, bool]:
    """Give tokens of the batch to prompts under way; what is left of them, and whether somebody gave way."""
    rep = w.replicas[replica]
    gave_way = False
    place = 0
    while place < rep.prefilling and left > 0:
        number = w.prompts[replica, place]
        slot = w.slots[replica, number]
        chunk = min(slot.prompt - slot.computed, left)
        if extend_slot(w, replica, number, slot.computed + chunk):
            slot.chunk = chunk
            left -= chunk
            place += 1
        elif not unpin_for_room(w, replica, retain):
            # The newest is this one or a later one, which has no tokens of this batch yet.
            preempt(w, replica, newest_slot(w, replica))
            gave_way = True
    return left, gave_way


@inner
def preempt(w: World, replica: int, number: int) -> None:
    """Take a call out of the engine: it waits again, first in line, and computes again what is evicted."""
    rep, slot = w.replicas[replica], w.slots[replica, number]
    session_number = slot.session
    session = w.sessions[session_number]
    turn = w.turns[session.turn]
    if slot.decodes:
        session.generated += 1 + rep.step - slot.joined_step
        held = stop_decoding_early(w, replica, number)
        turn.redone_s -= rep.now_s
    else:
        held = slot.computed
        if session.generated == 0:
            turn.stalled_s -= rep.now_s
        remove_prompt(w, replica, number)
    give_up_slot(w, replica, number, held)
    if w.pools[rep.pool].swaps:
        swap_out(w, turn.leaf, rep.holder, rep.now_s)
    rep.preemptions += 1
    turn.preempted += 1
    session.preempted += 1
    if session.preempted > w.clock[0].preemptions_max:
        forget_sent(w, replica, session_number)
        fail_session(w, session_number, np.int64(PREEMPTED_TOO_OFTEN))
        return
    session.doing = QUEUED
    prepend_waiting(w, session_number, replica)


@inner
def admit_waiting(w: World, replica: int, left: int, order: Order, retain: Retain) -> None:
    """Admit calls that wait, as long as the batch has tokens and the engine slots and room."""
    rep = w.replicas[replica]
    while rep.waiting > 0 and left > 0 and rep.running < rep.sequences_max:
        number = next_waiting(w, replica, rep.now_s, order)
        chunk = admit_one(w, replica, number, left)
        while chunk < 0 and unpin_for_room(w, replica, retain):
            chunk = admit_one(w, replica, number, left)
        if chunk < 0:
            if rep.running == 0 and rep.handing == 0:
                end_deadlock(w, replica, number)
            break
        left -= chunk


@inner
def end_deadlock(w: World, replica: int, number: int) -> None:
    """Nothing runs, nothing can be evicted, and this call has no room: it ends, and the count says so."""
    w.clock[0].deadlocks += 1
    remove_waiting(w, number, replica)
    forget_sent(w, replica, number)
    fail_session(w, number, np.int64(NO_ROOM))


@inner
def admit_one(w: World, replica: int, number: int, left: int) -> int:
    """Give a waiting call a slot; the tokens that it has in the batch, or less than 0 without room."""
    rep, session = w.replicas[replica], w.sessions[number]
    if session.handed:
        return admit_handed(w, replica, number)
    turn = w.turns[session.turn]
    holder = w.holders[rep.holder]
    block_tokens = holder.block_tokens
    prompt = turn.prompt + session.generated
    limit = (prompt - 1) // block_tokens * block_tokens if rep.finds_prefixes else np.int64(0)
    length = read_path(w, turn.leaf, w.path)
    held = held_tokens(w, w.path, length, rep.holder, limit, block_tokens)
    loaded, load_s = held, 0.0
    if holder.below != 0:
        loaded, load_s = held_anywhere(w, w.path, length, rep.holder, limit, block_tokens)
        swapped = session.preempted > 0 and w.pools[rep.pool].swaps
        if loaded > held and not (swapped or restore_saves(w, rep.pool, held, loaded, load_s)):
            loaded = held
    arrives_s = max(rep.now_s, arrived_s(w, w.path, length, rep.holder, held))
    loads = loaded > held or arrives_s > rep.now_s
    chunk = 0 if loads else min(prompt - held, left)
    # All of the prompt must fit, though only its first chunk takes blocks now.
    whole = wanted_blocks(w, w.path, length, rep.holder, prompt, block_tokens) + rep.sequence_blocks
    if whole > blocks_beside(w, w.path, length, rep.holder):
        return -1
    use_chain(w, w.path, length, rep.holder)
    release_pin(w, number)
    upto = loaded if loads else held + chunk
    room_for(
        w,
        replica,
        wanted_blocks(w, w.path, length, rep.holder, upto, block_tokens) + rep.sequence_blocks,
    )
    extend_chain(w, w.path, length, rep.holder, upto)
    take_blocks(w, rep.holder, rep.sequence_blocks)
    remove_waiting(w, number, replica)
    take_slot(w, replica, number, prompt, loaded, chunk)
    if loads:
        load_slot(w, replica, session.slot, length, held, arrives_s)
    note_admission(w, replica, number, held, loaded)
    return chunk


@inner
def load_slot(w: World, replica: int, place: int, length: int, held: int, arrives_s: float) -> None:
    """Load what tiers below hold of a call's context; its prompt is computed once all of it is there."""
    rep, slot = w.replicas[replica], w.slots[replica, place]
    loaded = slot.computed
    slot.loads = True
    slot.ready_s = max(arrives_s, note_loads(w, w.path, length, rep.holder, held, loaded, rep.now_s))
    touch_tiers(w, w.path, length, rep.holder)
    for number in range(length):
        if w.segments[w.path[number]].begin < loaded:
            node = node_at(w, w.path[number], rep.holder)
            if w.nodes[node].end > held:
                w.nodes[node].ready_s = slot.ready_s
    rep.loading += 1
    rep.loaded_tokens += loaded - held
    session = w.sessions[slot.session]
    session.doing = LOADING
    if session.generated == 0:
        w.turns[session.turn].load_s += slot.ready_s - rep.now_s


@inner
def note_admission(w: World, replica: int, number: int, held: int, loaded: int) -> None:
    """Count what was found of a call's prompt when it was first admitted."""
    rep, session = w.replicas[replica], w.sessions[number]
    turn = w.turns[session.turn]
    if session.began:
        if session.generated == 0:
            turn.stalled_s += rep.now_s
        return
    session.began = True
    turn.started_s = rep.now_s
    turn.cached = loaded
    turn.loaded = loaded - held
    rep.prompt_tokens += turn.prompt
    rep.cached_tokens += loaded
