"""What happens to a session's KV between its calls: 0 drop, 1 save, 2 keep.

Drop frees it now; save leaves it to be evicted in turn, and moved down a tier where there is one; keep pins
it, and the question comes again whenever room is short.
"""

from perdure.scheduling.facts import DROP, KEEP, SAVE, Idle, log

# Below that share of its memory a replica is not short of room, and keeping costs nobody anything.
ROOMY_PRESSURE = 0.8


def lru(session: Idle) -> int:
    """Nothing is decided: whatever was used longest ago makes room for whatever comes."""
    return SAVE


def supersession(session: Idle) -> int:
    """Drop what no later prompt starts with: sessions that ended and contexts that were compacted away."""
    return DROP if _useless(session) else SAVE


def ttl(session: Idle) -> int:
    """Pin while a tool runs, as long as the chance that it returns is worth the room that waiting calls lack.

    Continuum (arXiv 2511.02230): pin for the time t that makes P(gap <= t) * benefit - cost * t largest. With
    gaps taken as exponential around their learned mean m, t = m * log(benefit / (cost * m)). The benefit is
    the prefill, or restore, and the renewed wait in the queue that are avoided; the cost of a second is the
    share of the replica that is pinned, for each call that waits. Never longer than nine in ten gaps last.
    """
    if _useless(session):
        return DROP
    if not session.tool or session.gap_elapsed_s >= session.gap_p90_s:
        return SAVE
    if session.waiting == 0:
        return KEEP
    return_s = min(session.recompute_s, session.restore_s) if session.lower_tier else session.recompute_s
    requeue_s = session.waiting_tokens * (session.recompute_s / max(session.context_tokens, 1.0))
    cost_per_s = session.waiting * session.context_tokens / max(session.capacity_tokens, 1.0)
    gap_s = session.gap_expected_s
    pin_s = gap_s * (log(return_s + requeue_s) - log(cost_per_s * gap_s))
    return KEEP if session.gap_elapsed_s < pin_s else SAVE


def infercept(session: Idle) -> int:
    """Whichever of keep, save and drop wastes least memory over time, in tokens held times seconds.

    InferCept (arXiv 2402.01869) on our own costs. Kept, the context lies idle for the rest of the gap, which
    is presumed as long as it already lasted once it outlasts what was expected. Dropped, everything in use
    lies idle while it is computed anew. Saved, the context is held while it moves; copies run beside
    computing in today's engines, so nobody else waits for them. With room to spare, nothing is given up.
    """
    if _useless(session):
        return DROP
    if session.waiting == 0 and session.pressure < ROOMY_PRESSURE:
        return KEEP
    gap_left_s = max(session.gap_expected_s - session.gap_elapsed_s, session.gap_elapsed_s)
    in_use_tokens = max(session.pressure * session.capacity_tokens, session.context_tokens)
    keep_waste = session.context_tokens * gap_left_s
    drop_waste = in_use_tokens * session.recompute_s
    save_waste = session.context_tokens * (session.save_s + session.restore_s)
    if session.lower_tier and save_waste < keep_waste and save_waste <= drop_waste:
        return SAVE
    return KEEP if keep_waste <= drop_waste else DROP


def steps_to_next_use(session: Idle) -> int:
    """Keep what is needed in few steps, the fewer the fuller the replica; leave the rest to be evicted.

    KVFlow (arXiv 2507.07400) evicts whose agent runs last in the declared graph of steps. Where nothing is
    declared every session is one step away, and is kept for as long as nine in ten gaps last.
    """
    if _useless(session):
        return DROP
    if session.gap_elapsed_s >= session.gap_p90_s:
        return SAVE
    return KEEP if session.turns_to_next_use * session.pressure <= 1.0 else SAVE


def _useless(session: Idle) -> bool:
    return bool(session.ended) or bool(session.superseded)
