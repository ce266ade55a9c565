"""How a table of requests becomes a workload: any CSV whose columns a mapping names.

Known by their header are the Azure LLM inference traces, BurstGPT, and TraceLab's replay tables. A row is a
request, or a turn of the session that it names. Without hashes nothing is known to be shared between
sessions; a turn keeps what the `prefix` column says, or else all of its session's context.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from io import TextIOWrapper
from pathlib import Path

import numpy as np

from perdure.errors import BadRequest
from perdure.traces.assemble import Assembly
from perdure.traces.calls import Agent, Call, Tally
from perdure.traces.flat import flat_programs
from perdure.traces.lines import open_trace
from perdure.traces.moments import seconds_in
from perdure.traces.programs import Programs

ROWS_MAX = 50_000_000
SCALES = {
    "arrival": 1.0,
    "arrival_ms": 1e-3,
    "arrival_ns": 1e-9,
    "wait": 1.0,
    "wait_ms": 1e-3,
    "wait_ns": 1e-9,
}
ROLES = {
    "arrival": "when the request came or the session began: seconds or a date (`arrival_ms`, `arrival_ns`)",
    "input": "tokens of the prompt",
    "output": "tokens of the answer",
    "model": "the model asked",
    "tenant": "who asked",
    "session": "the session that the row is a turn of",
    "prefix": "tokens that the prompt keeps of the context; `input` then counts the ones after them",
    "wait": "seconds from this answer to the next turn (`wait_ms`, `wait_ns`)",
}
HEADERS: tuple[dict[str, str], ...] = (
    {"arrival": "TIMESTAMP", "input": "ContextTokens", "output": "GeneratedTokens"},
    {"arrival": "Timestamp", "model": "Model", "input": "Request tokens", "output": "Response tokens"},
    {
        "session": "session_id",
        "arrival_ms": "arrival_time",
        "prefix": "prefix_len",
        "input": "input_len",
        "output": "output_len",
        "wait_ms": "tool_wait_after_ms",
    },
)


def known_header(line: str) -> dict[str, str] | None:
    """The mapping of a header that is known; None for any other."""
    names = {name.strip() for name in line.split(",")}
    optional = {"arrival_time"}
    for mapping in HEADERS:
        if set(mapping.values()) - optional <= names:
            return {role: name for role, name in mapping.items() if name in names}
    return None


def import_csv(path: Path, tally: Tally, mapping: Mapping[str, str] | None = None) -> Programs:
    """The requests of `path`; `mapping` names the column of each of ROLES that there is."""
    with TextIOWrapper(open_trace(path), encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        header = ",".join(reader.fieldnames or ())
        columns = dict(mapping) if mapping else known_header(header)
        _check(columns, reader.fieldnames or (), path)
        assert columns is not None
        if "session" in columns:
            return _sessions(_rows(reader, columns, tally), tally)
        return _requests(_rows(reader, columns, tally), tally)


class _Row:
    """One line: its number, its texts by role, and its numbers."""

    def __init__(self, number: int, texts: Mapping[str, str]) -> None:
        self._number = number
        self.texts = texts

    def tokens(self, role: str) -> int:
        """A count; an absent or empty one is 0."""
        text = self.texts.get(role) or "0"
        try:
            return int(float(text))
        except (ValueError, OverflowError):
            raise BadRequest(f"line {self._number}: {role} is {text!r}, not a number of tokens") from None

    def seconds(self, name: str) -> float | None:
        """A time, in whatever unit its role says; None where the row has none."""
        for role, scale in SCALES.items():
            if role.split("_")[0] == name and self.texts.get(role):
                return scale * seconds_in(self.texts[role], place=f"line {self._number}: {role}")
        return None


def _check(columns: Mapping[str, str] | None, names: Iterable[str], path: Path) -> None:
    there = set(names)
    roles = ", ".join(ROLES)
    if columns is None:
        raise BadRequest(
            f"the columns of {path} are not known ({', '.join(sorted(there))}); name them: "
            f"--map arrival=COLUMN,input=COLUMN,output=COLUMN (roles: {roles})"
        )
    unknown = set(columns) - set(ROLES) - set(SCALES)
    if unknown:
        raise BadRequest(f"--map names {', '.join(sorted(unknown))}; the roles are {roles}")
    missing = {"input", "output"} - set(columns)
    if missing:
        raise BadRequest(f"--map has no {' and no '.join(sorted(missing))}; a call has both")
    absent = set(columns.values()) - there
    if absent:
        raise BadRequest(
            f"{path} has no column {', '.join(sorted(absent))}; it has {', '.join(sorted(there))}"
        )


def _rows(reader: "csv.DictReader[str]", columns: Mapping[str, str], tally: Tally) -> Iterator[_Row]:
    for number, row in enumerate(reader, start=2):
        if number > ROWS_MAX:
            raise BadRequest(f"the table has more than {ROWS_MAX:,} rows; split it")
        texts = {role: row[name] for role, name in columns.items()}
        if any(text is None for text in texts.values()):
            tally.skipped["a torn line"] += 1
            continue
        yield _Row(number, texts)


def _requests(rows: Iterator[_Row], tally: Tally) -> Programs:
    arrivals: list[float] = []
    counts: list[tuple[int, int]] = []
    names: list[tuple[str, str]] = []
    for row in rows:
        arrivals.append(row.seconds("arrival") or 0.0)
        counts.append((row.tokens("input"), row.tokens("output")))
        names.append((row.texts.get("model") or "unnamed", row.texts.get("tenant") or "all"))
    lengths = np.array(counts, dtype=np.int64).reshape(-1, 2)
    return flat_programs(
        np.array(arrivals, dtype=np.float64),
        lengths[:, 0],
        lengths[:, 1],
        models=[model for model, _ in names],
        tenants=[tenant for _, tenant in names],
        tally=tally,
    )


def _sessions(rows: Iterator[_Row], tally: Tally) -> Programs:
    """Sessions whose turns follow each other by waits, or by the clock where each row has its own arrival."""
    sessions: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        sessions[row.texts["session"]].append(row)
    agents = [Agent(name=name, calls=_turns(turns)) for name, turns in sessions.items()]
    agents.sort(key=lambda agent: agent.start_s)
    tenants = {name: turns[0].texts.get("tenant") or "all" for name, turns in sessions.items()}
    assembly = Assembly(tally)
    for agent in agents:
        arrival_s = agent.start_s - agents[0].start_s
        assembly.add([agent], arrival_s=arrival_s, tenant=tenants[agent.name])
    return assembly.programs()


def _turns(rows: list[_Row]) -> list[Call]:
    calls: list[Call] = []
    start_s, wait_s = rows[0].seconds("arrival") or 0.0, None
    for row in rows:
        prefix = row.tokens("prefix") if "prefix" in row.texts else None
        start_s = row.seconds("arrival") or start_s if wait_s is None else start_s + wait_s
        calls.append(
            Call(
                model=row.texts.get("model") or "unnamed",
                start_s=start_s,
                end_s=start_s,
                prompt_tokens=row.tokens("input") + (prefix or 0),
                output_tokens=row.tokens("output"),
                kept_tokens=prefix,
                tool=bool(wait_s),
                gap_s=wait_s,
            )
        )
        wait_s = row.seconds("wait")
    return calls
