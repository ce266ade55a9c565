"""How nothing is lost: append-only streams and the ledger of effects, in one SQLite transaction.

One file, in WAL mode. A commit with `power=True` is on the disk before `append` returns and survives a power
cut; the others survive the death of the process, and a power cut may lose the last of them
(https://sqlite.org/pragma.html#pragma_synchronous). Intents of effects are written with power.
"""

import sqlite3
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from perdure.clock import Clock
from perdure.config import private_folder
from perdure.errors import Conflict, NotFound, StorageFailed
from perdure.journal.event import Effect, EffectChange, EffectState, Event, NewEvent, Snapshot, Stream
from perdure.units import MIB

EVENT_BYTES_MAX = 16 * MIB
BUSY_S_MAX = 10.0
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS streams (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    created_s REAL NOT NULL, head INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS events (
    stream INTEGER NOT NULL REFERENCES streams (number), seq INTEGER NOT NULL,
    kind TEXT NOT NULL, at_s REAL NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (stream, seq)
) STRICT;
CREATE TABLE IF NOT EXISTS effects (
    stream INTEGER NOT NULL REFERENCES streams (number), key TEXT NOT NULL,
    state TEXT NOT NULL, intent_seq INTEGER NOT NULL, settled_seq INTEGER,
    PRIMARY KEY (stream, key)
) STRICT;
CREATE INDEX IF NOT EXISTS open_effects ON effects (stream) WHERE state = 'intended';
CREATE TABLE IF NOT EXISTS snapshots (
    stream INTEGER PRIMARY KEY REFERENCES streams (number), seq INTEGER NOT NULL,
    version INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
"""


class Journal:
    """Every stream in one file. Safe to use from several threads; several processes may hold one file open.

    A stream has one writer at a time: `append` says which head it expects and raises Conflict when another
    writer was faster, so that two processes never act for one session.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._numbers: dict[str, int] = {}
        self.path = path
        with _explained(path):
            private_folder(path.parent)
            path.touch(mode=0o600)  # before SQLite makes it: its WAL gets the same mode
            self._db = sqlite3.connect(
                path, isolation_level=None, timeout=BUSY_S_MAX, check_same_thread=False, cached_statements=64
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._migrate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Nothing waits to be written: every append was a commit."""
        with self._lock:
            self._db.close()

    def create(self, stream: str, kind: str, first: Sequence[NewEvent] = ()) -> None:
        """Begin a stream with its `first` events, on the disk before this returns.

        Raises Conflict when there is a stream of that id.
        """
        at_s = self._clock.now_s()
        with self._transaction(power=True):
            try:
                number = self._db.execute(
                    "INSERT INTO streams (id, kind, created_s, head) VALUES (?, ?, ?, ?)",
                    (stream, kind, at_s, len(first)),
                ).lastrowid
            except sqlite3.IntegrityError as exists:
                raise Conflict(f"the journal already has a stream {stream!r}") from exists
            self._db.executemany(
                "INSERT INTO events (stream, seq, kind, at_s, body) VALUES (?, ?, ?, ?, ?)",
                [(number, seq, event.kind, at_s, _encode(event)) for seq, event in enumerate(first, start=1)],
            )

    def append(
        self,
        stream: str,
        events: Sequence[NewEvent],
        *,
        expected_head: int,
        effects: Sequence[EffectChange] = (),
        snapshot: Snapshot | None = None,
        power: bool = False,
    ) -> list[Event]:
        """Add `events` after `expected_head`, move `effects` and keep `snapshot`: all of it or nothing.

        An effect that moves to `intended` must be new; one that moves elsewhere must be open. Returns the
        events as they stand. Raises Conflict when the head is another, StorageFailed when the disk refuses;
        in both cases nothing was written.
        """
        at_s = self._clock.now_s()
        written = [
            Event(seq=expected_head + place, kind=event.kind, at_s=at_s, body=event.body)
            for place, event in enumerate(events, start=1)
        ]
        rows = [(event.seq, event.kind, at_s, _encode(event)) for event in written]
        head = expected_head + len(written)
        with self._transaction(power=power):
            number = self._number(stream)
            moved = self._db.execute(
                "UPDATE streams SET head = ? WHERE number = ? AND head = ?", (head, number, expected_head)
            )
            if moved.rowcount != 1:
                raise Conflict(
                    f"another process went on with {stream}; this one stops. See: perdure show {stream}"
                )
            self._db.executemany(
                "INSERT INTO events (stream, seq, kind, at_s, body) VALUES (?, ?, ?, ?, ?)",
                [(number, *row) for row in rows],
            )
            for change in effects:
                self._move_effect(number, change, head)
            if snapshot is not None:
                self._db.execute(
                    "INSERT OR REPLACE INTO snapshots (stream, seq, version, body) VALUES (?, ?, ?, ?)",
                    (number, snapshot.seq, snapshot.version, snapshot.body),
                )
        return written

    def read(self, stream: str, *, after: int = 0, limit: int | None = None) -> Iterator[Event]:
        """The events of a stream with `seq` above `after`, in order."""
        with self._lock, _explained(self.path):
            rows = self._db.execute(
                "SELECT seq, kind, at_s, body FROM events WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?",
                (self._number(stream), after, -1 if limit is None else limit),
            ).fetchall()
        for seq, kind, at_s, body in rows:
            yield Event(seq=seq, kind=kind, at_s=at_s, body=orjson.loads(body))

    def open_effects(self, stream: str) -> list[Effect]:
        """The effects that were intended and never settled, oldest first: after a crash, what is in doubt."""
        return self._effects(stream, "AND state = 'intended'")

    def effects(self, stream: str) -> list[Effect]:
        """The whole ledger of a stream, oldest intent first."""
        return self._effects(stream, "")

    def latest_snapshot(self, stream: str) -> Snapshot | None:
        """The newest snapshot of a stream, if any was kept."""
        with self._lock, _explained(self.path):
            row = self._db.execute(
                "SELECT seq, version, body FROM snapshots WHERE stream = ?", (self._number(stream),)
            ).fetchone()
        return None if row is None else Snapshot(seq=row[0], version=row[1], body=row[2])

    def stream(self, stream: str) -> Stream:
        """Who the stream is and how long. Raises NotFound."""
        with self._lock, _explained(self.path):
            row = self._db.execute(
                "SELECT id, kind, created_s, head FROM streams WHERE id = ?", (stream,)
            ).fetchone()
        if row is None:
            raise NotFound(f"there is no run {stream!r} here; `perdure runs` lists them")
        return Stream(id=row[0], kind=row[1], created_s=row[2], head=row[3])

    def streams(self, kind: str) -> list[Stream]:
        """All streams of a kind, newest first."""
        with self._lock, _explained(self.path):
            rows = self._db.execute(
                "SELECT id, kind, created_s, head FROM streams WHERE kind = ? "
                "ORDER BY created_s DESC, number DESC",
                (kind,),
            ).fetchall()
        return [Stream(id=row[0], kind=row[1], created_s=row[2], head=row[3]) for row in rows]

    def _effects(self, stream: str, condition: str) -> list[Effect]:
        with self._lock, _explained(self.path):
            rows = self._db.execute(
                "SELECT key, state, intent_seq, settled_seq FROM effects WHERE stream = ? "
                f"{condition} ORDER BY intent_seq",
                (self._number(stream),),
            ).fetchall()
        return [
            Effect(key=key, state=EffectState(state), intent_seq=intent, settled_seq=settled)
            for key, state, intent, settled in rows
        ]

    def _move_effect(self, number: int, change: EffectChange, seq: int) -> None:
        if change.state is EffectState.INTENDED:
            self._db.execute(
                "INSERT INTO effects (stream, key, state, intent_seq) VALUES (?, ?, 'intended', ?)",
                (number, change.key, seq),
            )
            return
        moved = self._db.execute(
            "UPDATE effects SET state = ?, settled_seq = ? "
            "WHERE stream = ? AND key = ? AND state = 'intended'",
            (change.state.value, seq, number, change.key),
        )
        assert moved.rowcount == 1, f"effect {change.key} was not open"

    def _number(self, stream: str) -> int:
        number = self._numbers.get(stream)
        if number is None:
            row = self._db.execute("SELECT number FROM streams WHERE id = ?", (stream,)).fetchone()
            if row is None:
                raise NotFound(f"there is no run {stream!r} here; `perdure runs` lists them")
            number = self._numbers[stream] = int(row[0])
        return number

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StorageFailed(
                f"{self.path} was written by a newer Perdure (journal schema {version}, this one reads up to "
                f"{SCHEMA_VERSION}); update Perdure, or point PERDURE_HOME elsewhere"
            )
        if version < SCHEMA_VERSION:
            self._db.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )

    @contextmanager
    def _transaction(self, *, power: bool) -> Generator[None]:
        """One transaction; whatever is raised inside rolls it back."""
        with self._lock, _explained(self.path):
            self._db.execute(f"PRAGMA synchronous = {'FULL' if power else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _encode(event: NewEvent | Event) -> bytes:
    body = orjson.dumps(event.body)
    if len(body) > EVENT_BYTES_MAX:
        raise StorageFailed(
            f"a {event.kind} event of {len(body)} bytes is over the limit of {EVENT_BYTES_MAX}"
        )
    return body


@contextmanager
def _explained(path: Path) -> Generator[None]:
    """SQLite's and the system's errors, as ours, with what to do."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as refused:
        raise StorageFailed(
            f"the journal {path} could not be written ({refused}); nothing was acted on. "
            "Free some disk space or check its permissions, then run the same command again"
        ) from refused
    except sqlite3.DatabaseError as broken:
        if isinstance(broken, sqlite3.IntegrityError):
            raise
        raise StorageFailed(
            f"the journal {path} is damaged or not a journal ({broken}); move it away or restore a copy of it"
        ) from broken
