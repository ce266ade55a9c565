"""Pools made in processes beside this one, kept on disk, and read back: pricing a model takes seconds."""

import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from perdure.catalog.entry import Entry
from perdure.catalog.load import Catalog, load_catalog
from perdure.catalog.quantity import KINDS, Kind
from perdure.config import writable_folder
from perdure.errors import BadRequest, EngineFailed
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
            yield ask, _read(ask, kept, make_pool(ask, kept))
        return
    workers = _Workers(min(processes, len(missing)), missing, kept)
    try:
        for _ in missing:
            ask, reason = workers.next_made()
            yield ask, _read(ask, kept, reason)
    finally:
        workers.end()


def make_pool(ask: PoolAsk, folder: Path) -> str | None:
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


class _Workers:
    """Processes of `plan_worker`, each with a thread here that hands it one request after another."""

    def __init__(self, count: int, asks: Sequence[PoolAsk], folder: Path) -> None:
        self._left: SimpleQueue[PoolAsk | None] = SimpleQueue()
        self._made: SimpleQueue[tuple[PoolAsk, str | None] | None] = SimpleQueue()
        for ask in (*asks, *(None for _ in range(count))):
            self._left.put(ask)
        # A session of its own: Ctrl-C is for us, who end it.
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "perdure.twin.plan_worker", str(os.getpid()), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            for _ in range(count)
        ]
        self._threads = [Thread(target=self._hand_out, args=(one,), daemon=True) for one in self._processes]
        for thread in self._threads:
            thread.start()

    def next_made(self) -> tuple[PoolAsk, str | None]:
        """The next request that was carried out, and why it could not be."""
        made = self._made.get()
        if made is None:
            raise EngineFailed("a process that prices models ended; what it said is above. Plan again")
        return made

    def end(self) -> None:
        """End the processes, whatever they are at."""
        for process in self._processes:
            process.kill()
        for process, thread in zip(self._processes, self._threads, strict=True):
            process.wait()
            thread.join()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def _hand_out(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        while (ask := self._left.get()) is not None:
            try:
                pickle.dump(ask, process.stdin)
                process.stdin.flush()
                answer = process.stdout.readline()
            except OSError:
                answer = b""
            if not answer:
                self._made.put(None)
                return
            self._made.put((ask, answer.decode().strip() or None))


def _read(ask: PoolAsk, folder: Path, reason: str | None) -> Pool | str:
    if reason is not None:
        return reason
    pool = stored_pool(folder, ask.name)
    if pool is None:
        raise EngineFailed(f"{folder} lost what was kept in it just now; other plans fill it. Plan again")
    return pool
