"""What is in a workload file: its format, known by the content, and the programs that it holds."""

import csv
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import NoReturn, cast

import msgspec

from perdure.errors import BadRequest, NotFound
from perdure.traces.calls import ImportReport, Tally, report_of
from perdure.traces.import_agentic import import_agentic
from perdure.traces.import_bailian import import_bailian
from perdure.traces.import_csv import import_csv
from perdure.traces.import_dynamo import import_dynamo
from perdure.traces.import_llmservingsim import import_llmservingsim
from perdure.traces.import_mooncake import import_mooncake
from perdure.traces.import_otel import import_otel
from perdure.traces.import_records import import_records
from perdure.traces.import_tracelab import import_tracelab
from perdure.traces.import_weka import import_weka
from perdure.traces.lines import FILES_MAX, line_files, open_trace
from perdure.traces.programs import Programs

PARQUET_MAGIC = b"PAR1"
HEAD_BYTES = 64 * 1024
FILE_BYTES_MAX = 1024 * 1024 * 1024

JSON_LINES: dict[str, Callable[[Path, Tally], Programs]] = {
    "perdure": import_records,
    "mooncake": import_mooncake,
    "agentic-mooncake": import_agentic,
    "bailian": import_bailian,
    "llmservingsim": import_llmservingsim,
    "dynamo": import_dynamo,
    "tracelab": import_tracelab,
}
DOCUMENTS: dict[str, Callable[[Iterator[bytes], Tally], Programs]] = {
    "weka": import_weka,
    "otel": import_otel,
}
# What reading a damaged file raises: cut off, of wrong checksum, or not text where text is due.
BROKEN = (OSError, EOFError, UnicodeError, zlib.error, lzma.LZMAError, tarfile.TarError, csv.Error)
FORMATS = ("parquet", *JSON_LINES, *DOCUMENTS, "csv")

# By which fields of its first row a format is known; the first that has them all.
ROWS = (
    ("dynamo", {"event_type", "event_time_unix_ms"}),
    ("dynamo", {"event"}),
    ("perdure", {"start_s", "prompt_tokens", "output_tokens", "reason"}),
    ("bailian", {"chat_id", "input_length", "output_length"}),
    ("llmservingsim", {"sub_requests"}),
    ("llmservingsim", {"input_toks", "output_toks"}),
    ("tracelab", {"session_id", "round_index", "input_tokens_total"}),
    ("agentic-mooncake", {"schema", "block_size"}),
    ("agentic-mooncake", {"request_id"}),
    ("agentic-mooncake", {"session_id"}),
    ("mooncake", {"timestamp", "input_length", "output_length"}),
)
SPANS = {"spans", "resourceSpans"}


def read_workload(
    path: Path, format_name: str | None = None, mapping: Mapping[str, str] | None = None
) -> tuple[Programs, ImportReport]:
    """The programs in the file, folder or tar archive at `path`, and what was repaired on the way.

    format_name  one of FORMATS, where the content is not to decide
    mapping      the column of each role of a table (`import_csv.ROLES`), where its header is not known
    """
    if not path.exists():
        raise NotFound(f"there is no workload at {path}")
    tally = Tally()
    try:
        name = format_name or ("csv" if mapping else recognise(path))
        programs = _read(path, name, mapping, tally)
    except BROKEN as error:
        raise BadRequest(f"{path} is damaged and cannot be read: {error}") from error
    return programs, report_of(tally, name)


def _read(path: Path, name: str, mapping: Mapping[str, str] | None, tally: Tally) -> Programs:
    if name == "parquet":
        programs = cast(Programs, import_module("perdure.traces.parquet").read_parquet(path))
        tally.calls = len(programs.new_tokens)
        return programs
    if name == "csv":
        return import_csv(path, tally, mapping)
    if name in JSON_LINES:
        return JSON_LINES[name](path, tally)
    if name in DOCUMENTS:
        return DOCUMENTS[name](_documents(path), tally)
    raise BadRequest(f"no format is called {name!r}; it is one of {', '.join(FORMATS)}")


def recognise(path: Path) -> str:
    """The format of `path`; raises BadRequest, naming the formats, when it looks like none of them."""
    if path.is_dir() and line_files(path):
        return recognise(line_files(path)[0])
    if path.is_dir() or _is_archive(path):
        return _document_format(next(_documents(path), b""), path)
    with open_trace(path) as content:
        head = content.read(HEAD_BYTES)
    if head.startswith(PARQUET_MAGIC):
        return "parquet"
    first = head.lstrip().split(b"\n", 1)[0]
    if not first.startswith((b"{", b"[")):
        return "csv" if b"," in first else _none(path)
    try:
        row = msgspec.json.decode(first)
    except msgspec.DecodeError:
        return _document_format(next(_documents(path)), path)
    return _format(row, path)


def _document_format(content: bytes, path: Path) -> str:
    try:
        return _format(msgspec.json.decode(content), path)
    except msgspec.DecodeError:
        return _none(path)


def _format(row: object, path: Path) -> str:
    """By the fields of a file's only object, or of its first line's."""
    fields = set(cast(dict[str, object], row)) if isinstance(row, dict) else set[str]()
    if {"block_size", "requests"} <= fields:
        return "weka"
    if SPANS & fields:
        return "otel"
    return next((name for name, needed in ROWS if needed <= fields), None) or _none(path)


def _none(path: Path) -> NoReturn:
    raise BadRequest(
        f"{path} looks like none of the formats that are read: {', '.join(FORMATS)}. Name one with --format"
    )


def _is_archive(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except BROKEN:
        return False


def _documents(path: Path) -> Iterator[bytes]:
    """Each JSON file in the folder or archive, in order of names; the file itself otherwise."""
    if path.is_dir():
        yield from (_whole(file) for file in sorted(path.rglob("*.json"))[:FILES_MAX])
    elif _is_archive(path):
        yield from _members(path)
    else:
        yield _whole(path)


def _whole(path: Path) -> bytes:
    with open_trace(path) as content:
        return content.read(FILE_BYTES_MAX)


def _members(path: Path) -> Iterator[bytes]:
    with tarfile.open(path) as archive:
        for number, member in enumerate(archive):
            if number >= FILES_MAX or member.size > FILE_BYTES_MAX:
                raise BadRequest(f"{path} has more than {FILES_MAX} files, or one too large; unpack it first")
            content = archive.extractfile(member) if member.name.endswith(".json") else None
            if content is not None:
                yield content.read()
