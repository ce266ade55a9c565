"""What was decided, on what facts: written as it happens, and decided again later by the same functions.

One JSON line a decision, after a first line that says which facts the numbers are. Floats are written so
that they read back bit for bit. The live server and the twin write the same log; replaying the one's log
through the functions of the other shows whether they decide alike.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from perdure.errors import BadRequest
from perdure.scheduling.policies import FACTS, KINDS, Kind, decide, facts_of

FORMAT = "perdure-decisions-1"
# A decision among more candidates is not written, and counted; nor is anything past the size.
CANDIDATES_MAX = 4096
LOG_BYTES_MAX = 1 << 30
DIFFERENCES_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One choice: of an index among `candidates` (order, place), or about the only one (admit, retain)."""

    kind: Kind
    policy: str
    candidates: tuple[Any, ...]
    choice: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The decision at place `index` of the log, and what was chosen this time."""

    index: int
    decision: Decision
    replayed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """How many decisions were made again, how many came out differently, and the first of those."""

    decisions: int
    differing: int
    differences: tuple[Difference, ...]


class DecisionLog:
    """Decisions written to an open file. `written` and `skipped` count them; only `record` changes either."""

    def __init__(self, file: IO[str], *, bytes_max: int = LOG_BYTES_MAX) -> None:
        self.written = 0
        self.skipped = 0
        self._file = file
        self._bytes_left = bytes_max
        self._write(_line({"format": FORMAT, "facts": _fields()}))

    def record(self, decision: Decision) -> None:
        """Write `decision`, or count it as skipped where it is too large or the log is full."""
        row = [
            decision.kind,
            decision.policy,
            decision.choice,
            [list(facts) for facts in decision.candidates],
        ]
        if len(decision.candidates) > CANDIDATES_MAX or not self._write(_line(row)):
            self.skipped += 1
        else:
            self.written += 1

    def _write(self, line: str) -> bool:
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            return False
        self._file.write(line)
        return True


def read_decisions(path: Path) -> Iterator[Decision]:
    """The decisions of a log. A last line without an end, of a writer that was killed, is left out.

    BadRequest names the line that is no decision.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith("\n"):
                    return
                try:
                    row = json.loads(line)
                    if number == 1:
                        _check_header(row)
                    else:
                        yield _decision(row)
                except (ValueError, TypeError, KeyError, IndexError) as error:
                    raise BadRequest(f"{path}:{number}: no decision of ours ({error})") from None
    except OSError as error:
        raise BadRequest(f"decision log {path} cannot be read: {error.strerror}") from None


def replay(
    decisions: Iterable[Decision], functions: Mapping[tuple[Kind, str], Callable[[Any], float]]
) -> Replay:
    """Make every decision again with `functions`, by kind and name as the log has them, and compare."""
    differences: list[Difference] = []
    count = differing = 0
    for index, decision in enumerate(decisions):
        function = functions.get((decision.kind, decision.policy))
        if function is None:
            raise BadRequest(
                f"decision {index} of the log was made by {decision.kind} policy {decision.policy!r}, which "
                "is not among those to replay with; name that policy as well"
            )
        choice = decide(decision.kind, function, decision.candidates)
        count += 1
        if choice != decision.choice:
            differing += 1
            if len(differences) < DIFFERENCES_MAX:
                differences.append(Difference(index=index, decision=decision, replayed=choice))
    return Replay(decisions=count, differing=differing, differences=tuple(differences))


def _fields() -> dict[str, list[str]]:
    return {kind: list(facts._fields) for kind, facts in FACTS.items()}


def _line(row: object) -> str:
    return json.dumps(row, separators=(",", ":")) + "\n"


def _check_header(row: Any) -> None:
    if row["format"] != FORMAT:
        raise ValueError(f"format {row['format']!r}; this version reads {FORMAT!r}")
    for kind, fields in _fields().items():
        if row["facts"][kind] != fields:
            raise ValueError(f"written by a version whose facts for {kind} are others")


def _decision(row: Any) -> Decision:
    kind, policy, choice, candidates = row
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}")
    if not candidates:
        raise ValueError("no facts")
    read = tuple(facts_of(kind, one) for one in candidates)
    return Decision(kind=kind, policy=str(policy), candidates=read, choice=int(choice))
