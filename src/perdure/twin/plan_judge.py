"""Which candidates meet what was asked, why the others do not, and which come closest."""

from collections.abc import Sequence
from dataclasses import replace

from perdure.twin.plan_measure import AXES, TIME, front, mean, usd_per_h, whole_share
from perdure.twin.plan_targets import Target
from perdure.twin.plan_trials import Candidate

# Jobs that end whole, against the candidate with most of them: where some are lost, times are of others.
WHOLE_SHARE_MIN = 0.99
DRAWN_MAX = 16
LOST_SHOWN = 3


def judged(
    found: Sequence[Candidate], targets: Sequence[Target], budgets: Sequence[Target]
) -> list[Candidate]:
    """`found` with a reason for each that was simulated and does not meet what was asked."""
    most = max((whole_share(one) for one in found if one.seeds), default=0.0)
    return [
        one
        if one.reason is not None or not one.seeds
        else replace(one, reason=_why_not(one, targets, budgets, most))
        for one in found
    ]


def value_of(candidate: Candidate, target: Target) -> float | None:
    """What `target` bounds, of this candidate; None where it is not known."""
    if target.name == "usd_per_h":
        cost = usd_per_h(candidate)
        return None if cost is None else cost.mid
    if target.name == "chips":
        return float(candidate.layout.chips)
    return mean(candidate, target.figure) if candidate.seeds else None


def overshoot(candidate: Candidate, targets: Sequence[Target]) -> float | None:
    """By what factor the worst target is missed; None where nothing is known."""
    values = [(value_of(candidate, target), target.limit) for target in targets]
    known = [value / limit for value, limit in values if value is not None]
    return max(known) if known else None


def feasible(candidate: Candidate) -> bool:
    """Whether it was simulated and nothing speaks against it."""
    return candidate.reason is None and bool(candidate.seeds)


def on_front(found: Sequence[Candidate]) -> list[bool]:
    """Which candidates are feasible and not beaten by another in time, money and joules."""
    places = [place for place, one in enumerate(found) if feasible(one)]
    kept = front([[mean(found[place], axis) for axis in AXES] for place in places])
    marks = [False] * len(found)
    for place, mark in zip(places, kept, strict=True):
        marks[place] = mark
    return marks


def survivors(found: Sequence[Candidate], goal: str, targets: Sequence[Target]) -> list[int]:
    """Places of those worth drawing: the front, and of every hardware the best by the goal and by time.

    Where nothing is feasible, the one that comes closest.
    """
    marks = on_front(found)
    places = [place for place, one in enumerate(found) if feasible(one)]
    if not places:
        nearest = closest(found, targets)
        return [] if nearest is None else [nearest]
    wanted: list[int] = []
    for axis in (goal, TIME):
        for hardware in dict.fromkeys(found[place].layout.place for place in places):
            mine = [place for place in places if found[place].layout.place == hardware]
            wanted.append(min(mine, key=lambda place: _or_worst(mean(found[place], axis))))
    wanted += [place for place in places if marks[place]]
    return list(dict.fromkeys(wanted))[:DRAWN_MAX]


def closest(found: Sequence[Candidate], targets: Sequence[Target]) -> int | None:
    """The place of the simulated one that misses its worst target by the least; None where none was."""
    scored = [
        (over, place)
        for place, one in enumerate(found)
        if one.seeds and (over := overshoot(one, targets)) is not None
    ]
    return min(scored)[1] if scored else None


def _why_not(one: Candidate, targets: Sequence[Target], budgets: Sequence[Target], most: float) -> str | None:
    share = whole_share(one)
    if share == 0 or share < WHOLE_SHARE_MIN * most:
        result = one.result
        lost = ", ".join(
            f"{count:,} calls {name.replace('_', ' ')}"
            for name, count in list(result.outcomes.items())[:LOST_SHOWN]
        )
        return f"only {result.programs:,} of {result.programs_all:,} jobs end whole: {lost or 'none ended'}"
    for target in (*targets, *budgets):
        value = value_of(one, target)
        if value is not None and value > target.limit:
            return f"misses {target.text}: {target.name} is {target.text_of(value)}"
    return None


def _or_worst(value: float | None) -> float:
    return float("inf") if value is None else value
