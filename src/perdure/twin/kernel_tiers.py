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
    read_path,
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
            upto = min(limit, w.segments[path[place + 1]].begin)
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
            upto = min(limit, w.segments[path[place + 1]].begin)
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
            tier = w.holders[tier].below
    return ready_s


@inner
def touch_tiers(w: World, path: Integers, length: int, holder: int) -> None:
    """What tiers below `holder` hold of a chain was used now: it goes last, the deepest segments first."""
    tier = w.holders[holder].below
    while tier != 0:
        for place in range(length - 1, -1, -1):
            node = node_at(w, path[place], tier)
            if node != 0:
                unlink(w, node)
                link_newest(w, node)
        tier = w.holders[tier].below


@inner
def arrived_s(w: World, path: Integers, length: int, holder: int, limit: int) -> float:
    """When the first `limit` tokens of a chain, held at `holder`, have all been loaded there."""
    ready_s = 0.0
    for place in range(length):
        if w.segments[path[place]].begin >= limit:
            break
        node = node_at(w, path[place], holder)
        if node != 0:
            ready_s = max(ready_s, w.nodes[node].ready_s)
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
    base = w.segments[w.nodes[node].segment].begin
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
    has = w.segments[segment].begin
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
    has = w.segments[segment].begin // block_tokens
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
    """Make room in the tier below for a copy that is to go down; what makes way there goes down in turn."""
    top = w.holders[w.nodes[node].holder].below
    while short_below(w, node, top) > 0 and w.holders[top].oldest != 0:
        moving, tier = w.holders[top].oldest, w.holders[top].below
        while tier != 0 and short_below(w, moving, tier) > 0 and w.holders[tier].oldest != 0:
            moving, tier = w.holders[tier].oldest, w.holders[tier].below
        let_go(w, moving, node_blocks(w, moving, w.holders[top].block_tokens), now_s)


@inner
def short_below(w: World, node: int, tier: int) -> int:
    """Blocks that a tier is short of until it has room for a copy."""
    here = w.holders[tier]
    return missing_below(w, node, tier) - (here.capacity_blocks - here.used_blocks)


@inner
def swap_out(w: World, leaf: int, holder: int, now_s: float) -> None:
    """Let what nobody uses of a chain go to the tier below at once, its end first."""
    segment = leaf
    while segment != 0:
        node = node_at(w, segment, holder)
        if node != 0:
            if w.nodes[node].uses > 0:
                break
            free_tiers(w, node, now_s)
            let_go(w, node, node_blocks(w, node, w.holders[holder].block_tokens), now_s)
        segment = w.segments[segment].parent


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
def drop_chain(w: World, leaf: int, owner: int, holder: int, keep_leaf: int) -> None:
    """Free what only `owner` could use of a chain at `holder` and in tiers below, from its end.

    What the chain that ends in `keep_leaf` goes on from stays (0: nothing needs to).
    """
    kept = 0
    if keep_leaf != 0:
        kept = read_path(w, keep_leaf, w.path)
    while holder != 0:
        block_tokens = w.holders[holder].block_tokens
        segment = leaf
        while segment != 0 and w.segments[segment].owner == owner and not w.segments[segment].shared:
            depth = w.segments[segment].depth
            if depth < kept and w.path[depth] == segment:
                break
            node = node_at(w, segment, holder)
            if node != 0:
                if not w.nodes[node].linked:
                    break
                cut_end(w, node, node_blocks(w, node, block_tokens))
            segment = w.segments[segment].parent
        holder = w.holders[holder].below
