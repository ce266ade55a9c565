"""How our own recorded sessions (`perdure trace export RUN_ID`) become a workload."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from perdure.traces.assemble import Assembly
from perdure.traces.blocks import Numbering
from perdure.traces.calls import Agent, Call, Tally
from perdure.traces.lines import read_rows
from perdure.traces.programs import Programs
from perdure.traces.record import BLOCK_TOKENS, CallRecord
from perdure.traces.tree import by_program


def import_records(path: Path, tally: Tally) -> Programs:
    """The calls of the trace at `path`."""
    return programs_of((record for _, record in read_rows(path, CallRecord, tally)), tally)


def programs_of(records: Iterable[CallRecord], tally: Tally) -> Programs:
    """Sessions by name, forks by parent, gaps by how long tools ran, else by the clock."""
    numbering = Numbering()
    sessions: dict[str, list[CallRecord]] = defaultdict(list)
    for number, record in enumerate(records):
        sessions[record.session or f"unnamed call {number}"].append(record)
    agents = [_agent(name, records, numbering) for name, records in sessions.items()]
    programs = {name: record.program for name, (record, *_) in sessions.items() if record.program}
    assembly = Assembly(tally)
    groups = by_program(agents, programs)
    start_s = min((agent.start_s for agent in agents), default=0.0)
    for group in groups:
        arrival_s = min(agent.start_s for agent in group) - start_s
        assembly.add(group, arrival_s=arrival_s, block_tokens=BLOCK_TOKENS)
    return assembly.programs()


def _agent(name: str, records: list[CallRecord], numbering: Numbering) -> Agent:
    """A session's calls; the record of an answer tells how long its tools ran before the next call."""
    parent = next((record.parent for record in records if record.parent), None)
    agent = Agent(name=name, parent=parent)
    before: CallRecord | None = None
    for record in records:
        spent = (record.queue_s, record.prefill_s, record.decode_s)
        known = record.decode_s is not None
        agent.calls.append(
            Call(
                model=record.model,
                start_s=record.start_s,
                end_s=record.start_s + sum(part or 0.0 for part in spent) if known else None,
                prompt_tokens=record.prompt_tokens,
                output_tokens=record.output_tokens,
                hashes=numbering.numbers(record.block_hashes) if record.block_hashes else None,
                kept_tokens=record.cached_tokens,
                tool=before is not None and before.tool is not None,
                gap_s=before.tool_s if before is not None else None,
            )
        )
        before = record
    return agent
