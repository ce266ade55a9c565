"""Bad traces: what is repaired or left out is counted by reason, and what cannot be read says why."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import BadRequest, NotFound
from perdure.traces.workload import FORMATS, read_workload

SOUND = {"timestamp": 1000, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}


def mooncake(path: Path, rows: Sequence[Mapping[str, Any]], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


def weka(path: Path, requests: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text(json.dumps({"block_size": 64, "hash_id_scope": "local", "requests": requests}))
    return path


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input_length": -1}, "a negative number of tokens"),
        ({"output_length": -5}, "a negative number of tokens"),
        ({"input_length": 0}, "an empty prompt"),
        ({"input_length": 10_000_001}, "more than 10,000,000 tokens"),
        ({"output_length": 2**40}, "more than 10,000,000 tokens"),
    ],
)
def test_a_request_that_cannot_be_is_left_out_and_counted(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    """One bad row does not take the others with it."""
    programs, report = read_workload(mooncake(tmp_path / "m.jsonl", [SOUND, {**SOUND, **row}, SOUND]))
    assert report.skipped == {reason: 1}
    assert report.calls == len(programs.new_tokens) == 2


def test_lines_that_are_torn_or_not_calls_are_counted_with_the_first_place(tmp_path: Path) -> None:
    """A line cut off by a crash, one of other fields and one of words are left out, and their lines named."""
    rows = [SOUND, {"timestamp": 5}, {**SOUND, "input_length": "many"}]
    programs, report = read_workload(mooncake(tmp_path / "m.jsonl", rows, tail='{"timestamp": 7, "inp'))
    assert len(programs.new_tokens) == 1
    assert sum(report.skipped.values()) == 3
    assert report.skipped["a line that is torn or no JSON"] == 1
    assert any("first in line 4" in note for note in report.notes)


def test_times_that_go_backwards_are_put_in_order(tmp_path: Path) -> None:
    """Ledger: 3 s, 1 s, 2 s has one step backwards; requests come in order, and share in that order."""
    rows = [{**SOUND, "timestamp": time} for time in (3000, 1000, 2000)]
    programs, report = read_workload(mooncake(tmp_path / "m.jsonl", rows))
    assert report.repaired == {"a time that goes backwards, requests put in order": 1}
    assert programs.arrival_s.tolist() == [1.0, 2.0, 3.0]
    calls = [{"t": t, "in": 70, "out": 5, "hash_ids": [1], "api_time": 1} for t in (0, 30, 20)]
    programs, report = read_workload(weka(tmp_path / "s.json", calls))
    assert report.repaired == {"a time that goes backwards, calls put in order": 1}
    assert programs.gap_s.tolist() == [0.0, 19.0, 9.0]


def test_an_empty_answer_is_one_token_and_an_answer_before_its_question_takes_no_time(tmp_path: Path) -> None:
    """Ledger: the second call starts 10 s after the first, whose answer took minus 4 s."""
    calls = [
        {"t": 0, "in": 70, "out": 0, "hash_ids": [1], "api_time": -4},
        {"t": 10, "in": 70, "out": 5, "hash_ids": [1], "api_time": 1},
    ]
    programs, report = read_workload(weka(tmp_path / "s.json", calls))
    assert programs.output_tokens.tolist() == [1, 5]
    assert programs.gap_s.tolist() == [0.0, 10.0]
    assert report.repaired == {
        "an empty answer, taken as one token": 1,
        "an answer before its question, taken as immediate": 1,
    }


def test_parents_in_a_circle_start_on_their_own(tmp_path: Path) -> None:
    """Two sessions that each name the other as parent are one program, whose first starts by itself."""
    rows = [
        {
            "event_type": "request_end",
            "event_time_unix_ms": 1000 * second + 500,
            "agent_context": {"session_id": name, "parent_session_id": parent},
            "request": {
                "request_id": name,
                "request_received_ms": 1000 * second,
                "input_tokens": 10,
                "output_tokens": 2,
            },
        }
        for second, (name, parent) in enumerate([("a", "b"), ("b", "a")])
    ]
    programs, report = read_workload(mooncake(tmp_path / "d.jsonl", rows))
    assert report.repaired == {"a missing parent, the session starts on its own": 1}
    assert programs.program.tolist() == [0, 0]
    assert programs.forked.tolist() == [False, True]


def test_a_sub_agent_before_its_parents_first_answer_is_counted(tmp_path: Path) -> None:
    """It is started by that answer, at once."""
    calls: list[dict[str, Any]] = [
        {"t": 0, "in": 70, "out": 5, "hash_ids": [1], "api_time": 100},
        {
            "t": 30,
            "duration_ms": 20_000,
            "requests": [{"t": 0, "in": 70, "out": 5, "hash_ids": [9], "api_time": 20}],
        },
    ]
    programs, report = read_workload(weka(tmp_path / "s.json", calls))
    assert report.repaired == {"a sub-agent before its parent's first answer, started by that one": 1}
    assert (programs.fork_turn[1], programs.gap_s[1]) == (0, 0.0)


def test_a_dependency_that_is_not_there_is_counted(tmp_path: Path) -> None:
    """A row that waits for none of the file's earlier rows starts at its own time."""
    rows = [{**SOUND, "request_id": "a", "wait_for": ["nobody"]}]
    programs, report = read_workload(mooncake(tmp_path / "a.jsonl", rows))
    assert report.repaired["a dependency that is no earlier row, left out"] == 1
    assert programs.arrival_s.tolist() == [1.0]


def test_a_dependency_between_strangers_is_counted(tmp_path: Path) -> None:
    """Sessions wait for those that they started; that one waits for another's is more than they can say."""
    rows = [
        {**SOUND, "request_id": "a", "session_id": "x"},
        {**SOUND, "request_id": "b", "session_id": "y"},
        {**SOUND, "request_id": "c", "session_id": "y", "wait_for": ["a"]},
    ]
    _, report = read_workload(mooncake(tmp_path / "a.jsonl", rows))
    assert report.repaired["a dependency that sessions cannot express, left out"] == 1


def test_a_table_with_a_bad_cell_names_the_line(tmp_path: Path) -> None:
    """A cell of words is an error with its line; a line cut short is counted."""
    path = tmp_path / "t.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n1,10,2\n2,ten,2\n")
    with pytest.raises(BadRequest, match="line 3: input is 'ten', not a number of tokens"):
        read_workload(path)
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,10,2\n")
    with pytest.raises(BadRequest, match="line 2: arrival is 'yesterday', neither a number nor a date"):
        read_workload(path)
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n1,10,2\n2,5\n3,-4,2\n")
    _, report = read_workload(path)
    assert report.skipped == {"a torn line": 1, "a negative number of tokens": 1}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"input": "ContextTokens"}, "--map has no output"),
        ({"input": "ContextTokens", "output": "Nothing"}, "has no column Nothing; it has"),
        ({"colour": "TIMESTAMP"}, "--map names colour; the roles are arrival"),
    ],
)
def test_a_mapping_that_does_not_fit_says_what_would(
    tmp_path: Path, mapping: dict[str, str], message: str
) -> None:
    """The roles, and the columns that there are, stand in the message."""
    path = tmp_path / "t.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n1,10,2\n")
    with pytest.raises(BadRequest, match=message):
        read_workload(path, mapping=mapping)


def test_what_is_no_workload_says_what_is_read(tmp_path: Path) -> None:
    """No file, an empty one, words, JSON of other things, a trace without a call: each says what to do."""
    with pytest.raises(NotFound, match="no workload at"):
        read_workload(tmp_path / "none")
    path = tmp_path / "x"
    for content in ("", "hello\n", '{"a": 1}\n', "[1, 2]\n", '{"a": \n'):
        path.write_text(content)
        with pytest.raises(BadRequest, match="none of the formats that are read: parquet"):
            read_workload(path)
    with pytest.raises(BadRequest, match="the workload holds no call"):
        read_workload(mooncake(path, [{**SOUND, "input_length": 0}]))
    with pytest.raises(BadRequest, match="no format is called 'vcf'"):
        read_workload(path, "vcf")
    empty = tmp_path / "folder"
    empty.mkdir()
    with pytest.raises(BadRequest, match="none of the formats"):
        read_workload(empty)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_refuses_words_without_a_traceback(tmp_path: Path, name: str) -> None:
    """Whatever is read as whatever format ends in an error that says what to do."""
    path = tmp_path / "x"
    path.write_text("three words, here\nand two more\n")
    with pytest.raises(BadRequest):
        read_workload(path, name)
