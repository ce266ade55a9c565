"""Pools made in processes beside this one, kept on disk, and read back: pricing a model takes seconds."""

import multiprocessing
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perdure.catalog.entry import Entry
from perdure.catalog.load import Catalog, load_catalog
from perdure.catalog.quantity import KINDS, Kind
from perdure.config import writable_folder
from perdure.errors import BadRequest
from perdure.processes import die_with_parent
from perdure.silicon.price_rent import Rent
from perdure.twin.fleet_text import parse_pool
from perdure.twin.plan_vary import AS_IT_IS, Scales, varied
from perdure.twin.pool import Pool
from perdure.twin.pool_build import pool_of
from perdure.twin.pool_store import digest, store_pool, stored_pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What pools are made from beyond the catalogue: entries laid over it, rents by id of chip, scales."""

    entries: tuple[Entry, ...] = ()
    rents: Mapping[str, Rent]
    scales: Scales = AS_IT_IS

    def catalog(self) -> Catalog:
        """The catalogue with `entries` in it."""
        catalog = load_catalog()
        kinds: dict[Kind, dict[str, Entry]] = {kind: dict(catalog.entries[kind]) for kind in KINDS}
        for entry in self.entries:
            kinds[entry.kind][entry.id] = entry
        return Catalog(kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAsk:
    """One pool to make: its text, and in how many draws of the guesses. `name` is its file's."""

    text: str
    draws: int
    sources: Sources
    name: str


def pool_ask(text: str, *, draws: int, sources: Sources) -> PoolAsk:
    """What to ask for; figuring out the name reads the state of the package's files."""
    said = (text, f"{draws} draws", repr(sources.entries), repr(sources.scales))
    return PoolAsk(text=text, draws=draws, sources=sources, name=digest(said, sources.rents))


def pools_made(
    asks: Sequence[PoolAsk], folder: Path, *, processes: int
) -> Generator[tuple[PoolAsk, Pool | str], None, None]:
    """Each pool, or why it cannot be, as soon as it is there."""
    kept = writable_folder(folder)
    missing: list[PoolAsk] = []
    for ask in asks:
        pool = stored_pool(kept, ask.name)
        if pool is None:
            missing.append(ask)
        else:
            yield ask, pool
    if len(missing) <= 1 or processes <= 1:
        for ask in missing:
            yield ask, _read(ask, kept, _make(ask, kept))
        return
    context = multiprocessing.get_context("spawn")
    workers = context.Pool(min(processes, len(missing)), _begin, (os.getpid(),))
    try:
        work = [(number, ask, kept) for number, ask in enumerate(missing)]
        for number, reason in workers.imap_unordered(_numbered, work):
            yield missing[number], _read(missing[number], kept, reason)
    finally:
        workers.terminate()
        workers.join()


def _begin(parent_pid: int) -> None:
    """In a worker: end with the parent, and leave Ctrl-C to it."""
    die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _numbered(work: tuple[int, PoolAsk, Path]) -> tuple[int, str | None]:
    number, ask, folder = work
    return number, _make(ask, folder)


def _make(ask: PoolAsk, folder: Path) -> str | None:
    """Make and keep the pool; the reason where a replica cannot hold it."""
    written = parse_pool(ask.text, ask.sources.catalog(), rents=ask.sources.rents)
    try:
        pool = pool_of(
            varied(written.deployment, ask.sources.scales),
            name=written.name,
            replicas=written.replicas,
            engine=written.engine,
            tiers=written.tiers,
            draws=ask.draws,
        )
    except BadRequest as error:
        return error.message
    store_pool(pool, folder, ask.name)
    return None


def _read(ask: PoolAsk, folder: Path, reason: str | None) -> Pool | str:
    if reason is not None:
        return reason
    pool = stored_pool(folder, ask.name)
    assert pool is not None, "it was kept just now"
    return pool
