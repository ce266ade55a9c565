"""What is in a workload file: its format, known by the content, and the programs that it holds."""

import tarfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import msgspec

from perdure.errors import BadRequest, NotFound
from perdure.traces.calls import ImportReport, Tally, report_of
from perdure.traces.import_mooncake import import_mooncake
from perdure.traces.import_weka import import_weka
from perdure.traces.lines import open_trace
from perdure.traces.programs import Programs

PARQUET_MAGIC = b"PAR1"
HEAD_BYTES = 64 * 1024
FILES_MAX = 100_000
FILE_BYTES_MAX = 1024 * 1024 * 1024

JSON_LINES: dict[str, Callable[[Path, Tally], Programs]] = {
    "mooncake": import_mooncake,
}
DOCUMENTS: dict[str, Callable[[Iterator[bytes], Tally], Programs]] = {
    "weka": import_weka,
}
FORMATS = ("parquet", *JSON_LINES, *DOCUMENTS)


def read_workload(path: Path, format_name: str | None = None) -> tuple[Programs, ImportReport]:
    """The programs in the file, folder or tar archive at `path`, and what was repaired on the way.

    format_name  one of FORMATS, where the content is not to decide
    """
    if not path.exists():
        raise NotFound(f"there is no workload at {path}")
    name = format_name or recognise(path)
    tally = Tally()
    if name == "parquet":
        programs = cast(Programs, import_module("perdure.traces.parquet").read_parquet(path))
        tally.calls = len(programs.new_tokens)
    elif name in JSON_LINES:
        programs = JSON_LINES[name](path, tally)
    elif name in DOCUMENTS:
        programs = DOCUMENTS[name](_documents(path), tally)
    else:
        raise BadRequest(f"no format is called {name!r}; it is one of {', '.join(FORMATS)}")
    return programs, report_of(tally, name)


def recognise(path: Path) -> str:
    """The format of `path`; raises BadRequest, naming the formats, when it looks like none of them."""
    if path.is_dir() or _is_archive(path):
        return _document_format(next(_documents(path), b""), path)
    with open_trace(path) as content:
        head = content.read(HEAD_BYTES)
    if head.startswith(PARQUET_MAGIC):
        return "parquet"
    first = head.split(b"\n", 1)[0]
    try:
        row = msgspec.json.decode(first)
    except msgspec.DecodeError:
        return _document_format(next(_documents(path)), path)
    return _document_format(first, path) if _is_document(row) else _row_format(row, path)


def _is_document(row: object) -> bool:
    return isinstance(row, dict) and ("requests" in row or "spans" in row or "resourceSpans" in row)


def _row_format(row: Any, path: Path) -> str:
    keys = set(cast(dict[str, object], row)) if isinstance(row, dict) else set[str]()
    if {"timestamp", "input_length", "output_length"} <= keys:
        return "mooncake"
    raise _unknown(path)


def _document_format(content: bytes, path: Path) -> str:
    try:
        document = msgspec.json.decode(content)
    except msgspec.DecodeError:
        raise _unknown(path) from None
    if isinstance(document, dict) and "requests" in document:
        return "weka"
    raise _unknown(path)


def _unknown(path: Path) -> BadRequest:
    return BadRequest(
        f"{path} looks like none of the formats that are read: {', '.join(FORMATS)}. Name one with --format"
    )


def _is_archive(path: Path) -> bool:
    return tarfile.is_tarfile(path)


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
