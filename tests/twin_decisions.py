"""Writes what plain policies decide during a run of the twin without numba: compiled code calls none."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import IO, Any
from unittest.mock import patch

from perdure.scheduling.decision_log import Decision, DecisionLog
from perdure.scheduling.policies import KINDS, NAMES, Kind, facts_of
from perdure.twin import kernel_batch, kernel_handover, kernel_route
from perdure.twin.kernel_arrays import World


class _Recorder:
    """Facts that policies were asked since the last choice; only `logged` uses it."""

    def __init__(self, log: DecisionLog) -> None:
        self.asked: list[tuple[str, Any]] = []
        self._log = log

    def wrap(self, kind: Kind, name: str, function: Callable[[Any], float]) -> Callable[[Any], float]:
        """`function`, which from now on notes what it is asked; of one candidate, also what it answers."""

        def noted(facts: Any) -> float:
            answer = function(facts)
            if kind in ("admit", "retain"):
                self.record(kind, name, [facts], int(answer))
            else:
                self.asked.append((name, facts))
            return answer

        return noted

    def record(self, kind: Kind, name: str, candidates: list[Any], choice: int) -> None:
        """Write one decision, its facts as plain numbers."""
        facts = tuple(facts_of(kind, [float(number) for number in one]) for one in candidates)
        self._log.record(Decision(kind=kind, policy=name, candidates=facts, choice=choice))


@contextmanager
def logged(file: IO[str]) -> Generator[None]:
    """While this lasts, decisions of policies taken by name are written to `file`."""
    recorder = _Recorder(DecisionLog(file))
    place: Any = kernel_handover.find_place
    order: Any = kernel_batch.next_waiting

    def find_place(w: World, number: int, now_s: float, policy: Any) -> Any:
        recorder.asked.clear()
        replica, believed = place(w, number, now_s, policy)
        if recorder.asked:
            facts = [one for _, one in recorder.asked]
            first = w.pools[w.sessions[number].pool].first_replica
            recorder.record("place", recorder.asked[0][0], facts, int(replica - first))
        return replica, believed

    def next_waiting(w: World, replica: int, now_s: float, policy: Any) -> Any:
        recorder.asked.clear()
        chosen = order(w, replica, now_s, policy)
        if recorder.asked:
            # Fair share chooses the tenant first; of its calls, the order chooses. Ties go by arrival.
            tenant = w.programs[w.sessions[chosen].program].tenant
            calls = [
                one for one in _waiting(w, replica) if w.programs[w.sessions[one].program].tenant == tenant
            ]
            calls.sort(key=lambda one: int(w.sessions[one].sequence))
            facts = [kernel_route.waiting_facts(w, one, now_s) for one in calls]
            recorder.record("order", recorder.asked[0][0], facts, calls.index(chosen))
        return chosen

    wrapped = {
        kind: {name: recorder.wrap(kind, name, function) for name, function in NAMES[kind].items()}
        for kind in KINDS
    }

    def named(kind: Kind, name: str) -> Callable[[Any], float]:
        return wrapped[kind][name]

    def plain(kind: Kind, function: Callable[[Any], float]) -> Callable[[Any], float]:
        return function

    with (
        patch("tests.fleets.named", named),
        patch("perdure.twin.simulate.named", named),
        patch.object(kernel_handover, "find_place", find_place),
        patch.object(kernel_batch, "next_waiting", next_waiting),
        patch("perdure.twin.simulate.compile_policy", plain),
    ):
        yield


def _waiting(w: World, replica: int) -> Iterator[int]:
    here = w.replicas[replica].first_waiting
    while here != 0:
        yield here - 1
        here = w.sessions[here - 1].next_waiting
