"""How a workload lies in one Parquet file: a row for each turn, so that any tool can open it.

What is of a session or a program stands in each of its rows again, which Parquet stores once. What does not
apply is null. Orders of models and tenants, the concurrency and the end are in the schema's metadata; a file
without them (another tool wrote it) is read with the orders of first appearance, open loop, to the end.
"""

from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from perdure.errors import BadRequest
from perdure.traces.programs import Floats, Integers, Masks, Programs, check_programs

METADATA_KEY = b"perdure.workload"
ROWS_MAX = 100_000_000

# pyarrow carries no types.
arrow: Any = pyarrow
parquet: Any = pyarrow.parquet


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows do not tell."""

    version: int = 1
    models: tuple[str, ...]
    tenants: tuple[str, ...]
    concurrency: int | None = None
    end_s: float | None = None


def write_parquet(programs: Programs, path: Path) -> None:
    """Write `programs` to `path`, replacing it."""
    if len(np.unique(programs.program)) != len(programs.arrival_s):
        raise BadRequest("a program of the workload has no session; leave it out")
    table = arrow.table(_columns(programs))
    about = Workload(
        models=programs.models,
        tenants=programs.tenants,
        concurrency=programs.concurrency,
        end_s=programs.end_s,
    )
    table = table.replace_schema_metadata({METADATA_KEY: msgspec.json.encode(about)})
    try:
        parquet.write_table(table, path, compression="zstd")
    except OSError as error:
        raise BadRequest(f"cannot write {path}: {error}") from error


def read_parquet(path: Path) -> Programs:
    """The workload in `path`; raises BadRequest, naming what is missing or wrong, when there is none."""
    try:
        file = parquet.ParquetFile(path, read_dictionary=["model", "tenant"])
    except (OSError, arrow.ArrowException) as error:
        raise BadRequest(f"{path} is no Parquet file that can be read: {error}") from error
    if file.metadata.num_rows > ROWS_MAX:
        raise BadRequest(f"{path} has more than {ROWS_MAX:,} turns; split it by program")
    try:
        rows = _Rows(file.read(use_threads=False), path)
    except arrow.ArrowException as error:
        raise BadRequest(f"{path} is a damaged Parquet file: {error}") from error
    return check_programs(_programs(rows))


def _columns(programs: Programs) -> dict[str, Any]:
    session = programs.turn_session
    program = programs.program[session]
    parent, prefix = programs.forked[session], programs.prefixed[session]
    return {
        "program": program,
        "session": session,
        "turn": np.arange(len(session)) - programs.first_turn[session],
        "tenant": _names(programs.tenant[program], programs.tenants),
        "model": _names(programs.model[session], programs.models),
        "arrival_s": programs.arrival_s[program],
        "parent_session": _where(parent, programs.parent[session]),
        "fork_turn": _where(parent, programs.fork_turn[session]),
        "join_turn": _where(programs.joined[session], programs.join_turn[session]),
        "prefix_session": _where(prefix, programs.prefix_session[session]),
        "prefix_tokens": _where(prefix, programs.prefix_tokens[session]),
        "kept_tokens": programs.kept_tokens,
        "new_tokens": programs.new_tokens,
        "output_tokens": programs.output_tokens,
        "gap_s": programs.gap_s,
        "tool": programs.tool,
        "attempts": programs.attempts,
    }


def _names(places: Integers, names: tuple[str, ...]) -> Any:
    return arrow.DictionaryArray.from_arrays(arrow.array(places, arrow.int32()), arrow.array(names))


def _where(mask: Masks, values: Integers) -> Any:
    return arrow.array(values, mask=~mask)


class _Rows:
    """A table of turns, read column by column; says which is missing."""

    def __init__(self, table: Any, path: Path) -> None:
        self._table = table
        self._path = path

    def about(self) -> Workload | None:
        """What the metadata tells, where it is ours."""
        metadata = cast(dict[bytes, bytes], self._table.schema.metadata or {})
        if METADATA_KEY not in metadata:
            return None
        about = msgspec.json.decode(metadata[METADATA_KEY], type=Workload)
        if about.version != 1:
            raise BadRequest(f"{self._path} is a workload of version {about.version}; this release reads 1")
        return about

    def integers(self, name: str) -> Integers:
        """A column of whole numbers, 0 where it is null."""
        return self._array(name, arrow.int64(), 0)

    def floats(self, name: str) -> Floats:
        """A column of numbers."""
        return self._array(name, arrow.float64(), 0.0)

    def mask(self, name: str) -> Masks:
        """A column of truths."""
        return self._array(name, arrow.bool_(), False)

    def given(self, name: str) -> Masks:
        """Where a column is not null."""
        return np.asarray(self._column(name).is_valid().to_numpy(), dtype=np.bool_)

    def names(self, name: str) -> tuple[Integers, tuple[str, ...]]:
        """A column of names, as places in the names that it has."""
        column = self._column(name).dictionary_encode().unify_dictionaries().combine_chunks()
        if not arrow.types.is_string(column.type.value_type):
            raise BadRequest(f"the column {name!r} of {self._path} holds {column.type.value_type}, not names")
        places = np.asarray(column.indices.fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
        return places, tuple(cast(list[str], column.dictionary.to_pylist()))

    def _array(self, name: str, kind: Any, absent: float | bool) -> NDArray[Any]:
        column = self._column(name).cast(kind)
        return np.array(column.fill_null(absent).to_numpy(), copy=True)

    def _column(self, name: str) -> Any:
        if name not in self._table.column_names:
            raise BadRequest(
                f"{self._path} has no column {name!r}; a workload has one row a turn, as "
                "`perdure trace import FILE --to OUT.parquet` writes it"
            )
        return self._table.column(name)


def _programs(rows: _Rows) -> Programs:
    session, program = rows.integers("session"), rows.integers("program")
    first = np.flatnonzero(np.diff(session, prepend=-1))
    _numbered("session", session[first])
    sessions_program = program[first]
    starts = np.flatnonzero(np.diff(sessions_program, prepend=-1))
    _numbered("program", sessions_program[starts])
    begins = first[starts]
    about = rows.about()
    model, models = rows.names("model")
    tenant, tenants = rows.names("tenant")
    if about is not None:
        model, models = _ordered(model, models, about.models), about.models
        tenant, tenants = _ordered(tenant, tenants, about.tenants), about.tenants
    return Programs(
        models=models,
        tenants=tenants,
        concurrency=about.concurrency if about else None,
        end_s=about.end_s if about else None,
        arrival_s=rows.floats("arrival_s")[begins],
        tenant=tenant[begins],
        program=sessions_program,
        model=model[first],
        forked=rows.given("parent_session")[first],
        parent=rows.integers("parent_session")[first],
        fork_turn=rows.integers("fork_turn")[first],
        joined=rows.given("join_turn")[first],
        join_turn=rows.integers("join_turn")[first],
        prefixed=rows.given("prefix_session")[first],
        prefix_session=rows.integers("prefix_session")[first],
        prefix_tokens=rows.integers("prefix_tokens")[first],
        first_turn=np.append(first, len(session)).astype(np.int64),
        kept_tokens=rows.integers("kept_tokens"),
        new_tokens=rows.integers("new_tokens"),
        output_tokens=rows.integers("output_tokens"),
        gap_s=rows.floats("gap_s"),
        tool=rows.mask("tool"),
        attempts=rows.integers("attempts"),
    )


def _numbered(name: str, numbers: Integers) -> None:
    """Refuse rows that were left out or put in another order."""
    if not np.array_equal(numbers, np.arange(len(numbers))):
        raise BadRequest(
            f"the column {name!r} of a workload counts from 0 without gaps, in the order of the rows; "
            "sort by session and turn, and number anew what was left out"
        )


def _ordered(places: Integers, names: tuple[str, ...], order: tuple[str, ...]) -> Integers:
    """`places` in `names` as places in `order`."""
    place = {name: index for index, name in enumerate(order)}
    return np.array([place[name] for name in names], dtype=np.int64)[places]
