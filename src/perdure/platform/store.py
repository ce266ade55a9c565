"""What the server remembers between starts: keys, finished answers for replay, and stored responses."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

from perdure.errors import StorageFailed
from perdure.platform.secret_file import private_folder

SCHEMA_VERSION = 1
BUSY_MS = 10_000

tables = sa.MetaData()

keys = sa.Table(
    "keys",
    tables,
    sa.Column("key_hash", sa.String, primary_key=True),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("created_s", sa.Float, nullable=False),
)

replays = sa.Table(
    "replays",
    tables,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("body_hash", sa.String, nullable=False),
    sa.Column("content_type", sa.String, nullable=False),
    sa.Column("ignored", sa.String, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("expires_s", sa.Float, nullable=False, index=True),
)

responses = sa.Table(
    "responses",
    tables,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("previous_id", sa.String),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("items", sa.LargeBinary, nullable=False),
    sa.Column("expires_s", sa.Float, nullable=False, index=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A finished answer, byte for byte. `ignored` is what its `x-perdure-ignored` header said."""

    workspace: str
    key: str
    body_hash: str
    content_type: str
    ignored: str
    body: bytes
    expires_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """A response object as JSON, and the items that it added to its conversation."""

    id: str
    workspace: str
    previous_id: str | None
    body: bytes
    items: bytes
    expires_s: float


class Store:
    """The server's tables, in one SQLite file. Every method blocks; call them from a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            private_folder(path.parent)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._engine = sa.create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _settings)
        with self._begin() as connection:
            self._check_version(connection)
            _create(connection)

    def close(self) -> None:
        self._engine.dispose()

    def add_key(self, *, key_hash: str, workspace: str, created_s: float) -> None:
        """Remember a key by its hash; the key itself is never kept here."""
        with self._begin() as connection:
            connection.execute(
                keys.insert().values(key_hash=key_hash, workspace=workspace, created_s=created_s)
            )

    def workspace_of(self, key_hash: str) -> str | None:
        """Whose key that is, or None."""
        with self._begin() as connection:
            return connection.scalar(sa.select(keys.c.workspace).where(keys.c.key_hash == key_hash))

    def replay(self, workspace: str, key: str, now_s: float) -> Replay | None:
        """The finished answer that was given under `key`, unless it has expired."""
        wanted = sa.select(replays).where(
            replays.c.workspace == workspace, replays.c.key == key, replays.c.expires_s > now_s
        )
        with self._begin() as connection:
            row = connection.execute(wanted).mappings().one_or_none()
        return None if row is None else Replay(**_named(row))

    def response(self, response_id: str, workspace: str, now_s: float) -> StoredResponse | None:
        """The stored response, if it is of that workspace and has not expired."""
        wanted = sa.select(responses).where(
            responses.c.id == response_id, responses.c.workspace == workspace, responses.c.expires_s > now_s
        )
        with self._begin() as connection:
            row = connection.execute(wanted).mappings().one_or_none()
        return None if row is None else StoredResponse(**_named(row))

    def finish(self, *, replay: Replay | None, response: StoredResponse | None) -> None:
        """Keep what a finished answer leaves behind: both or nothing."""
        with self._begin() as connection:
            if replay is not None:
                row = {name: getattr(replay, name) for name in Replay.__slots__}
                connection.execute(insert(replays).values(row).on_conflict_do_update(set_=row))
            if response is not None:
                row = {name: getattr(response, name) for name in StoredResponse.__slots__}
                connection.execute(insert(responses).values(row))

    def purge(self, now_s: float) -> None:
        """Delete what has expired."""
        with self._begin() as connection:
            connection.execute(replays.delete().where(replays.c.expires_s <= now_s))
            connection.execute(responses.delete().where(responses.c.expires_s <= now_s))

    @contextmanager
    def _begin(self) -> Generator[sa.Connection]:
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except (DBAPIError, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise StorageFailed(
                f"the server's tables at {self._path} cannot be used: {cause}. Make room on the disk, or set "
                "PERDURE_HOME to a folder that can be written"
            ) from error

    def _check_version(self, connection: sa.Connection) -> None:
        found = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        if found > SCHEMA_VERSION:
            raise StorageFailed(
                f"{self._path} was written by a newer perdure (schema {found}, this one knows "
                f"{SCHEMA_VERSION}); upgrade perdure, or move the file away"
            )
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _create(connection: sa.Connection) -> None:
    """Make what is missing; two servers that start at once on one folder do not get in each other's way."""
    for table in tables.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))


def _settings(connection: Any, _: object) -> None:
    """WAL lets readers go on while one writes; a killed process loses no commit, only a power cut might."""
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _named(row: sa.RowMapping) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}
