"""What a report says of a run in numbers, beyond its result; page and JSON take it from here."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perdure.traces.programs import Programs
from perdure.twin.kernel_arrays import World
from perdure.twin.pool import Pool
from perdure.twin.report_endings import Endings, endings_of
from perdure.twin.report_series import Holding, TurnHits, hits_by_turn, holdings
from perdure.twin.report_tables import PoolRow, TenantRow, pool_rows, tenant_rows
from perdure.twin.report_time import PARTS, Group, groups_of, job_times


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run (the mid draw) from close by.

    groups  where the time of jobs went, all of them first; empty where no program ended whole
    """

    endings: Endings
    groups: Sequence[Group]
    hits: Sequence[TurnHits]
    holdings: Sequence[Holding]
    pools: Sequence[PoolRow]
    tenants: Sequence[TenantRow]


def report_of(world: World, programs: Programs, pools: Sequence[Pool]) -> Report:
    """Look closer at a run that has ended."""
    return Report(
        endings=endings_of(world),
        groups=groups_of(job_times(world, programs)),
        hits=hits_by_turn(world, programs),
        holdings=holdings(world, pools),
        pools=pool_rows(world, pools),
        tenants=tenant_rows(world, programs),
    )


def report_json(report: Report) -> dict[str, Any]:
    """The same for programs."""
    return {
        "endings": asdict(report.endings),
        "job_time_s": [
            {
                "title": group.title,
                "jobs": group.jobs,
                "jct_s": group.jct_s,
                "seconds": dict(zip(PARTS, group.seconds, strict=True)),
            }
            for group in report.groups
        ],
        "hits_by_turn": [asdict(hits) for hits in report.hits],
        "kv_levels": [asdict(holding) for holding in report.holdings],
        "pools": [asdict(pool) for pool in report.pools],
        "tenants": [asdict(tenant) for tenant in report.tenants],
    }
