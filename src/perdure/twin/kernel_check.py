"""What must hold of a world between two events; looked at only where `PERDURE_TWIN_DEBUG` asks for it.

Everything is counted anew from what lies where, and compared with what the kernel kept count of.
INVARIANTS.md numbers these laws.
"""

import math

import numpy as np

from perdure.compiling import inner
from perdure.models.cost_compiled import Integers
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_cache import blocks_of, node_at, node_blocks
from perdure.twin.kernel_records import (
    AWAITING,
    CALL,
    DECODING,
    DONE,
    DOWN,
    FORMING,
    GAP,
    IDLE,
    LOADING,
    OUTSIDE,
    OVER,
    PREFILLING,
    QUEUED,
    RUNNING,
    TOOL_ENDED,
)
from perdure.twin.kernel_slots import span_shares


@inner
def check_world(w: World) -> None:
    """Fail where something does not hold."""
    check_conservation(w)
    for turn in range(len(w.turns)):
        check_times(w, turn)
    used = np.zeros(len(w.holders), np.int64)
    evictable = np.zeros(len(w.holders), np.int64)
    count_copies(w, used, evictable)
    for replica in range(len(w.replicas)):
        check_lists(w, replica)
        check_decodes(w, replica)
        check_work(w, replica)
        used[w.replicas[replica].holder] += beside_segments(w, replica)
    for holder in range(1, len(w.holders)):
        here = w.holders[holder]
        assert here.used_blocks == used[holder]
        assert here.evictable_blocks == evictable[holder]
        assert 0 <= here.used_blocks <= here.capacity_blocks
        check_evictable(w, holder)


@inner
def check_conservation(w: World) -> None:
    """Every session is in exactly one place, and every call before the one it is at was answered."""
    doing = np.zeros(OVER + 1, np.int64)
    for number in range(len(w.sessions)):
        session = w.sessions[number]
        doing[session.doing] += 1
        for turn in range(session.first_turn, min(session.turn, session.last_turn)):
            assert w.turns[turn].outcome == DONE
        if session.doing == AWAITING:
            assert w.turns[session.turn].awaits > 0
    waiting, running, outside, coming = 0, 0, 0, 0
    for replica in range(len(w.replicas)):
        waiting += w.replicas[replica].waiting
        running += w.replicas[replica].running
    for pool in range(len(w.pools)):
        outside += w.pools[pool].outside
    for event in range(w.clock[0].events):
        if w.events[event].kind == CALL or w.events[event].kind == TOOL_ENDED:
            coming += 1
    tool = w.clock[0].first_tool
    while tool != 0:
        coming += 1
        tool = w.sessions[tool - 1].next_waiting
    for tenant in range(len(w.tenants)):
        outside += w.tenants[tenant].waiting
    assert doing[QUEUED] == waiting
    assert doing[LOADING] + doing[PREFILLING] + doing[DECODING] == running
    assert doing[OUTSIDE] == outside
    assert doing[GAP] == coming
    check_programs(w)


@inner
def check_programs(w: World) -> None:
    """Open sessions are those not over; what pools count of active programs is the sum of them."""
    active = np.zeros(len(w.pools), np.int64)
    tokens = np.zeros(len(w.pools))
    for number in range(len(w.programs)):
        program = w.programs[number]
        not_over, under_way = 0, 0
        for session in range(program.first_session, program.last_session):
            doing = w.sessions[session].doing
            not_over += doing != OVER
            if QUEUED <= doing <= DECODING and w.sessions[session].pool == program.pool:
                under_way += 1
        assert program.open_sessions == not_over
        assert program.calls == under_way
        if program.active:
            active[program.pool] += 1
            tokens[program.pool] += program.context_tokens
    for pool in range(len(w.pools)):
        assert w.pools[pool].active_programs == active[pool]
        assert abs(w.pools[pool].active_tokens - tokens[pool]) < 1e-3


@inner
def check_times(w: World, number: int) -> None:
    """A call is made, begun, heard of and answered in this order, and not in the future."""
    turn, last_s = w.turns[number], w.clock[0].now_s
    if not math.isnan(turn.ended_s):
        assert turn.ready_s <= turn.ended_s <= last_s
        last_s = turn.ended_s
    if not math.isnan(turn.first_s):
        assert turn.started_s < turn.first_s <= last_s
    if not math.isnan(turn.started_s):
        assert turn.ready_s <= turn.started_s <= last_s
    assert 0 <= turn.cached < turn.prompt


@inner
def count_copies(w: World, used: Integers, evictable: Integers) -> None:
    """Count blocks of copies by holder; each has as many users as hold it, and what it goes on from."""
    uses = np.zeros(w.clock[0].nodes + 1, np.int64)
    for replica in range(len(w.replicas)):
        holder = w.replicas[replica].holder
        for number in range(w.replicas[replica].sequences_max):
            if w.slots[replica, number].taken:
                session = w.sessions[w.slots[replica, number].session]
                count_uses(w, uses, w.turns[session.turn].leaf, holder)
    for number in range(len(w.sessions)):
        session = w.sessions[number]
        if session.pinned:
            count_uses(w, uses, session.pin_leaf, w.replicas[session.pin_replica].holder)
        if session.holds:
            count_uses(w, uses, w.turns[session.turn].leaf, w.replicas[session.prompt_home].holder)
    for segment in range(1, len(w.segments)):
        node = w.segments[segment].first_node
        while node != 0:
            here = w.nodes[node]
            blocks = node_blocks(w, node, w.holders[here.holder].block_tokens)
            assert here.segment == segment
            assert here.uses == uses[node]
            assert here.linked == (here.uses == 0)
            used[here.holder] += blocks
            if here.linked:
                evictable[here.holder] += blocks
                assert here.end % w.holders[here.holder].block_tokens == 0
            if blocks > 0 and not w.holders[here.holder].is_lower:
                check_root(w, segment, here.holder)
            node = here.next_node


@inner
def count_uses(w: World, uses: Integers, leaf: int, holder: int) -> None:
    """Count one user of each copy of a chain."""
    segment = leaf
    while segment != 0:
        node = node_at(w, segment, holder)
        assert node != 0
        uses[node] += 1
        segment = w.segments[segment].parent


@inner
def check_root(w: World, segment: int, holder: int) -> None:
    """What a copy goes on from is held as well: no chain has a hole."""
    base, above = w.segments[segment].begin, w.segments[segment].parent
    while above != 0 and w.segments[above].begin == base:
        above = w.segments[above].parent
    if above != 0:
        node = node_at(w, above, holder)
        assert node != 0
        assert w.nodes[node].end >= base


@inner
def check_evictable(w: World, holder: int) -> None:
    """The order of eviction is one list, from either end."""
    node, before = w.holders[holder].oldest, 0
    while node != 0:
        assert w.nodes[node].linked
        assert w.nodes[node].holder == holder
        assert w.nodes[node].older == before
        node, before = w.nodes[node].newer, node
    assert w.holders[holder].newest == before


@inner
def beside_segments(w: World, replica: int) -> int:
    """Blocks that running calls take beyond what segments count: their growth, and what has no length."""
    rep = w.replicas[replica]
    block_tokens = w.pools[rep.pool].block_tokens
    blocks = rep.grown + rep.running * rep.sequence_blocks
    for number in range(rep.sequences_max):
        slot = w.slots[replica, number]
        if slot.taken and slot.decodes:
            held = slot.joined_context - 1 + rep.step - slot.joined_step
            blocks += blocks_of(held, block_tokens) - blocks_of(slot.prompt, block_tokens)
    return blocks


@inner
def check_lists(w: World, replica: int) -> None:
    """Slots, prompts, those that wait and those that are pinned are as many as was counted."""
    rep = w.replicas[replica]
    taken, decodes, loads, chunks = 0, 0, 0, rep.decoding
    for number in range(rep.sequences_max):
        slot = w.slots[replica, number]
        taken += slot.taken
        if slot.taken:
            decodes += slot.decodes
            loads += slot.loads
    assert (taken, decodes, loads) == (rep.running, rep.decoding, rep.loading)
    assert rep.prefilling == taken - decodes - loads
    newest = 0
    for place in range(rep.prefilling):
        slot = w.slots[replica, w.prompts[replica, place]]
        assert slot.taken
        assert not slot.decodes
        assert not slot.loads
        assert slot.admitted > newest
        newest, chunks = slot.admitted, chunks + slot.chunk
    assert rep.doing != RUNNING or chunks <= rep.batch_tokens_max
    count, here = 0, rep.first_waiting
    while here != 0:
        session = w.sessions[here - 1]
        assert session.doing == QUEUED
        assert w.turns[session.turn].replica == replica
        count, here = count + 1, session.next_waiting
    assert count == rep.waiting == rep.sent_waiting + rep.sent_running - rep.running
    count, here = 0, rep.first_pin
    while here != 0:
        count, here = count + 1, w.sessions[here - 1].next_pin
    assert count == rep.pins


@inner
def check_decodes(w: World, replica: int) -> None:
    """The sums over decodes that move along with them are those counted anew."""
    rep = w.replicas[replica]
    assert rep.endings == rep.decoding == w.phases[replica].sum()
    for span in range(w.pools[rep.pool].spans):
        reads, growth = 0.0, 0.0
        for number in range(rep.sequences_max):
            slot = w.slots[replica, number]
            if slot.taken and slot.decodes:
                assert slot.last_step > rep.step
                context = slot.joined_context + rep.step - slot.joined_step
                seen, more = span_shares(w, rep.pool, span, context)
                reads, growth = reads + seen, growth + more
        assert abs(w.reads[replica, span] - reads) <= 1e-6 * max(1.0, reads)
        assert abs(w.growth[replica, span] - growth) <= 1e-6


@inner
def check_work(w: World, replica: int) -> None:
    """Nobody idles while there is work, and whoever is due is due once."""
    rep, now_s = w.replicas[replica], w.clock[0].now_s
    if rep.doing == IDLE:
        assert rep.running == 0
        assert rep.waiting == 0 or rep.handing > 0
        assert w.due_s[replica] == math.inf
    elif rep.doing == DOWN:
        assert rep.running == 0
        assert w.due_s[replica] == math.inf
    else:
        assert now_s <= w.due_s[replica] < math.inf
    if rep.doing == FORMING and w.due_s[replica] > now_s:
        assert rep.loading == rep.running > 0
    if rep.doing == RUNNING:
        assert rep.run_steps >= 1
        assert rep.decoding + rep.chunks > 0
