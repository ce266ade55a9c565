"""What this session has tried so far, kept in its own state, which commits with each tool's result.

Each evaluation is a value of its own in the state, so that one more writes one more and not all again.
"""

from dataclasses import asdict
from typing import Any

import msgspec
from kernel_measure import Bench
from kernel_space import START, Point

from perdure.agents.tools import ToolContext
from perdure.errors import SandboxUnavailable

NOTES_MAX = 20


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One counted evaluation: of a `point` of the space, or of a `source` known by its hash.

    same_as  the number of the earlier evaluation that this one repeats
    """

    number: int
    speedup: float
    point: dict[str, Any] | None = None
    source: str | None = None
    same_as: int | None = None


class Record:
    """The evaluations and notes of one session, as one tool call sees and extends them."""

    def __init__(self, context: ToolContext) -> None:
        self._state = context.state
        self.budget = int(context.settings["evaluations"])
        count = int(self._state.get("count", 0))
        self.evaluations = [
            msgspec.convert(self._state[f"evaluation {number}"], Evaluation) for number in range(1, count + 1)
        ]

    @property
    def used_up(self) -> bool:
        """Whether no evaluation is left."""
        return len(self.evaluations) >= self.budget

    @property
    def refusal(self) -> str:
        """What an evaluation beyond the budget is answered."""
        return f"refused: all {self.budget} evaluations are used; call submit"

    @property
    def best(self) -> Evaluation | None:
        """The fastest correct one, the earliest of equals; None while there is none."""
        correct = [one for one in self.evaluations if one.speedup > 0]
        return max(correct, key=lambda one: (one.speedup, -one.number), default=None)

    @property
    def base(self) -> Point:
        """The point that changes are made to: the fastest correct one, or where every session begins."""
        correct = [one for one in self.evaluations if one.point is not None and one.speedup > 0]
        fastest = max(correct, key=lambda one: (one.speedup, -one.number), default=None)
        return START if fastest is None else msgspec.convert(fastest.point, Point)

    def same_as(self, what: Point | str) -> Evaluation | None:
        """The first evaluation of the same point, or of the source with that hash."""
        wanted = what if isinstance(what, str) else asdict(what)
        for one in self.evaluations:
            if wanted in (one.point, one.source):
                return one
        return None

    def add(self, what: Point | str, speedup: float, said: str, same_as: int | None = None) -> str:
        """Count one evaluation of a point, or of the source with that hash, and say so in a line."""
        number = len(self.evaluations) + 1
        added = Evaluation(
            number=number,
            speedup=round(speedup, 4),
            point=None if isinstance(what, str) else asdict(what),
            source=what if isinstance(what, str) else None,
            same_as=same_as,
        )
        self.evaluations.append(added)
        self._state[f"evaluation {number}"] = msgspec.to_builtins(added)
        self._state["count"] = number
        best = self.best
        tail = f"best {best.speedup:.1f}x #{best.number}" if best else "none correct yet"
        return f"eval {number}/{self.budget}: {said}; {tail}"

    def add_again(self, what: Point | str, before: Evaluation) -> str:
        """Count a repeat, answered from the record."""
        said = f"{before.speedup:.1f}x, repeats #{before.number}, try another"
        return self.add(what, before.speedup, said, before.number)

    def add_note(self, text: str) -> str:
        """Keep a note; the oldest goes when there are too many."""
        notes: list[str] = [*self._state.get("notes", []), text]
        self._state["notes"] = notes[-NOTES_MAX:]
        return f"noted ({len(notes[-NOTES_MAX:])})"

    def baseline_seconds(self, bench: Bench) -> list[float]:
        """The baseline on each shape, measured once for the session. Raises when it cannot be."""
        if "baseline_s" not in self._state:
            measured = bench.measure(bench.baseline_source())
            if not measured.ok:
                raise SandboxUnavailable(f"the baseline does not run here: {measured.reason}")
            self._state["baseline_s"] = list(measured.seconds)
        seconds: list[float] = self._state["baseline_s"]
        return seconds
