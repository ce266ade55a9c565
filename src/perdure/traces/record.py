"""What is recorded of one call to a model: lengths, times and hashes, never text.

A trace is a file of such records, one JSON object a line. Times are seconds; a null time was not known
to whoever wrote the line.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from perdure.errors import BadRequest, NotFound

BLOCK_TOKENS = 64
HASH_BYTES = 8
LINE_BYTES_MAX = 4 * 1024 * 1024
RECORDS_MAX = 1_000_000

Count = Annotated[int, msgspec.Meta(ge=0)]
Duration = Annotated[float, msgspec.Meta(ge=0)]


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call to a model, as it was served.

    session       one agent's chain of calls over one growing context; null where the client named none
    program       the tree of sessions that one job started
    parent        the session that forked this one
    start_s       wall clock when the call arrived, seconds since 1970 (UTC)
    cached_tokens the part of the prompt that was not computed again
    queue_s       from arrival until the engine began; prefill_s and decode_s as the engine measured them
    block_hashes  `block_hashes` of the prompt: equal hashes mean equal tokens from the start up to that block
    tool          the tool that the answer called (the first, where it called several)
    tool_s        how long the called tools then ran, together
    """

    model: str
    session: str | None = None
    program: str | None = None
    parent: str | None = None
    start_s: float
    prompt_tokens: Count
    cached_tokens: Count
    output_tokens: Count
    queue_s: Duration | None = None
    prefill_s: Duration | None = None
    decode_s: Duration | None = None
    reason: Literal["stop", "length", "tool_calls"]
    block_hashes: tuple[str, ...] = ()
    tool: str | None = None
    tool_s: Duration | None = None

    def __post_init__(self) -> None:
        if self.cached_tokens > self.prompt_tokens:
            raise ValueError(
                f"cached_tokens is {self.cached_tokens}, more than the prompt's {self.prompt_tokens}"
            )


def block_hashes(token_ids: Sequence[int], salt: bytes) -> tuple[str, ...]:
    """One hash for each full block of 64 tokens, chained, so that it stands for the whole prefix up to there.

    Salted: without `salt` nobody can test a guessed prompt against a trace.
    """
    hashes: list[str] = []
    key = hashlib.sha256(salt).digest()
    previous = b""
    for start in range(0, len(token_ids) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        block = array("q", token_ids[start : start + BLOCK_TOKENS]).tobytes()
        previous = hashlib.blake2b(previous + block, digest_size=HASH_BYTES, key=key).digest()
        hashes.append(previous.hex())
    return tuple(hashes)


def record_line(record: CallRecord) -> bytes:
    """`record` as one line of a trace, newline included."""
    return msgspec.json.encode(record) + b"\n"


def parse_record(line: bytes, *, place: str) -> CallRecord:
    """The record on `line`; `place` (file and line number) goes into the message when there is none."""
    try:
        return msgspec.json.decode(line, type=CallRecord)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadRequest(
            f"{place} is not the record of a model call: {error}. "
            "Export the trace again with `perdure trace export RUN_ID`."
        ) from error


def read_records(path: Path) -> tuple[CallRecord, ...]:
    """All records of the trace at `path`, in the order written.

    A line that a crash cut off before its end is left out.
    """
    if not path.is_file():
        raise NotFound(f"there is no trace at {path}; `perdure trace export RUN_ID` writes one")
    records = tuple(_records(path))
    if not records:
        raise BadRequest(f"{path} holds no model call; run an agent first, then export its trace")
    return records


def write_records(path: Path, records: Iterable[CallRecord]) -> int:
    """Write `records` to `path`, replacing it, and return how many there were."""
    lines = [record_line(record) for record in records]
    path.write_bytes(b"".join(lines))
    return len(lines)


def _records(path: Path) -> Iterator[CallRecord]:
    with path.open("rb") as lines:
        for number in range(1, RECORDS_MAX + 2):
            line = lines.readline(LINE_BYTES_MAX + 1)
            if not line:
                return
            place = f"line {number} of {path}"
            if len(line) > LINE_BYTES_MAX:
                raise BadRequest(f"{place} is longer than {LINE_BYTES_MAX} bytes; it is not a trace of ours")
            if number > RECORDS_MAX:
                raise BadRequest(f"{path} has more than {RECORDS_MAX} records; split it by program")
            if line.strip() and not _torn(line):
                yield parse_record(line, place=place)


def _torn(line: bytes) -> bool:
    """Whether a crash cut `line` off: a record holds no inner object, so its only brace comes last."""
    return line.startswith(b"{") and not line.rstrip().endswith(b"}")
