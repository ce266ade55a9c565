"""A session is killed at every boundary and at random instants, and nothing is lost or done twice."""

import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perdure.agents.loop import load
from perdure.clock import SystemClock
from perdure.config import read_places
from perdure.journal.event import EffectState
from perdure.journal.store import Journal
from tests.worlds.conftest import ScriptedServer

HERE = Path(__file__).parent
TURNS = 5  # one call of each class of effect
COMMITS = 4 * TURNS + 3  # asked, answered, intended and done of each; asked, answered and ended at last
WORK_S = 0.12  # about what a session of RANDOM_TURNS takes once it has begun
RANDOM_TURNS = 20


@dataclass(frozen=True, kw_only=True)
class World:
    """One server, one home with a journal, one folder that the sessions act on."""

    home: Path
    folder: Path
    base_url: str
    key: str

    def start(self, run_id: str, how: str, turns: int = TURNS) -> subprocess.Popen[str]:
        words = [sys.executable, str(HERE / "kill_child.py"), str(self.home), self.base_url, str(self.folder)]
        return subprocess.Popen(
            [*words, run_id, str(turns), how],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "WORLD_KEY": self.key},
        )

    def live(self, run_id: str, how: str, turns: int = TURNS) -> int:
        """Run a process to its end and return its exit code: 0, or -9 when it was killed."""
        with self.start(run_id, how, turns) as process:
            _, err = process.communicate(timeout=60)
        assert process.returncode in (0, -9), err
        return process.returncode

    def lines(self, name: str, run_id: str) -> Counter[str]:
        path = self.folder / name
        text = path.read_text() if path.exists() else ""
        return Counter(line for line in text.splitlines() if line.startswith(f"{run_id}/"))

    def generations(self) -> int:
        """How many answers the model has generated so far, replays not counted."""
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/metrics") as answer:
            text = answer.read().decode()
        counts = [line for line in text.splitlines() if line.startswith("perdure_queue_wait_seconds_count")]
        return int(float(counts[0].split()[-1])) if counts else 0


@pytest.fixture(scope="module")
def world(scripted: ScriptedServer, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("kill")
    (folder / "world").mkdir()
    return World(home=folder / "home", folder=folder / "world", base_url=scripted.base_url, key=scripted.key)


def told(journal: Journal, run_id: str) -> list[tuple[str, Any]]:
    """What the model said and what it was told, in order; the unknown fate of a blind call marked as such."""
    story: list[tuple[str, Any]] = []
    for event in journal.read(run_id):
        if event.kind == "model_answered":
            calls = [(call["name"], call["arguments"]) for call in event.body["calls"]]
            story.append(("said", (event.body["text"], calls)))
        elif event.kind == "effect_done":
            story.append((event.body["tool"], event.body["output"]))
        elif event.kind == "effect_unknown":
            story.append((event.body["tool"], None))
    return story


def check(world: World, run_id: str, turns: int = TURNS) -> None:
    """Nothing lost: the story is that of a run never killed. Nothing repeated: effects happened once."""
    with Journal(read_places({"PERDURE_HOME": str(world.home)}).journal_file, clock=SystemClock()) as journal:
        state = load(journal, run_id)
        story = told(journal, run_id)
        ledger = journal.effects(run_id)
    assert state.status == "done"
    expected: list[tuple[str, Any]] = []
    counter = 0
    for turn in range(turns):
        name = ("look", "count", "pay", "send", "shout")[turn % 5]
        counter += turn if name == "count" else 0
        output = {
            "look": f"looked {turn}",
            "count": f"counter {counter}",
            "pay": f"paid {turn}",
            "send": f"sent {turn}",
            "shout": f"shouted {turn}",
        }[name]
        expected += [("said", ("", [(name, json.dumps({"n": turn}))])), (name, output)]
    expected.append(("said", ("done", [])))
    for (what, was), (which, should) in zip(story, expected, strict=True):
        assert what == which
        assert was == should or (what == "shout" and was is None)
    assert state.values == {"counter": counter}
    each = turns // 5
    for name in ("pay", "send"):
        lines = world.lines(name, run_id)
        assert len(lines) == each, f"{name}: lost"
        assert set(lines.values()) == {1}, f"{name}: repeated"
    shouted = world.lines("shout", run_id)
    unknown = sum(effect.state is EffectState.UNKNOWN for effect in ledger)
    assert set(shouted.values()) <= {1}, "shout: repeated"
    assert each - unknown <= len(shouted) <= each, "shout: lost without saying so"
    assert all(effect.state is not EffectState.INTENDED for effect in ledger)
    assert state.unknown_effects == unknown


def test_a_session_that_is_not_killed(world: World) -> None:
    """The uninterrupted run is what killed ones are compared with, and makes the commits we count."""
    assert world.live("calm", "never") == 0
    check(world, "calm")
    assert world.live("calm_too", f"after:{COMMITS}") == -9
    assert world.live("calm_three", f"after:{COMMITS + 1}") == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_journal_boundary(world: World, when: str) -> None:
    """SIGKILL right before or right after any commit: lost 0, repeated 0, no finished answer paid twice."""
    for commit in range(1, COMMITS + 1):
        run_id = f"{when}_{commit}"
        before = world.generations()
        assert world.live(run_id, f"{when}:{commit}") == -9
        assert world.live(run_id, "never") == 0
        check(world, run_id)
        assert world.generations() - before == TURNS + 1, "a finished answer was generated again"


@pytest.mark.parametrize("where", ["begin", "end"])
def test_killed_inside_every_tool(world: World, where: str) -> None:
    """SIGKILL inside a tool, before or after its effect: done once, or surfaced when nobody can tell."""
    for call in range(1, TURNS + 1):
        run_id = f"{where}_{call}"
        assert world.live(run_id, f"inside:{call}:{where}") == -9
        assert world.live(run_id, "never") == 0
        check(world, run_id)


def test_killed_again_while_it_recovers(world: World) -> None:
    """Every process of one session dies after two commits, so that each recovery is itself cut off."""
    processes = 1
    while world.live("mayfly", "after:2") != 0:
        processes += 1
        assert processes < 100
    check(world, "mayfly")
    assert processes > TURNS


@pytest.mark.parametrize("instants", [50, pytest.param(1000, marks=pytest.mark.soak)])
def test_killed_at_random_instants(world: World, instants: int) -> None:
    """SIGKILL at random instants, from one seed: lost 0, repeated 0, at most one answer respent a kill."""
    rng = random.Random(20261124)
    kills = 0
    session = 0
    while kills < instants:
        session += 1
        run_id = f"random_{instants}_{session}"
        before = world.generations()
        killed_here = 0
        while True:
            with world.start(run_id, "never", RANDOM_TURNS) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(rng.uniform(0, WORK_S))
                process.kill()
                process.communicate(timeout=60)
            if process.returncode == 0:
                break
            killed_here += 1
        kills += killed_here
        check(world, run_id, RANDOM_TURNS)
        respent = world.generations() - before - (RANDOM_TURNS + 1)
        assert 0 <= respent <= killed_here
    print(f"{kills} kills over {session} sessions")
