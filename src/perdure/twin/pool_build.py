"""A deployment as a pool: its cost model sampled, the room for KV, and how busy its chips are."""

from collections.abc import Sequence

import numpy as np

from perdure.errors import BadRequest
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost_compiled import arrays_of
from perdure.models.cost_sample import Sample
from perdure.models.cost_table import CostTable, Limits
from perdure.models.memory import memory_of
from perdure.silicon.price import Machine
from perdure.silicon.ranges import DRAWS, over_draws
from perdure.twin.deployment import Deployment
from perdure.twin.fabric import domain_chips, fabric_of, node_chips, rails_of
from perdure.twin.kernel_records import BIN_MIXED, BIN_SEQUENCES, BIN_TOKENS
from perdure.twin.pool import Costs, Engine, Fabric, Pool, Power, Provenance, Tier
from perdure.units import bytes_text

# What `vllm serve` takes when nothing is said: more on chips of 70 GiB and more
# (vllm/engine/arg_utils.py, `get_batch_defaults`, of vLLM 0.11 and later).
LARGE_MEMORY_BYTES = 70 * 2**30
LARGE, SMALL = (1024, 8192), (256, 2048)

SPANS_MAX = 8
CONTEXTS = (65_536, 131_072)  # between which the growth of KV is measured
SHORT_PROMPT, LONG_PROMPT = 1024, 16_384
USUAL_DECODES, USUAL_CONTEXT = 32, 4096


def default_engine(deployment: Deployment) -> Engine:
    """The engine's settings when nothing is said."""
    large = deployment.chip.figure("memory_bytes").mid >= LARGE_MEMORY_BYTES
    sequences, tokens = LARGE if large else SMALL
    return Engine(sequences_max=sequences, batch_tokens_max=tokens)


def pool_of(
    deployment: Deployment,
    *,
    name: str,
    replicas: int,
    engine: Engine,
    tiers: Sequence[Tier] = (),
    draws: int = DRAWS,
    prefill_replicas: int = 0,
) -> Pool:
    """`replicas` of a deployment, in so many draws; BadRequest where one cannot hold model and context."""
    instance = deployment.instance
    reach = max(engine.batch_tokens_max, SHORT_PROMPT)
    sample = Sample(instance, Limits(tokens=reach, draft_tokens=engine.draft_tokens))
    table = sample.table()
    spans = np.array(
        [
            (np.inf if span.limit_entries is None else span.limit_entries, span.every_tokens)
            for span in table.spans
        ],
        dtype=np.float64,
    ).reshape(-1, 2)
    assert len(spans) <= SPANS_MAX, "no model sees in more ways"
    kv_tokens, bytes_per_token, sequence_tokens = _room(deployment, engine)
    power = instance.hardware.mid.chip.power_w is not None
    tables = sample.tables(draws)
    machines = instance.hardware.drawn[: len(tables)]
    electricity = deployment.electricity
    joined = replicas if prefill_replicas else 0

    def costs(table: CostTable, machine: Machine) -> Costs:
        return _costs(deployment, table, machine, power, fabric=fabric_of(deployment, machine, joined))

    return Pool(
        name=name,
        model=deployment.model.short_id,
        hardware=deployment.hardware,
        chips=deployment.chips,
        replicas=replicas,
        ranks=table.ranks,
        engine=engine,
        spans=spans,
        kv_tokens=kv_tokens,
        kv_bytes_per_token=bytes_per_token,
        sequence_tokens=sequence_tokens,
        window_tokens=_window(deployment),
        mid=costs(table, instance.hardware.mid),
        draws=tuple(costs(drawn, machine) for drawn, machine in zip(tables, machines, strict=True)),
        busy_share=_busy_share(deployment, engine.draft_tokens),
        mixed_share=_mixed_share(deployment),
        usd_per_chip_h=deployment.rent.usd_per_h if deployment.rent else None,
        usd_per_j=over_draws(electricity.usd_per_j, guessed=True) if electricity else None,
        tiers=tuple(tiers),
        provenance=_provenance(deployment),
        prefill_replicas=prefill_replicas,
        domain_chips=domain_chips(instance.hardware.mid.rack),
        node_chips=node_chips(instance.hardware.mid.rack),
        rails=rails_of(deployment, _usual(engine.draft_tokens)),
    )


def _window(deployment: Deployment) -> int:
    window = deployment.model.figures.get("window_tokens")
    return int(window.mid) if window else 2**31


def _costs(
    deployment: Deployment, table: CostTable, machine: Machine, power: bool, *, fabric: Fabric | None
) -> Costs:
    """One draw's costs, with the rules of thumb that policies are told."""
    short_s, long_s = (table.seconds(_sums(deployment, tokens)) for tokens in (SHORT_PROMPT, LONG_PROMPT))
    slope, squared = _line(short_s / SHORT_PROMPT, long_s / LONG_PROMPT)
    drafts = table.limits.draft_tokens
    decodes = _usual(drafts)
    step_s = table.seconds(deployment.instance.lowering.sums(decodes))
    chip, chips = machine.chip, deployment.chips
    idle_w = chip.idle_power_w or 0.0
    return Costs(
        table=arrays_of(table),
        prefill_s_per_token=slope,
        prefill_s_per_token2=squared,
        decode_s_per_token=step_s / USUAL_DECODES,
        power=Power(idle_w=idle_w * chips, busy_w=((chip.power_w or 0.0) - idle_w) * chips)
        if power
        else None,
        fabric=fabric,
    )


def _usual(draft_tokens: int) -> Batch:
    """A batch of some decodes of a usual length."""
    decode = Decode(context_tokens=USUAL_CONTEXT, count=USUAL_DECODES, draft_tokens=draft_tokens)
    return Batch(decodes=(decode,))


def _sums(deployment: Deployment, tokens: int):
    return deployment.instance.lowering.sums(Batch(prefills=(Prefill(new_tokens=tokens),)))


def _line(short: float, long: float) -> tuple[float, float]:
    squared = max(0.0, (long - short) / (LONG_PROMPT - SHORT_PROMPT))
    return max(short - squared * SHORT_PROMPT, short / 2), squared


def _room(deployment: Deployment, engine: Engine) -> tuple[int, float, int]:
    """Tokens of KV that a replica holds, bytes of one on all chips, and what a running call takes beside."""
    lowering, ranks = deployment.instance.lowering, deployment.parallel.dp
    available = deployment.instance.memory(Batch()).available_bytes

    def at(context: float) -> tuple[float, float]:
        memory = memory_of(
            lowering, Batch(decodes=(Decode(context_tokens=context),)), available_bytes=available
        )
        return memory.kv_bytes, memory.state_bytes

    (near, state), (far, _) = (at(float(context)) for context in CONTEXTS)
    per_token = (far - near) / (CONTEXTS[1] - CONTEXTS[0])
    if per_token <= 0:
        raise BadRequest(
            f"{deployment.model.title} keeps no KV that grows with its context; the twin cannot page it yet",
            param="on",
        )
    chunk = memory_of(
        lowering,
        Batch(prefills=(Prefill(new_tokens=engine.batch_tokens_max),)),
        available_bytes=available,
    )
    held = chunk.weights_bytes + chunk.activation_bytes + chunk.reserve_bytes
    room = available - held
    if room < per_token * engine.block_tokens:
        short = per_token * engine.block_tokens - room
        raise BadRequest(
            f"{deployment.model.title} does not fit on {deployment.hardware}, {deployment.parallel.text}: "
            f"{bytes_text(short)} a chip are missing ({short:,.0f} bytes); take more chips for each replica",
            param="on",
        )
    beside = max(0.0, near - per_token * CONTEXTS[0]) + state
    # Of all chips together: each holds its part of every token, and ranks hold different ones.
    all_chips = per_token * deployment.chips / ranks
    return int(room / per_token) * ranks, all_chips, int(np.ceil(beside / per_token))


def _busy_share(deployment: Deployment, draft_tokens: int) -> np.ndarray:
    """[sequences, context] how much of a decode step the chips are at their peak, by powers of two."""
    shares = np.zeros((BIN_SEQUENCES, BIN_TOKENS))
    for sequences in range(1, BIN_SEQUENCES):
        for context in range(1, BIN_TOKENS):
            decode = Decode(
                context_tokens=0.75 * 2.0**context,
                count=max(1, int(0.75 * 2**sequences)),
                draft_tokens=draft_tokens,
            )
            shares[sequences, context] = _share(deployment, Batch(decodes=(decode,)))
    return shares


def _mixed_share(deployment: Deployment) -> np.ndarray:
    """[tokens, context] how much of a step with prompts the chips are at their peak, by powers of two."""
    shares = np.zeros((BIN_MIXED, BIN_TOKENS))
    for tokens in range(1, BIN_MIXED):
        prefill = Prefill(new_tokens=max(1, int(0.75 * 2**tokens)))
        shares[tokens, :] = _share(deployment, Batch(prefills=(prefill,)))
    return shares


def _share(deployment: Deployment, batch: Batch) -> float:
    instance = deployment.instance
    machine = instance.hardware.mid
    spent = instance.rating(instance.lowering.sums(batch)).spent(machine)
    return min(1.0, spent.busy_s / spent.seconds) * deployment.parallel.stage_chips / deployment.chips


def _provenance(deployment: Deployment) -> tuple[Provenance, ...]:
    figures = [
        Provenance(what=f"{figure.owner} {figure.name}", status=figure.status.value, source=figure.source)
        for figure in deployment.rests_on
    ]
    rated = deployment.instance.rating(
        deployment.instance.lowering.sums(
            Batch(prefills=(Prefill(new_tokens=1),), decodes=(Decode(context_tokens=1),))
        )
    )
    factors = [
        Provenance(
            what="efficiency of kernels and software", status=factor.status.value, source=factor.source
        )
        for factor in rated.factors
        if factor.status is not None
    ]
    return tuple(dict.fromkeys([*figures, *factors]))
