"""What is kept of every model call for the twin: lengths, times and salted hashes, never text."""

import hashlib
import logging
import os
import re
from pathlib import Path

import msgspec

from perdure.errors import NotFound, StorageFailed
from perdure.platform.limits import TRACE_BYTES_MAX
from perdure.platform.secret_file import private_folder, read_or_make
from perdure.traces.record import CallRecord, block_hashes, record_line

logger = logging.getLogger(__name__)

UNNAMED = "unnamed"
"""The file of calls whose client named no session."""

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")


class Recorder:
    """Appends one line per call to `traces/WORKSPACE/SESSION.jsonl`. Its methods block.

    A line is one `write`: it is whole or absent after `kill -9`. A power cut may tear the last line;
    the next one starts on a line of its own.
    """

    def __init__(self, *, traces_dir: Path, secrets_dir: Path) -> None:
        self._traces_dir = traces_dir
        self._secrets_dir = secrets_dir

    def write(self, workspace: str, record: CallRecord, prompt_token_ids: tuple[int, ...]) -> None:
        """Append `record` with the hashes of its prompt, under the workspace's own salt.

        A trace that cannot be written is logged and does not stop the call.
        """
        path = self._path(workspace, record.session)
        try:
            salt = read_or_make(self._secrets_dir / f"trace-salt-{_file_name(workspace)}")
            hashes = block_hashes(prompt_token_ids, salt.encode())
            private_folder(path.parent)
            _append(path, record_line(msgspec.structs.replace(record, block_hashes=hashes)))
        except (OSError, StorageFailed) as error:
            logger.warning("cannot record calls at %s: %s", path, error)

    def read(self, workspace: str, session: str | None) -> bytes:
        """The lines of a session, as they were written; NotFound when there are none."""
        try:
            return self._path(workspace, session).read_bytes()
        except FileNotFoundError as missing:
            raise NotFound(
                f"no call of session {session or UNNAMED!r} was recorded here. Name the session in the "
                "header `x-perdure-session` of the call"
            ) from missing

    def _path(self, workspace: str, session: str | None) -> Path:
        return self._traces_dir / _file_name(workspace) / f"{_file_name(session or UNNAMED)}.jsonl"


def _append(path: Path, line: bytes) -> None:
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        if size + len(line) > TRACE_BYTES_MAX:
            logger.warning("%s has reached %d bytes; this call is not recorded", path, TRACE_BYTES_MAX)
            return
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(handle, line)
    finally:
        os.close(handle)


def _file_name(name: str) -> str:
    """`name` where it is safe as a file's; else what is safe of it, and a hash that keeps names apart."""
    if SAFE_NAME.fullmatch(name):
        return name
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40] + "." + hashlib.sha256(name.encode()).hexdigest()[:16]
