"""Which KV is held where: chains of segments, copies of them, and who makes room.

A context is a chain of segments, root first; a copy (node) of a segment holds its tokens up to `end`. What no
call uses lies in its holder's list by last use, deeper segments before those they go on from, so that what is
taken from the old end never leaves a hole. Full blocks are found again, the last partial one is not.
"""

from perdure.compiling import inner
from perdure.models.cost_compiled import Integers
from perdure.twin.kernel_arrays import World


@inner
def blocks_of(tokens: int, block_tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return (tokens + block_tokens - 1) // block_tokens


@inner
def node_at(w: World, segment: int, holder: int) -> int:
    """The copy of a segment at a holder; 0 where there is none."""
    node = w.segments[segment].first_node
    while node != 0 and w.nodes[node].holder != holder:
        node = w.nodes[node].next_node
    return node


@inner
def make_node(w: World, segment: int, holder: int) -> int:
    """A copy without tokens, used by nobody."""
    state = w.clock[0]
    node = state.free_node
    if node != 0:
        state.free_node = w.nodes[node].next_node
    else:
        state.nodes += 1
        node = state.nodes
        assert node < len(w.nodes)
    fresh = w.nodes[node]
    fresh.segment = segment
    fresh.holder = holder
    fresh.end = w.segments[segment].begin
    fresh.uses = 0
    fresh.linked = False
    fresh.ready_s = 0.0
    fresh.next_node = w.segments[segment].first_node
    w.segments[segment].first_node = node
    return node


@inner
def free_node(w: World, node: int) -> None:
    """Forget a copy that is linked nowhere."""
    segment = w.nodes[node].segment
    if w.segments[segment].first_node == node:
        w.segments[segment].first_node = w.nodes[node].next_node
    else:
        before = w.segments[segment].first_node
        while w.nodes[before].next_node != node:
            before = w.nodes[before].next_node
        w.nodes[before].next_node = w.nodes[node].next_node
    w.nodes[node].next_node = w.clock[0].free_node
    w.clock[0].free_node = node


@inner
def node_blocks(w: World, node: int, block_tokens: int) -> int:
    """Blocks that a copy takes."""
    base = w.segments[w.nodes[node].segment].begin
    return max(0, blocks_of(w.nodes[node].end, block_tokens) - base // block_tokens)


@inner
def link_newest(w: World, node: int) -> None:
    """Put a copy that nobody uses last in the order of eviction."""
    here = w.nodes[node]
    holder = w.holders[here.holder]
    here.older = holder.newest
    here.newer = 0
    if holder.newest != 0:
        w.nodes[holder.newest].newer = node
    else:
        holder.oldest = node
    holder.newest = node
    here.linked = True
    holder.evictable_blocks += node_blocks(w, node, holder.block_tokens)


@inner
def unlink(w: World, node: int) -> None:
    """Take a copy out of the order of eviction."""
    here = w.nodes[node]
    holder = w.holders[here.holder]
    if here.older != 0:
        w.nodes[here.older].newer = here.newer
    else:
        holder.oldest = here.newer
    if here.newer != 0:
        w.nodes[here.newer].older = here.older
    else:
        holder.newest = here.older
    here.linked = False
    holder.evictable_blocks -= node_blocks(w, node, holder.block_tokens)


@inner
def read_path(w: World, leaf: int, path: Integers) -> int:
    """Write the chain that ends in `leaf` into `path`, root first; its length."""
    length = w.segments[leaf].depth + 1
    segment = leaf
    for place in range(length - 1, -1, -1):
        path[place] = segment
        segment = w.segments[segment].parent
    return length


@inner
def use_chain(
    w: World,
    path: Integers,
    length: int,
    holder: int,
) -> None:
    """Hold every segment of a chain at `holder` for one more user; copies are made where there are none."""
    for place in range(length):
        node = node_at(w, path[place], holder)
        if node == 0:
            node = make_node(w, path[place], holder)
        if w.nodes[node].linked:
            unlink(w, node)
        w.nodes[node].uses += 1


@inner
def leave_chain(w: World, leaf: int, holder: int) -> None:
    """One user of a chain less: what nobody uses any more may be evicted, the deepest first.

    Of that, full blocks can be found again; a partial one at the end is free at once.
    """
    segment = leaf
    block_tokens = w.holders[holder].block_tokens
    while segment != 0:
        node = node_at(w, segment, holder)
        w.nodes[node].uses -= 1
        if w.nodes[node].uses == 0:
            set_end(w, node, w.nodes[node].end // block_tokens * block_tokens)
            if node_blocks(w, node, block_tokens) == 0:
                free_node(w, node)
            else:
                link_newest(w, node)
        segment = w.segments[segment].parent


@inner
def set_end(w: World, node: int, end: int) -> None:
    """Say how far a copy that is in use reaches."""
    holder = w.holders[w.nodes[node].holder]
    before = node_blocks(w, node, holder.block_tokens)
    w.nodes[node].end = end
    after = node_blocks(w, node, holder.block_tokens)
    take_blocks(w, w.nodes[node].holder, after - before)


@inner
def take_blocks(w: World, holder: int, blocks: int) -> None:
    """Count blocks of a holder as used."""
    here = w.holders[holder]
    here.used_blocks += blocks
    here.peak_blocks = max(here.peak_blocks, here.used_blocks)


@inner
def held_tokens(w: World, path: Integers, length: int, holder: int, limit: int, block_tokens: int) -> int:
    """How far the first `limit` tokens of a chain are held at `holder` without a hole, in whole blocks."""
    found = 0
    for place in range(length):
        upto = limit
        if place + 1 < length:
            upto = min(limit, w.segments[path[place + 1]].begin)
        if upto <= found:
            continue
        node = node_at(w, path[place], holder)
        if node != 0:
            found = max(found, min(upto, w.nodes[node].end // block_tokens * block_tokens))
        if found < upto:
            break
    return found


@inner
def wanted_blocks(w: World, path: Integers, length: int, holder: int, upto: int, block_tokens: int) -> int:
    """Blocks that are missing at `holder` until a chain reaches `upto` tokens."""
    missing = 0
    for place in range(length - 1, -1, -1):
        begin = w.segments[path[place]].begin
        end = upto
        if place + 1 < length:
            end = min(upto, w.segments[path[place + 1]].begin)
        node = node_at(w, path[place], holder)
        has = begin // block_tokens
        if node != 0:
            has = max(has, blocks_of(w.nodes[node].end, block_tokens))
        missing += max(0, blocks_of(end, block_tokens) - has)
        if (
            node != 0
            and place + 1 < length
            and w.nodes[node].end >= w.segments[path[place + 1]].begin > begin
        ):
            break  # all before it is there; a segment of no length says nothing of that
    return missing


@inner
def blocks_beside(w: World, path: Integers, length: int, holder: int) -> int:
    """Blocks of a holder that are free, or can be, while nothing of a chain is evicted."""
    here = w.holders[holder]
    blocks = here.capacity_blocks - here.used_blocks + here.evictable_blocks
    for place in range(length):
        node = node_at(w, path[place], holder)
        if node != 0 and w.nodes[node].linked:
            blocks -= node_blocks(w, node, here.block_tokens)
    return blocks


@inner
def extend_chain(
    w: World,
    path: Integers,
    length: int,
    holder: int,
    upto: int,
) -> None:
    """Let a chain in use reach `upto` tokens at `holder`."""
    for place in range(length - 1, -1, -1):
        end = upto
        full = False
        node = node_at(w, path[place], holder)
        if place + 1 < length:
            following = w.segments[path[place + 1]].begin
            end = min(upto, following)
            full = w.nodes[node].end >= following > w.segments[path[place]].begin
        if end > w.nodes[node].end:
            set_end(w, node, end)
        if full:
            break
