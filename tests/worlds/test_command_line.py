"""What a person types, and what they get: run, kill, resume, show, export; and every refusal."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from perdure.clock import SystemClock
from perdure.config import read_places
from perdure.journal.store import Journal
from tests.worlds.conftest import ScriptedServer

AGENT = Path(__file__).parent / "five"
FIELDS = {
    "run_id",
    "status",
    "turns",
    "model_calls",
    "tool_calls",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "wall_s",
    "resumes",
    "result",
}


@dataclass(frozen=True, kw_only=True)
class Shell:
    """One user's shell: an own home, and the scripted server named on each command line that needs one."""

    home: Path
    world: Path
    server: ScriptedServer

    def words(self, *words: str, server: bool = True) -> list[str]:
        named = ["--base-url", self.server.base_url, "--api-key", self.server.key] if server else []
        return [sys.executable, "-m", "perdure", *words, *named]

    def run(self, *words: str, server: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*words, server=server), capture_output=True, text=True, check=False, env=self.env
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.words(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env
        )

    def agent(self, turns: int = 5) -> list[str]:
        return ["run", str(AGENT), "--set", f"world={self.world}", "--goal", f"Calls in all: {turns}"]

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "PERDURE_HOME": str(self.home)}


@pytest.fixture
def shell(tmp_path: Path, scripted: ScriptedServer) -> Shell:
    (tmp_path / "world").mkdir()
    return Shell(home=tmp_path / "home", world=tmp_path / "world", server=scripted)


def test_run_prints_one_json_object(shell: Shell) -> None:
    """`run --json` prints the contract's fields as one object, and ends 0 when the run is done."""
    ended = shell.run(*shell.agent(), "--json", server=True)
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    assert outcome.keys() >= FIELDS
    assert outcome["status"] == "done"
    assert (outcome["turns"], outcome["model_calls"], outcome["tool_calls"]) == (6, 6, 5)
    assert 0 < outcome["cached_tokens"] < outcome["prompt_tokens"]
    assert outcome["result"] == {"text": "done"}
    assert f"perdure resume {outcome['run_id']}" in ended.stderr


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on(shell: Shell, told: signal.Signals) -> None:
    """Interrupted by any signal, a run is resumed to the same end; the gentle ones end 75 and say how."""
    process = shell.start(*shell.agent(turns=100), "--json")
    wait_for(lambda: counted(shell) >= 20)
    process.send_signal(told)
    _, said = process.communicate(timeout=60)
    run_id = re.search(r"run_[0-9a-f]+", said)
    assert run_id is not None
    if told is signal.SIGKILL:
        assert process.returncode == -9
    else:
        assert process.returncode == 75, said
        assert f"Go on with: perdure resume {run_id[0]}" in said
        assert "Traceback" not in said
    shown = shell.run("show", run_id[0])
    assert f"Go on with: perdure resume {run_id[0]}" in shown.stdout
    ended = shell.run("resume", run_id[0], "--json", server=True)
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    assert (outcome["status"], outcome["resumes"], outcome["turns"]) == ("done", 1, 101)
    assert len(set((shell.world / "send").read_text().split())) == 20


def test_show_and_runs_tell_what_happened(shell: Shell) -> None:
    """`show` prints a line for each thing that happened, `runs` a line for each run."""
    run_id = json.loads(shell.run(*shell.agent(), "--json", server=True).stdout)["run_id"]
    shown = shell.run("show", run_id)
    assert shown.returncode == 0
    for line in ("looked 0", "counter 1", "paid 2", "sent 3", "shouted 4", "6 model calls, 5 tool calls"):
        assert line in shown.stdout
    assert json.loads(shell.run("show", run_id, "--json").stdout)["turns"] == 6
    listed = shell.run("runs")
    assert run_id in listed.stdout
    assert "done" in listed.stdout
    assert json.loads(shell.run("runs", "--json").stdout)[0]["run_id"] == run_id


def test_the_exported_trace_holds_every_call_and_no_text(shell: Shell, tmp_path: Path) -> None:
    """`trace export` writes one line a model call with the tool and its time, and nothing that was said."""
    run_id = json.loads(shell.run(*shell.agent(), "--json", server=True).stdout)["run_id"]
    out = tmp_path / "trace.jsonl"
    ended = shell.run("trace", "export", run_id, "--out", str(out), server=True)
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["tool"] for line in lines] == ["look", "count", "pay", "send", "shout", None]
    assert all((line["tool_s"] is not None) == (line["tool"] is not None) for line in lines)
    assert {line["session"] for line in lines} == {run_id}
    assert all(len(line["block_hashes"]) == line["prompt_tokens"] // 64 for line in lines)
    assert "looked" not in out.read_text()
    workload = tmp_path / "run.parquet"
    shell.run("trace", "export", run_id, "--to", str(workload), "--format", "parquet", server=True)
    shown = json.loads(shell.run("trace", "show", str(workload), "--json").stdout)
    assert (shown["turns"], shown["sessions"], shown["import"]["format"]) == (len(lines), 1, "parquet")
    estimated = shell.run("estimate", str(out), "--on", "h200", "--json")
    assert estimated.returncode == 0, estimated.stderr
    unknown = shell.run("estimate", str(out), "--on", "nosuch")
    assert unknown.returncode == 2
    assert "'nosuch'. Give --on one or more of: this-machine, m890, h200, al128" in unknown.stderr
    nowhere = shell.run("trace", "export", run_id, "--out", str(tmp_path / "no" / "x"), server=True)
    assert nowhere.returncode == 2
    assert "Traceback" not in nowhere.stderr
    assert "Give --out a file in a folder that is there" in nowhere.stderr


def test_without_a_server_one_is_started_for_the_run(shell: Shell) -> None:
    """Where nothing answers, `run` starts a server of its own and stops it at the end."""
    ended = shell.run(*shell.agent(), "--json")
    assert ended.returncode == 0, ended.stderr
    assert "starting one for this run" in ended.stderr
    assert json.loads(ended.stdout)["status"] == "done"
    assert not list(read_places(shell.env).runs_dir.glob("server_*"))


def test_init_writes_an_agent_that_runs(shell: Shell, tmp_path: Path) -> None:
    """What `init` scaffolds runs as it is, and is never overwritten."""
    folder = tmp_path / "mine"
    assert shell.run("init", "mine", "--folder", str(folder)).returncode == 0
    ended = shell.run("run", str(folder), "--model", "scripted", "--json")
    assert ended.returncode == 0, ended.stderr
    assert len(json.loads(ended.stdout)["result"]["notes"]) == 3
    again = shell.run("init", "mine", "--folder", str(folder))
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_a_run_over_its_turns_fails(shell: Shell, tmp_path: Path) -> None:
    """A run that reaches max_turns ends 1 and says which limit it was."""
    text = (AGENT / "AGENT.toml").read_text().replace("max_turns = 1000", "max_turns = 2")
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "AGENT.toml").write_text(text)
    (tmp_path / "few" / "tools.py").write_text((AGENT / "tools.py").read_text())
    words = ["run", str(tmp_path / "few"), "--set", f"world={shell.world}", "--json"]
    ended = shell.run(*words, server=True)
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["because"] == "max_turns = 2 reached"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["run", "nowhere/AGENT.toml"], 2, "perdure init"),
        (["run", str(AGENT), "--set", "colour=red"], 2, "settings: world"),
        (["run", str(AGENT), "--model", "gpt-17"], 2, "it has scripted"),
        (["resume", "run_nobody"], 2, "perdure runs"),
    ],
)
def test_bad_usage_says_what_to_do(shell: Shell, words: list[str], code: int, says: str) -> None:
    """A wrong word on the command line ends 2 with one line that says what to do."""
    ended = shell.run(*words, server=True)
    assert ended.returncode == code, ended.stderr
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_key_is_refused_before_anything_starts(shell: Shell) -> None:
    """With a key that the server does not know, nothing is recorded and the remedy is named."""
    words = [*shell.agent(), "--base-url", shell.server.base_url, "--api-key", "sk-perdure-wrong"]
    ended = shell.run(*words)
    assert ended.returncode == 1
    assert "PERDURE_API_KEY" in ended.stderr
    assert "no runs yet" in shell.run("runs").stdout


def test_a_run_has_one_process_at_a_time(shell: Shell) -> None:
    """While a process works on a run, another one that resumes it is refused and changes nothing."""
    process = shell.start(*shell.agent(turns=150), "--json")
    wait_for(lambda: counted(shell) >= 5)
    with Journal(read_places(shell.env).journal_file, clock=SystemClock()) as journal:
        run_id = journal.streams("session")[0].id
    second = shell.run("resume", run_id, "--json", server=True)
    out, _ = process.communicate(timeout=120)
    assert second.returncode == 1
    assert "another process is working" in second.stderr
    assert json.loads(out)["resumes"] == 0


def test_a_full_disk_loses_nothing(shell: Shell, bubblewrap: None) -> None:
    """When the disk fills while journaling, the run stops with what to do, and goes on once there is room."""
    places = read_places(shell.env)
    run = " ".join(f"'{word}'" for word in shell.words(*shell.agent(turns=20), "--json"))
    resume = " ".join(f"'{word}'" for word in shell.words("resume", "$id", "--json")).replace("'$id'", "$id")
    script = (
        f"head -c 5800000 /dev/zero > {shell.home}/filler; {run} 2> {shell.world}/err; echo first $?; "
        f"id=$(grep -o 'run_[0-9a-f]*' {shell.world}/err | head -1); rm {shell.home}/filler; "
        f"{resume} > {shell.world}/out; echo second $?"
    )
    shell.home.mkdir()
    box = ["bwrap", "--dev-bind", "/", "/", "--size", str(6_000_000), "--tmpfs", str(shell.home)]
    ended = subprocess.run(
        [*box, "sh", "-c", script], capture_output=True, text=True, check=False, env=shell.env
    )
    said = (shell.world / "err").read_text()
    assert "first 75" in ended.stdout, (ended, said)
    assert "Free some disk space" in said
    assert "Go on with: perdure resume" in said
    assert "Traceback" not in said
    assert "second 0" in ended.stdout, ended
    outcome = json.loads((shell.world / "out").read_text())
    assert outcome["turns"] == 21
    for name in ("pay", "send"):
        keys = (shell.world / name).read_text().split()
        assert len(keys) == len(set(keys)) == 4
    assert not places.journal_file.exists()


def counted(shell: Shell) -> int:
    """How many things were done to the world so far."""
    return sum(len(path.read_text().split()) for path in shell.world.iterdir())


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never happened")


def test_what_is_recorded_is_the_owners_alone(shell: Shell) -> None:
    """No other user of the machine can read a session: folders are 0700, the journal and its WAL 0600."""
    places = read_places(shell.env)
    with Journal(places.journal_file, clock=SystemClock()) as journal:  # keeps the WAL in place
        assert shell.run(*shell.agent(), "--json", server=True).returncode == 0
        assert journal.streams("session")
        files = [path for path in shell.home.rglob("*") if path.is_file()]
        assert {"journal.db", "journal.db-wal"} <= {path.name for path in files}
        assert [path for path in files if path.stat().st_mode & 0o077 and "lock" not in path.name] == []
    for folder in (places.data_dir, places.runs_dir):
        assert folder.stat().st_mode & 0o077 == 0


def test_brackets_in_what_others_say_are_text(shell: Shell, tmp_path: Path) -> None:
    """A server's or an agent's words with brackets are shown as they are, by every command."""
    folder = tmp_path / "odd"
    folder.mkdir()
    text = (AGENT / "AGENT.toml").read_text().replace('name = "five"', 'name = "odd [/INST] [red]"')
    (folder / "AGENT.toml").write_text(text.replace("max_turns = 1000", "max_turns = 1"))
    (folder / "tools.py").write_text((AGENT / "tools.py").read_text())
    ended = shell.run("run", str(folder), "--set", f"world={shell.world}", server=True)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    run_id = re.search(r"run_[0-9a-f]+", ended.stderr)
    assert run_id is not None
    assert "odd [/INST] [red]" in shell.run("runs").stdout
    assert "odd [/INST] [red]" in shell.run("show", run_id[0]).stdout


def test_a_run_goes_on_after_its_tools_were_edited(shell: Shell, tmp_path: Path) -> None:
    """An agent whose tools were edited while its process was dead goes on, and says that they changed."""
    folder = tmp_path / "edited"
    folder.mkdir()
    for name in ("AGENT.toml", "tools.py"):
        (folder / name).write_text((AGENT / name).read_text())
    words = ["run", str(folder), "--set", f"world={shell.world}", "--goal", "Calls in all: 100", "--json"]
    named = ["--base-url", shell.server.base_url, "--api-key", shell.server.key]
    process = shell.start(*words, *named)
    wait_for(lambda: counted(shell) >= 10)
    process.kill()
    _, said = process.communicate(timeout=60)
    run_id = re.search(r"run_[0-9a-f]+", said)
    assert run_id is not None
    tools = (folder / "tools.py").read_text().replace("Look at the world:", "Look closely at the world:")
    (folder / "tools.py").write_text(tools)
    ended = shell.run("resume", run_id[0], "--json", server=True)
    assert ended.returncode == 0, ended.stderr
    assert "changed since this run started" in ended.stderr
    assert json.loads(ended.stdout)["turns"] == 101
