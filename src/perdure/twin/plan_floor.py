"""What no run of a workload on a deployment can be quicker than: the roofline, with every guess at its best.

Each call alone on an idle replica, everything that it may find in a cache found, no software, no queue.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from perdure.catalog.figure import Case
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost_compiled import Floats
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


def floor_of(deployment: Deployment, programs: Programs) -> Floor:
    """The floor of `programs` there; empty where a call does not fit the window: then others are timed."""
    window = deployment.model.figures.get("window_tokens")
    longest = int((programs.prompt_tokens + programs.output_tokens).max())
    if window is not None and longest > window.mid:
        return Floor(figures={})
    seconds = _priced(deployment)
    first_s = SLACK * _at_knots(
        programs.new_tokens, lambda tokens: seconds(Batch(prefills=(Prefill(new_tokens=tokens),)))
    )
    step_s = SLACK * _at_knots(
        programs.prompt_tokens, lambda tokens: seconds(Batch(decodes=(Decode(context_tokens=tokens),)))
    )
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


def _priced(deployment: Deployment) -> Callable[[Batch], float]:
    chip = chip_at(deployment.chip, Case.BEST)
    rack = rack_at(deployment.rack, deployment.chip, Case.BEST) if deployment.rack else None
    machine = Machine(chip=chip, rack=rack)
    lowering = deployment.instance.lowering

    def seconds(batch: Batch) -> float:
        return rate(lowering.operations(lowering.sums(batch)), chip, UNCALIBRATED).kernel_seconds(machine)

    return seconds


def _at_knots(tokens: np.ndarray, seconds: Callable[[int], float]) -> Floats:
    """`seconds` of each of `tokens`, taken at the knot below: more tokens never take less."""
    octave = np.log2(np.maximum(1, tokens))
    places = np.floor(octave * KNOTS_IN_OCTAVE).astype(np.int64)
    used, which = np.unique(places, return_inverse=True)
    values = [seconds(max(1, math.floor(2 ** (place / KNOTS_IN_OCTAVE)))) for place in used]
    return np.array(values)[which]


def _jobs_s(programs: Programs, call_s: Floats) -> Floats:
    """[program] the gaps and calls of its first session, one after another; the others may run beside it."""
    begin, end = programs.first_turn[:-1], programs.first_turn[1:]
    spent = np.concatenate([[0.0], np.cumsum(call_s + programs.gap_s * programs.attempts)])
    sessions_s = spent[end] - spent[begin]
    first = np.searchsorted(programs.program, np.arange(len(programs.arrival_s)))
    return sessions_s[first]
