"""What candidates are compared by: figures of a job, their mean over seeds, and how sure both are."""

import math
from collections.abc import Sequence

from perdure.silicon.ranges import MID, Range, exactly, range_of
from perdure.twin.plan_trials import MOST, Candidate, Trial
from perdure.twin.result import SECONDS_PER_HOUR, figures_of

TIME, MONEY, JOULES = "jct_s.mean", "usd_per_job", "joules_per_job"
FLEET_S = "fleet_s"
# Of a call: most of a job may be its tools' time, which no chip shortens.
CALL = "e2e_s.mean"
AXES = (TIME, MONEY, JOULES)
TITLES = {TIME: "job time", MONEY: "money per job", JOULES: "joules per job"}
GOALS = {"time": TIME, "money": MONEY, "energy": JOULES}
SEEDS_MAX = 10
# Student's t at 97.5 %, by degrees of freedom: a 95 % interval of a mean over few seeds.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
assert len(_T) == SEEDS_MAX - 1


def figure(trial: Trial, name: str) -> float | None:
    """One figure of a run: any of `figures_of`, or money or joules of a job, or how long it pays for.

    All chips are paid for, busy or not, until `MOST` of the tokens are generated, by as great a part of the
    jobs: the hours after that, in which the longest job runs alone, say more of that job than of the fleet.
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
    if trial.mostly_done_s is None or not trial.result.programs:
        return None
    return trial.mostly_done_s / (MOST * trial.result.programs)


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


def electricity_usd_per_job(candidate: Candidate) -> float | None:
    """What the joules of a job cost at the meter, cooling with them; it is part of a rent."""
    joules, electricity = mean(candidate, JOULES), candidate.layout.deployments[0].electricity
    return None if joules is None or electricity is None else joules * electricity.usd_per_j(MID)


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
