"""Whatever a file holds, reading it ends in a workload or in a sentence, never in a traceback."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import BadRequest
from perdure.traces.programs import check_programs
from perdure.traces.workload import FORMATS, read_workload

NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([2**31, 2**63, 2**64, -1.5, 1e300, 0.25]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
HASHES = [1, 2, 3]
CALL = {"t": 0, "in": 200, "out": 5, "hash_ids": HASHES, "api_time": 1, "input_types": ["text"]}
ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.usage.input_tokens": 9,
    "gen_ai.usage.output_tokens": 2,
}
TIMES = {"start_time": "2026-01-01T00:00:00", "end_time": "2026-01-01T00:00:05"}
ROWS: dict[str, dict[str, Any]] = {
    "weka": {"block_size": 64, "requests": [CALL, {"t": 9, "duration_ms": 5000, "requests": [CALL]}, CALL]},
    "mooncake": {"timestamp": 5, "input_length": 600, "output_length": 5, "hash_ids": HASHES},
    "agentic-mooncake": {
        "request_id": "a",
        "session_id": "s",
        "parent_session_id": "p",
        "input_length": 100,
        "output_length": 5,
        "hash_ids": HASHES,
        "wait_for": ["b"],
        "delay": 5,
        "timestamp": 1,
    },
    "bailian": {
        "chat_id": 1,
        "parent_chat_id": -1,
        "timestamp": 1,
        "input_length": 40,
        "output_length": 3,
        "hash_ids": HASHES,
    },
    "llmservingsim": {
        "session_id": "s",
        "arrival_time_ns": 5,
        "sub_requests": [{"input_toks": 9, "output_toks": 3, "tool_duration_ns": 5, "prefix_reuse_toks": 2}],
    },
    "dynamo": {
        "event_type": "request_end",
        "event_time_unix_ms": 50,
        "agent_context": {"session_id": "a", "parent_session_id": "b"},
        "request": {"request_id": "r", "input_tokens": 10, "output_tokens": 2, "request_received_ms": 20},
    },
    "tracelab": {
        "session_id": "s",
        "round_index": 0,
        "input_tokens_total": 9,
        "output_tokens": 3,
        "prefix_tokens": 2,
        "timing_events": [{"event_type": "text", "timestamp": "2026-01-01T00:00:00Z"}],
    },
    "otel": {"spans": [{"span_id": "a", "parent_span_id": "a", "attributes": ATTRIBUTES, **TIMES}]},
    "perdure": {
        "model": "m",
        "session": "s",
        "parent": "p",
        "start_s": 1.0,
        "prompt_tokens": 70,
        "cached_tokens": 0,
        "output_tokens": 2,
        "reason": "stop",
        "block_hashes": ["a"],
    },
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "trace"


def read(path: Path, name: str | None) -> None:
    """It is a workload that can be, or refused."""
    try:
        programs, report = read_workload(path, name)
    except BadRequest:
        return
    assert check_programs(programs) is programs
    assert report.calls == len(programs.new_tokens)


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """`value` with something in it replaced, dropped or added."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        changed = {**value, key: draw(damaged(value[key]))}
        if draw(st.integers(0, 4)) == 0:
            del changed[key]
        return changed
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(damaged(value[place])), *value[place + 1 :]]
    return draw(VALUES)


@pytest.mark.parametrize("name", ROWS)
def test_damaged_rows_are_counted_or_refused(path: Path, name: str) -> None:
    """Law: a row with any field replaced by any value breaks nothing but itself."""

    @settings(max_examples=40)
    @given(rows=st.lists(st.one_of(st.just(ROWS[name]), damaged(ROWS[name])), min_size=1, max_size=3))
    def law(rows: list[Any]) -> None:
        path.write_text("\n".join(json.dumps(row) for row in rows))
        read(path, name)
        read(path, None)

    law()


@settings(max_examples=40)
@given(content=st.binary(max_size=200), packed=st.booleans())
def test_any_bytes_are_a_workload_or_refused(path: Path, content: bytes, packed: bool) -> None:
    """Law: bytes of any kind, gzip or cut off, read as whatever they look like or as any format."""
    path.write_bytes(gzip.compress(content)[: 12 + len(content)] if packed else content)
    for name in (None, *FORMATS):
        read(path, name)


@given(cells=st.lists(st.lists(st.text(max_size=6), min_size=1, max_size=4), max_size=4))
def test_any_table_is_a_workload_or_refused(path: Path, cells: list[list[str]]) -> None:
    """Law: cells of any kind under a known header, and lines of any length."""
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens", *(",".join(row) for row in cells)]
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    read(path, None)
