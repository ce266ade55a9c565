"""What this session has tried so far, kept in its own state, which commits with each tool's result.

Each evaluation is a value of its own in the state, so that one more writes one more and not all again.
"""

from typing import Any

import msgspec
from kernel_measure import Bench

from perdure.agents.tools import ToolContext
from perdure.errors import SandboxUnavailable

NOTES_MAX = 20


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One counted evaluation: of a `point` of the space, or of a `source` known by its hash.

    same_as  the number of the earlier evaluation that this one repeats
    """

    number: int
    speedup: float
    said: str
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

    def same_as(self, what: dict[str, Any] | str) -> Evaluation | None:
        """The first evaluation of the same point or source."""
        for one in self.evaluations:
            if what in (one.point, one.source):
                return one
        return None

    def add(self, what: dict[str, Any], speedup: float, said: str, same_as: int | None = None) -> str:
        """Count one evaluation of `what` (`point` or `source`), and say so in a line for the model."""
        number = len(self.evaluations) + 1
        added = Evaluation(number=number, speedup=round(speedup, 4), said=said, same_as=same_as, **what)
        self.evaluations.append(added)
        self._state[f"evaluation {number}"] = msgspec.to_builtins(added)
        self._state["count"] = number
        best = self.best
        tail = f"best {best.speedup:.1f}x #{best.number}" if best else "none correct yet"
        return f"eval {number}/{self.budget}: {said}; {tail}"

    def add_again(self, before: Evaluation) -> str:
        """Count a repeated point, answered from the record."""
        what = {"point": before.point, "source": before.source}
        first = before.same_as or before.number
        return self.add(what, before.speedup, f"{before.speedup:.1f}x, repeats #{first}, try another", first)

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
