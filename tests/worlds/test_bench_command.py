"""Real processes under the stopwatch of the race with other simulators."""

import sys
from pathlib import Path

import anyio

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

from perdure.processes import identify, is_alive
from tests.eventually import eventually
from twin_peers_command import end_tree, run_command

BENCH = Path(__file__).resolve().parents[2] / "bench"
BUSY = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_processor_time_of_a_child_is_counted() -> None:
    """A command whose child does the work has at least the child's processor time."""
    program = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}], check=True)"
    assert run_command([sys.executable, "-c", program], limit_s=60.0).cpu_s >= 0.3


def test_peak_memory_is_of_this_command_alone() -> None:
    """A small command after a large one does not inherit its peak.

    Asked in a process of its own: what is started counts no less than what started it, and pytest is large.
    """
    program = (
        f"import sys\nsys.path.append({str(BENCH)!r})\nfrom twin_peers_command import run_command\n"
        "for work in ('bytearray(300_000_000)', 'pass'):\n"
        "    print(run_command([sys.executable, '-c', work], limit_s=60.0).peak_rss_bytes)\n"
    )
    large, small = map(int, run_command([sys.executable, "-c", program], limit_s=60.0).output.split())
    assert large > 300_000_000
    assert small < 100_000_000


def test_output_errors_and_exit_code_are_kept() -> None:
    """What a command says and ends with is there for the reader of a failure."""
    ended = run_command([sys.executable, "-c", "import sys; print('out'); sys.exit('bad')"], limit_s=60.0)
    assert (ended.output, ended.errors, ended.exit_code) == ("out\n", "bad\n", 1)
    assert ended.complaint == "bad"


def test_a_command_at_its_limit_is_ended() -> None:
    """Such a command has no exit code, and the caller goes on."""
    assert run_command([sys.executable, "-c", "import time; time.sleep(600)"], limit_s=0.1).exit_code is None


async def test_a_worker_in_its_own_session_ends_with_the_command(tmp_path: Path) -> None:
    """What an ended command leaves behind, as AISimulate leaves its worker, is ended too."""
    note = tmp_path / "pid"
    worker = f"import os, time\nopen({str(note)!r}, 'w').write(f'{{os.getpid()}}.')\ntime.sleep(600)"
    program = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {worker!r}], start_new_session=True)\ntime.sleep(600)"
    )
    command = await anyio.open_process([sys.executable, "-c", program])
    await eventually(lambda: note.exists() and note.read_text().endswith("."))
    process = identify(int(note.read_text().rstrip(".")))
    assert process is not None
    end_tree(command.pid)
    await command.wait()
    await eventually(lambda: not is_alive(process))
