"""What a run came to for each pool and each tenant."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perdure.models.cost_compiled import Floats, Integers
from perdure.traces.programs import Programs
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_records import DONE
from perdure.twin.pool import Pool
from perdure.twin.report_time import whole_programs

TENANTS_MAX = 50  # shown: those with the most calls


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow:
    """What one pool did; times as medians and what 95 in 100 calls do not exceed."""

    name: str
    hardware: str
    model: str
    chips: int
    replicas: int
    calls: int
    output_tokens: int
    prefix_hit_rate: float | None
    ttft_s_p50: float | None
    ttft_s_p95: float | None
    tpot_s_p50: float | None
    tpot_s_p95: float | None
    kv_peak_bytes: float
    kv_capacity_bytes: float
    preemptions: int
    busy_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRow:
    """What one tenant had."""

    name: str
    programs: int
    programs_all: int
    calls: int
    output_tokens: int
    jct_s_p50: float | None
    jct_s_p95: float | None
    ttft_s_p50: float | None
    ttft_s_p95: float | None


def pool_rows(world: World, pools: Sequence[Pool]) -> list[PoolRow]:
    """One row for each pool."""
    turns = world.turns
    of_turn = np.repeat(world.sessions.pool, world.sessions.last_turn - world.sessions.first_turn)
    now_s = float(world.clock[0].now_s)
    found: list[PoolRow] = []
    for number, pool in enumerate(pools):
        done = (of_turn == number) & (turns.outcome == DONE)
        spread = done & (turns.output > 1)
        replicas = world.replicas[world.replicas.pool == number]
        holders = world.holders[replicas.holder]
        block_bytes = pool.engine.block_tokens * pool.kv_bytes_per_token
        prompts = int(turns.prompt[done].sum())
        ttft_p50, ttft_p95 = _p50_p95((turns.first_s - turns.ready_s)[done])
        tokens = np.maximum(1, turns.output - 1)
        tpot_p50, tpot_p95 = _p50_p95(((turns.ended_s - turns.first_s) / tokens)[spread])
        found.append(
            PoolRow(
                name=pool.name,
                hardware=pool.hardware,
                model=pool.model,
                chips=pool.chips,
                replicas=pool.replicas,
                calls=int(done.sum()),
                output_tokens=int(turns.output[done].sum()),
                prefix_hit_rate=int(turns.cached[done].sum()) / prompts if prompts else None,
                ttft_s_p50=ttft_p50,
                ttft_s_p95=ttft_p95,
                tpot_s_p50=tpot_p50,
                tpot_s_p95=tpot_p95,
                kv_peak_bytes=float(holders.peak_blocks.sum()) * block_bytes,
                kv_capacity_bytes=float(holders.capacity_blocks.sum()) * block_bytes,
                preemptions=int(replicas.preemptions.sum()),
                busy_share=float(replicas.busy_s.sum()) / (now_s * len(replicas)) if now_s else 0.0,
            )
        )
    return found


def tenant_rows(world: World, programs: Programs) -> list[TenantRow]:
    """One row for each tenant, those with the most calls first, TENANTS_MAX at most."""
    turns, count = world.turns, len(programs.tenants)
    done = np.flatnonzero(turns.outcome == DONE)
    calls = _by_tenant(programs.tenant[programs.program[programs.turn_session[done]]], done, count)
    whole = whole_programs(world)
    jobs = _by_tenant(programs.tenant[whole], whole, count)
    programs_all = np.bincount(programs.tenant, minlength=count)
    ttft_s = np.asarray(turns.first_s - turns.ready_s)
    jct_s = np.asarray(world.programs.ended_s - world.programs.began_s)
    most = sorted(range(count), key=lambda number: -len(calls[number]))[:TENANTS_MAX]
    found: list[TenantRow] = []
    for number in most:
        jct_p50, jct_p95 = _p50_p95(jct_s[jobs[number]])
        ttft_p50, ttft_p95 = _p50_p95(ttft_s[calls[number]])
        found.append(
            TenantRow(
                name=programs.tenants[number],
                programs=len(jobs[number]),
                programs_all=int(programs_all[number]),
                calls=len(calls[number]),
                output_tokens=int(turns.output[calls[number]].sum()),
                jct_s_p50=jct_p50,
                jct_s_p95=jct_p95,
                ttft_s_p50=ttft_p50,
                ttft_s_p95=ttft_p95,
            )
        )
    return found


def _by_tenant(tenant: Integers, places: Integers, count: int) -> list[Integers]:
    """[tenant] those of `places` that are its own, in their order."""
    order = np.argsort(tenant, kind="stable")
    return np.split(places[order], np.cumsum(np.bincount(tenant, minlength=count))[:-1])


def _p50_p95(values: Floats) -> tuple[float | None, float | None]:
    if not len(values):
        return None, None
    low, high = np.percentile(values, [50.0, 95.0])
    return float(low), float(high)
