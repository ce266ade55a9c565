"""How the published usage traces of Bailian become a workload.

github.com/alibaba-edu/qwen-bailian-usagetraces-anon (arXiv 2506.02634): a JSON object a line, one hash for
each 16 tokens of the prompt. A turn of a conversation names the turn before as its parent. There is no time
of an answer's end, so a gap runs from the question before, and holds the time of its answer.
"""

from pathlib import Path

import msgspec

from perdure.traces.assemble import Assembly
from perdure.traces.blocks import whole
from perdure.traces.calls import Agent, Call, Tally
from perdure.traces.lines import read_rows
from perdure.traces.programs import Programs
from perdure.traces.tree import by_program

BLOCK_TOKENS = 16
NO_PARENT = "-1"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One turn; `type` says what the client was (text, search, image, file), which changes nothing here."""

    chat_id: int | str
    parent_chat_id: int | str | None = None
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] = []


def import_bailian(path: Path, tally: Tally) -> Programs:
    """Conversations as programs; a turn that two others follow goes on in the first, and forks the second."""
    rows = sorted((row for _, row in read_rows(path, Row, tally)), key=lambda row: row.timestamp)
    known = {str(row.chat_id) for row in rows}
    agents: dict[str, Agent] = {}
    for row in rows:
        name = str(row.chat_id)
        parent = None if row.parent_chat_id is None else str(row.parent_chat_id)
        if parent == NO_PARENT:
            parent = None
        if parent is not None and parent not in known:
            tally.repaired["a missing parent, the session starts on its own"] += 1
            parent = None
        agents[name] = _agent(name, agents.get(parent or ""), parent)
        agents[name].calls.append(_call(row, name))
    tally.notes.append("answers have no end in this format: gaps hold the time of the answer before")
    assembly = Assembly(tally)
    start_s = rows[0].timestamp if rows else 0.0
    for group in by_program(list({id(agent): agent for agent in agents.values()}.values())):
        arrival_s = min(agent.start_s for agent in group) - start_s
        assembly.add(group, arrival_s=arrival_s, block_tokens=BLOCK_TOKENS)
    return assembly.programs()


def _agent(name: str, before: Agent | None, parent: str | None) -> Agent:
    """The chain that a turn goes on; one of its own where it is the first, or not the first to follow."""
    if before is None:
        return Agent(name=name)
    if before.calls[-1].name == parent:
        return before
    return Agent(name=name, parent=before.name, fork_after=parent, awaited=False)


def _call(row: Row, name: str) -> Call:
    return Call(
        model="unnamed",
        start_s=row.timestamp,
        end_s=None,
        prompt_tokens=row.input_length,
        output_tokens=row.output_length,
        hashes=whole(row.hash_ids),
        name=name,
    )
