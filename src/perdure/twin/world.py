"""The arrays of one run, made from a workload and the pools that are to serve it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perdure.compiling import Records
from perdure.errors import BadRequest
from perdure.models.cost_compiled import READS, Floats, Integers
from perdure.traces.programs import Programs
from perdure.twin.fault import Fault, OnLoss
from perdure.twin.kernel_arrays import World, stack_tables
from perdure.twin.kernel_heap import ENDING, EVENT
from perdure.twin.kernel_records import (
    ASK,
    BIN_MIXED,
    BIN_SEQUENCES,
    BIN_TOKENS,
    CLOCK,
    FIRST_COME,
    GAP_BINS,
    HOLDER,
    NODE,
    POOL,
    PROGRAM,
    REPLICA,
    SAMPLE,
    SAMPLES_MAX,
    SESSION,
    SLOT,
    TIERS_MAX,
    TOLD,
    TURN,
    records,
)
from perdure.twin.kernel_records_beside import TENANT
from perdure.twin.kernel_segments import Segments, segments_of, shares_prefix
from perdure.twin.pool import Costs, Pool
from perdure.twin.world_faults import ON_LOSS, fault_records, put_faults

SPANS_MAX = 8
TOLD_MAX = 1 << 16
FIRST_SAMPLE_S = 0.125
NODES_MAX = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run may be told beyond workload, pools and policies.

    fair             whether the tenant that had least goes first, before any order; `weights` [tenant]
    quotas           [tenant] calls that it may have under way; None for as many as it likes; () for all so
    priorities       [tenant] higher is more urgent, for orders that ask, and for who gives way; () for 0
    tools            workers for tools; None for as many as are wanted
    preemptions_max  of one call, after which it ends
    run_steps_max    decode steps that are jumped over in one go
    belief_lag_s     how late the router hears of what an engine evicted; None: it never does
    faults           what befalls replicas; on_loss: what becomes of calls that ran on one that broke: they go
                     on with what was generated (resume), begin anew (restart), or end
    first_come       whether the order is first come first served; asks: whether admit and retain are asked
    """

    fair: bool = False
    weights: tuple[float, ...] = ()
    quotas: tuple[int | None, ...] = ()
    priorities: tuple[int, ...] = ()
    tools: int | None = None
    preemptions_max: int = 16
    run_steps_max: int = 1 << 40
    belief_lag_s: float | None = 0.1
    faults: tuple[Fault, ...] = ()
    on_loss: OnLoss = "resume"
    first_come: bool = True
    asks_admit: bool = False
    asks_retain: bool = False
    end_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What does not differ from draw to draw: which pool serves which session, and how contexts share."""

    programs: Programs
    pools: tuple[Pool, ...]
    pool: Integers
    segments: Segments


def lay_out(programs: Programs, pools: Sequence[Pool]) -> Layout:
    """Give each session its pool, and its context its segments."""
    for one in pools:
        if one.engine.batch_tokens_max < one.engine.sequences_max:
            raise BadRequest(
                f"{one.name}: a batch of {one.engine.batch_tokens_max} tokens has no place for "
                f"{one.engine.sequences_max} sequences that decode; write batch= no smaller than sequences=",
                param="on",
            )
    pool = _pools_of_sessions(programs, pools)
    blocks = np.array([one.engine.block_tokens for one in pools])[pool]
    return Layout(
        programs=programs, pools=tuple(pools), pool=pool, segments=segments_of(programs, pool, blocks)
    )


def make_world(layout: Layout, options: Options, costs: Sequence[Costs]) -> World:
    """A fresh world; `costs` are those of each pool in the draw that is to be run."""
    programs, pools = layout.programs, layout.pools
    replicas = [number for number, pool in enumerate(pools) for _ in range(pool.replicas)]
    sequences = max(pool.engine.sequences_max for pool in pools)
    block = max(pool.engine.block_tokens for pool in pools)
    holders = _holders(pools)
    limits, every = _spans(pools)
    count = len(replicas)
    leaves = 1 << max(1, math.ceil(math.log2(count + 1)))
    # Each session and each pool has one under way; the end of a program, or its being set aside, one more.
    events = 3 * len(programs.program) + len(programs.arrival_s) + len(pools) + 16
    segments = len(layout.segments.segments)
    world = World(
        clock=_clock(programs, options),
        programs=_program_records(layout, options),
        starts=np.argsort(programs.arrival_s, kind="stable").astype(np.int64),
        sessions=_session_records(layout),
        turns=_turn_records(layout),
        segments=layout.segments.segments.copy(),
        nodes=records(_nodes(holders, segments, pools, layout), NODE),
        holders=holders,
        told=records(TOLD_MAX, TOLD),
        pools=_pool_records(pools, costs),
        replicas=_replica_records(pools, replicas),
        slots=records((count, sequences), SLOT),
        free_slots=_free_slots(pools, replicas, sequences),
        prompts=np.zeros((count, sequences), np.int64),
        endings=records((count, sequences + 1), ENDING),
        crossings=records((count, SPANS_MAX, sequences + 1 if np.isfinite(limits).any() else 1), ENDING),
        crossing_counts=np.zeros((count, SPANS_MAX), np.int64),
        phases=np.zeros((count, block), np.int64),
        reads=np.zeros((count, SPANS_MAX)),
        growth=np.zeros((count, SPANS_MAX)),
        winners=np.concatenate([np.zeros(leaves, np.int64), np.minimum(np.arange(leaves), count)]),
        due_s=np.full(count + 1, np.inf),
        events=records(events + 4 * len(options.faults), EVENT),
        faults=fault_records(options.faults),
        tenants=_tenant_records(programs, options),
        beliefs=np.zeros((segments, count), np.int32),
        path=np.zeros(int(layout.segments.segments.depth.max()) + 1, np.int64),
        believed=np.zeros(count, np.int64),
        busy=np.zeros((len(pools), BIN_SEQUENCES, BIN_TOKENS)),
        mixed=np.zeros((len(pools), BIN_MIXED, BIN_TOKENS)),
        gaps=np.zeros((2, GAP_BINS + 1)),
        served=np.zeros(len(programs.tenants)),
        weights=_weights(programs, options),
        calls=np.zeros(len(programs.tenants), np.int64),
        scratch=np.zeros(READS + 3 * SPANS_MAX),
        samples=records((SAMPLES_MAX, len(pools)), SAMPLE),
        tier_samples=np.zeros((SAMPLES_MAX, len(pools), TIERS_MAX), np.int64),
        **stack_tables([cost.table for cost in costs]),
        span_limits=limits,
        span_every=every,
    )
    _play_first(world)
    put_faults(world, options.faults)
    return world


def _pools_of_sessions(programs: Programs, pools: Sequence[Pool]) -> Integers:
    """[session] the pool of its model: by name where there are several, else the one there is."""
    if len(pools) == 1:
        return np.zeros(len(programs.program), np.int64)
    by_name = {pool.model: number for number, pool in reversed(list(enumerate(pools)))}
    by_role = {pool.name: number for number, pool in reversed(list(enumerate(pools)))}
    places: list[int] = []
    for place, name in enumerate(programs.models):
        found = by_role.get(name, by_name.get(name))
        if found is None and place < len(pools) and not set(programs.models) & (set(by_name) | set(by_role)):
            found = place  # no name is known: the first model of the workload on the first pool, and so on
        if found is None:
            raise BadRequest(
                f"the workload calls the model {name!r}, and no pool serves it; pools serve "
                f"{', '.join(sorted(by_name))}. Add one with +, or name the models as in the workload",
                param="on",
            )
        places.append(found)
    return np.array(places, np.int64)[programs.model]


def _holders(pools: Sequence[Pool]) -> Records:
    """HBM of each replica, then the tiers below, each replica's own or one for the pool."""
    lower = sum(len(pool.tiers) * pool.replicas for pool in pools)
    holders = records(1 + sum(pool.replicas for pool in pools) + lower, HOLDER)
    replica, place = 1, 1 + sum(pool.replicas for pool in pools)
    for number, pool in enumerate(pools):
        assert len(pool.tiers) <= TIERS_MAX
        shared: dict[int, int] = {}
        for _ in range(pool.replicas):
            here = holders[replica]
            here.pool = number
            here.block_tokens, here.capacity_blocks = pool.engine.block_tokens, pool.kv_blocks
            here.kv_bytes_per_token = pool.kv_bytes_per_token
            here.read_bytes_per_s = here.write_bytes_per_s = np.inf
            above = replica
            for level, tier in enumerate(pool.tiers):
                if tier.shared and level in shared:
                    holders[above].below = shared[level]
                    above = shared[level]
                    continue
                below = holders[place]
                holders[above].below, below.is_lower = place, True
                below.pool, below.level = number, level + 1
                below.shared = tier.shared
                below.block_tokens = pool.engine.block_tokens
                below.capacity_blocks = (
                    int(tier.size_bytes / pool.kv_bytes_per_token) // pool.engine.block_tokens
                )
                below.kv_bytes_per_token = pool.kv_bytes_per_token
                below.read_bytes_per_s, below.write_bytes_per_s = (
                    tier.read_bytes_per_s,
                    tier.write_bytes_per_s,
                )
                below.latency_s = tier.latency_s
                shared[level] = above = place
                place += 1
            replica += 1
    return holders[:place]


def _nodes(holders: Records, segments: int, pools: Sequence[Pool], layout: Layout) -> int:
    """Room for copies: no holder has more of them than segments, nor many more than blocks."""
    running = max(pool.engine.sequences_max for pool in pools) * (
        2 + int(layout.segments.segments.depth.max())
    )
    most = np.minimum(segments + 1, holders.capacity_blocks[1:] + running)
    needed = int(most.sum()) + 2
    if needed > NODES_MAX:
        return NODES_MAX
    return needed


def _tenant_records(programs: Programs, options: Options) -> Records:
    made = records(len(programs.tenants), TENANT)
    if options.quotas:
        made.limit = [quota or 0 for quota in options.quotas]
    return made


def _weights(programs: Programs, options: Options) -> Floats:
    weights = np.array(options.weights or [1.0] * len(programs.tenants))
    if len(weights) != len(programs.tenants) or not (weights > 0).all():
        raise BadRequest(
            f"weights {options.weights}: one above zero for each of {len(programs.tenants)} tenants",
            param="weights",
        )
    return weights


def _spans(pools: Sequence[Pool]) -> tuple[Floats, Floats]:
    limits, every = np.full((len(pools), SPANS_MAX), np.inf), np.ones((len(pools), SPANS_MAX))
    for number, pool in enumerate(pools):
        limits[number, : len(pool.spans)], every[number, : len(pool.spans)] = pool.spans.T
    return limits, every


def _clock(programs: Programs, options: Options) -> Records:
    clock = records(1, CLOCK)
    state = clock[0]
    ends = [end for end in (programs.end_s, options.end_s) if end is not None]
    state.end_s = min(ends) if ends else np.inf
    state.concurrency = programs.concurrency or 0
    state.tools_max = state.tools_free = options.tools or 0
    state.preemptions_max = options.preemptions_max
    state.on_loss = ON_LOSS.index(options.on_loss)
    state.run_steps_max = options.run_steps_max
    state.order_kind = FIRST_COME if options.first_come else ASK
    state.admit_kind = ASK if options.asks_admit else FIRST_COME
    state.retain_kind = ASK if options.asks_retain else FIRST_COME
    state.fair = options.fair
    state.quotas = any(quota is not None for quota in options.quotas)
    state.priorities = len(set(options.priorities)) > 1
    state.belief_events = options.belief_lag_s is not None
    state.belief_lag_s = options.belief_lag_s or 0.0
    state.sample_every_s = FIRST_SAMPLE_S
    return clock


def _program_records(layout: Layout, options: Options) -> Records:
    programs = layout.programs
    made = records(len(programs.arrival_s), PROGRAM)
    made.arrival_s, made.tenant = programs.arrival_s, programs.tenant
    if options.priorities:
        made.priority = np.array(options.priorities)[programs.tenant]
    numbers = np.arange(len(made))
    made.first_session = np.searchsorted(programs.program, numbers)
    made.last_session = np.searchsorted(programs.program, numbers, side="right")
    made.open_sessions = made.last_session - made.first_session
    first = np.minimum(made.first_session, len(programs.program) - 1)
    made.pool = layout.pool[first]
    made.shared_tokens = np.where(
        shares_prefix(programs, layout.pool)[first], programs.prefix_tokens[first], 0
    )
    made.began_s = made.ended_s = np.nan
    return made


def _session_records(layout: Layout) -> Records:
    programs = layout.programs
    made = records(len(programs.program), SESSION)
    made.program, made.pool = programs.program, layout.pool
    made.first_turn, made.last_turn = programs.first_turn[:-1], programs.first_turn[1:]
    made.turn = made.first_turn
    made.forked, made.parent = programs.forked, programs.parent
    made.joined = programs.joined
    made.join_turn = np.where(programs.joined, programs.first_turn[programs.parent] + programs.join_turn, 0)
    made.shared_tokens = np.where(shares_prefix(programs, layout.pool), programs.prefix_tokens, 0)
    forks = np.flatnonzero(programs.forked)
    order = forks[np.argsort(_fork_turns(programs)[forks], kind="stable")]
    after = _fork_turns(programs)[order]
    same = np.flatnonzero(after[1:] == after[:-1])
    made.next_sibling[order[same]] = order[same + 1] + 1
    return made


def _fork_turns(programs: Programs) -> Integers:
    """[session] the turn, of all, whose answer forks it; meaningless where nothing does."""
    return programs.first_turn[programs.parent] + programs.fork_turn


def _turn_records(layout: Layout) -> Records:
    programs = layout.programs
    made = records(len(programs.new_tokens), TURN)
    made.prompt, made.output = programs.prompt_tokens, programs.output_tokens
    windows = np.array([pool.window_tokens for pool in layout.pools])
    # As nobody recorded what was asked for at most, it is what `vllm serve` takes when nothing is said: what
    # the window leaves. The length of the answer itself must not be known before its end.
    made.max_output = np.maximum(1, windows[layout.pool[programs.turn_session]] - programs.prompt_tokens)
    made.leaf, made.dead_leaf = layout.segments.leaf, layout.segments.dead_leaf
    made.attempts, made.tool, made.gap_s = programs.attempts, programs.tool, programs.gap_s
    for column in ("ready_s", "started_s", "first_s", "ended_s"):
        made[column] = np.nan
    # They fall, so that the first session that a turn forks is written last.
    forks = np.flatnonzero(programs.forked)[::-1]
    made.first_child[_fork_turns(programs)[forks]] = forks + 1
    joined = np.flatnonzero(programs.joined)
    np.add.at(made.awaits, programs.first_turn[programs.parent[joined]] + programs.join_turn[joined], 1)
    return made


def _pool_records(pools: Sequence[Pool], costs: Sequence[Costs]) -> Records:
    made = records(len(pools), POOL)
    first = 0
    for here, pool, cost in zip(made, pools, costs, strict=True):
        here.first_replica, here.replicas = first, pool.replicas
        here.block_tokens, here.window_tokens = pool.engine.block_tokens, pool.window_tokens
        here.prefill_replicas, here.swaps = pool.prefill_replicas, pool.engine.swaps
        here.near_bytes_per_s = here.far_bytes_per_s = np.inf
        if cost.fabric is not None:
            here.near_bytes_per_s, here.near_s = cost.fabric.near_bytes_per_s, cost.fabric.near_s
            here.far_bytes_per_s, here.far_s = cost.fabric.far_bytes_per_s, cost.fabric.far_s
        here.spans, here.ranks = len(pool.spans), pool.ranks
        here.prefill_s_per_token = cost.prefill_s_per_token
        here.prefill_s_per_token2 = cost.prefill_s_per_token2
        here.decode_s_per_token = cost.decode_s_per_token
        here.capacity_tokens = (pool.kv_blocks - pool.sequence_blocks) * pool.engine.block_tokens
        here.output_mean = 256.0
        first += pool.replicas
    return made


def _replica_records(pools: Sequence[Pool], of_pool: Sequence[int]) -> Records:
    made = records(len(of_pool), REPLICA)
    for number, (here, place) in enumerate(zip(made, of_pool, strict=True)):
        pool = pools[place]
        here.pool, here.holder = place, number + 1
        here.sequences_max = pool.engine.sequences_max
        here.batch_tokens_max = pool.engine.batch_tokens_max
        here.sequence_blocks = pool.sequence_blocks
        here.step_s, here.slowness = pool.engine.step_s, 1.0
        here.drafts, here.step_tokens = pool.engine.draft_tokens, pool.engine.step_tokens
        here.pace, here.pace_step_s = 1.0 / here.step_tokens, here.step_s / here.step_tokens
        within = number - of_pool.index(place)
        here.domain = within * pool.chips // pool.domain_chips
        here.prefills_only = within < pool.prefill_replicas
        here.finds_prefixes = pool.engine.prefill_cache or not here.prefills_only
    return made


def _free_slots(pools: Sequence[Pool], of_pool: Sequence[int], sequences: int) -> Integers:
    free = np.zeros((len(of_pool), sequences), np.int64)
    for number, place in enumerate(of_pool):
        most = pools[place].engine.sequences_max
        free[number, :most] = np.arange(most)[::-1]
    return free


def _play_first(world: World) -> None:
    """The tournament before anything is due: the lowest index wins."""
    winners = world.winners
    for place in range(len(winners) // 2 - 1, 0, -1):
        winners[place] = winners[2 * place]
