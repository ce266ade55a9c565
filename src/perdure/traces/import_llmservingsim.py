"""How LLMServingSim's workloads become ours: flat requests, and sessions with tools between their calls.

github.com/casys-kaist/LLMServingSim: a JSON object a line, times in nanoseconds. What a later prompt keeps
is said in tokens (`prefix_reuse_toks`), or follows from the token ids; where neither is there, it keeps all
of the context.
"""

from pathlib import Path

import msgspec

from perdure.traces.assemble import Assembly
from perdure.traces.blocks import Numbering
from perdure.traces.calls import Agent, Call, Hashes, Tally
from perdure.traces.lines import read_rows
from perdure.traces.programs import Programs

BLOCK_TOKENS = 16
NS_PER_S = 1e9


class SubRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a session; `tool_duration_ns` runs from its answer to the next call."""

    input_toks: int
    output_toks: int
    tool_duration_ns: float = 0.0
    inter_turn_gap_type: str | None = None
    prefix_reuse_toks: int | None = None
    input_tok_ids: list[int] | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A session, or a request alone."""

    session_id: str | int | None = None
    arrival_time_ns: float = 0.0
    sub_requests: list[SubRequest] | None = None
    input_toks: int = 0
    output_toks: int = 0
    input_tok_ids: list[int] | None = None


def import_llmservingsim(path: Path, tally: Tally) -> Programs:
    """Each line as a program of one session."""
    numbering = Numbering()
    rows = sorted((row for _, row in read_rows(path, Row, tally)), key=lambda row: row.arrival_time_ns)
    assembly = Assembly(tally)
    start_s = rows[0].arrival_time_ns / NS_PER_S if rows else 0.0
    for row in rows:
        arrival_s = row.arrival_time_ns / NS_PER_S
        agent = Agent(name="session", calls=_calls(row, arrival_s, numbering))
        assembly.add([agent], arrival_s=arrival_s - start_s, block_tokens=BLOCK_TOKENS)
    return assembly.programs()


def _calls(row: Row, start_s: float, numbering: Numbering) -> list[Call]:
    asked = row.sub_requests
    if asked is None:
        asked = [
            SubRequest(
                input_toks=row.input_toks, output_toks=row.output_toks, input_tok_ids=row.input_tok_ids
            )
        ]
    calls: list[Call] = []
    before: SubRequest | None = None
    for request in asked:
        gap_s = 0.0 if before is None else max(0.0, before.tool_duration_ns / NS_PER_S)
        start_s += gap_s
        calls.append(
            Call(
                model="unnamed",
                start_s=start_s,
                end_s=start_s,
                prompt_tokens=request.input_toks,
                output_tokens=request.output_toks,
                hashes=_hashes(request.input_tok_ids, numbering),
                kept_tokens=request.prefix_reuse_toks,
                tool=before is not None and before.inter_turn_gap_type in (None, "tool"),
                gap_s=gap_s,
            )
        )
        before = request
    return calls


def _hashes(ids: list[int] | None, numbering: Numbering) -> Hashes | None:
    if not ids:
        return None
    starts = range(0, len(ids) - BLOCK_TOKENS + 1, BLOCK_TOKENS)
    return numbering.chained(tuple(ids[start : start + BLOCK_TOKENS]) for start in starts)
