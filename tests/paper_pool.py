"""A pool whose every cost can be reckoned on paper, and what must hold of a world at its end."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from perdure.models.batch import Span
from perdure.models.cost_compiled import arrays_of
from perdure.models.cost_table import CostTable, Limits
from perdure.scheduling.policies import named
from perdure.silicon.table import Curve, Grid, curve_through, surface_through
from perdure.traces.programs import Programs
from perdure.traces.sessions import ProgramsBuilder, Turn
from perdure.twin.kernel_arrays import World
from perdure.twin.pool import Costs, Engine, Fabric, Pool
from perdure.twin.simulate import Policies, simulate
from perdure.twin.world import Options, lay_out

STEP_S, TOKEN_S = 0.010, 0.0001  # of every step, and of every token in it
KV_BYTES = 1e6  # of a token
LINK_BYTES_PER_S, LINK_S = 1e10, 0.010  # of a replica: a hundred microseconds for a token
BLOCK_TOKENS = 16


def paper_pool(
    *, replicas: int = 1, prefill_replicas: int = 0, kv_tokens: int = 1_000_000, engine: Engine | None = None
) -> Pool:
    """Replicas on which a step takes `STEP_S` and `TOKEN_S` for each token, whatever the contexts."""
    there = engine or Engine(sequences_max=64, batch_tokens_max=8192, block_tokens=BLOCK_TOKENS)
    fabric = Fabric(
        near_bytes_per_s=LINK_BYTES_PER_S,
        near_s=LINK_S,
        far_bytes_per_s=LINK_BYTES_PER_S / 10,
        far_s=10 * LINK_S,
    )
    costs = Costs(
        table=arrays_of(_table()),
        prefill_s_per_token=TOKEN_S,
        prefill_s_per_token2=0.0,
        decode_s_per_token=STEP_S,
        power=None,
        fabric=fabric,
    )
    return Pool(
        name="paper",
        model="paper",
        hardware="paper",
        chips=1,
        replicas=replicas,
        ranks=1,
        engine=there,
        spans=np.array([[np.inf, 1.0]]),
        kv_tokens=kv_tokens,
        kv_bytes_per_token=KV_BYTES,
        sequence_tokens=0,
        window_tokens=2**31,
        mid=costs,
        draws=(),
        busy_share=np.zeros((13, 21)),
        mixed_share=np.zeros((18, 21)),
        usd_per_chip_h=None,
        usd_per_j=None,
        prefill_replicas=prefill_replicas,
        domain_chips=1024,
    )


def _table() -> CostTable:
    grid, few = Grid(2, 4), Grid(2, 4)
    nothing = surface_through(few, few, [[0.0] * len(few.knots)] * len(few.knots))

    def line(slope: float) -> Curve:
        return curve_through(grid, [slope * knot for knot in grid.knots])

    return CostTable(
        limits=Limits(),
        spans=(Span(),),
        ranks=1,
        software_s=STEP_S,
        by_tokens=line(TOKEN_S),
        by_all_tokens=line(0.0),
        by_head_rows=line(0.0),
        by_decodes=line(0.0),
        by_prompt_tokens=line(0.0),
        decode_sight=(nothing,),
        prompt_s=nothing,
    )


def calls(*lengths: tuple[int, int], arrival_s: Callable[[int], float] = lambda _: 0.0) -> Programs:
    """A program for each (prompt, answer), of one call."""
    builder = ProgramsBuilder()
    for number, (prompt, answer) in enumerate(lengths):
        builder.program(arrival_s(number))
        session = builder.session("paper")
        builder.turn(
            session, Turn(kept_tokens=0, new_tokens=prompt, output_tokens=answer, gap_s=0.0, tool=False)
        )
    return builder.build()


def conversation(*lengths: tuple[int, int], gap_s: float = 1.0) -> Programs:
    """One session of calls, each of (new tokens, answer) behind all that came before."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    session = builder.session("paper")
    kept = 0
    for number, (new, answer) in enumerate(lengths):
        gap = gap_s if number else 0.0
        builder.turn(session, Turn(kept_tokens=kept, new_tokens=new, output_tokens=answer, gap_s=gap))
        kept += new + answer
    return builder.build()


def stock(**others: str) -> Policies:
    """First come, first served, at the least loaded replica; or the policies that are named."""
    names = {"order": "fcfs", "place": "least_load", "admit": "all", "retain": "lru", **others}
    return Policies(**{kind: named(kind, name) for kind, name in names.items()})  # pyright: ignore


def simulated(programs: Programs, *pools: Pool, options: Options | None = None, **others: str) -> World:
    """The world after a run."""
    policies = stock(**others)
    chosen = replace(
        options or Options(),
        first_come=policies.first_come,
        asks_admit=policies.asks_admit,
        asks_retain=policies.asks_retain,
    )
    return simulate(lay_out(programs, pools), policies, chosen)


def check_ended(world: World) -> None:
    """Nobody runs or waits, every block used is that of a copy, and every copy may be evicted."""
    assert not world.replicas.running.any()
    assert not world.replicas.waiting.any()
    assert not world.replicas.decoding.any()
    assert not world.replicas.sent_running.any()
    assert not world.replicas.sent_waiting.any()
    assert np.allclose(world.replicas.sent_context, 0.0)
    assert np.allclose(world.replicas.sent_uncached, 0.0)
    assert not world.phases.any()
    assert (world.holders.peak_blocks <= world.holders.capacity_blocks).all()
    blocks = np.zeros(len(world.holders), np.int64)
    for segment in range(1, len(world.segments)):
        node = int(world.segments[segment].first_node)
        while node:
            here = world.nodes[node]
            assert here.uses == 0
            base = int(world.segments[segment].begin)
            blocks[here.holder] += max(0, -(-int(here.end) // BLOCK_TOKENS) - base // BLOCK_TOKENS)
            node = int(here.next_node)
    assert (blocks == world.holders.used_blocks).all()
    assert (blocks == world.holders.evictable_blocks).all()
