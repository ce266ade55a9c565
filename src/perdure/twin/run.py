"""A whole run as asked for: workload, pools, policies, and as many draws of the guesses as are wanted."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import cast

from perdure.clock import Clock
from perdure.config import writable_folder
from perdure.errors import BadRequest
from perdure.silicon.price_rent import Rent
from perdure.silicon.ranges import ALL_DRAWS, Range
from perdure.traces.programs import Programs
from perdure.twin.kernel_arrays import World
from perdure.twin.pool import Costs, Pool
from perdure.twin.pool_store import digest, store_pool, stored_pool
from perdure.twin.result import Result, result_of, with_extra, with_ranges
from perdure.twin.simulate import Policies, run_world
from perdure.twin.world import Layout, Options, lay_out, make_world

DRAWS_MIN = 32
POOLS_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run's result, and its world in the mid draw for whoever looks closer.

    kernel_s  what the compiled kernel took for the mid draw
    """

    layout: Layout
    world: World
    result: Result
    kernel_s: float


def read_pools(text: str, *, rents: Mapping[str, Rent], folder: Path) -> list[Pool]:
    """The pools that `text` means, from the cache where they were made before."""
    kept = writable_folder(folder)
    pools: list[Pool] = []
    parts = [part.strip() for part in text.split("+")]
    if len(parts) > POOLS_MAX:
        raise BadRequest(f"a run has at most {POOLS_MAX} pools, not {len(parts)}", param="on")
    for part in parts:
        name = digest((part,), rents)
        pool = stored_pool(kept, name)
        if pool is None:
            # Reading the catalogue and pricing a model takes a second; what is kept needs none of it.
            pool = cast(Pool, import_module("perdure.twin.pool_make").make_pool(part, rents))
            store_pool(pool, kept, name)
        pools.append(pool)
    return pools


def run(
    programs: Programs,
    pools: Sequence[Pool],
    policies: Policies,
    options: Options,
    *,
    clock: Clock,
    draws: int = DRAWS_MIN,
    threads: int = 1,
    on_progress: Callable[[World], None] | None = None,
    on_draw: Callable[[int], None] | None = None,
) -> Run:
    """Simulate the mid draw, and `draws` others where figures are guessed."""
    if draws and not DRAWS_MIN <= draws <= len(ALL_DRAWS):
        raise BadRequest(f"--draws {draws}: 0, or from {DRAWS_MIN} to {len(ALL_DRAWS)}", param="draws")
    layout = lay_out(programs, pools)
    mids = [pool.mid for pool in pools]
    world = make_world(layout, options, mids)
    functions = policies.compiled()
    begun_s = clock.monotonic_s()
    run_world(world, functions, on_progress=on_progress)
    kernel_s = clock.monotonic_s() - begun_s
    mid_rents = [_rent(pool.usd_per_chip_h, None) for pool in pools]
    result = result_of(world, pools, mids, mid_rents)
    if options.faults:
        unharmed = run_world(make_world(layout, replace(options, faults=()), mids), functions)
        result = with_extra(result, result_of(unharmed, pools, mids, mid_rents))
    guessed = any(pool.draws for pool in pools)
    numbers = range(draws) if guessed or _rents_differ(pools) else range(0)

    def in_draw(number: int) -> Result:
        costs = [_drawn(pool, number) for pool in pools]
        rents = [_rent(pool.usd_per_chip_h, number) for pool in pools]
        # Where only rents are guessed, the run is the one there is.
        ran = run_world(make_world(layout, options, costs), functions) if guessed else world
        found = result_of(ran, pools, costs, rents)
        if on_draw is not None:
            on_draw(number)
        return found

    with ThreadPoolExecutor(threads) as workers:
        drawn = list(workers.map(in_draw, numbers))
    return Run(layout=layout, world=world, result=with_ranges(result, drawn), kernel_s=kernel_s)


def _drawn(pool: Pool, number: int) -> Costs:
    return pool.draws[number] if pool.draws else pool.mid


def _rents_differ(pools: Sequence[Pool]) -> bool:
    return any(pool.usd_per_chip_h is not None and pool.usd_per_chip_h.guessed for pool in pools)


def _rent(rent: Range | None, number: int | None) -> float | None:
    """Dollars for a chip and hour in one draw."""
    if rent is None:
        return None
    return rent.mid if number is None else rent.at(ALL_DRAWS[number].luck("rent"))
