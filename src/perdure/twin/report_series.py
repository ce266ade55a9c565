"""What a run looked like over time, over turns and over calls: the curves of its page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perdure.models.cost_compiled import Floats, Integers
from perdure.traces.programs import Programs
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_records import DONE
from perdure.twin.pool import Pool
from perdure.twin.report_time import whole_programs

POINTS_MAX = 200  # of one curve of a distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What one pool was doing, at most SAMPLES_MAX times.

    running, waiting  calls in the engines, and in their queues; outside: those whose programs wait to begin
    used_bytes        of KV in HBM that running calls need; evictable_bytes: that is only kept in case
    tiers             name and bytes held of each tier below HBM
    """

    time_s: Floats
    running: Floats
    waiting: Floats
    outside: Floats
    used_bytes: Floats
    evictable_bytes: Floats
    tiers: tuple[tuple[str, Floats], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnHits:
    """Of the calls that were the `first` to `last` of their session: the share of prompts found in caches."""

    first: int
    last: int
    calls: int
    hit_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one level of a pool's memory held of KV at most, and what went through it.

    moved_bytes  that went on to the level below; evicted_bytes: that went nowhere
    read_bytes   that calls took from here; written_bytes: that came from above
    """

    pool: str
    name: str
    capacity_bytes: float
    peak_bytes: float
    read_bytes: float
    written_bytes: float
    moved_bytes: float
    evicted_bytes: float


def timeline(world: World, pool: Pool, number: int) -> Timeline:
    """What the pool with that number was doing over time."""
    count = int(world.clock[0].samples)
    samples = world.samples[:count, number]
    block_bytes = pool.engine.block_tokens * pool.kv_bytes_per_token
    evictable = np.asarray(samples.evictable_blocks) * block_bytes
    return Timeline(
        time_s=np.array(samples.time_s),
        running=np.array(samples.running, np.float64),
        waiting=np.array(samples.waiting, np.float64),
        outside=np.array(samples.outside, np.float64),
        used_bytes=np.asarray(samples.used_blocks) * block_bytes - evictable,
        evictable_bytes=evictable,
        tiers=tuple(
            (tier.name, world.tier_samples[:count, number, level] * block_bytes)
            for level, tier in enumerate(pool.tiers)
        ),
    )


def hits_by_turn(world: World, programs: Programs) -> list[TurnHits]:
    """Hit rates of first calls, second, third and fourth, and so on by powers of two."""
    done = np.flatnonzero(world.turns.outcome == DONE)
    if not len(done):
        return []
    place = turn_numbers(programs)[done]
    octave = np.ceil(np.log2(place)).astype(np.int64)
    prompts = np.bincount(octave, weights=world.turns.prompt[done])
    cached = np.bincount(octave, weights=world.turns.cached[done])
    calls = np.bincount(octave)
    return [
        TurnHits(
            first=2 ** (power - 1) + 1 if power else 1,
            last=2**power,
            calls=int(calls[power]),
            hit_rate=float(cached[power] / prompts[power]),
        )
        for power in range(len(calls))
        if calls[power]
    ]


def turn_numbers(programs: Programs) -> Integers:
    """[turn] which call of its session it is, from 1."""
    return np.arange(len(programs.new_tokens)) - programs.first_turn[programs.turn_session] + 1


def holdings(world: World, pools: Sequence[Pool]) -> list[Holding]:
    """Every level of every pool's memory, HBM first."""
    found: list[Holding] = []
    for number, pool in enumerate(pools):
        for level, name in enumerate(("HBM", *(tier.name for tier in pool.tiers))):
            holders = world.holders[1:]
            holders = holders[(holders.pool == number) & (holders.level == level)]
            token_bytes = pool.kv_bytes_per_token
            block_bytes = pool.engine.block_tokens * token_bytes
            found.append(
                Holding(
                    pool=pool.name,
                    name=name,
                    capacity_bytes=float(holders.capacity_blocks.sum()) * block_bytes,
                    peak_bytes=float(holders.peak_blocks.sum()) * block_bytes,
                    read_bytes=float(holders.read_bytes.sum()),
                    written_bytes=float(holders.written_bytes.sum()),
                    moved_bytes=float(holders.moved_tokens.sum()) * token_bytes,
                    evicted_bytes=float(holders.evicted_tokens.sum()) * token_bytes,
                )
            )
    return found


def samples_of(world: World) -> dict[str, Floats]:
    """The values whose distributions are shown, by the names of their summaries."""
    turns, programs = world.turns, world.programs
    done = turns.outcome == DONE
    spread = done & (turns.output > 1)
    whole = whole_programs(world)
    return {
        "ttft_s": np.asarray(turns.first_s - turns.ready_s)[done],
        "tpot_s": np.asarray((turns.ended_s - turns.first_s) / np.maximum(1, turns.output - 1))[spread],
        "jct_s": np.asarray(programs.ended_s - programs.began_s)[whole],
    }


def cumulative(values: Floats) -> tuple[Floats, Floats]:
    """The value that each share of `values` does not exceed, and the shares: every one, or POINTS_MAX."""
    ordered = np.sort(values)
    shares = np.arange(1, len(ordered) + 1) / len(ordered)
    if len(ordered) <= POINTS_MAX:
        return ordered, shares
    places = np.unique(np.linspace(0, len(ordered) - 1, POINTS_MAX).round().astype(np.int64))
    return ordered[places], shares[places]
