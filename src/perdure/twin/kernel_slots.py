"""The calls that an engine runs: what they hold, when their answers end, and how a slot falls free."""

import math

from perdure.compiling import inner
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_cache import (
    blocks_of,
    extend_chain,
    leave_chain,
    read_path,
    wanted_blocks,
)
from perdure.twin.kernel_heap import drop_ending, pop_ending, push_ending
from perdure.twin.kernel_records import PREFILLING
from perdure.twin.kernel_tiers import make_room

SPANS_MAX = 8


@inner
def span_shares(w: World, pool: int, span: int, context: float) -> tuple[float, float]:
    """Entries that a decode of this context sees in a span, and how many more at the next step."""
    every, limit = w.span_every[pool, span], w.span_limits[pool, span]
    seen = context / every
    if seen >= limit:
        return limit, 0.0
    return seen, 1.0 / every


@inner
def take_slot(w: World, replica: int, number: int, prompt: int, computed: int, chunk: int) -> None:
    """Put a call into a free slot."""
    rep, session = w.replicas[replica], w.sessions[number]
    place = w.free_slots[replica, rep.sequences_max - rep.running - 1]
    slot = w.slots[replica, place]
    rep.running += 1
    rep.admitted += 1
    slot.session = number
    slot.taken = True
    slot.decodes = False
    slot.loads = False
    slot.admitted = rep.admitted
    slot.prompt = prompt
    slot.computed = computed
    slot.chunk = chunk
    slot.share_s = rep.share_s
    session.slot = place
    if chunk > 0:
        w.prompts[replica, rep.prefilling] = place
        rep.prefilling += 1
        session.doing = PREFILLING


@inner
def begin_decoding(w: World, replica: int, slot: int, context: int, tokens: int) -> None:
    """A slot's first token is there: `tokens` more are wanted, the first at a context of `context`."""
    rep, here = w.replicas[replica], w.slots[replica, slot]
    pool = w.pools[rep.pool]
    here.decodes = True
    here.joined_step = rep.step
    here.joined_context = context
    here.last_step = rep.step + tokens
    rep.decoding += 1
    rep.endings = push_ending(w.endings[replica], rep.endings, here.last_step, here.admitted, slot)
    w.phases[replica, (context - rep.step) % pool.block_tokens] += 1
    for span in range(pool.spans):
        seen, more = span_shares(w, rep.pool, span, context)
        w.reads[replica, span] += seen
        w.growth[replica, span] += more
        limit = w.span_limits[rep.pool, span]
        if more > 0.0 and limit < math.inf:
            cross = rep.step + math.ceil(limit * w.span_every[rep.pool, span]) - context
            if cross <= here.last_step:
                w.crossing_counts[replica, span] = push_ending(
                    w.crossings[replica, span], w.crossing_counts[replica, span], cross, here.admitted, slot
                )


@inner
def end_decoding(w: World, replica: int, slot: int) -> int:
    """Take a slot out of the decodes; the tokens of its context that are held."""
    rep, here = w.replicas[replica], w.slots[replica, slot]
    pool = w.pools[rep.pool]
    context = here.joined_context + rep.step - here.joined_step
    here.decodes = False
    rep.decoding -= 1
    w.phases[replica, (here.joined_context - here.joined_step) % pool.block_tokens] -= 1
    for span in range(pool.spans):
        seen, more = span_shares(w, rep.pool, span, context)
        w.reads[replica, span] -= seen
        w.growth[replica, span] -= more
        if rep.decoding == 0:  # what rounding left
            w.reads[replica, span] = 0.0
            w.growth[replica, span] = 0.0
    return context - 1


@inner
def cross_limits(w: World, replica: int) -> None:
    """Sequences that see all that a span lets them see grow no more there."""
    rep = w.replicas[replica]
    pool = w.pools[rep.pool]
    for span in range(pool.spans):
        heap = w.crossings[replica, span]
        count = w.crossing_counts[replica, span]
        while count > 0 and heap[0].step <= rep.step:
            slot = w.slots[replica, heap[0].slot]
            every, limit = w.span_every[rep.pool, span], w.span_limits[rep.pool, span]
            context = slot.joined_context + rep.step - slot.joined_step
            w.reads[replica, span] -= context / every - limit
            w.growth[replica, span] -= 1.0 / every
            count = pop_ending(heap, count)
        w.crossing_counts[replica, span] = count


@inner
def steps_until_crossing(w: World, replica: int, steps: int) -> int:
    """At most `steps`, and not beyond the next one at which a sequence reaches the limit of a span."""
    rep = w.replicas[replica]
    for span in range(w.pools[rep.pool].spans):
        if w.crossing_counts[replica, span] > 0:
            steps = min(steps, max(1, w.crossings[replica, span][0].step - rep.step))
    return steps


@inner
def give_up_slot(w: World, replica: int, slot: int, held: int) -> None:
    """Free a slot whose context is held up to `held` tokens: whole blocks stay to be found again."""
    rep, here = w.replicas[replica], w.slots[replica, slot]
    holder = w.holders[rep.holder]
    session = w.sessions[here.session]
    leaf = w.turns[session.turn].leaf
    # What the answer grew by was counted step by step; from now on its segments count for it.
    grown = blocks_of(held, holder.block_tokens) - blocks_of(here.prompt, holder.block_tokens)
    holder.used_blocks -= max(0, grown) + rep.sequence_blocks
    length = read_path(w, leaf, w.path)
    extend_chain(w, w.path, length, rep.holder, held)
    leave_chain(w, leaf, rep.holder)
    share = rep.share_s - here.share_s
    session.attained_s += share
    w.programs[session.program].attained_s += share
    w.served[w.programs[session.program].tenant] += share
    here.taken = False
    w.free_slots[replica, rep.sequences_max - rep.running] = slot
    rep.running -= 1


@inner
def remove_prompt(w: World, replica: int, slot: int) -> None:
    """Take a slot out of the prompts that are not computed yet."""
    rep = w.replicas[replica]
    place = 0
    while w.prompts[replica, place] != slot:
        place += 1
    for later in range(place, rep.prefilling - 1):
        w.prompts[replica, later] = w.prompts[replica, later + 1]
    rep.prefilling -= 1


@inner
def room_for(w: World, replica: int, blocks: int) -> bool:
    """Make room for so many blocks in a replica's HBM; whether there is."""
    return make_room(w, w.replicas[replica].holder, blocks, w.clock[0].now_s)


@inner
def newest_slot(w: World, replica: int) -> int:
    """The slot that gives way: of the lowest priority, the one admitted last, of those that compute."""
    rep = w.replicas[replica]
    newest, found, least = 0, -1, 0
    for slot in range(rep.sequences_max):
        here = w.slots[replica, slot]
        if here.taken and not here.loads:
            urgency = 0
            if w.clock[0].priorities:
                urgency = w.programs[w.sessions[here.session].program].priority
            if found < 0 or urgency < least or (urgency == least and here.admitted > found):
                newest, found, least = slot, here.admitted, urgency
    return newest


@inner
def extend_slot(w: World, replica: int, slot: int, upto: int) -> bool:
    """Let a slot's chain reach `upto` tokens, if there is room; whether there was."""
    rep = w.replicas[replica]
    session = w.sessions[w.slots[replica, slot].session]
    length = read_path(w, w.turns[session.turn].leaf, w.path)
    block_tokens = w.pools[rep.pool].block_tokens
    wanted = wanted_blocks(w, w.path, length, rep.holder, upto, block_tokens)
    if not room_for(w, replica, wanted):
        return False
    extend_chain(w, w.path, length, rep.holder, upto)
    return True


@inner
def stop_decoding_early(w: World, replica: int, slot: int) -> int:
    """Take a slot out of the decodes before its answer is complete; the tokens of its context held."""
    rep = w.replicas[replica]
    rep.endings = drop_ending(w.endings[replica], rep.endings, slot)
    for span in range(w.pools[rep.pool].spans):
        w.crossing_counts[replica, span] = drop_ending(
            w.crossings[replica, span], w.crossing_counts[replica, span], slot
        )
    return end_decoding(w, replica, slot)


@inner
def pop_ended(w: World, replica: int) -> int:
    """The slot whose answer is complete, plus one, the first admitted first; 0 when there is none."""
    rep = w.replicas[replica]
    heap = w.endings[replica]
    if rep.endings > 0 and heap[0].step <= rep.step:
        slot = heap[0].slot
        rep.endings = pop_ending(heap, rep.endings)
        return slot + 1
    return 0
