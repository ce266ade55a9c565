"""How agentic Mooncake traces become a workload: Mooncake's rows with sessions, dependencies and tool waits.

docs.nvidia.com/dynamo, DynoSim runs: a row names the rows that it waits for (`wait_for`, or `dependencies`
in the versioned form with a header line), and the milliseconds after the last of them (`delay`,
`tool_wait_ms`). A row that waits for none starts at its `timestamp`. Sessions of ours fork once and are
waited for by the session that started them; a dependency beyond that is counted and left out.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from perdure.traces.assemble import Assembly
from perdure.traces.blocks import block_tokens_of, whole
from perdure.traces.calls import Agent, Call, Tally
from perdure.traces.import_mooncake import BLOCK_TOKENS
from perdure.traces.lines import read_rows
from perdure.traces.programs import Programs
from perdure.traces.tree import by_program

MS_PER_S = 1000.0


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """One row that another waits for, in the versioned form."""

    request_id: str
    delay_ms: float = 0.0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One request, or the header of the versioned form, which has no lengths."""

    schema: str | None = None
    block_size: int | None = None
    hash_id_scope: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    parent_session_id: str | None = None
    play_id: str | None = None
    model: str = "unnamed"
    input_length: int | None = None
    input_tokens: int | None = None
    output_length: int | None = None
    output_tokens: int | None = None
    hash_ids: list[int] | None = None
    timestamp: float | None = None
    created_time: float | None = None
    not_before_ms: float | None = None
    delay: float | None = None
    delay_ms: float | None = None
    tool_wait_ms: float | None = None
    wait_for: list[str] = []
    dependencies: list[Dependency] = []

    @property
    def waits(self) -> list[str]:
        """The rows that it waits for."""
        return [*self.wait_for, *(one.request_id for one in self.dependencies)]

    @property
    def after_s(self) -> float:
        """From the last of those until it is asked."""
        delays_ms = (self.delay or 0.0, self.delay_ms or 0.0, *(one.delay_ms for one in self.dependencies))
        return max(0.0, (max(delays_ms) + (self.tool_wait_ms or 0.0)) / MS_PER_S)

    @property
    def at_s(self) -> float | None:
        """When it starts, where the row says it."""
        given = [one for one in (self.timestamp, self.created_time, self.not_before_ms) if one is not None]
        return max(0.0, given[0] / MS_PER_S) if given else None


class _Graph:
    """The rows by session, in order of the file; answers take no time, so that gaps are what rows say."""

    def __init__(self, rows: Sequence[tuple[str, Row]], tally: Tally) -> None:
        self._tally = tally
        self.agents: dict[str, Agent] = {}
        self.programs: dict[str, str] = {}
        self._session_of = {name: row.session_id or name for name, row in rows}
        self._last_of = {session: name for name, session in self._session_of.items()}
        self._start_s: dict[str, float] = {}
        for name, row in rows:
            self._add(name, row)

    def _add(self, name: str, row: Row) -> None:
        session = self._session_of[name]
        waits = [one for one in row.waits if one in self._start_s]
        missing = len(row.waits) - len(waits)
        if missing:
            self._tally.repaired["a dependency that is no earlier row, left out"] += missing
        agent = self.agents.get(session)
        if agent is None:
            agent = self.agents[session] = self._new(session, row, waits)
        for wait in waits:
            self._join(wait, name, agent)
        ready = [self._start_s[wait] for wait in waits] + [call.start_s for call in agent.calls[-1:]]
        self._start_s[name] = self._ready_s(row, ready)
        agent.calls.append(_call(name, row, self._start_s[name], first=not ready))

    def _ready_s(self, row: Row, ready: Sequence[float]) -> float:
        if not ready:
            return row.at_s or 0.0
        if row.after_s == 0.0 and not row.waits and row.at_s is not None:
            return max(*ready, row.at_s)
        return max(ready) + row.after_s

    def _new(self, session: str, row: Row, waits: Sequence[str]) -> Agent:
        if row.play_id is not None:
            self.programs[session] = row.play_id
        fork = waits[0] if waits else None
        parent = self._session_of[fork] if fork is not None else row.parent_session_id
        return Agent(name=session, parent=parent, fork_after=fork, awaited=False)

    def _join(self, wait: str, name: str, agent: Agent) -> None:
        """`name`, of `agent`, waits for `wait`: a join when that ends a session that `agent` started."""
        other = self.agents[self._session_of[wait]]
        if other is agent or (not agent.calls and agent.fork_after == wait):
            return
        if other.parent == agent.name and self._last_of[other.name] == wait:
            other.join_before = name
        else:
            self._tally.repaired["a dependency that sessions cannot express, left out"] += 1


def import_agentic(path: Path, tally: Tally) -> Programs:
    """The requests of `path`; rows that depend on each other, or share a play, are one program."""
    header, rows = None, list[tuple[str, Row]]()
    for number, row in read_rows(path, Row, tally):
        if row.schema is not None and row.request_id is None and row.session_id is None:
            header = row
        else:
            rows.append((row.request_id or f"row {number}", row))
    graph = _Graph(rows, tally)
    local = (header.hash_id_scope if header else None) == "local"
    block_tokens = _block_tokens(header, [row for _, row in rows], tally)
    assembly = Assembly(tally)
    for group in by_program(list(graph.agents.values()), graph.programs):
        arrival_s = min(agent.start_s for agent in group)
        assembly.add(group, arrival_s=arrival_s, block_tokens=block_tokens, shared=not local)
    return assembly.programs()


def _block_tokens(header: Row | None, rows: Sequence[Row], tally: Tally) -> int:
    if header is not None and header.block_size:
        return header.block_size
    prompts = [(_first(row.input_length, row.input_tokens), len(row.hash_ids or ())) for row in rows]
    found = block_tokens_of(prompts)
    if found is None and any(row.hash_ids for row in rows):
        tally.repaired[f"blocks of unknown size, taken as {BLOCK_TOKENS} tokens"] += 1
    return found or BLOCK_TOKENS


def _call(name: str, row: Row, start_s: float, *, first: bool) -> Call:
    return Call(
        model=row.model,
        start_s=start_s,
        end_s=start_s,
        prompt_tokens=_first(row.input_length, row.input_tokens),
        output_tokens=_first(row.output_length, row.output_tokens),
        hashes=None if row.hash_ids is None else whole(row.hash_ids),
        tool=not first and row.tool_wait_ms is not None,
        name=name,
    )


def _first(*lengths: int | None) -> int:
    return next((length for length in lengths if length is not None), 0)
