"""How a prompt computed on one replica is decoded on another: its KV moves over the rack's links.

The first token is there when the prompt is computed. Then a place is chosen among the replicas that decode;
once that one has room it fetches what it does not hold, over a link of each of the two, one transfer at a
time; only then does the first replica let the KV go.
"""

import numpy as np

from perdure.compiling import inner
from perdure.scheduling.facts import Place
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
from perdure.twin.kernel_gap import release_hold, release_pin, unpin
from perdure.twin.kernel_records import DECODING, LOADING
from perdure.twin.kernel_route import enqueue, find_place, remove_waiting, take_in_told
from perdure.twin.kernel_slots import begin_decoding, give_up_slot, room_for, take_slot


@inner
def send(w: World, number: int, place: Place) -> None:
    """Send a call to a replica: once, or first to one that computes its prompt and then to another."""
    clock, session = w.clock[0], w.sessions[number]
    if clock.believed < clock.beliefs:
        take_in_told(w, clock.now_s)
    replica, believed = find_place(w, number, clock.now_s, place)
    if session.pin_replica != replica and not w.replicas[replica].prefills_only:
        unpin(w, number)
    enqueue(w, number, replica, believed, clock.now_s)


@inner
def hand_over(w: World, replica: int, number: int, place: Place) -> None:
    """A prompt is computed on a replica that does not decode: its KV stays until another has fetched it."""
    rep, slot = w.replicas[replica], w.slots[replica, number]
    session_number, prompt = slot.session, slot.prompt
    session = w.sessions[session_number]
    turn = w.turns[session.turn]
    length = read_path(w, turn.leaf, w.path)
    use_chain(w, w.path, length, rep.holder)
    give_up_slot(w, replica, number, prompt)
    rep.sent_running -= 1
    rep.sent_context -= turn.prompt
    rep.handing += 1
    session.handed = True
    session.holds = True
    turn.move_s -= w.clock[0].now_s
    send(w, session_number, place)


@inner
def admit_handed(w: World, replica: int, number: int) -> int:
    """Give a slot to a call whose prompt was computed elsewhere, and fetch its KV; below 0 without room."""
    rep, session = w.replicas[replica], w.sessions[number]
    turn = w.turns[session.turn]
    block_tokens = w.holders[rep.holder].block_tokens
    prompt = turn.prompt + session.generated
    length = read_path(w, turn.leaf, w.path)
    limit = prompt // block_tokens * block_tokens
    held = held_tokens(w, w.path, length, rep.holder, limit, block_tokens)
    whole = wanted_blocks(w, w.path, length, rep.holder, prompt, block_tokens) + rep.sequence_blocks
    if whole > blocks_beside(w, w.path, length, rep.holder):
        return -1
    use_chain(w, w.path, length, rep.holder)
    release_pin(w, number)
    room_for(
        w,
        replica,
        wanted_blocks(w, w.path, length, rep.holder, prompt, block_tokens) + rep.sequence_blocks,
    )
    extend_chain(w, w.path, length, rep.holder, prompt)
    take_blocks(w, rep.holder, rep.sequence_blocks)
    remove_waiting(w, number, replica)
    take_slot(w, replica, number, prompt, prompt, np.int64(0))
    slot = w.slots[replica, session.slot]
    slot.loads = True
    slot.ready_s = move(w, session.prompt_home, replica, prompt - held, rep.now_s)
    for part in range(length):
        node = node_at(w, w.path[part], rep.holder)
        if w.nodes[node].end > held:
            w.nodes[node].ready_s = slot.ready_s
    rep.loading += 1
    turn.moved += prompt - held
    session.doing = LOADING
    return 0


@inner
def move(w: World, source: int, target: int, tokens: int, now_s: float) -> float:
    """Put the KV of so many tokens on the links from one replica to another; when it is there."""
    here, there = w.replicas[source], w.replicas[target]
    pool = w.pools[there.pool]
    rate, wait_s = pool.far_bytes_per_s, pool.far_s
    if here.domain == there.domain:
        rate, wait_s = pool.near_bytes_per_s, pool.near_s
    moved = tokens * w.holders[there.holder].kv_bytes_per_token
    done_s = max(now_s, here.sent_free_s, there.received_free_s) + moved / rate
    here.sent_free_s = done_s
    there.received_free_s = done_s
    there.received_bytes += moved
    return done_s + wait_s


@inner
def take_over(w: World, replica: int, number: int) -> None:
    """The KV of a slot's prompt has come: it goes on with its second token."""
    slot = w.slots[replica, number]
    session = w.sessions[slot.session]
    turn = w.turns[session.turn]
    turn.move_s += w.clock[0].now_s
    release_hold(w, slot.session)
    session.doing = DECODING
    begin_decoding(w, replica, number, slot.prompt + 1, turn.output - session.generated - 1)
