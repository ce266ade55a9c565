"""What a run of the twin came to: times, tokens, bytes, joules and money, and their ranges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perdure.models.cost_compiled import Floats
from perdure.silicon.ranges import range_of
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_records import DONE, OUTCOMES
from perdure.twin.pool import Costs, Pool, Provenance

QUANTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """What faults and restarts did to a run; None of a run in which there were none.

    availability     of replicas: part of the time that they were there, all together
    rerouted         calls that were sent anew because their replica broke or was emptied
    lost_kv_tokens   of contexts that running calls had on replicas that broke
    extra            by figure, how much more it came to than without faults; {} where that was not run
    """

    availability: float
    rerouted: int
    lost_kv_tokens: int
    extra: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run, or the mid draw of several; `ranges` by the names of `figures_of`, of those that differ.

    requests    calls that got their whole answer; turns: calls that were made
    programs    that ended with every call answered; of `programs_all`
    outcomes    how many turns ended in which way, those that did not end as asked
    jct_s       from a program's start until its last session is over; ttft_s from a call until its first
                token; tpot_s between tokens of one answer; e2e_s from a call until its last token
    None        where nothing was measured: nobody finished, or the chip's power or rent is not known
    """

    requests: int
    turns: int
    programs: int
    programs_all: int
    output_tokens: int
    prompt_tokens: int
    cached_tokens: int
    loaded_tokens: int
    moved_bytes: float
    prefill_tokens_computed: int
    simulated_s: float
    jct_s: Mapping[str, float | None]
    ttft_s: Mapping[str, float | None]
    tpot_s: Mapping[str, float | None]
    e2e_s: Mapping[str, float | None]
    prefix_hit_rate: float | None
    kv_peak_bytes: float
    kv_capacity_bytes: float
    tier_peak_bytes: float
    preemptions: int
    deadlocks: int
    outcomes: Mapping[str, int]
    energy_j: float | None
    money_usd: float | None
    busy_share: float
    failures: Failures | None
    provenance: tuple[Provenance, ...]
    ranges: Mapping[str, tuple[float, float]]


def result_of(
    world: World, pools: Sequence[Pool], costs: Sequence[Costs], rents: Sequence[float | None]
) -> Result:
    """The figures of one run; `rents` are dollars for a chip and hour of each pool, in the same draw."""
    turns, programs = world.turns, world.programs
    ended = turns.outcome == DONE
    reached = ~np.isnan(turns.ready_s)
    simulated_s = float(world.clock[0].now_s)
    whole = (programs.open_sessions == 0) & (programs.failed == 0) & ~np.isnan(programs.ended_s)
    prompt, cached = int(turns.prompt[ended].sum()), int(turns.cached[ended].sum())
    spread = ended & (turns.output > 1)
    holders = world.holders[1 : 1 + len(world.replicas)]
    peak = float((holders.peak_blocks * holders.block_tokens * holders.kv_bytes_per_token).sum())
    lower = world.holders[1 + len(world.replicas) :]
    busy_s = float(world.replicas.busy_s.sum())
    return Result(
        requests=int(ended.sum()),
        turns=int(reached.sum()),
        programs=int(whole.sum()),
        programs_all=len(programs),
        output_tokens=int(turns.output[ended].sum()),
        prompt_tokens=prompt,
        cached_tokens=cached,
        loaded_tokens=int(turns.loaded[ended].sum()),
        moved_bytes=float(world.replicas.received_bytes.sum()),
        prefill_tokens_computed=int(world.replicas.computed_tokens.sum()),
        simulated_s=simulated_s,
        jct_s=summary((programs.ended_s - programs.began_s)[whole]),
        ttft_s=summary((turns.first_s - turns.ready_s)[ended]),
        tpot_s=summary(((turns.ended_s - turns.first_s) / np.maximum(1, turns.output - 1))[spread]),
        e2e_s=summary((turns.ended_s - turns.ready_s)[ended]),
        prefix_hit_rate=cached / prompt if prompt else None,
        kv_peak_bytes=peak,
        kv_capacity_bytes=float(
            (holders.capacity_blocks * holders.block_tokens * holders.kv_bytes_per_token).sum()
        ),
        tier_peak_bytes=float((lower.peak_blocks * lower.block_tokens * lower.kv_bytes_per_token).sum()),
        preemptions=int(world.replicas.preemptions.sum()),
        deadlocks=int(world.clock[0].deadlocks),
        outcomes={
            name: int((turns.outcome[reached] == number).sum())
            for number, name in enumerate(OUTCOMES)
            if number != DONE and (turns.outcome[reached] == number).any()
        },
        energy_j=_energy_j(world, pools, costs, simulated_s),
        money_usd=_money_usd(pools, rents, simulated_s),
        busy_share=busy_s / (simulated_s * len(world.replicas)) if simulated_s else 0.0,
        failures=_failures(world, simulated_s),
        provenance=tuple(dict.fromkeys(one for pool in pools for one in pool.provenance)),
        ranges={},
    )


def summary(values: Floats) -> dict[str, float | None]:
    """Mean and quantiles."""
    if not len(values):
        return dict.fromkeys(("mean", *QUANTILES))
    found = np.percentile(values, list(QUANTILES.values()))
    return {"mean": float(values.mean()), **dict(zip(QUANTILES, (float(one) for one in found), strict=True))}


def figures_of(result: Result) -> dict[str, float]:
    """Every figure that may be a range, by its name: `jct_s.p95`, `energy_j`."""
    figures: dict[str, float] = {}
    for name in ("jct_s", "ttft_s", "tpot_s", "e2e_s"):
        values: Mapping[str, float | None] = getattr(result, name)
        figures |= {f"{name}.{part}": value for part, value in values.items() if value is not None}
    for name in (
        "simulated_s",
        "prefix_hit_rate",
        "prefill_tokens_computed",
        "kv_peak_bytes",
        "energy_j",
        "money_usd",
        "requests",
        "programs",
        "output_tokens",
    ):
        value = getattr(result, name)
        if value is not None:
            figures[name] = float(value)
    return figures


def with_extra(result: Result, without: Result) -> Result:
    """`result` with how much more its times came to than in the same run without faults."""
    assert result.failures is not None
    mine, theirs = figures_of(result), figures_of(without)
    extra = {
        name: mine[name] - theirs[name]
        for name in sorted(mine.keys() & theirs.keys())
        if name.split(".")[0].endswith("_s")
    }
    return replace(result, failures=replace(result.failures, extra=extra))


def _failures(world: World, simulated_s: float) -> Failures | None:
    clock, replicas = world.clock[0], world.replicas
    if clock.faults == 0:
        return None
    open_s = np.where(replicas.broken > 0, simulated_s - replicas.down_at_s, 0.0)
    down_s = float((replicas.down_s + open_s).sum())
    return Failures(
        availability=1.0 - down_s / (simulated_s * len(replicas)) if simulated_s else 1.0,
        rerouted=int((world.turns.rerouted > 0).sum()),
        lost_kv_tokens=int(clock.lost_tokens),
        extra={},
    )


def with_ranges(mid: Result, drawn: Sequence[Result]) -> Result:
    """`mid` with what its figures came to in the draws."""
    if not drawn:
        return mid
    mids, others = figures_of(mid), [figures_of(one) for one in drawn]
    ranges: dict[str, tuple[float, float]] = {}
    for name, value in mids.items():
        found = range_of(value, [other[name] for other in others if name in other])
        if found.guessed:
            ranges[name] = (found.low, found.high)
    return replace(mid, ranges=ranges)


def _energy_j(
    world: World, pools: Sequence[Pool], costs: Sequence[Costs], simulated_s: float
) -> float | None:
    """Idle power all the time, and the rest while chips are as busy as the logged batches make them."""
    total = 0.0
    for number, (pool, cost) in enumerate(zip(pools, costs, strict=True)):
        if cost.power is None:
            return None
        busy_s = float((world.busy[number] * pool.busy_share).sum())
        busy_s += float((world.mixed[number] * pool.mixed_share).sum())
        total += cost.power.idle_w * pool.replicas * simulated_s + cost.power.busy_w * busy_s
    return total


def _money_usd(pools: Sequence[Pool], rents: Sequence[float | None], simulated_s: float) -> float | None:
    """The rent of all chips for the whole run, whether they had work or not."""
    total = 0.0
    for pool, rent in zip(pools, rents, strict=True):
        if rent is None:
            return None
        total += rent * pool.chips * pool.replicas * simulated_s / SECONDS_PER_HOUR
    return total
