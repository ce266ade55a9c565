"""The same functions without numba: the same bytes, every check on, and decisions that replay compiled."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perdure.scheduling.compiled import compile_policy
from perdure.scheduling.decision_log import read_decisions, replay
from perdure.scheduling.policies import KINDS, NAMES, Kind
from perdure.traces.programs import Programs
from perdure.traces.sessions import ProgramsBuilder, Turn
from perdure.twin.kernel_arrays import World
from tests.fleets import digest, play, policies, pool, tier

ROOT = Path(__file__).parent.parent.parent
NAMED = {"order": "plas", "place": "soft_affinity", "admit": "working_set", "retain": "infercept"}
ADMIT = ("working_set", "all")

SCRIPT = """
import json
import sys
import warnings

warnings.simplefilter("error")
from tests.fleets import digest
from tests.twin_decisions import logged
from tests.worlds.test_twin_plain import ADMIT, crowd, everything

with open(sys.argv[1], "w", encoding="utf-8") as file:
    with logged(file):
        found = [digest(everything(crowd(), admit)) for admit in ADMIT]
print(json.dumps(found))
"""


def crowd() -> Programs:
    """Nine programs of two models and two tenants: forks, joins, edits, tools that fail, shared prompts."""
    builder = ProgramsBuilder()
    for number in range(9):
        builder.program(0.11 * number, ("acme", "zeta")[number % 2])
        alike = (0, 20) if number else None
        planner = builder.session("planner", prefix=alike)
        kept = 20 if number else 0
        for turn in range(4):
            tool = turn > 0
            new, output = 13 + 3 * turn, 20 + (number * 5 + turn * 7) % 23
            if turn == 2:
                kept = 17  # compacted
            step = Turn(
                kept_tokens=kept,
                new_tokens=new,
                output_tokens=output,
                gap_s=0.11 * turn,
                tool=tool,
                attempts=2 if number == 3 and tool else 1,
            )
            builder.turn(planner, step)
            kept += new + output
        same = builder.session("planner", fork=(planner, 0), prefix=(planner, 20))
        builder.sessions[same].join_turn = 2
        builder.turn(same, Turn(kept_tokens=20, new_tokens=8, output_tokens=14, gap_s=0.02))
        other = builder.session("worker", fork=(planner, 1))
        builder.sessions[other].join_turn = 3
        builder.turn(other, Turn(kept_tokens=0, new_tokens=30, output_tokens=12, gap_s=0.05))
    return builder.build(concurrency=8)


def everything(programs: Programs, admit: str) -> World:
    """All policies, two pools, tiers of both kinds, few tools, tenants' shares, and too little room."""
    tiers = (tier(blocks=30, bytes_per_s=2e4), tier(name="pooled", blocks=60, bytes_per_s=1e4, shared=True))
    fleet = [
        pool(name="planner", blocks=40, replicas=2, sequences=3, batch=32, tiers=tiers, sequence_tokens=4),
        pool(name="worker", blocks=16, sequences=2, batch=16),
    ]
    return play(
        programs, fleet, policies(**{**NAMED, "admit": admit}), fair=True, weights=(2.0, 1.0), tools=2
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The digest of the world in a process without numba that checks itself, and its decision log."""
    log = tmp_path_factory.mktemp("plain") / "decisions.jsonl"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PERDURE_TWIN_DEBUG": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(log)], env=environment, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), log


def test_without_numba_the_world_is_the_same_to_the_last_bit(plain: tuple[list[str], Path]) -> None:
    """Every number of a world with every feature on is the same compiled and as plain Python, checks on."""
    worlds = [everything(crowd(), admit) for admit in ADMIT]
    assert plain[0] == [digest(world) for world in worlds]
    crowded = worlds[1]
    assert crowded.replicas.preemptions.sum() > 0
    assert crowded.replicas.loaded_tokens.sum() > 0
    assert crowded.holders.moved_tokens.sum() > 0
    assert crowded.clock[0].beliefs > 0


def test_decisions_of_plain_functions_replay_compiled(plain: tuple[list[str], Path]) -> None:
    """What plain policies chose in that run, compiled ones choose too; each kind was asked."""
    functions: dict[tuple[Kind, str], Any] = {
        (kind, NAMED[kind]): compile_policy(kind, NAMES[kind][NAMED[kind]]) for kind in KINDS
    }
    made = list(read_decisions(plain[1]))
    again = replay(made, functions)
    assert again.differing == 0
    assert {decision.kind for decision in made} == set(KINDS)
    assert all({decision.choice for decision in made if decision.kind == kind} != {0} for kind in KINDS)
    functions["order", "plas"] = compile_policy("order", NAMES["order"]["srpt"])
    assert replay(made, functions).differing > 0
