"""Each key of a generated workload does what docs/workloads.md says, and nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest

from perdure.errors import CatalogBroken
from perdure.traces.generate_preset import load_preset, preset_names, read_preset
from perdure.traces.programs import Integers, Programs
from perdure.traces.workload_agents import AGENTS_KEYS
from perdure.traces.workload_text import REPLAY_KEYS, SYNTHETIC_KEYS, parse_workload

DOCS = Path(__file__).parents[2] / "docs" / "workloads.md"


def made(text: str) -> Programs:
    return parse_workload(text, rng_seed=1)


def last_prompts(programs: Programs) -> Integers:
    return programs.prompt_tokens[programs.first_turn[1:] - 1]


def fork_turns(programs: Programs) -> Integers:
    """Where, among all turns, each forked session's parent forks it."""
    forked = programs.forked
    return programs.first_turn[programs.parent[forked]] + programs.fork_turn[forked]


def first_turns(programs: Programs) -> Integers:
    """The first turn of each forked session."""
    return programs.first_turn[:-1][programs.forked]


def test_synthetic_requests_are_what_is_asked_for() -> None:
    """requests, input, output and concurrency: equal calls, all there at once, so many run."""
    programs = made("synthetic:requests=10000,input=2048,output=128,concurrency=64")
    assert len(programs.arrival_s) == len(programs.new_tokens) == 10_000
    assert set(programs.prompt_tokens.tolist()) == {2048}
    assert set(programs.output_tokens.tolist()) == {128}
    assert not programs.arrival_s.any()
    assert (programs.concurrency, programs.end_s) == (64, None)
    assert made("synthetic:rate=2").concurrency is None


def test_synthetic_turns_are_a_chain() -> None:
    """turns, new and gap: each later prompt is the one before, its answer and what is new, after the gap."""
    programs = made("synthetic:requests=6,turns=3,input=100,new=10,output=5,gap=2.5")
    assert programs.prompt_tokens.tolist() == [100, 115, 130] * 2
    assert programs.kept_tokens.tolist() == [0, 105, 120] * 2
    assert programs.gap_s.tolist() == [0, 2.5, 2.5] * 2
    assert programs.tool.tolist() == [False, True, True] * 2


def test_synthetic_groups_share_what_they_begin_with() -> None:
    """shared and groups: sessions begin as the first one of their group did."""
    programs = made("synthetic:requests=6,input=100,shared=40,groups=2")
    assert programs.prefixed.tolist() == [False, False, True, True, True, True]
    assert programs.prefix_session.tolist() == [0, 0, 0, 1, 0, 1]
    assert programs.kept_tokens.tolist() == [0, 0, 40, 40, 40, 40]
    assert set(programs.prompt_tokens.tolist()) == {100}


def test_agents_start_within_the_hours_and_the_run_ends_there() -> None:
    """programs and hours; with a rate or a concurrency instead, hours only cut the run off."""
    programs = made("agents:programs=200,hours=10")
    assert len(programs.arrival_s) == 200
    assert 0 < programs.arrival_s[0] < programs.arrival_s[-1] < 36_000 == programs.end_s
    closed = made("agents:programs=20,concurrency=5")
    assert (closed.concurrency, closed.end_s, closed.arrival_s.any()) == (5, None, False)
    assert made("agents:programs=20,concurrency=5,hours=2").end_s == 7_200
    rated = made("agents:programs=2000,rate=0.5")
    assert rated.arrival_s[-1] == pytest.approx(4_000, rel=0.1)
    assert rated.end_s is None


def test_preset_names_the_laws() -> None:
    """preset: programs of another data set are others, and every preset that ships can be read and drawn."""
    assert "kv-cache-tester" in preset_names()
    for name in preset_names():
        assert len(made(f"agents:preset={name},programs=3").program) >= 3
    assert load_preset("kv-cache-tester").borrowed == ()
    assert {"user_gap_s", "compact_low"} <= set(load_preset("agentx").borrowed)


def test_models_share_programs_and_never_kv() -> None:
    """models and roles: each sub-session has its role's model, and KV is shared on one model only."""
    programs = made("agents:programs=60,models=4")
    assert programs.models == ("model-1", "model-2", "model-3", "model-4")
    assert set(programs.model.tolist()) == {0, 1, 2, 3}
    named = made("agents:programs=60,roles=planner:big+worker:small+critic:big+worker:tiny")
    assert named.models == ("big", "small", "tiny")
    assert not named.model[~named.forked].any()
    for one in (programs, named):
        ancestors = one.prefix_session[one.prefixed]
        assert np.array_equal(one.model[ancestors], one.model[one.prefixed])
        other = one.forked & (one.model != one.model[one.parent])
        assert other.any()
        assert not (one.prefixed & (one.prefix_session == one.parent) & other).any()


def test_models_exchange_tokens() -> None:
    """What a main session's answer says comes into a sub-session's prompt, and its last answer comes back."""
    programs = made("agents:programs=60,models=2,subagents_each=1")
    other = programs.model[programs.forked] != 0
    told = programs.output_tokens[fork_turns(programs)]
    assert (programs.new_tokens[first_turns(programs)] >= told)[other].all()
    waits = programs.first_turn[programs.parent] + programs.join_turn
    last = programs.output_tokens[programs.first_turn[1:] - 1]
    alone = made("agents:programs=60,subagents=0")
    starts = programs.first_turn[:-1][~programs.forked]
    lone_turn = alone.first_turn[:-1][programs.program] + programs.join_turn
    grown = programs.joined & (waits > starts[programs.program])
    calm = grown & (programs.kept_tokens[waits] == alone.kept_tokens[lone_turn])
    assert calm.any()
    assert (programs.new_tokens[waits] >= last)[calm].all()
    assert programs.new_tokens[waits][calm].sum() >= (alone.new_tokens[lone_turn] + last)[calm].sum()


def test_subagents_fork_and_are_waited_for() -> None:
    """subagents and subagents_each: so many programs have them, so many each; the next turn waits."""
    assert not made("agents:programs=50,subagents=0").forked.any()
    half = made("agents:programs=2000,subagents=0.5,subagents_each=6")
    having = np.unique(half.program[half.forked])
    assert len(having) == pytest.approx(1_000, rel=0.1)
    assert half.forked.sum() / len(having) == pytest.approx(6, rel=0.1)
    assert np.array_equal(half.join_turn[half.joined], half.fork_turn[half.joined] + 1)
    alone = np.diff(half.first_turn)[half.parent[half.forked]] == 1
    assert np.array_equal(half.joined[half.forked], ~alone)


def test_fork_says_what_a_subagent_begins_with() -> None:
    """fork=parent: its parent's context, answer included. fork=own: a system prompt that all share."""
    shared = made("agents:programs=30,subagents=1,fork=parent,window=10m")
    at = fork_turns(shared)
    context = shared.prompt_tokens[at] + shared.output_tokens[at]
    assert np.array_equal(shared.prefix_session[shared.forked], shared.parent[shared.forked])
    assert np.array_equal(shared.prefix_tokens[shared.forked], context)
    assert np.array_equal(shared.kept_tokens[first_turns(shared)], context)
    tight = made("agents:programs=30,subagents=1,fork=parent,window=32000")
    goes_on = (tight.prefix_session == tight.parent)[tight.forked]
    assert set(goes_on.tolist()) == {False, True}
    own = made("agents:programs=30,subagents=1,fork=own")
    brought = own.prefix_session[own.forked & own.prefixed]
    assert len(set(brought.tolist())) == 1
    assert own.forked[brought].all()
    assert len(set(own.prefix_tokens[own.forked & own.prefixed].tolist())) == 1


def test_prompts_are_how_many_system_prompts_there_are() -> None:
    """prompts: all but the first session of each begin with tokens that another one brought."""
    for count in (1, 5):
        programs = made(f"agents:programs=300,subagents=0,prompts={count}")
        assert (~programs.prefixed).sum() == count
        assert len(set(programs.prefix_session[programs.prefixed].tolist())) == count


def test_tenants_have_mixes_of_their_own() -> None:
    """tenants and mixes: every program has a tenant, tenants of one mix are alike, and mixes differ."""
    programs = made("agents:programs=20000,subagents=0,tenants=40,mixes=20")
    assert len(programs.tenants) == 40
    assert set(programs.tenant.tolist()) == set(range(40))
    mixes, turns = programs.tenant % 20, np.diff(programs.first_turn)
    medians = np.array(
        [np.median(programs.output_tokens[np.repeat(mixes == one, turns)]) for one in range(20)]
    )
    assert medians.max() > 1.5 * medians.min()
    busiest = int(np.argmax(np.bincount(mixes)))
    for half in (busiest, busiest + 20):
        own = programs.output_tokens[np.repeat(programs.tenant == half, turns)]
        assert np.median(own) == pytest.approx(medians[busiest], rel=0.1)
    assert np.median(programs.output_tokens) == pytest.approx(216, rel=0.15)
    rates = np.bincount(made("agents:programs=5000,tenants=400").tenant, minlength=400)
    assert rates.max() > 10 * np.median(rates)


def test_tools_fail_and_are_run_again() -> None:
    """tool_failure: so many runs fail, and a tool that failed runs again; people's gaps have one attempt."""
    calm, rough = made("agents:programs=300"), made("agents:programs=300,tool_failure=0.2")
    assert set(calm.attempts.tolist()) == {1}
    assert rough.attempts[rough.tool].mean() == pytest.approx(1 / 0.8, rel=0.02)
    assert set(rough.attempts[~rough.tool].tolist()) == {1}
    assert made("agents:programs=50,tool_failure=0.9").attempts.max() == 8
    for name in ("new_tokens", "gap_s", "tool"):
        assert np.array_equal(getattr(calm, name), getattr(rough, name)), name


def test_window_bounds_every_prompt() -> None:
    """window and compaction: contexts are compacted before the window is full; without, they only grow."""
    for preset in preset_names():
        small = made(f"agents:programs=20,window=32000,preset={preset}")
        assert small.prompt_tokens.max() <= 0.91 * 32_000
    on, off = made("agents:programs=200"), made("agents:programs=200,compaction=off")
    assert np.median(last_prompts(off)) > np.median(last_prompts(on))
    later = np.ones(len(off.new_tokens), dtype=np.bool_)
    later[off.first_turn[:-1]] = False
    assert (np.diff(off.prompt_tokens)[later[1:]] > 0).all()
    assert not (np.diff(on.prompt_tokens)[later[1:]] > 0).all()
    assert np.array_equal(on.output_tokens, off.output_tokens)


def test_every_key_and_preset_is_in_the_docs() -> None:
    """docs/workloads.md names each key of each kind of workload, and each preset."""
    text = DOCS.read_text(encoding="utf-8")
    written = set(re.findall(r"^\| `([a-z_-]+)`", text, flags=re.MULTILINE))
    for name in (*SYNTHETIC_KEYS, *AGENTS_KEYS, *REPLAY_KEYS):
        assert name in written, name
    for name in preset_names():
        assert f"`{name}`" in text, name


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"turns": {"source": "paper", "p50": 3, "p90": 2}}, "ascend"),
        ({"turns": {"p50": 3}}, "source"),
        ({"turns": {"source": "paper", "q50": 3}}, "no quantile"),
        ({"turns": {"source": "paper", "p50": -3}}, "above zero"),
        ({"turn": {"source": "paper", "p50": 3}}, "did you mean turns"),
        ({"numbers": {"source": "paper", "tool_shares": 1}}, "did you mean tool_share"),
    ],
)
def test_a_preset_without_sense_does_not_load(table: dict[str, dict[str, object]], says: str) -> None:
    """A law ascends, is above zero, has known names and a source."""
    with pytest.raises(CatalogBroken, match=says):
        read_preset("mine", table, load_preset("kv-cache-tester"))


def test_a_median_alone_scales_the_law_of_the_default() -> None:
    """What a row says of the median alone keeps the default's shape, and is noted as borrowed."""
    default = load_preset("kv-cache-tester")
    preset = read_preset("mine", {"output_tokens": {"source": "paper", "p50": 432}}, default)
    assert preset.spreads["output_tokens"] == default.spreads["output_tokens"].times(2)
    assert "output_tokens" in preset.borrowed
