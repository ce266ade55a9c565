"""What the next chip, rack or model should be better at, for one workload: its numbers scaled one by one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from perdure.clock import Clock
from perdure.twin.plan import Ask
from perdure.twin.plan_measure import CALL, JOULES, MONEY, TIME, figure
from perdure.twin.plan_pools import pool_ask, pools_made
from perdure.twin.plan_runs import Runs
from perdure.twin.plan_trials import Candidate, Trial, timed_play
from perdure.twin.plan_vary import SCALABLE, Scales, Vary
from perdure.twin.pool import Pool

MEASURES: Mapping[str, str] = {
    TIME: "job time",
    CALL: "time of a call",
    MONEY: "money per job",
    JOULES: "joules per job",
}
# Of these less is better, of all others more.
LESS_IS_BETTER = ("chip.launch_s", "rack.latency_s", "model.kv_bytes_per_token", "model.weight_bytes")
# What shortens calls by less than a hundredth is said to hardly matter.
NONE_BELOW = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one number does.

    low, high     each measure there, as times what it is unscaled; None where it cannot run or is not known
    elasticities  by how many per cent a measure changes for one per cent of the number, over the whole range
    reason        why it cannot run at one end, or None
    """

    vary: Vary
    low: Mapping[str, float | None]
    high: Mapping[str, float | None]
    elasticities: Mapping[str, float | None]
    reason: str | None = None


def effects_of(
    candidate: Candidate,
    varies: Sequence[Vary],
    ask: Ask,
    *,
    clock: Clock,
    on_progress: Callable[[int, int, str], None],
) -> list[Effect]:
    """Simulate `candidate` with each number at both ends of its range, on the workload of every seed."""
    scales = [Scales(((vary.name, by),)) for vary in varies for by in (vary.low, vary.high)]
    pools, reasons = _pools(candidate, scales, ask)
    measured: list[dict[str, float | None]] = [{} for _ in scales]
    with Runs[tuple[Trial, float]](ask.cores) as runs:
        for place, mine in pools.items():
            for number, programs in enumerate(ask.programs):
                work = partial(timed_play, programs, mine, candidate.choice, stop=runs.stop, clock=clock)
                runs.start((place, number), work)
        total = len(pools) * len(ask.programs)
        trials: dict[int, list[Trial]] = {}
        for done, ((place, _), (trial, _)) in enumerate(runs.ended(all_of_them=True), start=1):
            trials.setdefault(place, []).append(trial)
            on_progress(done, total, "variations")
    plain = {name: _mean(candidate.seeds, name) for name in MEASURES}
    for place, found in trials.items():
        measured[place] = {name: _ratio(_mean(found, name), plain[name]) for name in MEASURES}
    return [
        Effect(
            vary=vary,
            low=measured[2 * place],
            high=measured[2 * place + 1],
            elasticities={
                name: _elasticity(vary, measured[2 * place].get(name), measured[2 * place + 1].get(name))
                for name in MEASURES
            },
            reason=reasons.get(2 * place) or reasons.get(2 * place + 1),
        )
        for place, vary in enumerate(varies)
    ]


def advice(effects: Sequence[Effect]) -> str:
    """One sentence: what to be better at first, by what that brings, and what hardly matters."""
    ranked = sorted(effects, key=lambda effect: -gain(effect))
    helpful = [effect for effect in ranked if gain(effect) >= NONE_BELOW]
    if not helpful:
        return "none of these numbers matters for this workload: its calls wait for something else"
    first, *others = helpful
    by, ends = _better_end(first)
    job = ends.get(TIME)
    said = "" if job is None else f" and of a job by {100 * (job - 1):+.1f} %"
    sentence = (
        f"for this workload {by:g} times {SCALABLE[first.vary.name]} helps first: it changes the time of a "
        f"call by {-100 * gain(first):+.0f} %{said}"
    )
    if others:
        then = (
            f"{_better_end(effect)[0]:g} times {SCALABLE[effect.vary.name]} ({-100 * gain(effect):+.0f} %)"
            for effect in others[:2]
        )
        sentence += f"; then {', '.join(then)}"
    rest = [SCALABLE[effect.vary.name] for effect in ranked if gain(effect) < NONE_BELOW]
    return sentence + (f"; {' and '.join(rest)} hardly matter" if rest else "")


def gain(effect: Effect) -> float:
    """By what share calls are shorter at the better end of the range; below zero, longer."""
    ratio = _better_end(effect)[1].get(CALL)
    return 0.0 if ratio is None else 1.0 - ratio


def _better_end(effect: Effect) -> tuple[float, Mapping[str, float | None]]:
    if effect.vary.name in LESS_IS_BETTER:
        return effect.vary.low, effect.low
    return effect.vary.high, effect.high


def _pools(
    candidate: Candidate, scales: Sequence[Scales], ask: Ask
) -> tuple[dict[int, list[Pool]], dict[int, str]]:
    """The pools of each scaling, or why they cannot be."""
    asks = {
        (place, text): pool_ask(text, draws=0, sources=replace(ask.sources, scales=scale))
        for place, scale in enumerate(scales)
        for text in candidate.layout.parts
    }
    places = {one.name: key for key, one in asks.items()}
    made: dict[tuple[int, str], Pool] = {}
    reasons: dict[int, str] = {}
    for one, pool in pools_made(list(asks.values()), ask.folder, processes=ask.cores):
        place, text = places[one.name]
        if isinstance(pool, str):
            reasons[place] = pool
        else:
            made[place, text] = pool
    return {
        place: [made[place, text] for text in candidate.layout.parts]
        for place in range(len(scales))
        if place not in reasons
    }, reasons


def _mean(trials: Sequence[Trial], name: str) -> float | None:
    values = [figure(trial, name) for trial in trials]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _ratio(value: float | None, plain: float | None) -> float | None:
    return None if value is None or not plain else value / plain


def _elasticity(vary: Vary, low: float | None, high: float | None) -> float | None:
    if low is None or high is None or low <= 0 or high <= 0:
        return None
    return math.log(high / low) / math.log(vary.high / vary.low)
