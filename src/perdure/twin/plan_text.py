"""A plan for a person at a terminal: a table, the choice, and what would change it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perdure.twin.plan_choice import Chosen, best_priced, break_even
from perdure.twin.plan_judge import closest, feasible, on_front, value_of
from perdure.twin.plan_measure import (
    AXES,
    FLEET_S,
    JOULES,
    MONEY,
    TIME,
    TITLES,
    confidence,
    mean,
    spread,
    usd_per_h,
)
from perdure.twin.plan_targets import Target
from perdure.twin.plan_trials import Candidate
from perdure.twin.plan_words import dollars, kilojoules, range_text
from perdure.units import seconds_text

ROWS_MAX = 24
DROPPED_MAX = 12
WIDTH = 58


def plan_text(
    found: Sequence[Candidate],
    chosen: Chosen | None,
    facts: Mapping[str, Any],
    targets: Sequence[Target],
) -> str:
    """What was found, as lines of text."""
    lines = [f"{facts['workload']}", f"  {_asked(facts)}", ""]
    marks = on_front(found)
    simulated = [place for place, one in enumerate(found) if one.seeds]
    order = sorted(simulated, key=lambda place: _order(found[place], facts["by"]))
    if simulated:
        lines.append(f"     {'':{WIDTH}} {'job time':>21} {'$ a job':>17} {'kJ a job':>15}")
    lines += [_row(found[place], place, marks[place], chosen) for place in order[:ROWS_MAX]]
    if len(order) > ROWS_MAX:
        lines.append(f"     and {len(order) - ROWS_MAX} more: --csv lists them all")
    lines += ["", *_dropped(found)]
    lines += _choice(found, chosen, targets, facts)
    return "\n".join(lines) + "\n"


def explain(found: Sequence[Candidate], place: int, chosen: Chosen | None, targets: Sequence[Target]) -> str:
    """Why one candidate lost, or what speaks for it."""
    one = found[place]
    lines = [one.name]
    if one.reason is not None:
        lines.append(f"  is out: {one.reason}")
    if not one.seeds:
        return "\n".join(lines) + "\n"
    lines += [f"  {target.text}: {_measured(one, target)}" for target in targets]
    if chosen is not None and chosen.place == place:
        lines.append(f"  is the choice: {chosen.why}")
    elif chosen is not None:
        lines += _against(one, found[chosen.place])
    beaten = [other for other in found if feasible(other) and other is not one and _beats(other, one)]
    if feasible(one):
        lines.append(
            f"  is beaten in job time, money and joules alike by {beaten[0].name}"
            if beaten
            else "  is on the front: nothing beats it in job time, money and joules alike"
        )
    result = one.result
    hit = "-" if result.prefix_hit_rate is None else f"{result.prefix_hit_rate:.1%}"
    held = _share(result.kv_peak_bytes, result.kv_capacity_bytes)
    lines.append(
        f"  {hit} of prompt tokens found in caches, {result.preemptions:,} preemptions, chips busy "
        f"{result.busy_share:.0%} of the time, KV at most {held} of what there is"
    )
    return "\n".join(lines) + "\n"


def fleet_text(one: Candidate, racks: int) -> str:
    """So many of one candidate, each with its own share of the work."""
    result, share_s = one.result, mean(one, FLEET_S)
    cost = usd_per_h(one)
    parts = [f"{racks * one.layout.chips:,} chips"]
    if share_s:
        parts.append(f"{racks * 3600 / share_s:,.0f} jobs an hour")
    if result.energy_j is not None:
        parts.append(f"{racks * result.energy_j / result.simulated_s / 1e6:,.2f} MW in the mean, chips alone")
    if cost is not None:
        parts.append(f"${racks * cost.mid:,.0f} an hour")
    return (
        f"a fleet of {racks:,}: {', '.join(parts)}. One was simulated and scaled: each serves as much as "
        "that one, and no job moves between them"
    )


def _asked(facts: Mapping[str, Any]) -> str:
    parts = [
        f"{facts['programs']:,} jobs, {facts['turns']:,} calls, seeds {', '.join(map(str, facts['seeds']))}"
    ]
    if facts["slo"]:
        parts.append(f"target {facts['slo']}")
    if facts["budget"]:
        parts.append(f"budget {facts['budget']}")
    if not facts["complete"]:
        parts.append("INTERRUPTED: this is what was known by then")
    return "; ".join(parts)


def _row(one: Candidate, place: int, on_front: bool, chosen: Chosen | None) -> str:
    mark = "*" if chosen is not None and chosen.place == place else ("+" if on_front else " ")
    if one.reason is not None:
        mark = "x"
    name = one.name if len(one.name) <= WIDTH else one.name[: WIDTH - 3] + "..."
    time, money, joules = (spread(one, axis) for axis in AXES)
    said = range_text(time, seconds_text), range_text(money, dollars), range_text(joules, kilojoules)
    return f"{place:3} {mark}{name:{WIDTH}} {said[0]:>21} {said[1]:>17} {said[2]:>15}"


def _dropped(found: Sequence[Candidate]) -> list[str]:
    out = [(place, one) for place, one in enumerate(found) if one.reason is not None]
    lines = [f"{place:3} x{one.name}: {one.reason}" for place, one in out[:DROPPED_MAX]]
    if len(out) > DROPPED_MAX:
        lines.append(f"     and {len(out) - DROPPED_MAX} more that are out: --csv lists them all")
    return [*lines, ""] if lines else []


def _choice(
    found: Sequence[Candidate], chosen: Chosen | None, targets: Sequence[Target], facts: Mapping[str, Any]
) -> list[str]:
    if chosen is None:
        return _nothing(found, targets)
    one = found[chosen.place]
    lines = [
        f"choice: {one.name}",
        f"  {chosen.why}",
        f"  {'stable' if chosen.stable else 'NOT stable'}: {chosen.stability}",
    ]
    between = confidence(one, chosen.axis)
    if between is not None:
        text_of, value = _of(chosen.axis), mean(one, chosen.axis) or 0.0
        lines.append(
            f"  {TITLES[chosen.axis]} over {len(one.seeds)} seeds: {text_of(value)}, 95 % confidence "
            f"{text_of(between[0])} to {text_of(between[1])}"
        )
    lines += [f"  would change it: {sentence}" for sentence in chosen.flips]
    lines += [f"  {sentence}" for sentence in _unpriced(found)]
    lines += [f"  {note}" for note in facts["notes"]]
    lines += ["", "  * choice, + on the front of job time, money and joules, x out; ranges are of the draws"]
    return lines


def _unpriced(found: Sequence[Candidate]) -> list[str]:
    """What each hardware without a price may cost, against the cheapest that has one."""
    cheapest = best_priced(found)
    sentences: list[str] = []
    for hardware in dict.fromkeys(one.layout.place for one in found if feasible(one)):
        mine = [one for one in found if one.layout.place == hardware and feasible(one)]
        if any(usd_per_h(one) is not None for one in mine):
            continue
        prices = [break_even(one, found[cheapest]) for one in mine] if cheapest is not None else []
        best = max((price for price in prices if price), key=lambda price: price.mid, default=None)
        said = (
            f"; a job costs less than on {found[cheapest].name} where a chip rents below "
            f"{range_text(best, dollars)} an hour"
            if best is not None and cheapest is not None
            else ""
        )
        sentences.append(f"no price is known of {hardware} (--price sets one){said}")
    return sentences


def _nothing(found: Sequence[Candidate], targets: Sequence[Target]) -> list[str]:
    """Nothing is feasible: what comes closest."""
    nearest = closest(found, targets)
    if nearest is None:
        return ["choice: none. Nothing that was named can run it; the reasons are above"]
    one = found[nearest]
    measured = ", ".join(f"{target.text}: {_measured(one, target)}" for target in targets)
    return ["choice: none meets what was asked", f"  closest is {one.name}: {measured}"]


def _measured(one: Candidate, target: Target) -> str:
    value = value_of(one, target)
    if value is None:
        return "not known"
    ends = spread(one, target.figure)
    between = f" ({target.text_of(ends.low)} to {target.text_of(ends.high)})" if ends and ends.guessed else ""
    return f"{target.text_of(value)}{between}, {'met' if value <= target.limit else 'missed'}"


def _against(one: Candidate, best: Candidate) -> list[str]:
    lines: list[str] = []
    for axis in AXES:
        mine, theirs = mean(one, axis), mean(best, axis)
        if mine is None or not theirs:
            lines.append(f"  {TITLES[axis]}: {'not known' if mine is None else 'known here only'}")
            continue
        text_of = _of(axis)
        lines.append(
            f"  {TITLES[axis]}: {text_of(mine)}, {mine / theirs:.2f} times that of {best.name}, "
            f"{text_of(theirs)}"
        )
    return lines


def _beats(one: Candidate, other: Candidate) -> bool:
    values = [(_or_worst(mean(one, axis)), _or_worst(mean(other, axis))) for axis in AXES]
    return all(mine <= theirs for mine, theirs in values) and any(mine < theirs for mine, theirs in values)


def _order(one: Candidate, axis: str) -> tuple[bool, float, float]:
    return not feasible(one), _or_worst(mean(one, axis)), _or_worst(mean(one, TIME))


def _of(axis: str) -> Callable[[float], str]:
    return {TIME: seconds_text, MONEY: dollars, JOULES: kilojoules}[axis]


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _or_worst(value: float | None) -> float:
    return float("inf") if value is None else value
