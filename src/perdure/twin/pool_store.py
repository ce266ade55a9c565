"""Pools kept in the user's cache folder, so that a second run need not sample the cost model again.

The file's name is a digest of what the pool was worked out from: the text, prices, and the state of this
package's own files. Arrays lie in one `.npy` file, the rest in JSON beside it.
"""

import hashlib
import io
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from perdure.models.cost_compiled import CompiledTable
from perdure.silicon.price_rent import Rent
from perdure.silicon.ranges import Range
from perdure.twin.pool import Costs, Engine, Fabric, Pool, Power, Provenance, Rail, Tier

POOLS_KEPT_MAX = 200
FOLDERS = ("catalog", "silicon", "models", "twin")
SUFFIXES = (".py", ".toml", ".gz")
Place = tuple[int, tuple[int, ...], str]  # where an array begins, its shape, its kind
ARRAYS = ("grids", "lines", "decode", "prompts", "context_knots")


class _CostsText(msgspec.Struct, frozen=True):
    software_s: float
    prefill_s_per_token: float
    prefill_s_per_token2: float
    decode_s_per_token: float
    power: tuple[float, float] | None
    fabric: tuple[float, float, float, float] | None
    places: list[Place]  # where each array begins, its shape, its kind


class _PoolText(msgspec.Struct, frozen=True):
    names: tuple[str, str, str]
    numbers: tuple[int, int, int, int, int, int, int, int, int]
    rails: list[tuple[str, int, float | None]]
    engine: tuple[int, int, int, float, int, float, bool, bool]
    kv_bytes_per_token: float
    usd_per_chip_h: tuple[float, float, float] | None
    usd_per_j: tuple[float, float, float] | None
    tiers: list[tuple[str, float, float, float, float, bool]]
    provenance: list[tuple[str, str, str]]
    costs: list[_CostsText]
    others: list[Place]


def digest(texts: tuple[str, ...], rents: Mapping[str, Rent]) -> str:
    """What names a pool made from `texts` and `rents` by the package as it is now."""
    package = Path(__file__).parent.parent
    files = sorted(
        file
        for name in FOLDERS
        for file in (package / name).rglob("*")
        if file.suffix in SUFFIXES and "kernel" not in file.name
    )
    stats = [f"{file.name} {(stat := file.stat()).st_size} {stat.st_mtime_ns}" for file in files]
    prices = [f"{name} {rent}" for name, rent in sorted(rents.items())]
    return hashlib.sha256("\n".join([*texts, *prices, *stats]).encode()).hexdigest()[:24]


def store_pool(pool: Pool, folder: Path, name: str) -> None:
    """Keep `pool` under `name`; the oldest go when there are too many."""
    flat: list[np.ndarray] = []
    count = 0

    def put(array: np.ndarray) -> Place:
        nonlocal count
        words = np.ascontiguousarray(array).view(np.int64).ravel()
        flat.append(words)
        count += len(words)
        return count - len(words), array.shape, str(array.dtype)

    costs = [_costs_text(cost, put) for cost in (pool.mid, *pool.draws)]
    others = [put(array) for array in (pool.spans, pool.busy_share, pool.mixed_share)]
    text = _pool_text(pool, costs, others)
    words = io.BytesIO()
    np.save(words, np.concatenate(flat))
    _write(folder / f"{name}.npy", words.getvalue())
    _write(folder / f"{name}.json", msgspec.json.encode(text))
    old = sorted(folder.glob("*.json"), key=_kept_since)[:-POOLS_KEPT_MAX]
    for file in old:
        file.unlink(missing_ok=True)
        file.with_suffix(".npy").unlink(missing_ok=True)


def stored_pool(folder: Path, name: str) -> Pool | None:
    """The pool kept under `name`; None where there is none, or what is there cannot be read."""
    try:
        text = msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=_PoolText)
        words = np.load(folder / f"{name}.npy")
    except (OSError, ValueError, msgspec.MsgspecError):
        return None

    def get(place: Place) -> np.ndarray:
        start, shape, kind = place
        size = int(np.prod(shape))
        return words[start : start + size].view(kind).reshape(shape)

    model_name, model, hardware = text.names
    chips, replicas, ranks, kv_tokens, sequence_tokens, window, *wiring = text.numbers
    prefills, domain_chips, node_chips = wiring
    spans, busy, mixed = (get(place) for place in text.others)
    costs = [_costs(cost, get) for cost in text.costs]
    return Pool(
        name=model_name,
        model=model,
        hardware=hardware,
        chips=chips,
        replicas=replicas,
        ranks=ranks,
        prefill_replicas=prefills,
        domain_chips=domain_chips,
        node_chips=node_chips,
        rails=tuple(_rail(*rail) for rail in text.rails),
        engine=_engine(text.engine),
        spans=spans,
        kv_tokens=kv_tokens,
        kv_bytes_per_token=text.kv_bytes_per_token,
        sequence_tokens=sequence_tokens,
        window_tokens=window,
        mid=costs[0],
        draws=tuple(costs[1:]),
        busy_share=busy,
        mixed_share=mixed,
        usd_per_chip_h=_range(text.usd_per_chip_h),
        usd_per_j=_range(text.usd_per_j),
        tiers=tuple(
            Tier(
                name=name,
                size_bytes=size,
                read_bytes_per_s=read,
                write_bytes_per_s=write,
                latency_s=latency,
                shared=shared,
            )
            for name, size, read, write, latency, shared in text.tiers
        ),
        provenance=tuple(
            Provenance(what=what, status=status, source=source) for what, status, source in text.provenance
        ),
    )


def _costs_text(costs: Costs, put: Callable[[np.ndarray], Place]) -> _CostsText:
    return _CostsText(
        software_s=costs.table.software_s,
        prefill_s_per_token=costs.prefill_s_per_token,
        prefill_s_per_token2=costs.prefill_s_per_token2,
        decode_s_per_token=costs.decode_s_per_token,
        power=None if costs.power is None else (costs.power.idle_w, costs.power.busy_w),
        fabric=None if costs.fabric is None else _fabric_ends(costs.fabric),
        places=[put(np.asarray(getattr(costs.table, name))) for name in ARRAYS],
    )


def _costs(text: _CostsText, get: Callable[[Place], np.ndarray]) -> Costs:
    arrays = {name: get(place) for name, place in zip(ARRAYS, text.places, strict=True)}
    return Costs(
        table=CompiledTable(software_s=text.software_s, **arrays),
        prefill_s_per_token=text.prefill_s_per_token,
        prefill_s_per_token2=text.prefill_s_per_token2,
        decode_s_per_token=text.decode_s_per_token,
        power=None if text.power is None else Power(idle_w=text.power[0], busy_w=text.power[1]),
        fabric=None if text.fabric is None else _fabric(*text.fabric),
    )


def _rail(links: str, domain_chips: int, slowness: float | None) -> Rail:
    return Rail(links=links, domain_chips=domain_chips, slowness=math.inf if slowness is None else slowness)


def _fabric(near_bytes_per_s: float, near_s: float, far_bytes_per_s: float, far_s: float) -> Fabric:
    return Fabric(
        near_bytes_per_s=near_bytes_per_s, near_s=near_s, far_bytes_per_s=far_bytes_per_s, far_s=far_s
    )


def _fabric_ends(fabric: Fabric) -> tuple[float, float, float, float]:
    return fabric.near_bytes_per_s, fabric.near_s, fabric.far_bytes_per_s, fabric.far_s


def _engine(text: tuple[int, int, int, float, int, float, bool, bool]) -> Engine:
    sequences, tokens, block, step_s, drafts, accept, prefill_cache, swaps = text
    return Engine(
        sequences_max=sequences,
        batch_tokens_max=tokens,
        block_tokens=block,
        step_s=step_s,
        draft_tokens=drafts,
        accept=accept,
        prefill_cache=prefill_cache,
        swaps=swaps,
    )


def _pool_text(pool: Pool, costs: list[_CostsText], others: list[Place]) -> _PoolText:
    engine = pool.engine
    return _PoolText(
        names=(pool.name, pool.model, pool.hardware),
        numbers=(
            pool.chips,
            pool.replicas,
            pool.ranks,
            pool.kv_tokens,
            pool.sequence_tokens,
            pool.window_tokens,
            pool.prefill_replicas,
            pool.domain_chips,
            pool.node_chips,
        ),
        rails=[
            (rail.links, rail.domain_chips, None if rail.slowness == math.inf else rail.slowness)
            for rail in pool.rails
        ],
        engine=(
            engine.sequences_max,
            engine.batch_tokens_max,
            engine.block_tokens,
            engine.step_s,
            engine.draft_tokens,
            engine.accept,
            engine.prefill_cache,
            engine.swaps,
        ),
        kv_bytes_per_token=pool.kv_bytes_per_token,
        usd_per_chip_h=_ends(pool.usd_per_chip_h),
        usd_per_j=_ends(pool.usd_per_j),
        tiers=[
            (
                tier.name,
                tier.size_bytes,
                tier.read_bytes_per_s,
                tier.write_bytes_per_s,
                tier.latency_s,
                tier.shared,
            )
            for tier in pool.tiers
        ],
        provenance=[(one.what, one.status, one.source) for one in pool.provenance],
        costs=costs,
        others=others,
    )


def _ends(value: Range | None) -> tuple[float, float, float] | None:
    return None if value is None else (value.low, value.mid, value.high)


def _range(ends: tuple[float, float, float] | None) -> Range | None:
    return None if ends is None else Range(low=ends[0], mid=ends[1], high=ends[2])


def _kept_since(file: Path) -> float:
    """When `file` was written; of one that another process deleted meanwhile, never."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _write(path: Path, content: bytes) -> None:
    """Write beside `path` and move it there, so that nobody reads half of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
