"""Which candidate is chosen, how sure that is, and what would change it."""

from collections.abc import Sequence
from dataclasses import dataclass

from perdure.catalog.figure import Figure
from perdure.silicon.ranges import ALL_DRAWS, Draw, Range, chance_of, drawn_figure, range_of
from perdure.twin.plan_judge import feasible
from perdure.twin.plan_measure import (
    CALL,
    FLEET_S,
    JOULES,
    MONEY,
    TIME,
    TITLES,
    chip_hours,
    figure,
    in_draw,
    mean,
    usd_per_h,
)
from perdure.twin.plan_targets import Target
from perdure.twin.plan_trials import Candidate
from perdure.twin.result import SECONDS_PER_HOUR

# Nine in ten draws, as every range here holds.
STABLE_SHARE = 0.9
# What is nearer than this is the same: it says more of the workload's luck than of the candidate.
SAME_SHARE = 0.005
FLIPS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The choice.

    place      in the list of candidates
    axis       what decided
    stable     whether its hardware stays the choice in nine of ten draws of the guesses, and on every seed
    stability  the same as a sentence
    wins       in how many draws each place is the best
    flips      what would make another one the choice, as sentences
    """

    place: int
    axis: str
    why: str
    stable: bool
    stability: str
    wins: dict[int, int]
    flips: tuple[str, ...]


def choose(
    found: Sequence[Candidate], axis: str, targets: Sequence[Target], budgets: Sequence[Target], draws: int
) -> Chosen | None:
    """The best feasible candidate on `axis`, ties by job time, then in order; None where none is feasible."""
    places = eligible(found, axis, budgets)
    if not places:
        return None
    best = _best(found, places, axis)
    wins = _wins(found, places, best, axis, targets, draws)
    others = [place for place in wins if place != best]
    seeds = _lost_seeds(found, places, best, axis)
    drawn = bool(draws and wins)
    stable = drawn and _hardware_wins(found, best, wins) >= STABLE_SHARE * draws and not seeds
    return Chosen(
        place=best,
        axis=axis,
        why=_why(found, places, best, axis, targets),
        stable=stable,
        stability=_stability(found, best, wins, draws, seeds),
        wins=wins,
        flips=tuple(
            [*_guess_flips(found, best, others, axis, draws), *_price_flips(found, best, axis)][:FLIPS_MAX]
        ),
    )


def eligible(found: Sequence[Candidate], axis: str, budgets: Sequence[Target]) -> list[int]:
    """Places of the feasible ones that have a figure on `axis`, and a price where a budget asks for one."""
    asks_price = any(budget.name.startswith("usd") for budget in budgets)
    return [
        place
        for place, one in enumerate(found)
        if feasible(one) and mean(one, axis) is not None and not (asks_price and usd_per_h(one) is None)
    ]


def break_even(one: Candidate, priced: Candidate) -> Range | None:
    """Dollars for a chip and hour at which a job costs on `one` what it costs on `priced`."""
    hours, cost = chip_hours(one), mean(priced, MONEY)
    if not hours or cost is None:
        return None
    middle = cost / hours
    count = max(len(one.draws), len(priced.draws))
    drawn: list[float] = []
    for number in range(count):
        there, here = in_draw(priced, MONEY, number), _hours_in_draw(one, number)
        if there is not None and here:
            drawn.append(there / here)
    return range_of(middle, drawn)


def best_priced(found: Sequence[Candidate]) -> int | None:
    """The place of the feasible one on which a job costs least; None where nothing feasible has a price."""
    places = [place for place, one in enumerate(found) if feasible(one) and mean(one, MONEY) is not None]
    return _best(found, places, MONEY) if places else None


def _best(found: Sequence[Candidate], places: Sequence[int], axis: str) -> int:
    """The best; of those within `SAME_SHARE` of it that with the shortest jobs, then calls, then the first.

    Stock policies come first: what brings nothing is not recommended.
    """
    left = list(places)
    for one_axis in (axis, TIME, CALL):
        least = min(_or_worst(mean(found[place], one_axis)) for place in left)
        left = [
            place for place in left if _or_worst(mean(found[place], one_axis)) <= least * (1 + SAME_SHARE)
        ]
    return left[0]


def _hours_in_draw(one: Candidate, number: int) -> float | None:
    share_s = in_draw(one, FLEET_S, number)
    return None if share_s is None else one.layout.chips * share_s / SECONDS_PER_HOUR


def _wins(
    found: Sequence[Candidate],
    places: Sequence[int],
    best: int,
    axis: str,
    targets: Sequence[Target],
    draws: int,
) -> dict[int, int]:
    """In how many draws each drawn candidate is the best that meets the targets; near ties are `best`'s."""
    raced = [place for place in places if found[place].drawn]
    wins: dict[int, int] = {}
    for number in range(draws if raced else 0):
        values = {
            place: _or_worst(in_draw(found[place], axis, number))
            for place in raced
            if _meets(found[place], targets, number)
        }
        if not values:
            continue
        least = min(values, key=lambda place: values[place])
        same = best in values and values[best] <= values[least] * (1 + SAME_SHARE)
        winner = best if same else least
        wins[winner] = wins.get(winner, 0) + 1
    return dict(sorted(wins.items(), key=lambda item: -item[1]))


def _meets(one: Candidate, targets: Sequence[Target], number: int) -> bool:
    values = [(in_draw(one, target.figure, number), target.limit) for target in targets]
    return all(value is not None and value <= limit for value, limit in values)


def _hardware_wins(found: Sequence[Candidate], best: int, wins: dict[int, int]) -> int:
    """In how many draws a layout of the same hardware is the best."""
    mine = found[best].layout.place
    return sum(count for place, count in wins.items() if found[place].layout.place == mine)


def _lost_seeds(found: Sequence[Candidate], places: Sequence[int], best: int, axis: str) -> list[int]:
    """On which seeds other hardware is better."""
    lost: list[int] = []
    places = [place for place in places if found[place].layout.place != found[best].layout.place]
    for number in range(len(found[best].seeds)):
        mine = figure(found[best].seeds[number], axis)
        values = [figure(found[place].seeds[number], axis) for place in places]
        if mine is not None and any(value is not None and value < mine for value in values):
            lost.append(number)
    return lost


def _why(
    found: Sequence[Candidate], places: Sequence[int], best: int, axis: str, targets: Sequence[Target]
) -> str:
    least = {
        TIME: "the shortest mean job time",
        MONEY: "the least money a job",
        JOULES: "the fewest joules a job",
    }
    among = "that meet the target" if targets else "that can run it"
    left_out = sum(feasible(one) for one in found) - len(places)
    missing = {MONEY: "have no price", JOULES: "have no power figure"}.get(
        axis, "cannot be held to the budget"
    )
    beside = f"; {left_out} others {missing} and were not compared" if left_out else ""
    return f"{least[axis]} of {len(places)} candidates {among}{beside}"


def _stability(
    found: Sequence[Candidate], best: int, wins: dict[int, int], draws: int, seeds: Sequence[int]
) -> str:
    parts: list[str] = []
    same = _hardware_wins(found, best, wins)
    counted = ", ".join(f"{found[place].name} in {count}" for place, count in wins.items())
    if not draws or not wins:
        parts.append("no guess was drawn, so nobody knows how the choice depends on guesses")
    elif wins.get(best, 0) == draws:
        parts.append(f"the choice is the same in all {draws} draws of the guesses")
    elif same == draws:
        parts.append(
            f"the hardware is the same in all {draws} draws of the guesses, its layout not: {counted}"
        )
    else:
        flips = "the choice FLIPS inside the ranges: " if same < STABLE_SHARE * draws else ""
        none = draws - sum(wins.values())
        unmet = f"; in {none} nothing meets the target" if none else ""
        parts.append(f"{flips}best of {draws} draws of the guesses is {counted}{unmet}")
    if seeds:
        parts.append(f"on {len(seeds)} of {len(found[best].seeds)} seeds other hardware is better")
    return "; ".join(parts)


def _guess_flips(
    found: Sequence[Candidate], best: int, others: Sequence[int], axis: str, draws: int
) -> list[str]:
    """For each that wins in some draws, the guess that tells those draws from the others most clearly."""
    sentences: list[str] = []
    for place in others:
        ahead = [
            number
            for number in range(draws)
            if _or_worst(in_draw(found[place], axis, number)) < _or_worst(in_draw(found[best], axis, number))
        ]
        guess = _telling(found[best], found[place], ahead, draws) if 0 < len(ahead) < draws else None
        if guess is None:
            continue
        with_it = sum(_drawn_mid(guess, number) for number in ahead) / len(ahead)
        without = [number for number in range(draws) if number not in set(ahead)]
        against = sum(_drawn_mid(guess, number) for number in without) / len(without)
        sentences.append(
            f"{found[place].name} is ahead in {len(ahead)} of {draws} draws; what tells them apart most is "
            f"{guess.owner} {guess.name.replace('_', ' ')}: {with_it / guess.scale:,.4g} {guess.unit} in the "
            f"mean where it is ahead, {against / guess.scale:,.4g} where it is not"
        )
    return sentences


def _telling(one: Candidate, other: Candidate, ahead: Sequence[int], draws: int) -> Figure | None:
    """The guessed figure of either whose luck goes most with which of the two is ahead."""
    figures = {
        chance_of(guess): guess
        for candidate in (one, other)
        for deployment in candidate.layout.deployments
        for guess in deployment.rests_on
        if guess.guessed and not guess.name.endswith("_chips")
    }
    marks = [1.0 if number in set(ahead) else 0.0 for number in range(draws)]
    scored = [
        (abs(_correlation([Draw(number).luck(chance) or 0.0 for number in range(draws)], marks)), chance)
        for chance in figures
    ]
    return figures[max(scored)[1]] if scored else None


def _price_flips(found: Sequence[Candidate], best: int, axis: str) -> list[str]:
    """At what rent of its chips another hardware would be the choice, where money decides."""
    if axis != MONEY:
        return []
    sentences: list[str] = []
    for hardware in dict.fromkeys(one.layout.place for one in found):
        if hardware == found[best].layout.place:
            continue
        rivals = [one for one in found if one.layout.place == hardware and feasible(one)]
        rival = min(rivals, key=lambda one: chip_hours(one) or float("inf"), default=None)
        price = break_even(rival, found[best]) if rival else None
        if rival is None or price is None:
            continue
        known = [one.rent.usd_per_h for one in rival.layout.deployments if one.rent]
        now = f"now ${known[0].low:,.2f} to ${known[0].high:,.2f}" if known else "its price is not known"
        sentences.append(
            f"{rival.name} would be the choice with chips at less than ${_ends(price)} an hour ({now})"
        )
    return sentences


def _ends(price: Range) -> str:
    return (
        f"{price.mid:,.2f} ({price.low:,.2f} to {price.high:,.2f})" if price.guessed else f"{price.mid:,.2f}"
    )


def _drawn_mid(guess: Figure, number: int) -> float:
    return drawn_figure(guess, ALL_DRAWS[number]).mid


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    count = len(one)
    mine, theirs = sum(one) / count, sum(other) / count
    together = sum((x - mine) * (y - theirs) for x, y in zip(one, other, strict=True))
    alone = sum((x - mine) ** 2 for x in one) * sum((y - theirs) ** 2 for y in other)
    return together / alone**0.5 if alone > 0 else 0.0


def _or_worst(value: float | None) -> float:
    return float("inf") if value is None else value


assert set(TITLES) == {TIME, MONEY, JOULES}
