"""Made-up fleets for tests of the twin: prices that can be followed on paper, and engines of any size."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perdure.models.batch import Span
from perdure.models.cost_compiled import arrays_of
from perdure.models.cost_table import CostTable, Limits
from perdure.scheduling.policies import Bundle, named
from perdure.silicon.table import Curve, Grid, curve_through, surface_through
from perdure.traces.programs import Programs
from perdure.twin.kernel_arrays import FIELDS, World
from perdure.twin.pool import Costs, Engine, Pool, Tier
from perdure.twin.simulate import Policies, simulate
from perdure.twin.world import Options, lay_out

# Powers of two: sums of them are exact, whatever their order.
STEP_S = 2.0**-6
TOKEN_S = 2.0**-12
DECODE_S = 2.0**-10
READ_S = 2.0**-18
PAIR_S = 2.0**-20  # of a prompt's token that looks at one cached token

_GRID = Grid(4, 4096)


def table(*, read_s: float = READ_S, spans: tuple[Span, ...] = (Span(),)) -> CostTable:
    """A step takes STEP_S; each token, each decode, and each entry that a decode reads, so much more."""
    rows = [[sequences * context * read_s for context in _GRID.knots] for sequences in _GRID.knots]
    pairs = [[cached * PAIR_S for cached in _GRID.knots] for _ in _GRID.knots]
    return CostTable(
        limits=Limits(tokens=4096, sequences=4096, context_tokens=4096),
        spans=spans,
        ranks=1,
        software_s=STEP_S,
        by_tokens=_line(TOKEN_S),
        by_all_tokens=_line(0.0),
        by_head_rows=_line(0.0),
        by_decodes=_line(DECODE_S),
        by_prompt_tokens=_line(0.0),
        decode_sight=tuple(surface_through(_GRID, _GRID, rows) for _ in spans),
        prompt_s=surface_through(_GRID, _GRID, pairs),
    )


def _line(slope: float) -> Curve:
    return curve_through(_GRID, [slope * knot for knot in _GRID.knots])


def pool(
    *,
    name: str = "model",
    blocks: int = 64,
    block_tokens: int = 4,
    sequences: int = 4,
    batch: int = 16,
    replicas: int = 1,
    window: int = 100_000,
    sequence_tokens: int = 0,
    tiers: tuple[Tier, ...] = (),
    costs: CostTable | None = None,
) -> Pool:
    """A pool of engines with so many blocks each; a byte a token."""
    priced = costs or table()
    spans = [
        (np.inf if one.limit_entries is None else one.limit_entries, one.every_tokens) for one in priced.spans
    ]
    return Pool(
        name=name,
        model=name,
        hardware="made up",
        chips=1,
        replicas=replicas,
        ranks=1,
        engine=Engine(sequences_max=sequences, batch_tokens_max=batch, block_tokens=block_tokens),
        spans=np.array(spans, np.float64).reshape(-1, 2),
        kv_tokens=blocks * block_tokens,
        kv_bytes_per_token=1.0,
        sequence_tokens=sequence_tokens,
        window_tokens=window,
        mid=Costs(
            table=arrays_of(priced),
            prefill_s_per_token=TOKEN_S,
            prefill_s_per_token2=0.0,
            decode_s_per_token=STEP_S,
            power=None,
        ),
        draws=(),
        busy_share=np.zeros((13, 21)),
        mixed_share=np.zeros((18, 21)),
        usd_per_chip_h=None,
        usd_per_j=None,
        tiers=tiers,
    )


def tier(
    *,
    name: str = "host",
    blocks: int = 64,
    block_tokens: int = 4,
    bytes_per_s: float = 1e6,
    shared: bool = False,
) -> Tier:
    """Memory below HBM with room for so many blocks."""
    return Tier(
        name=name,
        size_bytes=blocks * block_tokens,
        read_bytes_per_s=bytes_per_s,
        write_bytes_per_s=bytes_per_s,
        latency_s=0.0,
        shared=shared,
    )


STOCK = Bundle(order="fcfs", place="least_load", admit="all", retain="lru")


def policies(**names: str) -> Policies:
    """The stock policies, or others by name."""
    chosen = replace(STOCK, **names)
    return Policies(
        order=named("order", chosen.order),
        place=named("place", chosen.place),
        admit=named("admit", chosen.admit),
        retain=named("retain", chosen.retain),
    )


def play(programs: Programs, pools: list[Pool], chosen: Policies | None = None, **options: Any) -> World:
    """Run a workload; what is asked follows from the policies."""
    decided = chosen or policies()
    asked = Options(
        first_come=decided.first_come, asks_admit=decided.asks_admit, asks_retain=decided.asks_retain
    )
    return simulate(lay_out(programs, pools), decided, replace(asked, **options))


def column(world: World, name: str) -> NDArray[Any]:
    """One column of the turns' outcomes."""
    return np.array(world.turns[name])


def digest(world: World) -> str:
    """Of every number of a world; what lies between the fields of a record is nobody's."""
    found = sha256()
    for name in FIELDS:
        array = np.asarray(getattr(world, name))
        for field in array.dtype.names or ():
            found.update(np.ascontiguousarray(array[field]).tobytes())
        if array.dtype.names is None:
            found.update(array.tobytes())
    return found.hexdigest()
