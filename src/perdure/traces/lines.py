"""How the lines of a trace file are read: plain or gzip, bounded, and torn ones counted instead of fatal."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import msgspec

from perdure.errors import BadRequest
from perdure.traces.calls import Tally

LINE_BYTES_MAX = 64 * 1024 * 1024
LINES_MAX = 50_000_000
FILES_MAX = 100_000
LINE_SUFFIXES = (".jsonl", ".jsonl.gz")
GZIP_MAGIC = b"\x1f\x8b"

Row = TypeVar("Row")


def open_trace(path: Path) -> BinaryIO:
    """The bytes of a trace, unpacked where it is a gzip file."""
    with path.open("rb") as start:
        packed = start.read(2) == GZIP_MAGIC
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


def line_files(path: Path) -> list[Path]:
    """The files of lines at `path`: those in a folder in order of names, or the file itself."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.name.endswith(LINE_SUFFIXES))[:FILES_MAX]


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank, with its number in its file; of a folder, one file after the other."""
    for file in line_files(path):
        yield from _lines(file)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with open_trace(path) as lines:
        for number in range(1, LINES_MAX + 2):
            line = lines.readline(LINE_BYTES_MAX + 1)
            if not line:
                return
            if len(line) > LINE_BYTES_MAX or number > LINES_MAX:
                raise BadRequest(
                    f"line {number} of {path} is past a limit: {LINE_BYTES_MAX} bytes a line, {LINES_MAX} "
                    "lines. Split the trace by session"
                )
            if line.strip():
                yield number, line


def read_rows(path: Path, row_type: type[Row], tally: Tally) -> Iterator[tuple[int, Row]]:
    """Each line as a `row_type`, with its number; lines that are none are counted and left out."""
    decode = msgspec.json.Decoder(row_type, strict=False).decode
    for number, line in read_lines(path):
        try:
            yield number, decode(line)
        except msgspec.ValidationError as error:
            _skip(tally, f"a line without what a call needs ({error})", number)
        except msgspec.DecodeError:
            _skip(tally, "a line that is torn or no JSON", number)


def _skip(tally: Tally, reason: str, number: int) -> None:
    if not tally.skipped[reason]:
        tally.notes.append(f"left out: {reason}, first in line {number}")
    tally.skipped[reason] += 1
