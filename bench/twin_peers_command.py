"""How long one whole command takes, and how much processor time and memory it uses."""

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TAIL_LENGTH = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One command that ran.

    cpu_s           user and system seconds of it and of all processes that it waited for
    peak_rss_bytes  of the largest of those processes, not of all together; Linux counts a started process as
                    no smaller than the one that started it, so this module and its callers stay small
    exit_code       None when it was ended at its limit
    """

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    exit_code: int | None
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """The end of what it said, on one line, for the reader of a failure."""
        said = (self.errors.strip() or self.output.strip()).splitlines()
        return " | ".join(line.strip() for line in said[-3:])[-TAIL_LENGTH:]


def run_command(
    words: Sequence[str], *, limit_s: float, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run `words` to their end, or end them and every process below them after `limit_s` seconds.

    wait4 gives the usage of this one command; the totals of all children (RUSAGE_CHILDREN) would keep the
    peak of an earlier one.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started_s = time.perf_counter()
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env={**os.environ, **(environment or {})},
        )
        in_time = _ends_within(process.pid, limit_s)
        if not in_time:
            end_tree(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started_s
        process.returncode = os.waitstatus_to_exitcode(status)
        return Ended(
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_rss_bytes=usage.ru_maxrss * 1024,
            exit_code=process.returncode if in_time else None,
            output=_text(output),
            errors=_text(errors),
        )


def end_tree(pid: int) -> None:
    """Kill a process and all below it. A group is not enough: AISimulate's worker leads its own session."""
    for one in (*_descendants(pid), pid):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _ends_within(pid: int, limit_s: float) -> bool:
    handle = os.pidfd_open(pid)
    try:
        return bool(select.select([handle], [], [], limit_s)[0])
    finally:
        os.close(handle)


def _descendants(pid: int) -> list[int]:
    """Processes below `pid`, deepest last."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found: list[int] = []
    level = [pid]
    while level := [child for one in level for child in parents.get(one, [])]:
        found += level
    return found


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")
