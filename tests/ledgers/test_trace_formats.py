"""Small files of every format, written by hand, against the programs that they are on paper."""

import gzip
import json
import tarfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure.traces.programs import Programs
from perdure.traces.record import CallRecord, write_records
from perdure.traces.workload import read_workload, recognise


def lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turns(programs: Programs, session: int) -> list[tuple[int, int, int, float, bool]]:
    """Kept, new and output tokens, gap and tool of each turn of a session."""
    begin, end = programs.first_turn[session : session + 2]
    columns = (
        programs.kept_tokens,
        programs.new_tokens,
        programs.output_tokens,
        programs.gap_s,
        programs.tool,
    )
    return [
        (int(kept), int(new), int(output), pytest.approx(float(gap)), bool(tool))
        for kept, new, output, gap, tool in zip(*(one[begin:end] for one in columns), strict=True)
    ]


def call(t: float, blocks: Sequence[int], **more: Any) -> dict[str, Any]:
    """A call of kv-cache-tester: `blocks` of 64 tokens and ten tokens beyond them."""
    return {"t": t, "in": 64 * len(blocks) + 10, "out": 5, "hash_ids": blocks, "model": "opus", **more}


TOOL = {"input_types": ["tool_result"], "api_time": 2.0}
WEKA = {
    "block_size": 64,
    "hash_id_scope": "local",
    "requests": [
        call(0, [1, 2], input_types=["text"], api_time=2.0),
        # Ended at 30 s after 20: it began at 10. Its first block is the parent's, of the same model.
        {
            "t": 30,
            "duration_ms": 20_000,
            "requests": [call(0, [1, 7], api_time=4.0), call(10, [1, 7, 8], **TOOL)],
        },
        call(40, [1, 2, 3, 4], **TOOL),
        # Compacted: only the first block is left.
        call(100, [1, 9], input_types=["text"]),
    ],
}


def test_a_session_of_kv_cache_tester(tmp_path: Path) -> None:
    """Ledger: gaps 8 s to the sub-agent, 4 s in it, 40 - 22 = 18 s after it ended, 58 s before the person."""
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(WEKA))
    programs, report = read_workload(path)
    assert report.format == "weka"
    assert turns(programs, 0) == [
        (0, 138, 5, 0.0, False),
        (128, 138, 5, 18.0, True),
        (64, 74, 5, 58.0, False),
    ]
    assert turns(programs, 1) == [(64, 74, 5, 8.0, False), (128, 74, 5, 6.0, True)]
    assert (programs.parent[1], programs.fork_turn[1], programs.join_turn[1]) == (0, 0, 1)
    assert programs.forked.tolist() == programs.joined.tolist() == [False, True]
    assert (programs.prefix_session[1], programs.prefix_tokens[1]) == (0, 64)
    assert report.repaired == {
        "an answer of unknown length in time, its time counted to the gap after it": 1,
    }


def test_an_archive_and_a_folder_hold_many_sessions(tmp_path: Path) -> None:
    """Local hashes mean nothing in another session; global ones mean the same tokens."""
    folder = tmp_path / "sessions"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.json").write_text(json.dumps({**WEKA, "hash_id_scope": "local"}))
    assert read_workload(folder)[0].prefixed.tolist() == [False, True, False, True]
    archive = tmp_path / "sessions.tar.xz"
    with tarfile.open(archive, "w:xz") as out:
        for number in range(2):
            content = json.dumps({**WEKA, "hash_id_scope": "global"}).encode()
            member = tarfile.TarInfo(f"sessions/{number}.json")
            member.size = len(content)
            out.addfile(member, BytesIO(content))
    programs, _ = read_workload(archive)
    assert programs.prefixed.tolist() == [False, True, True, True]
    assert (programs.prefix_session[2], programs.prefix_tokens[2]) == (0, 128)


def test_another_model_is_another_session_and_shares_nothing(tmp_path: Path) -> None:
    """Ledger: opus, sonnet, opus: sonnet is forked and awaited, keeps nothing; opus goes on from its own."""
    requests = [call(0, [1, 2], **TOOL), call(10, [1, 2, 3], **TOOL), call(20, [1, 2, 3, 4], **TOOL)]
    requests[1]["model"] = "sonnet"
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({**WEKA, "requests": requests}))
    programs, _ = read_workload(path)
    assert programs.models == ("opus", "sonnet")
    assert turns(programs, 0) == [(0, 138, 5, 0.0, True), (128, 138, 5, 8.0, True)]
    assert turns(programs, 1) == [(0, 202, 5, 8.0, True)]
    assert (programs.fork_turn[1], programs.join_turn[1]) == (0, 1)


def test_a_prompt_of_later_is_no_prefix_yet(tmp_path: Path) -> None:
    """A sub-agent that began before its parent asked for block 3 does not find it, one after it does."""
    child = {"duration_ms": 5_000, "requests": [call(0, [1, 2, 3], api_time=4.0)]}
    requests = [
        call(0, [1, 2], **TOOL),
        {"t": 10, **child},
        call(20, [1, 2, 3, 4], **TOOL),
        {"t": 40, **child},
    ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({**WEKA, "requests": requests}))
    programs, _ = read_workload(path)
    assert programs.prefix_tokens.tolist() == [0, 128, 192]


def test_mooncake_requests_share_what_their_hashes_share(tmp_path: Path) -> None:
    """Ledger: the third request has two blocks of the second, which has one of the first; milliseconds."""
    rows = [
        {"timestamp": 1000, "input_length": 1100, "output_length": 7, "hash_ids": [0, 1, 2]},
        {"timestamp": 3500, "input_length": 1000, "output_length": 8, "hash_ids": [0, 3]},
        {"timestamp": 3500, "input_length": 1500, "output_length": 9, "hash_ids": [0, 3, 4]},
    ]
    programs, report = read_workload(lines(tmp_path / "m.jsonl", rows))
    assert report.format == "mooncake"
    assert programs.arrival_s.tolist() == [1.0, 3.5, 3.5]
    assert programs.prefix_session.tolist() == [0, 0, 1]
    assert programs.prefix_tokens.tolist() == [0, 512, 1024]
    assert programs.prompt_tokens.tolist() == [1100, 1000, 1500]
    assert programs.program.tolist() == [0, 1, 2]


AGENTIC = [
    {
        "request_id": "a",
        "session_id": "main",
        "input_length": 200,
        "output_length": 5,
        "hash_ids": [1, 2, 3, 4],
    },
    {"request_id": "b", "session_id": "sub", "input_length": 130, "output_length": 5, "hash_ids": [1, 5, 6]},
    {"request_id": "c", "session_id": "sub", "input_length": 190, "output_length": 5, "hash_ids": [1, 5, 7]},
    {
        "request_id": "d",
        "session_id": "main",
        "input_length": 320,
        "output_length": 5,
        "hash_ids": [1, 2, 3, 8, 9],
    },
]


def test_agentic_mooncake_says_who_waits_for_whom(tmp_path: Path) -> None:
    """Ledger: `d` waits for `a` and for the sub-agent's `c`, then 300 ms for a tool; blocks of 64 tokens."""
    waits: list[dict[str, Any]] = [
        {"timestamp": 2000},
        {"wait_for": ["a"], "delay": 100},
        {"wait_for": ["b"], "tool_wait_ms": 200, "delay": 50},
        {"wait_for": ["a", "c"], "tool_wait_ms": 300},
    ]
    rows = [{**row, **wait} for row, wait in zip(AGENTIC, waits, strict=True)]
    programs, report = read_workload(lines(tmp_path / "a.jsonl", rows))
    assert report.format == "agentic-mooncake"
    assert programs.arrival_s.tolist() == [2.0]
    assert turns(programs, 0) == [(0, 200, 5, 0.0, False), (192, 128, 5, 0.3, True)]
    assert turns(programs, 1) == [(64, 66, 5, 0.1, False), (128, 62, 5, 0.25, True)]
    assert (programs.parent[1], programs.fork_turn[1], programs.join_turn[1]) == (0, 0, 1)


def test_agentic_mooncake_with_a_header_says_its_block_and_its_scope(tmp_path: Path) -> None:
    """The versioned form: plays are programs, dependencies carry their delays, hashes hold within a play."""
    header = {"schema": "agentic-mooncake", "version": 1, "block_size": 100, "hash_id_scope": "local"}
    rows: list[dict[str, Any]] = [
        {"play_id": "p", "request_id": "a", "session_id": "s", "not_before_ms": 0, "model": "m"},
        {"play_id": "q", "request_id": "b", "session_id": "t", "not_before_ms": 500, "model": "m"},
        {"play_id": "p", "request_id": "c", "session_id": "s", "not_before_ms": 0, "model": "m"},
    ]
    rows[2]["dependencies"] = [
        {"request_id": "a", "trigger": "completion", "delay_ms": 700, "relation": "sequence"}
    ]
    for row in rows:
        row |= {"input_length": 250, "output_length": 5, "hash_ids": [1, 2, 3]}
    programs, _ = read_workload(lines(tmp_path / "a.jsonl", [header, *rows]))
    assert programs.arrival_s.tolist() == [0.0, 0.5]
    assert turns(programs, 0) == [(0, 250, 5, 0.0, False), (250, 0, 5, 0.7, False)]
    assert not programs.prefixed.any()


def test_bailian_conversations_follow_their_parents(tmp_path: Path) -> None:
    """Ledger: 2 and 3 both follow 1: the first goes on in its session, the second forks; 16-token blocks."""
    rows = [
        {"chat_id": 1, "parent_chat_id": -1, "timestamp": 5.0, "hash_ids": [1, 2]},
        {"chat_id": 2, "parent_chat_id": 1, "timestamp": 65.0, "hash_ids": [1, 2, 3]},
        {"chat_id": 3, "parent_chat_id": 1, "timestamp": 95.0, "hash_ids": [1, 2, 4]},
        {"chat_id": 4, "parent_chat_id": -1, "timestamp": 96.0, "hash_ids": [1, 5]},
        {"chat_id": 5, "parent_chat_id": 77, "timestamp": 97.0, "hash_ids": [6]},
    ]
    for row in rows:
        row |= {"input_length": 16 * len(row["hash_ids"]), "output_length": 9, "type": "text", "turn": 1}
    programs, report = read_workload(lines(tmp_path / "b.jsonl", rows))
    assert report.format == "bailian"
    assert report.repaired == {"a missing parent, the session starts on its own": 1}
    assert programs.arrival_s.tolist() == [0.0, 91.0, 92.0]
    assert programs.program.tolist() == [0, 0, 1, 2]
    assert turns(programs, 0) == [(0, 32, 9, 0.0, False), (32, 16, 9, 60.0, False)]
    assert turns(programs, 1) == [(32, 16, 9, 90.0, False)]
    assert (programs.parent[1], programs.fork_turn[1], programs.joined[1]) == (0, 0, False)
    assert programs.prefix_tokens.tolist() == [0, 32, 16, 0]


def test_llmservingsim_sessions_and_requests(tmp_path: Path) -> None:
    """Ledger: 2 s of a tool and 3 s of a person, in nanoseconds; token ids say what two requests share."""
    ids = list(range(40))
    rows: list[dict[str, Any]] = [
        {
            "session_id": "s",
            "arrival_time_ns": 1_000_000_000,
            "sub_requests": [
                {"input_toks": 100, "output_toks": 10, "tool_duration_ns": 2_000_000_000},
                {
                    "input_toks": 150,
                    "output_toks": 10,
                    "tool_duration_ns": 3_000_000_000,
                    "inter_turn_gap_type": "human",
                },
                {"input_toks": 170, "output_toks": 10, "tool_duration_ns": 0, "prefix_reuse_toks": 40},
            ],
        },
        {"input_toks": 40, "output_toks": 3, "arrival_time_ns": 4_000_000_000, "input_tok_ids": ids},
        {
            "input_toks": 36,
            "output_toks": 3,
            "arrival_time_ns": 5_000_000_000,
            "input_tok_ids": [*ids[:33], 1, 2, 3],
        },
    ]
    programs, report = read_workload(lines(tmp_path / "l.jsonl", rows))
    assert report.format == "llmservingsim"
    assert programs.arrival_s.tolist() == [0.0, 3.0, 4.0]
    assert turns(programs, 0) == [
        (0, 100, 10, 0.0, False),
        (110, 40, 10, 2.0, True),
        (40, 130, 10, 3.0, False),
    ]
    assert (programs.prefix_session[2], programs.prefix_tokens[2]) == (1, 32)


def dynamo(request: str, start_ms: int, end_ms: int, hashes: Sequence[int], **context: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "schema": "dynamo.request.trace.v1",
        "event_type": "request_end",
        "event_time_unix_ms": end_ms,
        "request": {
            "request_id": request,
            "model": "m",
            "output_tokens": 4,
            "request_received_ms": start_ms,
            "replay": {
                "trace_block_size": 64,
                "input_length": 64 * len(hashes),
                "input_sequence_hashes": hashes,
            },
        },
    }
    return {**row, "agent_context": context} if context else row


def test_dynamo_request_traces(tmp_path: Path) -> None:
    """Ledger: a tool between two calls, a sub-agent, an orphan whose parent is in no row, 64-bit hashes."""
    big = 2**64 - 3
    rows = [
        dynamo("1", 10_000, 11_000, [big, 2], session_id="main"),
        {
            "schema": "dynamo.request.trace.v1",
            "event_type": "tool_end",
            "event_time_unix_ms": 11_600,
            "agent_context": {"session_id": "main"},
            "tool": {"started_at_unix_ms": 11_100, "ended_at_unix_ms": 11_600},
        },
        {"event": dynamo("2", 12_000, 13_000, [big, 9], session_id="sub", parent_session_id="main")},
        dynamo("3", 15_000, 16_000, [big, 2, 3], session_id="main"),
        dynamo("4", 20_000, 21_000, [5], session_id="lost", parent_session_id="nobody"),
    ]
    path = tmp_path / "d.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    programs, report = read_workload(path)
    assert report.format == "dynamo"
    assert report.repaired == {"a missing parent, the session starts on its own": 1}
    assert programs.arrival_s.tolist() == [0.0, 10.0]
    assert turns(programs, 0) == [(0, 128, 4, 0.0, False), (128, 64, 4, 2.0, True)]
    assert turns(programs, 1) == [(64, 64, 4, 1.0, False)]
    assert (programs.fork_turn[1], programs.join_turn[1]) == (0, 1)


def test_dynamo_rows_without_sessions_are_requests(tmp_path: Path) -> None:
    """Rows without a context are programs of one call, that share what their hashes share."""
    rows = [dynamo("1", 0, 10, [1, 2]), dynamo("2", 5, 20, [1, 3])]
    programs, _ = read_workload(lines(tmp_path / "d.jsonl", rows))
    assert programs.program.tolist() == [0, 1]
    assert programs.prefix_tokens.tolist() == [0, 64]


def test_a_folder_of_shards_is_one_trace(tmp_path: Path) -> None:
    """A session whose calls lie in two files, one of them packed, is one session."""
    rows = [dynamo("1", 0, 1000, [1, 2], session_id="s"), dynamo("2", 3000, 4000, [1, 2, 3], session_id="s")]
    lines(tmp_path / "trace.000000.jsonl", rows[:1])
    (tmp_path / "trace.000001.jsonl.gz").write_bytes(gzip.compress(json.dumps(rows[1]).encode()))
    programs, report = read_workload(tmp_path)
    assert report.format == "dynamo"
    assert turns(programs, 0) == [(0, 128, 4, 0.0, False), (128, 64, 4, 2.0, False)]


def test_our_own_records(tmp_path: Path) -> None:
    """Ledger: a tool of 2.5 s, a wait by the clock, a sub-agent that the main session waited for."""

    def record(start_s: float, hashes: Sequence[str], **more: Any) -> CallRecord:
        call = CallRecord(
            model="m",
            session="main",
            program="job",
            start_s=1000 + start_s,
            prompt_tokens=64 * len(hashes) + 1,
            cached_tokens=0,
            output_tokens=3,
            queue_s=0.5,
            prefill_s=1.0,
            decode_s=0.5,
            reason="stop",
            block_hashes=tuple(hashes),
        )
        return msgspec.structs.replace(call, **more)

    records = [
        record(0, ["a", "b"], tool="shell", tool_s=2.5, reason="tool_calls"),
        record(10, ["a", "b", "c"], tool="agent", reason="tool_calls"),
        record(15, ["a", "x"], session="sub", parent="main"),
        record(20, ["a", "b", "c", "d"]),
    ]
    path = tmp_path / "r.jsonl"
    write_records(path, records)
    programs, report = read_workload(path)
    assert report.format == "perdure"
    assert turns(programs, 0) == [(0, 129, 3, 0.0, False), (128, 65, 3, 2.5, True), (192, 65, 3, 3.0, True)]
    assert turns(programs, 1) == [(64, 65, 3, 3.0, False)]
    assert (programs.fork_turn[1], programs.join_turn[1]) == (1, 2)


def span(name: str, parent: str | None, start_s: float, end_s: float, **attributes: Any) -> dict[str, Any]:
    kinds = {str: "stringValue", int: "intValue"}
    return {
        "traceId": "t",
        "spanId": name,
        "parentSpanId": parent or "",
        "startTimeUnixNano": str(int(start_s * 1e9)),
        "endTimeUnixNano": str(int(end_s * 1e9)),
        "attributes": [
            {"key": key.replace("__", "."), "value": {kinds[type(value)]: str(value)}}
            for key, value in attributes.items()
        ],
    }


def chat(
    name: str, parent: str | None, start_s: float, end_s: float, tokens: int, text: str
) -> dict[str, Any]:
    return span(
        name,
        parent,
        start_s,
        end_s,
        gen_ai__operation__name="chat",
        gen_ai__request__model="m",
        gen_ai__usage__input_tokens=tokens,
        gen_ai__usage__output_tokens=6,
        gen_ai__input__messages=json.dumps([{"role": "user", "content": text}]),
    )


def test_opentelemetry_spans_of_an_agent_and_its_sub_agent(tmp_path: Path) -> None:
    """Ledger: OTLP; a tool between two chats, a sub-agent under an `invoke_agent` of its own, joined."""
    spans = [
        span("agent", None, 0, 20, gen_ai__operation__name="invoke_agent"),
        chat("one", "agent", 1, 3, 100, "x" * 300),
        span("tool", "agent", 4, 5, gen_ai__operation__name="execute_tool"),
        chat("two", "agent", 6, 8, 120, "x" * 400),
        span("helper", "agent", 9, 12, gen_ai__operation__name="invoke_agent"),
        chat("three", "helper", 10, 12, 50, "y" * 200),
        chat("four", "agent", 15, 16, 130, "x" * 500),
    ]
    path = tmp_path / "o.json"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}))
    programs, report = read_workload(path)
    assert report.format == "otel"
    assert report.repaired == {}
    # 328 characters of the first prompt are five blocks of 64, which stand for 80 tokens.
    assert turns(programs, 0) == [(0, 100, 6, 0.0, False), (80, 40, 6, 3.0, True), (96, 34, 6, 3.0, False)]
    assert turns(programs, 1) == [(0, 50, 6, 2.0, False)]
    assert (programs.fork_turn[1], programs.join_turn[1]) == (1, 2)


def test_opentelemetry_documents_a_line(tmp_path: Path) -> None:
    """The collector writes an OTLP document a line; one cut off is counted."""
    lined = [
        json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [chat(name, None, at, at + 1, 9, name)]}]}]})
        for at, name in enumerate("ab")
    ]
    path = tmp_path / "o.jsonl"
    path.write_text("\n".join([*lined, lined[0][:50]]))
    programs, report = read_workload(path)
    assert report.format == "otel"
    assert len(programs.new_tokens) == 2
    assert report.skipped == {"a torn line": 1}


def test_opentelemetry_calls_side_by_side(tmp_path: Path) -> None:
    """Calls of one conversation that overlap are sessions of their own, awaited by the call after them."""
    times = [("a", 0, 2), ("b", 3, 6), ("c", 4, 5), ("d", 8, 9)]
    spans = [
        {
            "span_id": name,
            "trace_id": "t",
            "start_time": f"2026-01-01T00:00:{start:02d}",
            "end_time": f"2026-01-01T00:00:{end:02d}",
            "attributes": {
                "gen_ai.operation.name": "chat",
                "gen_ai.conversation.id": "talk",
                "gen_ai.input.messages": "x" * 64,
                "gen_ai.output.text": "y" * 10,
            },
        }
        for name, start, end in times
    ]
    path = tmp_path / "o.json"
    path.write_text(json.dumps({"spans": spans}))
    programs, report = read_workload(path)
    assert report.repaired == {
        "a call without token counts, guessed from its text": 4,
        "a call beside another one of its session, given a session of its own": 1,
    }
    assert [one[:3] for one in turns(programs, 0)] == [(0, 16, 3), (16, 0, 3), (16, 0, 3)]
    assert (programs.parent[1], programs.fork_turn[1], programs.join_turn[1]) == (0, 0, 2)
    assert programs.gap_s.tolist() == [0.0, 1.0, 2.0, 2.0]


def test_tracelab_rounds(tmp_path: Path) -> None:
    """Ledger: the last result asks the next call, 4 s after the answer; a cache's miss is no new text."""

    def event(kind: str, second: int) -> dict[str, str]:
        return {"event_type": kind, "timestamp": f"2026-06-01T05:40:{second:02d}.000Z"}

    rows: list[dict[str, Any]] = [
        {
            "input_tokens_total": 100,
            "prefix_tokens": 60,
            "timing_events": [event("user_message", 1), event("text", 3)],
        },
        {
            "input_tokens_total": 180,
            "prefix_tokens": 20,
            "current_tool_result_count": 2,
            "timing_events": [event("tool_result", 5), event("tool_result", 7), event("text", 9)],
        },
        {"input_tokens_total": 90, "prefix_tokens": 30, "timing_events": [event("user_message", 30)]},
    ]
    for index, row in enumerate(rows):
        row |= {"session_id": "s", "round_index": index, "output_tokens": 5, "model": "m"}
    programs, report = read_workload(lines(tmp_path / "t.jsonl", rows))
    assert report.format == "tracelab"
    assert turns(programs, 0) == [(0, 100, 5, 0.0, False), (100, 80, 5, 4.0, True), (30, 60, 5, 21.0, False)]


def test_tables_with_known_headers(tmp_path: Path) -> None:
    """Ledger: Azure's dates of seven digits, BurstGPT's seconds and models, TraceLab's waits in ms."""
    azure = tmp_path / "azure.csv"
    azure.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.1805900,396,109\n"
    )
    programs, report = read_workload(azure)
    assert report.format == "csv"
    assert programs.arrival_s.tolist() == pytest.approx([0.0, 3.5])
    assert programs.prompt_tokens.tolist() == [374, 396]
    burst = tmp_path / "burst.csv"
    burst.write_text(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,1087,0,1087,Conversation log\n"
    )
    programs, report = read_workload(burst)
    assert programs.models == ("ChatGPT", "GPT-4")
    assert programs.arrival_s.tolist() == [0.0, 40.0]
    assert report.repaired == {"an empty answer, taken as one token": 1}
    replay = tmp_path / "replay.csv"
    replay.write_text(
        "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"
        "0,100,0,0,512,64,100\n0,100,1,576,128,64,0\n1,300,0,0,400,48,0\n"
    )
    programs, _ = read_workload(replay)
    assert programs.arrival_s.tolist() == pytest.approx([0.0, 0.2])
    assert turns(programs, 0) == [(0, 512, 64, 0.0, False), (576, 128, 64, 0.1, True)]


def test_a_table_whose_columns_are_named(tmp_path: Path) -> None:
    """Ledger: nanoseconds, tenants and models come from the columns that the mapping names."""
    path = tmp_path / "own.csv"
    path.write_text("when,who,asked,said,which\n3000000000,zeta,20,4,big\n1000000000,acme,10,2,small\n")
    mapping = {"arrival_ns": "when", "tenant": "who", "input": "asked", "output": "said", "model": "which"}
    programs, report = read_workload(path, mapping=mapping)
    assert report.repaired == {"a time that goes backwards, requests put in order": 1}
    assert programs.arrival_s.tolist() == [0.0, 2.0]
    assert [programs.tenants[one] for one in programs.tenant] == ["acme", "zeta"]
    assert [programs.models[one] for one in programs.model] == ["small", "big"]
    assert programs.prompt_tokens.tolist() == [10, 20]


def test_a_format_is_known_by_its_content(tmp_path: Path) -> None:
    """Names of files do not matter."""
    (tmp_path / "x").write_text(json.dumps(WEKA))
    assert recognise(tmp_path / "x") == "weka"
    (tmp_path / "x").write_text(json.dumps(WEKA, indent=2))
    assert recognise(tmp_path / "x") == "weka"
    (tmp_path / "x").write_text("\n" + json.dumps({"spans": []}, indent=1))
    assert recognise(tmp_path / "x") == "otel"
    (tmp_path / "x").write_text("a,b\n1,2\n")
    assert recognise(tmp_path / "x") == "csv"
