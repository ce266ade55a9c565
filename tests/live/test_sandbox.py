"""The sandbox, with the real bubblewrap: what a program may do, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perdure.agents.sandbox import OUTPUT_BYTES_MAX, Bubblewrap
from perdure.clock import SystemClock
from perdure.errors import SandboxUnavailable
from perdure.processes import ProcessId, end, identify, is_alive

pytestmark = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture
def started() -> list[ProcessId]:
    return []


@pytest.fixture
def sandbox(tmp_path: Path, started: list[ProcessId]) -> Bubblewrap:
    return Bubblewrap(workspace=tmp_path, clock=SystemClock(), on_start=started.append)


def test_a_program_gets_stdin_and_gives_output_and_exit_code(sandbox: Bubblewrap, tmp_path: Path) -> None:
    """Input, both outputs, the exit code and files in the workspace pass through."""
    ended = sandbox.run(["sh", "-c", "cat; echo oops >&2; echo kept > file; exit 3"], stdin="hello")
    assert (ended.exit_code, ended.stdout, ended.stderr) == (3, "hello", "oops\n")
    assert (tmp_path / "file").read_text() == "kept\n"


def test_nothing_but_the_workspace_is_writable(sandbox: Bubblewrap) -> None:
    """A program cannot write into the system, and sees neither homes nor the rest of the disk."""
    ended = sandbox.run(["sh", "-c", "touch /usr/x; ls /root /home /var /work; echo $HOME"])
    assert "Read-only file system" in ended.stderr
    assert ended.stderr.count("cannot access") == 4
    assert ended.stdout == "/tmp\n"


def test_the_environment_is_ours_not_the_users(sandbox: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret in the user's environment reaches a program."""
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    ended = sandbox.run(["env"], env={"GIVEN": "1"})
    assert "hunter2" not in ended.stdout
    assert "GIVEN=1" in ended.stdout


def test_there_is_no_network(sandbox: Bubblewrap) -> None:
    """Not even this machine's loopback can be reached."""
    code = "import socket; socket.create_connection(('127.0.0.1', 22), timeout=2)"
    ended = (
        sandbox.run(["/usr/bin/env", "python3", "-c", code]) if os.path.exists("/usr/bin/python3") else None
    )
    listed = sandbox.run(["cat", "/proc/net/dev"])
    names = [line.split(":")[0].strip() for line in listed.stdout.splitlines()[2:]]
    assert names == ["lo"]
    assert ended is None or ended.exit_code != 0


def test_a_program_that_does_not_end_is_ended(sandbox: Bubblewrap, started: list[ProcessId]) -> None:
    """After its time limit a program is killed with everything it started, and says exit code None."""
    ended = sandbox.run(["sh", "-c", "sleep 600 & echo begun; sleep 600"], timeout_s=0.5)
    assert ended.exit_code is None
    assert ended.stdout == "begun\n"
    assert not is_alive(started[0])
    wait_until_gone("sleep 600")


def test_the_session_limit_wins(tmp_path: Path) -> None:
    """No tool can ask for longer than the session's `program_s_max`."""
    box = Bubblewrap(workspace=tmp_path, clock=SystemClock(), on_start=lambda _: None, program_s_max=0.3)
    assert box.run(["sleep", "600"], timeout_s=600).exit_code is None


def test_output_is_cut(sandbox: Bubblewrap) -> None:
    """A program may write without end; what is kept of it is limited, and it still ends well."""
    ended = sandbox.run(["sh", "-c", "head -c 3000000 /dev/zero"])
    assert ended.exit_code == 0
    assert len(ended.stdout) == OUTPUT_BYTES_MAX


def test_nothing_runs_before_its_id_is_recorded(tmp_path: Path) -> None:
    """When recording the id fails, the program has not begun."""

    def refuse(_: ProcessId) -> None:
        raise OSError("disk full")

    box = Bubblewrap(workspace=tmp_path, clock=SystemClock(), on_start=refuse)
    with pytest.raises(OSError, match="disk full"):
        box.run(["sh", "-c", "echo ran > ran"])
    time.sleep(0.2)
    assert not (tmp_path / "ran").exists()


CHILD = """
import os, signal, sys
from pathlib import Path
from perdure.agents.sandbox import Bubblewrap
from perdure.clock import SystemClock
def begun(process):
    if sys.argv[2] == "while recording":
        os.kill(os.getpid(), signal.SIGKILL)
box = Bubblewrap(workspace=Path(sys.argv[1]), clock=SystemClock(), on_start=begun)
print("starts", flush=True)
box.run(["sh", "-c", "echo ran > ran; sleep 601"])
"""


def test_killed_while_recording_nothing_ran(tmp_path: Path) -> None:
    """SIGKILL between starting a program and recording its id: the program never begins."""
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), "while recording"],
        check=False,
        stdout=subprocess.DEVNULL,
    )
    assert ended.returncode == -9
    time.sleep(0.3)
    assert not (tmp_path / "ran").exists()


def test_a_program_dies_with_its_session(tmp_path: Path) -> None:
    """SIGKILL of the session ends the program that it runs."""
    words = [sys.executable, "-c", CHILD, str(tmp_path), "while running"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        for _ in range(500):
            if (tmp_path / "ran").exists():
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "ran").exists()
    wait_until_gone("sleep 601")


def test_without_bubblewrap_nothing_runs(sandbox: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without bubblewrap gets the line that installs it, and no unprotected run."""
    monkeypatch.setattr("perdure.agents.sandbox.executable", lambda name: None)
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap"):
        sandbox.run(["true"])


def test_a_stranger_with_the_same_pid_is_not_ended() -> None:
    """`end` ends the process it was told, and never another one that has its pid now."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        found = identify(stranger.pid)
        assert found is not None
        assert not end(ProcessId(pid=found.pid, start_ticks=found.start_ticks - 1, boot_id=found.boot_id))
        assert stranger.poll() is None
        assert end(found)
        assert stranger.wait() == -9


def wait_until_gone(command: str) -> None:
    """Until no process of that command line is left."""
    for _ in range(250):
        running = [
            path
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if command.encode() in _read(path).replace(b"\0", b" ")
            and b"sh -c" not in _read(path).replace(b"\0", b" ")
        ]
        if not running:
            return
        time.sleep(0.02)
    raise AssertionError(f"{command} still runs")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
