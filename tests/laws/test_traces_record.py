"""What a trace keeps of a call, and that what is written is what is read."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import BadRequest, NotFound
from perdure.traces.record import (
    BLOCK_TOKENS,
    CallRecord,
    block_hashes,
    parse_record,
    read_records,
    record_line,
    write_records,
)

names = st.one_of(st.none(), st.text(max_size=20))
seconds = st.one_of(st.none(), st.floats(0, 1e6))
token_lists = st.lists(st.integers(0, 300_000), max_size=400)


@st.composite
def records(draw: st.DrawFn) -> CallRecord:
    prompt = draw(st.integers(0, 10**6))
    return CallRecord(
        model=draw(st.text(min_size=1, max_size=20)),
        session=draw(names),
        program=draw(names),
        parent=draw(names),
        start_s=draw(st.floats(0, 1e10)),
        prompt_tokens=prompt,
        cached_tokens=draw(st.integers(0, prompt)),
        output_tokens=draw(st.integers(0, 10**6)),
        queue_s=draw(seconds),
        prefill_s=draw(seconds),
        decode_s=draw(seconds),
        reason=draw(st.sampled_from(["stop", "length", "tool_calls"])),
        block_hashes=tuple(draw(st.lists(st.text("0123456789abcdef", min_size=16, max_size=16), max_size=3))),
        tool=draw(names),
        tool_s=draw(seconds),
    )


CALL = CallRecord(
    model="smollm2-135m", start_s=1.5, prompt_tokens=10, cached_tokens=4, output_tokens=3, reason="stop"
)


@given(record=records())
def test_a_record_is_read_as_it_was_written(record: CallRecord) -> None:
    """Law: one line, and the same record out of it."""
    line = record_line(record)
    assert line.count(b"\n") == 1
    assert parse_record(line, place="here") == record


def test_a_trace_is_read_in_the_order_written(tmp_path: Path) -> None:
    """Records come back as many, and in the order, as they went in."""
    trace = tmp_path / "trace.jsonl"
    calls = [msgspec.structs.replace(CALL, output_tokens=number) for number in range(50)]
    assert write_records(trace, calls) == 50
    assert list(read_records(trace)) == calls


@given(cut=st.integers(1, 200))
def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Law: wherever a crash cuts a line, last or followed by others, the whole records are read."""
    trace = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    line = record_line(CALL)
    torn = line[: min(cut, len(line) - 2)]
    trace.write_bytes(line + torn)
    assert list(read_records(trace)) == [CALL]
    trace.write_bytes(line + torn + b"\n" + line)
    assert list(read_records(trace)) == [CALL, CALL]


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[1, 2]",
        b"{}",
        record_line(CALL).replace(b'"prompt_tokens":10', b'"prompt_tokens":-1'),
        record_line(CALL).replace(b'"cached_tokens":4', b'"cached_tokens":11'),
        record_line(CALL).replace(b'"reason":"stop"', b'"reason":"bored"'),
        record_line(CALL).replace(b'"tool":null', b'"text":"secret"'),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, line: bytes) -> None:
    """A line that is not ours, has text in it or makes no sense is refused with its number."""
    trace = tmp_path / "trace.jsonl"
    trace.write_bytes(record_line(CALL) + line.strip() + b"\n")
    with pytest.raises(BadRequest, match=r"line 2 of .*perdure trace export"):
        read_records(trace)


def test_a_missing_or_empty_trace_says_how_to_get_one(tmp_path: Path) -> None:
    """There is always a next step."""
    with pytest.raises(NotFound, match="perdure trace export"):
        read_records(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    with pytest.raises(BadRequest, match="holds no model call"):
        read_records(tmp_path / "empty.jsonl")


@given(tokens=token_lists, salt=st.binary(min_size=1, max_size=100))
def test_there_is_one_hash_for_each_full_block(tokens: list[int], salt: bytes) -> None:
    """Law: 64 tokens to a block; a block that is not full yet has none."""
    assert len(block_hashes(tokens, salt)) == len(tokens) // BLOCK_TOKENS


@given(prefix=token_lists, one=token_lists, other=token_lists)
def test_equal_hashes_mean_equal_prefixes(prefix: list[int], one: list[int], other: list[int]) -> None:
    """Law: prompts share exactly the hashes of the full blocks that they have in common."""
    first, second = prefix + one, prefix + other
    common = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    pairs = zip(block_hashes(first, b"salt"), block_hashes(second, b"salt"), strict=False)
    assert sum(a == b for a, b in pairs) == common // BLOCK_TOKENS


@given(tokens=st.lists(st.integers(0, 300_000), min_size=128, max_size=400))
def test_a_hash_stands_for_the_whole_prefix(tokens: list[int]) -> None:
    """Law: another first token changes the hash of every block, not of the first alone."""
    other = [tokens[0] + 1, *tokens[1:]]
    assert not set(block_hashes(tokens, b"salt")) & set(block_hashes(other, b"salt"))


def test_another_salt_gives_other_hashes() -> None:
    """Without the salt nobody can test a guessed prompt against a trace."""
    assert block_hashes(range(64), b"one") != block_hashes(range(64), b"two")
