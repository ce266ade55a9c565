"""Who makes room: what is evicted from HBM, and what of it goes to the tiers below and comes back."""

from perdure.compiling import inner
from perdure.models.cost_compiled import Integers
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_cache import (
    blocks_of,
    free_node,
    link_newest,
    make_node,
    node_at,
    node_blocks,
    set_end,
    unlink,
)


@inner
def held_anywhere(
    w: World,
    path: Integers,
    length: int,
    holder: int,
    limit: int,
    block_tokens: int,
) -> tuple[int, float]:
    """How far a chain is held at `holder` or in tiers below it, and the seconds to load what lies below."""
    found, seconds = 0, 0.0
    for place in range(length):
        upto = limit
        if place + 1 < length:
            upto = min(limit, w.segments[path[place + 1]].base)
        if upto <= found:
            continue
        tier = holder
        while tier != 0 and found < upto:
            node = node_at(w, path[place], tier)
            if node != 0:
                reach = min(upto, w.nodes[node].end // block_tokens * block_tokens)
                if reach > found:
                    if tier != holder:
                        moved = (reach - found) * w.holders[tier].kv_bytes_per_token
                        seconds += moved / w.holders[tier].read_bytes_per_s
                    found = reach
            tier = w.holders[tier].below
        if found < upto:
            break
    return found, seconds


@inner
def note_loads(
    w: World,
    path: Integers,
    length: int,
    holder: int,
    start: int,
    limit: int,
    now_s: float,
) -> float:
    """Put the loading of tokens `start` to `limit` of a chain on the links of its tiers; when it is there."""
    found, ready_s = start, now_s
    for place in range(length):
        upto = limit
        if place + 1 < length:
            upto = min(limit, w.segments[path[place + 1]].base)
        tier = w.holders[holder].below
        while tier != 0 and found < upto:
            node = node_at(w, path[place], tier)
            if node != 0 and min(upto, w.nodes[node].end) > found:
                reach = min(upto, w.nodes[node].end)
                moved = (reach - found) * w.holders[tier].kv_bytes_per_token
                link = w.holders[tier]
                link.link_free_s = max(link.link_free_s, now_s) + moved / link.read_bytes_per_s
                link.read_bytes += moved
                ready_s = max(ready_s, link.link_free_s + link.latency_s)
                found = reach
                if w.nodes[node].linked:
                    unlink(w, node)
                    link_newest(w, node)
            tier = w.holders[tier].below
    return ready_s


@inner
def tell(w: World, node: int, end: int) -> None:
    """Put into the ring that a copy in HBM now ends at `end`; a full ring loses its oldest word."""
    state, here = w.clock[0], w.nodes[node]
    if not state.belief_events or w.holders[here.holder].is_lower:
        return
    word = w.told[state.beliefs % len(w.told)]
    word.time_s = state.now_s
    word.segment = here.segment
    word.replica = here.holder - 1
    word.end = end
    state.beliefs += 1
    if state.beliefs - state.believed > len(w.told):
        state.believed = state.beliefs - len(w.told)


@inner
def cut_end(w: World, node: int, blocks: int) -> None:
    """Take so many blocks off the end of a copy that may be evicted; with the last one it is forgotten."""
    holder = w.holders[w.nodes[node].holder]
    block_tokens = holder.block_tokens
    has = node_blocks(w, node, block_tokens)
    base = w.segments[w.nodes[node].segment].base
    tell(w, node, base + max(0, has - blocks) * block_tokens)
    if blocks >= has:
        unlink(w, node)
        w.nodes[node].end = base
        free_node(w, node)
        holder.used_blocks -= has
        return
    w.nodes[node].end = (base // block_tokens + has - blocks) * block_tokens
    holder.used_blocks -= blocks
    holder.evictable_blocks -= blocks


@inner
def copy_down(w: World, node: int, tier: int, now_s: float) -> bool:
    """Copy what a copy holds to `tier`, as the newest there; whether there was room for it."""
    here = w.holders[tier]
    segment, end = w.nodes[node].segment, w.nodes[node].end
    copy = node_at(w, segment, tier)
    has = w.segments[segment].base
    if copy != 0:
        has = w.nodes[copy].end
        if end <= has:
            if w.nodes[copy].linked:
                unlink(w, copy)
                link_newest(w, copy)
            return True
    if missing_below(w, node, tier) > here.capacity_blocks - here.used_blocks:
        return False
    if copy == 0:
        copy = make_node(w, segment, tier)
    elif w.nodes[copy].linked:
        unlink(w, copy)
    set_end(w, copy, end)
    link_newest(w, copy)
    moved = (end - has) * here.kv_bytes_per_token
    here.written_bytes += moved
    here.link_free_s = max(here.link_free_s, now_s) + moved / here.write_bytes_per_s
    return True


@inner
def missing_below(w: World, node: int, tier: int) -> int:
    """Blocks that a copy would take at `tier` beyond those it has there."""
    block_tokens = w.holders[tier].block_tokens
    segment = w.nodes[node].segment
    has = w.segments[segment].base // block_tokens
    copy = node_at(w, segment, tier)
    if copy != 0:
        has = max(has, blocks_of(w.nodes[copy].end, block_tokens))
    return max(0, blocks_of(w.nodes[node].end, block_tokens) - has)


@inner
def let_go(
    w: World,
    node: int,
    blocks: int,
    now_s: float,
) -> None:
    """Take blocks off the end of a copy, which goes to the tier below first where that one has room."""
    here = w.holders[w.nodes[node].holder]
    has = node_blocks(w, node, here.block_tokens)
    tokens = min(blocks, has) * here.block_tokens
    if here.below != 0 and copy_down(w, node, here.below, now_s):
        here.moved_tokens += tokens
    else:
        here.evicted_tokens += tokens
    cut_end(w, node, blocks)


@inner
def free_oldest(
    w: World,
    holder: int,
    blocks: int,
    now_s: float,
) -> None:
    """Let the least recently used go until so many blocks are free at `holder`, or nothing is left to go."""
    here = w.holders[holder]
    while here.capacity_blocks - here.used_blocks < blocks and here.oldest != 0:
        node = here.oldest
        short = blocks - (here.capacity_blocks - here.used_blocks)
        if here.below != 0:
            # All of it goes down at once; only as much as is wanted leaves here.
            free_tiers(w, node, now_s)
        size = node_blocks(w, node, here.block_tokens)
        let_go(w, node, min(size, short), now_s)


@inner
def free_tiers(w: World, node: int, now_s: float) -> None:
    """Make room in the tiers below for a copy that is to go down, from the lowest up."""
    top = w.holders[w.nodes[node].holder].below
    missing = missing_below(w, node, top)
    levels, tier = 0, top
    while tier != 0:
        levels += 1
        tier = w.holders[tier].below
    for level in range(levels - 1, -1, -1):
        tier = top
        for _ in range(level):
            tier = w.holders[tier].below
        here = w.holders[tier]
        while here.capacity_blocks - here.used_blocks < missing and here.oldest != 0:
            oldest = here.oldest
            size = node_blocks(w, oldest, here.block_tokens)
            let_go(w, oldest, size, now_s)


@inner
def make_room(
    w: World,
    holder: int,
    blocks: int,
    now_s: float,
) -> bool:
    """Evict until so many blocks are free at `holder`; whether they are. If they cannot be, none is."""
    here = w.holders[holder]
    free = here.capacity_blocks - here.used_blocks
    if free >= blocks:
        return True
    if free + here.evictable_blocks < blocks:
        return False
    free_oldest(w, holder, blocks, now_s)
    return True


@inner
def drop_chain(w: World, leaf: int, owner: int, holder: int) -> int:
    """Free what only `owner` could use of a chain at `holder`, from its end; the tokens freed."""
    freed = 0
    segment = leaf
    block_tokens = w.holders[holder].block_tokens
    while segment != 0 and w.segments[segment].owner == owner and not w.segments[segment].shared:
        node = node_at(w, segment, holder)
        above = w.segments[segment].parent
        if node != 0:
            if w.nodes[node].uses > 0 or not w.nodes[node].linked:
                break
            freed += w.nodes[node].end - w.segments[segment].base
            cut_end(w, node, node_blocks(w, node, block_tokens))
        segment = above
    return freed
