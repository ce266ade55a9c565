"""A workload written in one line is what it says, is always well formed, and is the same twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import BadRequest
from perdure.traces.programs import Programs, check_programs, equal_programs
from perdure.traces.workload_text import is_file_workload, parse_workload

synthetic_texts = st.builds(
    "synthetic:requests={},input={},output={},turns={},new={},gap={},shared={},groups={},{}".format,
    st.integers(1, 40).map(lambda sessions: sessions * 3),
    st.integers(100, 5_000),
    st.integers(1, 500),
    st.just(3),
    st.integers(1, 300),
    st.floats(0, 100).map(lambda gap: round(gap, 3)),
    st.integers(0, 99),
    st.integers(1, 5),
    st.sampled_from(["concurrency=4", "rate=2", "rate=0.5,arrival=gamma,cv=3", "rate=3,arrival=diurnal"]),
)
agents_texts = st.builds(
    "agents:programs={},hours={},tenants={},prompts={},tool_failure={},window={},compaction={},{}".format,
    st.integers(1, 12),
    st.sampled_from([0.5, 35]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([0, 0.3]),
    st.sampled_from([32_000, 200_000, 1_000_000]),
    st.sampled_from(["on", "off"]),
    st.sampled_from(
        [
            "subagents=0",
            "subagents=1,fork=own",
            "subagents=1,fork=parent,subagents_each=9",
            "models=3",
            "models=6,fork=own",
            "roles=planner:a+worker:b+critic:a+summariser:c,subagents_each=1",
            "concurrency=3",
            "rate=0.1,arrival=weibull,cv=0.7",
        ]
    ),
)


@settings(max_examples=80)
@given(text=synthetic_texts | agents_texts, seed=st.integers(0, 2**62))
def test_everything_generated_is_a_workload(text: str, seed: int) -> None:
    """Law: whatever can be written makes programs that the contract accepts."""
    check_programs(parse_workload(text, rng_seed=seed))


@settings(max_examples=60)
@given(text=synthetic_texts | agents_texts, seed=st.integers(0, 2**62))
def test_what_sessions_share_was_there_to_share(text: str, seed: int) -> None:
    """Law: a shared beginning is a parent's context at the fork, or a prompt's, equally long for all."""
    programs = parse_workload(text, rng_seed=seed)
    first_prompts = programs.prompt_tokens[programs.first_turn[:-1]]
    bringer, tokens = programs.prefix_session, programs.prefix_tokens
    continues = programs.prefixed & programs.forked & (bringer == programs.parent)
    fork = programs.first_turn[programs.parent] + programs.fork_turn
    context = programs.prompt_tokens[fork] + programs.output_tokens[fork]
    assert np.array_equal(tokens[continues], context[continues])
    alike = programs.prefixed & ~continues
    assert not programs.prefixed[bringer[alike]].any()
    assert np.array_equal(programs.forked[bringer[alike]], programs.forked[alike])
    assert (tokens[alike] < first_prompts[bringer[alike]]).all()
    assert (tokens < first_prompts).all()
    for one in np.unique(bringer[alike]):
        assert len(np.unique(tokens[alike & (bringer == one)])) == 1
    assert np.array_equal(programs.model[bringer[programs.prefixed]], programs.model[programs.prefixed])


@settings(max_examples=20)
@given(text=synthetic_texts | agents_texts, seed=st.integers(0, 2**62))
def test_the_same_seed_gives_the_same_workload(text: str, seed: int) -> None:
    """Law: text and seed decide every number, and a seed in the text goes before the other."""
    one = parse_workload(text, rng_seed=seed)
    assert equal_programs(one, parse_workload(text, rng_seed=seed))
    assert equal_programs(one, parse_workload(f"{text},seed={seed}", rng_seed=seed + 1))


def test_another_seed_gives_another_workload() -> None:
    """Sizes, gaps and arrivals of agents all follow the seed."""
    one, other = (parse_workload("agents:programs=50", rng_seed=seed) for seed in (1, 2))
    assert not np.array_equal(one.arrival_s, other.arrival_s)
    assert not np.array_equal(one.output_tokens[:50], other.output_tokens[:50])
    assert not np.array_equal(one.gap_s[:50], other.gap_s[:50])


@pytest.mark.parametrize("options", ["", ",models=3", ",tenants=7", ",subagents=1,fork=parent"])
def test_a_longer_workload_begins_with_the_shorter(options: str) -> None:
    """Law: more programs leave the first ones as they were, but for when they arrive."""
    short = parse_workload(f"agents:programs=40{options}", rng_seed=5)
    long = parse_workload(f"agents:programs=80{options}", rng_seed=5)
    sessions, turns = len(short.program), len(short.new_tokens)
    for name in ("model", "parent", "fork_turn", "join_turn", "prefix_session", "prefix_tokens"):
        assert np.array_equal(getattr(short, name), getattr(long, name)[:sessions]), name
    for name in ("kept_tokens", "new_tokens", "output_tokens", "gap_s", "tool", "attempts"):
        assert np.array_equal(getattr(short, name), getattr(long, name)[:turns]), name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("agents:program=3", "did you mean programs?"),
        ("synthetic:ouput=3", "did you mean output?"),
        ("agents:arrival=poison", "did you mean poisson?"),
        ("agents:preset=kv-cache-testr", "did you mean kv-cache-tester?"),
        ("agents:roles=planer:a+worker:b", "did you mean planner?"),
        ("agents:roles=planner", "planner:M1+worker:M2"),
        ("agents:roles=planner:a+worker:b,models=2", "leave models out"),
        ("agents:hours=soon", "a number from"),
        ("agents:hours=nan", "a number from"),
        ("agents:programs=1.5", "a whole number from"),
        ("agents:programs=0", "a whole number from"),
        ("agents:programs=2,programs=3", "set twice"),
        ("agents:compaction", "KEY=VALUE"),
        ("synthetic:rate=1,concurrency=2", "set one of them"),
        ("agents:rate=1,concurrency=2", "set one of them"),
        ("synthetic:concurrency=2,arrival=gamma", "needs rate"),
        ("synthetic:rate=2,cv=3", "arrival=gamma"),
        ("synthetic:requests=10,turns=4", "requests=12"),
        ("synthetic:input=10,shared=10", "share fewer"),
        ("synthetic:gap=3", "turns=8"),
        ("synthetic:groups=3", "set shared"),
        ("agents:programs=1000000,models=16", "sessions; the limit is"),
        ("agents:preset=qwen-35h,programs=1000000", "turns; the limit is"),
        ("agents:programs=1,tenants=100000,prompts=10000", "system prompts; the limit is"),
        ("synthetic:rate=0.000001,arrival=diurnal", "raise rate"),
        ("replay:scale=2", "path=FILE"),
        ("sessions.jsonl", "synthetic:"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_write(text: str, says: str) -> None:
    """An unknown or contradictory key never passes in silence."""
    with pytest.raises(BadRequest, match=says.replace("?", r"\?").replace("+", r"\+")) as caught:
        parse_workload(text, rng_seed=0)
    assert caught.value.param == "workload"


def test_a_file_is_asked_for_by_its_name() -> None:
    """A path goes to whoever reads files, alone or replayed at a scaled rate; nothing else does."""
    assert is_file_workload("runs/synthetic.jsonl")
    assert is_file_workload("C:agents,all.tar.xz")
    assert not is_file_workload("agents:programs=2")
    asked: list[str] = []

    def read(path: str) -> Programs:
        asked.append(path)
        return parse_workload("synthetic:requests=4,rate=1,arrival=uniform", rng_seed=0)

    assert parse_workload("a,b=c:d.tar.xz", rng_seed=0, read_file=read).arrival_s.tolist() == [1, 2, 3, 4]
    replayed = parse_workload("replay:scale=2,path=a,b=c.json", rng_seed=0, read_file=read)
    assert replayed.arrival_s.tolist() == [0.5, 1, 1.5, 2]
    assert asked == ["a,b=c:d.tar.xz", "a,b=c.json"]
