"""What no run of a workload on a deployment can be quicker than: the roofline, with every guess at its best.

Each call alone on an idle replica, everything that it may find in a cache found, no software, no queue.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perdure.catalog.figure import Case
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost_compiled import Floats, Integers
from perdure.silicon.chip import chip_at
from perdure.silicon.efficiency import UNCALIBRATED
from perdure.silicon.price import Machine, rate
from perdure.silicon.rack import rack_at
from perdure.traces.programs import Programs
from perdure.twin.deployment import Deployment
from perdure.twin.plan_targets import Target
from perdure.twin.result import summary

KNOTS_IN_OCTAVE = 4
# The twin reads costs off a table, between whose knots it may be this much below the operations themselves.
SLACK = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The least that each figure can be, by its name: `ttft_s.p95`."""

    figures: dict[str, float]

    def missed(self, targets: tuple[Target, ...]) -> str | None:
        """Why a target cannot be met, or None."""
        for target in targets:
            least = self.figures.get(target.figure)
            if least is not None and least > target.limit:
                return (
                    f"cannot meet {target.text}: at the roofline, with every guess at its best and nothing "
                    f"else running, {target.name} is {target.text_of(least)}"
                )
        return None


def floors_of(deployment: Deployment, workloads: Sequence[Programs]) -> list[Floor]:
    """The floor of each workload there."""
    seconds = _priced(deployment)
    first_s, step_s = _Knots(lambda tokens: seconds(_prompt(tokens))), _Knots(lambda at: seconds(_step(at)))
    return [_floor(deployment, programs, first_s, step_s) for programs in workloads]


class _Knots:
    """Seconds by numbers of tokens, taken at the knot below: more tokens never take less."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds = seconds
        self._known: dict[int, float] = {}

    def of(self, tokens: Integers) -> Floats:
        """Seconds of each of `tokens`."""
        places = np.floor(np.log2(np.maximum(1, tokens)) * KNOTS_IN_OCTAVE).astype(np.int64)
        used, which = np.unique(places, return_inverse=True)
        return SLACK * np.array([self._at(int(place)) for place in used])[which]

    def _at(self, place: int) -> float:
        if place not in self._known:
            self._known[place] = self._seconds(max(1, math.floor(2 ** (place / KNOTS_IN_OCTAVE))))
        return self._known[place]


def _floor(deployment: Deployment, programs: Programs, first: _Knots, step: _Knots) -> Floor:
    """Empty where a call does not fit the window: then others would be timed than those that end."""
    window = deployment.model.figures.get("window_tokens")
    longest = int((programs.prompt_tokens + programs.output_tokens).max())
    if window is not None and longest > window.mid:
        return Floor(figures={})
    first_s, step_s = first.of(programs.new_tokens), step.of(programs.prompt_tokens)
    call_s = first_s + (programs.output_tokens - 1) * step_s
    found = {
        "ttft_s": summary(first_s),
        "tpot_s": summary(step_s[programs.output_tokens > 1]),
        "e2e_s": summary(call_s),
    }
    if programs.end_s is None:
        found["jct_s"] = summary(_jobs_s(programs, call_s))
    return Floor(
        figures={
            f"{name}.{part}": value
            for name, parts in found.items()
            for part, value in parts.items()
            if value is not None
        }
    )


def _prompt(tokens: int) -> Batch:
    return Batch(prefills=(Prefill(new_tokens=tokens),))


def _step(context_tokens: int) -> Batch:
    return Batch(decodes=(Decode(context_tokens=context_tokens),))


def _priced(deployment: Deployment) -> Callable[[Batch], float]:
    """Bytes over bandwidths and operations over peaks: no launch and no latency, which kernels may hide."""
    chip = replace(chip_at(deployment.chip, Case.BEST), launch_s=0.0)
    rack = rack_at(deployment.rack, deployment.chip, Case.BEST) if deployment.rack else None
    if rack is not None:
        rack = replace(rack, tiers=tuple(replace(tier, hop_s=0.0, software_s=0.0) for tier in rack.tiers))
    machine = Machine(chip=chip, rack=rack)
    lowering = deployment.instance.lowering

    def seconds(batch: Batch) -> float:
        return rate(lowering.operations(lowering.sums(batch)), chip, UNCALIBRATED).kernel_seconds(machine)

    return seconds


def _jobs_s(programs: Programs, call_s: Floats) -> Floats:
    """[program] the gaps and calls of its first session, one after another; the others may run beside it."""
    begin, end = programs.first_turn[:-1], programs.first_turn[1:]
    spent = np.concatenate([[0.0], np.cumsum(call_s + programs.gap_s * programs.attempts)])
    sessions_s = spent[end] - spent[begin]
    first = np.searchsorted(programs.program, np.arange(len(programs.arrival_s)))
    return sessions_s[first]
