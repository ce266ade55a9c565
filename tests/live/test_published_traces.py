"""The published traces, against what their makers say of them; skipped where they are not at ../shared."""

from pathlib import Path

import numpy as np
import pytest

from perdure.traces.calls import ImportReport
from perdure.traces.parquet import read_parquet, write_parquet
from perdure.traces.programs import Programs, equal_programs
from perdure.traces.statistics import statistics_of
from perdure.traces.workload import read_workload

TRACES = Path(__file__).parents[2].parent / "shared" / "traces"
pytestmark = pytest.mark.skipif(
    not TRACES.is_dir(), reason="the published traces are not at ../shared/traces"
)


@pytest.fixture(scope="module")
def coding_agents() -> tuple[Programs, ImportReport]:
    return read_workload(TRACES / "coding-agent-sessions.tar.xz")


def test_coding_agent_sessions_are_all_there(coding_agents: tuple[Programs, ImportReport]) -> None:
    """Ledger: 355 files hold 23,491 calls and 48 sub-agents of 524; nine sessions switch models once."""
    programs, report = coding_agents
    assert report.format == "weka"
    assert report.calls == len(programs.new_tokens) == 23_491 + 524
    assert len(programs.arrival_s) == 355
    assert int(programs.forked.sum()) == 48 + 9
    assert report.skipped == {}
    assert report.repaired["an empty answer, taken as one token"] == 10


def test_coding_agents_reuse_what_the_set_is_known_for(coding_agents: tuple[Programs, ImportReport]) -> None:
    """Ledger: 96.3 % of prompt tokens and 99.2 % of the median prompt were known before."""
    programs, report = coding_agents
    statistics = statistics_of(programs)
    assert statistics.reuse == pytest.approx(0.963, abs=0.001)
    assert statistics.spreads["turn_reuse"].quantiles["p50"] == pytest.approx(0.992, abs=0.001)
    assert report.unseen_tokens < 0.0005 * statistics.prompt_tokens


def test_coding_agents_come_back_from_parquet(
    coding_agents: tuple[Programs, ImportReport], tmp_path: Path
) -> None:
    """All of it in one file of less than a third of a megabyte."""
    path = tmp_path / "sessions.parquet"
    write_parquet(coding_agents[0], path)
    assert equal_programs(read_parquet(path), coding_agents[0])
    assert path.stat().st_size < 333_000


@pytest.mark.parametrize(
    ("name", "requests", "input_p50", "output_p50", "reuse"),
    [("conversation", 12_031, 6_909, 350, 0.374), ("synthetic", 3_993, 11_587, 69, 0.651)],
)
def test_mooncake_traces_hit_as_published(
    name: str, requests: int, input_p50: int, output_p50: int, reuse: float
) -> None:
    """Ledger: requests, medians, and the share of tokens that blocks of 512 find again."""
    programs, report = read_workload(TRACES / "mooncake" / f"{name}_trace.jsonl")
    statistics = statistics_of(programs)
    assert report.format == "mooncake"
    assert statistics.programs == statistics.turns == requests
    assert statistics.spreads["prompt_tokens"].quantiles["p50"] == input_p50
    assert statistics.spreads["output_tokens"].quantiles["p50"] == output_p50
    assert statistics.reuse == pytest.approx(reuse, abs=0.001)


def test_opentelemetry_examples_are_read() -> None:
    """Ledger: ten files of hand-made traces hold 64 chats, 18 of them beside others."""
    programs, report = read_workload(TRACES / "otel-agent-examples")
    assert report.format == "otel"
    assert report.calls == 64
    assert report.repaired["a call beside another one of its session, given a session of its own"] == 18
    assert int(programs.joined.sum()) == 18


def test_tracelab_examples_are_read() -> None:
    """Ledger: 9 rounds of Codex and 10 of Claude Code, which came later, who keep most of a prompt."""
    programs, report = read_workload(TRACES / "tracelab-examples" / "round_trace.jsonl")
    assert np.diff(programs.first_turn).tolist() == [9, 10]
    assert report.repaired == {}
    later = programs.gap_s > 0
    assert (programs.kept_tokens / programs.prompt_tokens)[later].min() > 0.85
