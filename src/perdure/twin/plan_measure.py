"""What candidates are compared by: figures of a job, their mean over seeds, and how sure both are."""

import math
from collections.abc import Sequence

from perdure.silicon.ranges import Range, exactly, range_of
from perdure.twin.plan_trials import Candidate, Trial
from perdure.twin.result import SECONDS_PER_HOUR, figures_of

TIME, MONEY, JOULES = "jct_s.mean", "usd_per_job", "joules_per_job"
FLEET_S = "fleet_s"
AXES = (TIME, MONEY, JOULES)
TITLES = {TIME: "job time", MONEY: "money per job", JOULES: "joules per job"}
GOALS = {"time": TIME, "money": MONEY, "energy": JOULES}
SEEDS_MAX = 10
# Student's t at 97.5 %, by degrees of freedom: a 95 % interval of a mean over few seeds.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
assert len(_T) == SEEDS_MAX - 1


def figure(trial: Trial, name: str) -> float | None:
    """One figure of a run: any of `figures_of`, or money or joules of a job, or how long it pays for.

    A job pays for all chips while it runs, together with as many others as run at once at most: as in a fleet
    that is kept as full as it was at its fullest. The hours in which the last job runs alone are not charged.
    """
    result = trial.result
    if name in (MONEY, JOULES, FLEET_S):
        share_s = _fleet_s(trial)
        if name == FLEET_S or share_s is None:
            return share_s
        if name == MONEY:
            money = result.money_usd
            return None if money is None else money / result.simulated_s * share_s
        if result.energy_j is None or trial.idle_w is None:
            return None
        at_work_j = result.energy_j - trial.idle_w * result.simulated_s
        return at_work_j / result.programs + trial.idle_w * share_s
    return figures_of(result).get(name)


def _fleet_s(trial: Trial) -> float | None:
    """For how long one job pays for the whole fleet."""
    time_s = trial.result.jct_s["mean"]
    return None if time_s is None or not trial.jobs_at_once else time_s / trial.jobs_at_once


def mean(candidate: Candidate, name: str) -> float | None:
    """The mean over seeds; None where any seed has none."""
    values = [figure(trial, name) for trial in candidate.seeds]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def confidence(candidate: Candidate, name: str) -> tuple[float, float] | None:
    """Where the mean over all seeds lies, with 95 % confidence; None of a single seed."""
    values = [value for trial in candidate.seeds if (value := figure(trial, name)) is not None]
    if len(values) < 2 or len(values) < len(candidate.seeds):
        return None
    middle = sum(values) / len(values)
    variance = sum((value - middle) ** 2 for value in values) / (len(values) - 1)
    half = _T[len(values) - 2] * math.sqrt(variance / len(values))
    return max(0.0, middle - half), middle + half


def in_draw(candidate: Candidate, name: str, number: int) -> float | None:
    """The mean over seeds as draw `number` of the guesses has it: off by as much as the first seed is."""
    middle = mean(candidate, name)
    if not candidate.draws or middle is None:
        return middle
    at_mid, drawn = figure(candidate.seeds[0], name), figure(candidate.draws[number], name)
    if drawn is None or not at_mid:
        return drawn
    return middle * (drawn / at_mid)


def spread(candidate: Candidate, name: str) -> Range | None:
    """The mean over seeds, and the range that the guesses leave it."""
    middle = mean(candidate, name)
    if middle is None:
        return None
    if not candidate.draws:
        return exactly(middle)
    drawn = [in_draw(candidate, name, number) for number in range(len(candidate.draws))]
    return range_of(middle, [value for value in drawn if value is not None])


def usd_per_h(candidate: Candidate) -> Range | None:
    """What all chips of the candidate cost for an hour; None where a rent is not known."""
    total = exactly(0.0)
    for one, count in zip(candidate.layout.deployments, candidate.layout.replicas, strict=True):
        if one.rent is None:
            return None
        rent = one.rent.usd_per_h.times(one.chips * count)
        total = Range(low=total.low + rent.low, mid=total.mid + rent.mid, high=total.high + rent.high)
    return total


def chip_hours(candidate: Candidate) -> float | None:
    """Chip hours that one job pays for."""
    share_s = mean(candidate, FLEET_S)
    return None if share_s is None else candidate.layout.chips * share_s / SECONDS_PER_HOUR


def whole_share(candidate: Candidate) -> float:
    """How many of the jobs ended with every call answered."""
    results = [trial.result for trial in candidate.seeds]
    return sum(one.programs for one in results) / max(1, sum(one.programs_all for one in results))


def front(points: Sequence[Sequence[float | None]]) -> list[bool]:
    """Which points no other is at least as good as in everything and better in something.

    What is not known counts as the worst: a row without a price is never on the front for its money.
    """
    filled = [tuple(math.inf if value is None else value for value in point) for point in points]

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))

    # Of points that are equal the first stands for all.
    return [
        not any(beats(other, point) for other in filled) and point not in filled[:place]
        for place, point in enumerate(filled)
    ]
