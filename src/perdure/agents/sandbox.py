"""How a program runs where it can do no harm: bubblewrap, with limits and a recorded id.

The program sees the system's programs and libraries, the folders it was given, and one writable folder;
no network, no home, no other process. It is held back until its id is recorded, so that after a crash
of ours whatever survived can be ended before anything else acts.
"""

import json
import os
import resource
import selectors
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from perdure.agents.tools import Completed
from perdure.clock import Clock
from perdure.config import executable
from perdure.errors import SandboxUnavailable
from perdure.processes import ProcessId, end, identify
from perdure.units import GIB, MIB

OUTPUT_BYTES_MAX = 1 * MIB
FILE_BYTES_MAX = 1 * GIB
MEMORY_BYTES_MAX = 8 * GIB

# What a compiler or an interpreter needs to run. `-try`: a distribution may lack any of them.
_SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_SYSTEM_FILES = ("/etc/alternatives", "/etc/ld.so.cache")
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "TMPDIR": "/tmp"}

INSTALL_LINE = "sudo apt-get install bubblewrap"


class Bubblewrap:
    """Runs programs for one session; only that session's loop calls it, one program at a time.

    `on_start` is told the id of each program before the program's first instruction.
    """

    def __init__(
        self,
        *,
        workspace: Path,
        clock: Clock,
        on_start: Callable[[ProcessId], None],
        program_s_max: float = 600.0,
    ) -> None:
        self._workspace = workspace
        self._clock = clock
        self._on_start = on_start
        self._program_s_max = program_s_max

    def run(
        self,
        argv: list[str],
        *,
        timeout_s: float = 60.0,
        stdin: str = "",
        read_only: tuple[Path, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run `argv` and wait for its end; after `timeout_s`, or the session's limit, its tree is killed."""
        status_read, status_write = os.pipe()
        hold_read, hold_write = os.pipe()
        go_read, go_write = os.pipe()
        started_s = self._clock.monotonic_s()
        command = _command(
            argv,
            workspace=self._workspace,
            read_only=read_only,
            env={**_ENVIRONMENT, **(env or {})},
            status_fd=status_write,
            hold_fd=hold_read,
            go_fd=go_read,
        )
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(status_write, hold_read, go_read),
            start_new_session=True,
        )
        for handed_over in (status_write, hold_read, go_read):
            os.close(handed_over)
        with process, os.fdopen(status_read, "rb") as status:
            try:
                self._release(process, status, hold_write, go_write)
                out, err, ended = _collect(
                    process, stdin.encode(), self._clock, started_s + min(timeout_s, self._program_s_max)
                )
                exit_code = _exit_code(status.read()) if ended else None
            finally:
                leader = identify(process.pid)
                if leader is not None:
                    end(leader)
                os.close(hold_write)
                os.close(go_write)
        if ended and exit_code is None:
            raise SandboxUnavailable(
                f"bubblewrap could not start the program: {err.decode(errors='replace').strip()[:500]}. "
                "Nothing was run. It needs user namespaces (kernel.unprivileged_userns_clone=1) or root."
            )
        return Completed(
            exit_code=exit_code,
            stdout=out.decode(errors="replace"),
            stderr=err.decode(errors="replace"),
            seconds=self._clock.monotonic_s() - started_s,
        )

    def _release(
        self, process: subprocess.Popen[bytes], status: IO[bytes], hold_write: int, go_write: int
    ) -> None:
        """Limit the program, record the id of its tree's leader, then let it go."""
        line = status.readline()
        if not line:
            return  # bubblewrap failed; its stderr says why
        child = int(json.loads(line)["child-pid"])
        for limit, value in (
            (resource.RLIMIT_AS, MEMORY_BYTES_MAX),
            (resource.RLIMIT_FSIZE, FILE_BYTES_MAX),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.prlimit(child, limit, (value, value))
        leader = identify(process.pid)
        if leader is not None:
            self._on_start(leader)
        os.write(hold_write, b"\n")
        os.write(go_write, b"go\n")


def _command(
    argv: list[str],
    *,
    workspace: Path,
    read_only: tuple[Path, ...],
    env: Mapping[str, str],
    status_fd: int,
    hold_fd: int,
    go_fd: int,
) -> list[str]:
    """The bubblewrap command line that runs `argv`."""
    program = executable("bwrap")
    if program is None:
        raise SandboxUnavailable(
            f"this needs the sandbox bubblewrap, which is not installed. Install it: {INSTALL_LINE}"
        )
    words = [
        str(program),
        "--die-with-parent",
        "--unshare-all",
        "--new-session",
        "--cap-drop",
        "ALL",
        "--clearenv",
    ]
    for name, value in sorted(env.items()):
        words += ["--setenv", name, value]
    for folder in _SYSTEM_FOLDERS + _SYSTEM_FILES:
        if Path(folder).is_symlink():
            words += ["--symlink", os.readlink(folder), folder]
        else:
            words += ["--ro-bind-try", folder, folder]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for path in read_only:
        words += ["--ro-bind", str(path), str(path)]
    words += ["--bind", str(workspace), str(workspace), "--chdir", str(workspace)]
    words += ["--json-status-fd", str(status_fd), "--block-fd", str(hold_fd), "--"]
    # bubblewrap goes on when its block-fd closes, so a SIGKILL of ours would let an unrecorded program start;
    # the shell starts it only when it was told to.
    wait = f'read -r go </proc/self/fd/{go_fd} || exit 125; exec "$@"'
    return [*words, "/bin/sh", "-c", wait, "sh", *argv]


def _collect(
    process: subprocess.Popen[bytes], stdin: bytes, clock: Clock, deadline_s: float
) -> tuple[bytes, bytes, bool]:
    """What the program wrote to stdout and stderr, each cut at the limit, and whether it ended in time."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    kept: dict[str, bytearray] = {"out": bytearray(), "err": bytearray()}
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, "out")
        selector.register(process.stderr, selectors.EVENT_READ, "err")
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE, "in")
        while selector.get_map():
            left_s = deadline_s - clock.monotonic_s()
            if left_s <= 0:
                return bytes(kept["out"]), bytes(kept["err"]), False
            for key, _ in selector.select(timeout=left_s):
                if key.data == "in":
                    stdin = _feed(selector, process.stdin, stdin)
                    continue
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                room = OUTPUT_BYTES_MAX - len(kept[key.data])
                kept[key.data] += chunk[:room]
    try:
        process.wait(timeout=max(0.0, deadline_s - clock.monotonic_s()))
    except subprocess.TimeoutExpired:
        return bytes(kept["out"]), bytes(kept["err"]), False
    return bytes(kept["out"]), bytes(kept["err"]), True


def _feed(selector: selectors.BaseSelector, pipe: IO[bytes], left: bytes) -> bytes:
    """Write what the pipe takes of `left`, close it at the end, and return what is still to be written."""
    try:
        written = os.write(pipe.fileno(), left[:65536]) if left else 0
    except (BrokenPipeError, BlockingIOError) as stopped:
        written = len(left) if isinstance(stopped, BrokenPipeError) else 0
    if written == len(left):
        selector.unregister(pipe)
        pipe.close()
    return left[written:]


def _exit_code(status: bytes) -> int | None:
    """The exit code in bubblewrap's status lines; None when it never ran the program."""
    for line in status.splitlines():
        said = json.loads(line)
        if "exit-code" in said:
            return int(said["exit-code"])
    return None
