"""How a workload is written for other tools, and what they cannot be told."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from perdure.errors import BadRequest
from perdure.traces.block_ids import BlockIds
from perdure.traces.programs import Programs

FLAT_BLOCK_TOKENS = 512
AGENT_BLOCK_TOKENS = 64
MS_PER_S = 1000.0
NS_PER_S = 1e9


def write_mooncake(programs: Programs, path: Path, *, block_tokens: int | None = None) -> list[str]:
    """Write Mooncake's rows, and return what they leave out. Requests alone are as Mooncake publishes them.

    Sessions get the fields of agentic Mooncake beside them: who waits for whom, and how long after. What is
    shared is rounded down to whole blocks.
    """
    flat = len(programs.new_tokens) == len(programs.arrival_s) and not programs.forked.any()
    block = block_tokens or (FLAT_BLOCK_TOKENS if flat else AGENT_BLOCK_TOKENS)
    _write(path, _requests(programs, block) if flat else _rows(programs, block))
    notes = [f"a hash stands for {block} tokens: tell the reader so"]
    answers = _kept_of_answers(programs)
    if answers:
        notes.append(
            f"{answers:,} kept tokens are of the answer before, which no hash shows until the next prompt"
        )
    if np.any(programs.attempts > 1):
        notes.append("tools that failed and ran again are written as one wait")
    if programs.concurrency is not None:
        notes.append(
            f"the closed loop of {programs.concurrency} programs is left out: all start by their times"
        )
    return notes


def write_llmservingsim(programs: Programs, path: Path) -> list[str]:
    """Write a line for each session, and return what the lines leave out."""
    _write(path, _sessions(programs))
    notes: list[str] = []
    if programs.forked.any():
        notes.append(
            f"{int(programs.forked.sum())} sub-agents are sessions of their own, which start when the waits "
            "before them are over: the format knows no forks"
        )
    if programs.prefixed.any():
        notes.append("what sessions share is left out: the format has it in token ids alone")
    if programs.concurrency is not None:
        notes.append(
            f"the closed loop of {programs.concurrency} programs is left out: all start by their times"
        )
    if len(programs.models) > 1:
        notes.append("models are left out: the format has one")
    return notes


def _kept_of_answers(programs: Programs) -> int:
    """Kept tokens that are beyond the prompt before them."""
    before = np.roll(programs.prompt_tokens, 1)
    before[programs.first_turn[:-1]] = programs.kept_tokens[programs.first_turn[:-1]]
    return int(np.maximum(programs.kept_tokens - before, 0).sum())


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    encode = msgspec.json.Encoder().encode
    try:
        with path.open("wb") as out:
            out.writelines(encode(row) + b"\n" for row in rows)
    except OSError as error:
        raise BadRequest(
            f"cannot write {path}: {error.strerror}. Give --to a file in a folder that is there and yours"
        ) from error


def _requests(programs: Programs, block_tokens: int) -> Iterator[dict[str, Any]]:
    prompts = programs.prompt_tokens
    for session, ids in enumerate(BlockIds(programs, block_tokens).sessions()):
        yield {
            "timestamp": float((programs.arrival_s[session] + programs.gap_s[session]) * MS_PER_S),
            "input_length": int(prompts[session]),
            "output_length": int(programs.output_tokens[session]),
            "hash_ids": ids[0],
        }


def _rows(programs: Programs, block_tokens: int) -> Iterator[dict[str, Any]]:
    """Rows of agentic Mooncake, each after those that it waits for."""
    blocks = BlockIds(programs, block_tokens).sessions()
    ends = np.searchsorted(programs.program, np.arange(len(programs.arrival_s)), side="right")
    begin = 0
    for end in ends.tolist():
        ids = {session: next(blocks) for session in range(begin, end)}
        for session, turn in _in_order(programs, begin, end):
            waits = _waits(programs, session, turn, begin, end)
            yield _row(programs, session, turn, waits, ids[session][turn])
        begin = end


def _in_order(programs: Programs, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The turns of one program's sessions, each after the turns that it waits for."""
    done = dict.fromkeys(range(begin, end), 0)
    counts = np.diff(programs.first_turn[begin : end + 1]).tolist()
    moved = True
    while moved:
        moved = False
        for session in range(begin, end):
            while done[session] < counts[session - begin] and all(
                done[other] > turn for other, turn in _waits(programs, session, done[session], begin, end)
            ):
                yield session, done[session]
                done[session] += 1
                moved = True


def _waits(programs: Programs, session: int, turn: int, begin: int, end: int) -> list[tuple[int, int]]:
    """The turns of other sessions that a turn waits for: of a fork its origin, of a join the last ones."""
    waits: list[tuple[int, int]] = []
    if turn == 0 and programs.forked[session]:
        waits.append((int(programs.parent[session]), int(programs.fork_turn[session])))
    part = slice(begin, end)
    joins = programs.joined[part] & (programs.parent[part] == session) & (programs.join_turn[part] == turn)
    counts = np.diff(programs.first_turn)
    return waits + [(child, int(counts[child]) - 1) for child in (np.flatnonzero(joins) + begin).tolist()]


def _row(
    programs: Programs, session: int, turn: int, others: list[tuple[int, int]], ids: list[int]
) -> dict[str, Any]:
    place = int(programs.first_turn[session]) + turn
    program = int(programs.program[session])
    waits = [(session, turn - 1), *others] if turn else others
    gap_ms = float(programs.gap_s[place] * programs.attempts[place] * MS_PER_S)
    row: dict[str, Any] = {
        "request_id": f"{session}.{turn}",
        "session_id": str(session),
        "play_id": str(program),
        "model": programs.models[int(programs.model[session])],
        "input_length": int(programs.prompt_tokens[place]),
        "output_length": int(programs.output_tokens[place]),
        "hash_ids": ids,
    }
    if waits:
        row["wait_for"] = [f"{other}.{last}" for other, last in waits]
        row["tool_wait_ms" if programs.tool[place] else "delay"] = gap_ms
    else:
        row["timestamp"] = float(programs.arrival_s[program] * MS_PER_S) + gap_ms
    if programs.forked[session]:
        row["parent_session_id"] = str(int(programs.parent[session]))
    return row


def _sessions(programs: Programs) -> Iterator[dict[str, Any]]:
    waits_s = programs.gap_s * programs.attempts
    starts_s: list[float] = []
    for session in range(len(programs.program)):
        begin, end = int(programs.first_turn[session]), int(programs.first_turn[session + 1])
        starts_s.append(_start_s(programs, session, starts_s, waits_s))
        yield {
            "session_id": str(session),
            "arrival_time_ns": round((starts_s[session] + float(waits_s[begin])) * NS_PER_S),
            "sub_requests": [_sub_request(programs, turn, begin, end) for turn in range(begin, end)],
        }


def _start_s(programs: Programs, session: int, starts_s: list[float], waits_s: Any) -> float:
    """When a session starts if answers take no time."""
    if not programs.forked[session]:
        return float(programs.arrival_s[programs.program[session]])
    parent = int(programs.parent[session])
    begin = int(programs.first_turn[parent])
    return starts_s[parent] + float(waits_s[begin : begin + int(programs.fork_turn[session]) + 1].sum())


def _sub_request(programs: Programs, turn: int, begin: int, end: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "input_toks": int(programs.prompt_tokens[turn]),
        "output_toks": int(programs.output_tokens[turn]),
        "tool_duration_ns": 0,
        "prefix_reuse_toks": int(programs.kept_tokens[turn]) if turn > begin else 0,
    }
    if turn + 1 < end:
        row["tool_duration_ns"] = round(
            float(programs.gap_s[turn + 1] * programs.attempts[turn + 1]) * NS_PER_S
        )
        row["inter_turn_gap_type"] = "tool" if programs.tool[turn + 1] else "human"
    return row
