"""What is written is what is read, and chains of contexts find what a cache of blocks would find."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.workloads import workloads

from perdure.errors import BadRequest
from perdure.traces.block_ids import BlockIds
from perdure.traces.export import write_llmservingsim, write_mooncake
from perdure.traces.parquet import read_parquet, write_parquet
from perdure.traces.prefixes import common_blocks
from perdure.traces.programs import Programs, equal_programs
from perdure.traces.workload import read_workload

BLOCK = 16
EXAMPLES = 40
# Prompts of few blocks, so that many begin alike.
prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workloads")


@settings(max_examples=EXAMPLES)
@given(programs=workloads())
def test_a_parquet_file_gives_back_the_workload(folder: Path, programs: Programs) -> None:
    """Law: every column, name, mask and limit comes back as it was."""
    path = folder / "workload.parquet"
    write_parquet(programs, path)
    assert equal_programs(read_parquet(path), programs)


@settings(max_examples=EXAMPLES)
@given(programs=workloads())
def test_names_keep_their_places(folder: Path, programs: Programs) -> None:
    """Law: names in any order come back in it, those that no session uses among them."""
    models = (*reversed(programs.models), "nobody's")
    other = replace(programs, models=models, model=len(programs.models) - 1 - programs.model)
    path = folder / "names.parquet"
    write_parquet(other, path)
    assert equal_programs(read_parquet(path), other)
    table = pq.ParquetFile(path).read()
    plain = table.column("model").cast("string")
    pq.write_table(table.set_column(table.column_names.index("model"), "model", plain), path)
    assert equal_programs(read_parquet(path), other)


@settings(max_examples=EXAMPLES)
@given(programs=workloads())
def test_a_parquet_file_is_one_row_for_each_turn(folder: Path, programs: Programs) -> None:
    """Law: another tool sees a turn a row, with the model's name beside it."""
    path = folder / "rows.parquet"
    write_parquet(programs, path)
    table = pq.ParquetFile(path).read()
    assert table.num_rows == len(programs.new_tokens)
    names = [programs.models[model] for model in programs.model[programs.turn_session]]
    assert table.column("model").to_pylist() == names


@settings(max_examples=EXAMPLES)
@given(programs=workloads())
def test_a_parquet_file_without_our_metadata_is_read(folder: Path, programs: Programs) -> None:
    """Law: a tool that drops the metadata loses the limits and the order of names, nothing else."""
    path = folder / "stripped.parquet"
    write_parquet(programs, path)
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(None), path)
    read = read_parquet(path)
    assert read.concurrency is None
    for name in ("kept_tokens", "new_tokens", "gap_s", "first_turn", "join_turn", "arrival_s"):
        assert np.array_equal(getattr(read, name), getattr(programs, name)), name
    assert [read.models[one] for one in read.model] == [programs.models[one] for one in programs.model]
    assert [read.tenants[one] for one in read.tenant] == [programs.tenants[one] for one in programs.tenant]


@settings(max_examples=EXAMPLES)
@given(programs=workloads())
def test_blocks_are_shared_where_tokens_are(programs: Programs) -> None:
    """Law: a prompt begins with exactly as many blocks of earlier prompts as it keeps of them in full."""
    kept = _of_prompts(programs)
    seen: set[int] = set()
    turn = 0
    for session in BlockIds(programs, BLOCK).sessions():
        for ids in session:
            assert len(ids) == -(-int(programs.prompt_tokens[turn]) // BLOCK)
            known = next((place for place, one in enumerate(ids) if one not in seen), len(ids))
            assert known == kept[turn] // BLOCK
            seen |= set(ids)
            turn += 1


@settings(max_examples=EXAMPLES)
@given(programs=workloads())
def test_agentic_mooncake_gives_back_the_shape(folder: Path, programs: Programs) -> None:
    """Law: sessions, forks, joins, lengths, gaps, and what later turns keep, to whole blocks, come back."""
    path = folder / "agentic.jsonl"
    write_mooncake(programs, path, block_tokens=BLOCK)
    path.write_bytes(
        json.dumps({"schema": "agentic", "block_size": BLOCK}).encode() + b"\n" + path.read_bytes()
    )
    read, report = read_workload(path, "agentic-mooncake")
    assert report.calls == len(programs.new_tokens)
    assert not report.skipped
    assert len(read.program) == len(programs.program)
    assert np.array_equal(np.sort(read.prompt_tokens), np.sort(programs.prompt_tokens))
    assert read.forked.sum() == programs.forked.sum()
    assert read.joined.sum() == programs.joined.sum()
    kept = _of_prompts(programs) // BLOCK * BLOCK
    assert read.kept_tokens[_later(read)].sum() == kept[_later(programs)].sum()
    waits_s = np.sort((programs.gap_s * programs.attempts)[_later(programs)])
    assert np.sort(read.gap_s[_later(read)]) == pytest.approx(waits_s, abs=1e-6)


def _later(programs: Programs) -> np.ndarray:
    """[turn] whether it is not the first of its session."""
    later = np.ones(len(programs.new_tokens), dtype=np.bool_)
    later[programs.first_turn[:-1]] = False
    return later


def _of_prompts(programs: Programs) -> np.ndarray:
    """[turn] kept tokens that stood in a prompt: an answer is in no hash before the next prompt."""
    before = np.roll(programs.prompt_tokens, 1)
    before[programs.first_turn[:-1]] = programs.kept_tokens[programs.first_turn[:-1]]
    return np.minimum(programs.kept_tokens, before)


@settings(max_examples=EXAMPLES)
@given(programs=workloads())
def test_llmservingsim_gives_back_lengths_waits_and_reuse(folder: Path, programs: Programs) -> None:
    """Law: each session comes back with its lengths, what its later turns keep, and its waits."""
    path = folder / "sessions.jsonl"
    write_llmservingsim(programs, path)
    read, report = read_workload(path, "llmservingsim")
    assert report.calls == len(programs.new_tokens)
    later = _later(programs)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    order = np.argsort([row["arrival_time_ns"] for row in rows], kind="stable")
    turns = np.concatenate(
        [np.arange(programs.first_turn[one], programs.first_turn[one + 1]) for one in order]
    )
    assert np.array_equal(read.prompt_tokens, programs.prompt_tokens[turns])
    assert np.array_equal(read.output_tokens, programs.output_tokens[turns])
    waits = programs.gap_s * programs.attempts
    assert read.gap_s == pytest.approx(np.where(later, waits, 0.0)[turns], abs=1e-8)
    assert np.array_equal(read.kept_tokens, np.where(later, programs.kept_tokens, 0)[turns])


@given(one=st.lists(st.integers(0, 2)), other=st.lists(st.integers(0, 2)))
def test_common_blocks_end_at_the_first_that_differs(one: list[int], other: list[int]) -> None:
    """Law: blocks that are equal again after one that is not do not count."""
    pairs = list(zip(one, other, strict=False))
    expected = next((place for place, (a, b) in enumerate(pairs) if a != b), len(pairs))
    arrays = np.array(one, dtype=np.int64), np.array(other, dtype=np.int64)
    assert common_blocks(*arrays) == expected


def _chained(prompt: list[int], numbers: dict[tuple[int, ...], int]) -> list[int]:
    """Hashes that stand for the whole prefix up to there."""
    return [numbers.setdefault(tuple(prompt[: end + 1]), len(numbers)) for end in range(len(prompt))]


def _block_hits(hashed: list[list[int]]) -> int:
    """Blocks that a cache which never forgets has, prompt after prompt."""
    cache: set[int] = set()
    hits = 0
    for ids in hashed:
        hits += next((place for place, one in enumerate(ids) if one not in cache), len(ids))
        cache |= set(ids)
    return hits


@given(asked=prompts)
def test_mooncake_chains_hit_what_blocks_hit(folder: Path, asked: list[list[int]]) -> None:
    """Law: prefixes as chains of requests find the tokens that a set of block hashes finds."""
    numbers: dict[tuple[int, ...], int] = {}
    hashed = [_chained(prompt, numbers) for prompt in asked]
    rows = [
        {"timestamp": time, "input_length": 512 * len(ids), "output_length": 1, "hash_ids": ids}
        for time, ids in enumerate(hashed)
    ]
    path = folder / "mooncake.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read, _ = read_workload(path)
    assert read.kept_tokens.sum() == 512 * _block_hits(hashed)


@given(asked=prompts, models=st.lists(st.sampled_from(MODELS := ("a", "b")), min_size=12, max_size=12))
def test_session_chains_and_what_they_miss_hit_what_blocks_hit(
    folder: Path, asked: list[list[int]], models: list[str]
) -> None:
    """Law: kept tokens and those counted as unseen together are what a set of hashes finds, by model."""
    numbers: dict[tuple[int, ...], int] = {}
    calls = list(zip((_chained(prompt, numbers) for prompt in asked), models, strict=False))
    trace = {
        "block_size": 64,
        "hash_id_scope": "local",
        "requests": [
            {"t": 10 * place, "in": 64 * len(ids), "out": 1, "model": model, "hash_ids": ids, "api_time": 2}
            for place, (ids, model) in enumerate(calls)
        ],
    }
    path = folder / "session.json"
    path.write_text(json.dumps(trace))
    read, report = read_workload(path)
    by_model: dict[str, list[list[int]]] = defaultdict(list)
    for ids, model in calls:
        by_model[model].append(ids)
    hits = sum(_block_hits(hashed) for hashed in by_model.values())
    assert read.kept_tokens.sum() + report.unseen_tokens == 64 * hits


def test_a_parquet_file_that_is_no_workload_says_what_it_lacks(tmp_path: Path) -> None:
    """A missing column is named, a filtered file is refused, and so is no Parquet at all."""
    path = tmp_path / "w.parquet"
    (tmp_path / "one.json").write_text(
        '{"block_size":64,"requests":[{"t":0,"in":64,"out":1,"hash_ids":[1]}]}'
    )
    programs, _ = read_workload(tmp_path / "one.json")
    write_parquet(programs, path)
    table = pq.ParquetFile(path).read()
    pq.write_table(table.drop_columns(["gap_s"]), path)
    with pytest.raises(BadRequest, match="no column 'gap_s'"):
        read_parquet(path)
    pq.write_table(table.set_column(1, "session", [[3]]), path)
    with pytest.raises(BadRequest, match="'session' of a workload counts from 0"):
        read_parquet(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(BadRequest, match="no Parquet file"):
        read_parquet(path)
