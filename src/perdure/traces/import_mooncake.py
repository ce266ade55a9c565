"""How a Mooncake trace becomes a workload: each request a program of one turn.

github.com/kvcache-ai/Mooncake, FAST25-release/traces: a JSON object a line, milliseconds from the start, one
hash for each 512 tokens of the prompt, the last block perhaps not full. Equal hashes mean equal prefixes.
"""

from itertools import pairwise
from pathlib import Path

import msgspec

from perdure.traces.assemble import Assembly
from perdure.traces.blocks import whole
from perdure.traces.calls import Agent, Call, Tally
from perdure.traces.lines import read_rows
from perdure.traces.programs import Programs

BLOCK_TOKENS = 512


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] = []


def import_mooncake(path: Path, tally: Tally, *, block_tokens: int = BLOCK_TOKENS) -> Programs:
    """The requests of `path` in order of arrival; what they share is found by their hashes."""
    rows = [row for _, row in read_rows(path, Row, tally)]
    backwards = sum(later.timestamp < row.timestamp for row, later in pairwise(rows))
    if backwards:
        tally.repaired["a time that goes backwards, requests put in order"] += backwards
        rows.sort(key=lambda row: row.timestamp)
    assembly = Assembly(tally)
    for row in rows:
        call = Call(
            model="unnamed",
            start_s=row.timestamp / 1000,
            end_s=None,
            prompt_tokens=row.input_length,
            output_tokens=row.output_length,
            hashes=whole(row.hash_ids),
        )
        agent = Agent(name="request", calls=[call])
        assembly.add([agent], arrival_s=max(0.0, call.start_s), block_tokens=block_tokens)
    return assembly.programs()
