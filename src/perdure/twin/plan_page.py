"""The page of a plan: one HTML file with choice, candidates, fronts, a tornado, and the sources."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from perdure.twin.plan_choice import Chosen
from perdure.twin.plan_codesign import MEASURES, Effect, advice
from perdure.twin.plan_facts import YOURS
from perdure.twin.plan_judge import feasible, on_front
from perdure.twin.plan_measure import AXES, CALL, JOULES, MONEY, TIME, TITLES, mean, spread
from perdure.twin.plan_trials import Candidate
from perdure.twin.plan_vary import SCALABLE
from perdure.twin.plan_words import dollars, kilojoules, range_text
from perdure.twin.report_html import (
    Cell,
    Column,
    Html,
    definitions,
    drawing,
    figure_of,
    join,
    number,
    page,
    paragraph,
    section,
    side_by_side,
    small,
    table,
    tiles,
)
from perdure.units import seconds_text

WIDTH, HEIGHT, EDGE = 440.0, 260.0, 68.0
ROW, NAMES = 26.0, 210.0
TEXTS: Mapping[str, Callable[[float], str]] = {TIME: seconds_text, MONEY: dollars, JOULES: kilojoules}


def plan_page(
    found: Sequence[Candidate], chosen: Chosen | None, facts: Mapping[str, Any], effects: Sequence[Effect]
) -> str:
    """One HTML file; `facts` are those of the JSON."""
    marks = on_front(found)
    return page(
        f"Plan: {facts['workload']}",
        definitions(_asked(facts)),
        *_choice(found, chosen),
        section("The front", side_by_side(_fronts(found, marks, chosen))),
        section("Candidates", _candidates(found, marks, chosen)),
        section("What cannot, or misses", _dropped(found)),
        *([section("What the numbers do", *_codesign(effects))] if effects else []),
        section("Remarks", *(paragraph(note) for note in facts["notes"])),
        section("Figures used", _provenance(found)),
    )


def _asked(facts: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    return [
        ("workload", f"{facts['programs']:,} jobs, {facts['turns']:,} calls on the first seed"),
        ("seeds", ", ".join(str(seed) for seed in facts["seeds"])),
        ("target", facts["slo"] or "none"),
        ("budget", facts["budget"] or "none"),
        ("decides", TITLES[facts["by"]]),
        ("draws", str(facts["draws"]) if facts["draws"] else "none: no ranges"),
        ("complete", "yes" if facts["complete"] else "no: interrupted"),
    ]


def _choice(found: Sequence[Candidate], chosen: Chosen | None) -> list[str]:
    if chosen is None:
        return [paragraph("Nothing that was named meets what was asked.", kind="warn")]
    one = found[chosen.place]
    sure = f"{'Stable' if chosen.stable else 'Not stable'}: {chosen.stability}."
    return [
        paragraph(join("Choice: ", Html(f"<b>{escape(one.name)}</b>"), f", {chosen.why}.")),
        paragraph(sure, kind="" if chosen.stable else "warn"),
        tiles(
            (TITLES[axis], range_text(spread(one, axis), TEXTS[axis]), "mean over seeds, range of the draws")
            for axis in AXES
        ),
        *(paragraph(f"Would change it: {sentence}.") for sentence in chosen.flips),
    ]


def _candidates(found: Sequence[Candidate], marks: Sequence[bool], chosen: Chosen | None) -> str:
    columns = [
        Column(title="candidate"),
        *(number(TITLES[axis]) for axis in AXES),
        number("to first token, p95"),
        number("whole call, mean"),
        Column(title=""),
    ]
    rows: list[list[Cell]] = []
    for place, (one, mark) in enumerate(zip(found, marks, strict=True)):
        if not one.seeds:
            continue
        what = "choice" if chosen is not None and chosen.place == place else ("on the front" if mark else "")
        rows.append(
            [
                join(one.layout.text, small(one.choice.name)),
                *(_cell(one, axis, TEXTS[axis]) for axis in AXES),
                _cell(one, "ttft_s.p95", seconds_text),
                _cell(one, CALL, seconds_text),
                what if feasible(one) else "out",
            ]
        )
    return table(columns, rows, about="candidates") if rows else ""


def _cell(one: Candidate, name: str, text_of: Callable[[float], str]) -> Cell:
    value = mean(one, name)
    return (
        "-" if value is None else join(figure_of(name, value, text_of(value)), _between(one, name, text_of))
    )


def _between(one: Candidate, name: str, text_of: Callable[[float], str]) -> Cell:
    ends = spread(one, name)
    return small(range_text(ends, text_of)) if ends is not None and ends.guessed else ""


def _dropped(found: Sequence[Candidate]) -> str:
    rows = [(one.name, one.reason) for one in found if one.reason is not None]
    columns = [Column(title="candidate"), Column(title="why not", kind="long")]
    return table(columns, rows, about="why not") if rows else ""


def _fronts(found: Sequence[Candidate], marks: Sequence[bool], chosen: Chosen | None) -> list[str]:
    """Job time against money, and against joules: every feasible candidate, the front filled."""
    drawings: list[str] = []
    for axis in (MONEY, JOULES):
        points = [
            (x, y, marks[place], chosen is not None and chosen.place == place, one.name)
            for place, one in enumerate(found)
            if feasible(one) and (x := mean(one, axis)) is not None and (y := mean(one, TIME)) is not None
        ]
        if points:
            caption = f"{TITLES[axis]} (across) and job time (up); filled: on the front; ringed: the choice"
            drawings.append(drawing(caption, _scatter(points, TEXTS[axis], TITLES[axis])))
    return drawings


def _scatter(
    points: Sequence[tuple[float, float, bool, bool, str]], text_of: Callable[[float], str], about: str
) -> str:
    xs, ys = _ends([point[0] for point in points]), _ends([point[1] for point in points])

    def at(x: float, y: float) -> tuple[float, float]:
        along = (x - xs[0]) / (xs[1] - xs[0])
        up = (y - ys[0]) / (ys[1] - ys[0])
        return EDGE + along * (WIDTH - 2 * EDGE), HEIGHT - EDGE - up * (HEIGHT - 2 * EDGE)

    marks = "".join(_dot(*at(x, y), filled, ringed, name) for x, y, filled, ringed, name in points)
    left, low = at(xs[0], ys[0])
    right, high = at(xs[1], ys[1])
    frame = f'<path class="grid" d="M{left:.1f},{high:.1f}V{low:.1f}H{right:.1f}"/>'
    texts = (
        (left, low + 16, "start", text_of(xs[0])),
        (right, low + 16, "end", text_of(xs[1])),
        (left - 6, high + 4, "end", seconds_text(ys[1])),
        (left - 6, low, "end", seconds_text(ys[0])),
    )
    ticks = "".join(
        f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
        for x, y, anchor, text in texts
    )
    return _svg(HEIGHT, frame + ticks + marks, f"job time and {about}")


def _dot(x: float, y: float, filled: bool, ringed: bool, name: str) -> str:
    shape = (
        f'<circle class="{"fill" if filled else "curve"} c0" cx="{x:.1f}" cy="{y:.1f}" r="4">'
        f"<title>{escape(name)}</title></circle>"
    )
    return shape + (f'<circle class="curve c3" cx="{x:.1f}" cy="{y:.1f}" r="8"/>' if ringed else "")


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return max(0.0, low - room), high + room


def _codesign(effects: Sequence[Effect]) -> list[str]:
    columns = [Column(title="one per cent more of"), *(number(title) for title in MEASURES.values())]
    rows = [
        (SCALABLE[effect.vary.name], *(_signed(effect.elasticities.get(name)) for name in MEASURES))
        for effect in effects
    ]
    return [
        paragraph(f"{advice(effects)[0].upper()}{advice(effects)[1:]}."),
        drawing(
            "time of a call against what it is: shorter to the left, longer to the right",
            _tornado(effects),
            keys=[("low end of the range", 1), ("high end", 0)],
        ),
        table(columns, rows, about="per cent for one per cent"),
    ]


def _tornado(effects: Sequence[Effect]) -> str:
    """One bar for each number: from the least to the most that the time of a call becomes."""
    ranked = sorted(effects, key=lambda effect: -max(_changes(effect), default=0.0))
    longest = max((change for effect in ranked for change in _changes(effect)), default=1.0) or 1.0
    middle = NAMES + WIDTH / 2
    scale = (WIDTH / 2 - 8) / longest
    body = ""
    for place, effect in enumerate(ranked):
        top = place * ROW
        body += f'<text class="tick" x="0" y="{top + 15:.1f}">{escape(SCALABLE[effect.vary.name])}</text>'
        for by, ends, colour in ((effect.vary.low, effect.low, 1), (effect.vary.high, effect.high, 0)):
            ratio = ends.get(CALL)
            if ratio is None:
                continue
            width = abs(math.log(ratio)) * scale
            left = middle - width if ratio < 1 else middle
            said = f"{SCALABLE[effect.vary.name]} x{by:g}: {100 * (ratio - 1):+.1f} %"
            body += (
                f'<rect class="fill c{colour}" x="{left:.1f}" y="{top + 4 + 8 * colour:.1f}" '
                f'width="{width:.1f}" height="8"><title>{escape(said)}</title></rect>'
            )
    height = ROW * len(ranked)
    line = f'<path class="grid" d="M{middle:.1f},0V{height:.1f}"/>'
    return _svg(height, line + body, "what each number does to the time of a call", width=WIDTH + NAMES)


def _changes(effect: Effect) -> list[float]:
    ratios = (effect.low.get(CALL), effect.high.get(CALL))
    return [abs(math.log(ratio)) for ratio in ratios if ratio]


def _svg(height: float, body: str, about: str, *, width: float = WIDTH) -> str:
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(about)}">{body}</svg>'


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _provenance(found: Sequence[Candidate]) -> str:
    used = dict.fromkeys(fact for one in found if one.seeds for fact in one.result.provenance)
    rows = [
        (fact.what, _status(fact.status, fact.source), fact.source)
        for fact in sorted(used, key=lambda fact: (fact.status, fact.what))
    ]
    columns = [Column(title="figure"), Column(title=""), Column(title="who says so", kind="long")]
    return table(columns, rows, about="figures used") if rows else ""


def _status(status: str, source: str) -> Html:
    shown = YOURS if source.startswith(YOURS) else status
    return Html(f'<span class="status {escape(shown)}">{escape(shown)}</span>')
