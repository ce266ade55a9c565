"""The drawings of a run's page: where time went, distributions, what pools did over time, caches."""

from collections.abc import Iterator, Sequence

import numpy as np

from perdure.models.cost_compiled import Floats
from perdure.twin.kernel_arrays import World
from perdure.twin.report_html import (
    Cell,
    Column,
    Html,
    drawing,
    figure_of,
    folded,
    heading,
    join,
    legend,
    number,
    paragraph,
    side_by_side,
    small,
    table,
)
from perdure.twin.report_series import Holding, Timeline, TurnHits, cumulative, samples_of, timeline
from perdure.twin.report_svg import (
    Axis,
    Curve,
    bar,
    bytes_axis,
    chart,
    count_axis,
    seconds_axis,
    share_axis,
)
from perdure.twin.report_time import PARTS, Group
from perdure.twin.run import Run
from perdure.twin.run_words import counted, duration, share_text
from perdure.units import bytes_text

# Colours of PARTS: waiting warm, computing cool, the world outside grey and violet.
PART_COLOURS = {
    "sub_agents": 8,
    "tool": 2,
    "tool_queue": 6,
    "person": 7,
    "queue": 1,
    "load": 5,
    "prefill": 4,
    "decode": 0,
    "preempted": 3,
}
SHOWN_SHARE_MIN = 1e-6  # a part that takes less of the time is rounding, and not drawn

CURVES = (
    ("ttft_s", "from a call to its first token"),
    ("tpot_s", "between the tokens of one answer"),
    ("jct_s", "whole jobs"),
)


def time_went(groups: Sequence[Group]) -> Iterator[str]:
    """A stacked bar for all jobs and one for each tenth of them, and the seconds behind the bars."""
    if not groups:
        yield paragraph("No program ended whole, so there is no job whose time could be told apart.")
        return
    shown = _parts_shown(groups)
    yield paragraph(
        "Told along the chain of calls that ended last; a part is the share of a job's time that it took. "
        "The rows below the first are tenths of the jobs by length."
    )
    yield legend((PARTS[part], PART_COLOURS[part]) for part in shown)
    columns = [Column(title="jobs"), Column(title="", kind="bars"), number("mean time")]
    yield table(columns, [_time_row(place, group) for place, group in enumerate(groups)], about="shares")
    columns = [Column(title="jobs"), *(number(PARTS[part]) for part in shown), number("together")]
    rows = [_seconds_row(place, group, shown) for place, group in enumerate(groups)]
    yield folded("The same in seconds", table(columns, rows, about="mean seconds of each part"))


def distributions(world: World) -> str:
    """Which share of calls, and of jobs, took no longer than so long."""
    samples = samples_of(world)
    return side_by_side(_distribution(samples[name], title) for name, title in CURVES if len(samples[name]))


def over_time(run: Run) -> Iterator[str]:
    """What each pool was doing."""
    pools = run.layout.pools
    for place, pool in enumerate(pools):
        line = timeline(run.world, pool, place)
        if not len(line.time_s):
            continue
        if len(pools) > 1:
            yield heading(pool.name)
        yield side_by_side(
            _timelines(
                line, pool.kv_blocks * pool.engine.block_tokens * pool.kv_bytes_per_token * pool.replicas
            )
        )


def hit_table(hits: Sequence[TurnHits]) -> Iterator[str]:
    """How much of prompts was found, by which call of its session it is."""
    columns = [
        Column(title="call"),
        Column(title="", kind="bars"),
        number("found"),
        number("calls"),
    ]
    rows: list[Sequence[Cell]] = []
    for place, one in enumerate(hits):
        name = f"{one.first:,}" if one.first == one.last else f"{one.first:,} to {one.last:,}"
        text = share_text(one.hit_rate)
        rows.append(
            [
                name,
                Html(bar([(one.hit_rate, 0, text)], about=f"{text} found")),
                figure_of(f"hits_by_turn.{place}.hit_rate", one.hit_rate, text),
                figure_of(f"hits_by_turn.{place}.calls", one.calls, f"{one.calls:,}"),
            ]
        )
    if rows:
        yield heading("By number of the call in its session")
        yield table(columns, rows, about="share of prompts found in caches by number of the call")


def level_table(holdings: Sequence[Holding]) -> Iterator[str]:
    """What each level of memory held of KV at most, and what went through it."""
    several = len({one.pool for one in holdings}) > 1
    heads = ("at most", "taken from here", "brought from above", "went below", "lost")
    columns = [Column(title="level"), Column(title="", kind="bars"), *(number(head) for head in heads)]
    rows: list[Sequence[Cell]] = []
    for place, one in enumerate(holdings):
        share = one.peak_bytes / one.capacity_bytes if one.capacity_bytes else 0.0

        def size(name: str, here: int = place, row: Holding = one) -> Html:
            value: float = getattr(row, name)
            return figure_of(f"kv_levels.{here}.{name}", value, bytes_text(value))

        rows.append(
            [
                join(one.name, small(one.pool)) if several else one.name,
                Html(bar([(min(1.0, share), 2, share_text(share))], about=f"{share_text(share)} at most")),
                join(size("peak_bytes"), small(join("of ", size("capacity_bytes")))),
                *(
                    Html("") if one.name == "HBM" and name.startswith(("read", "written")) else size(name)
                    for name in ("read_bytes", "written_bytes", "moved_bytes", "evicted_bytes")
                ),
            ]
        )
    yield heading("By level of memory")
    yield table(columns, rows, about="KV held by each level of memory")


def _parts_shown(groups: Sequence[Group]) -> list[str]:
    whole = groups[0]
    return [
        part
        for part, seconds in zip(PARTS, whole.seconds, strict=True)
        if abs(seconds) > SHOWN_SHARE_MIN * whole.jct_s
    ]


def _time_row(place: int, group: Group) -> Sequence[Cell]:
    parts = [
        (seconds / group.jct_s, PART_COLOURS[part], _part_text(part, seconds, group.jct_s))
        for part, seconds in zip(PARTS, group.seconds, strict=True)
        if seconds > SHOWN_SHARE_MIN * group.jct_s
    ]
    about = f"{group.title}: " + "; ".join(title for _, _, title in parts)
    return [
        join(group.title, small(counted(group.jobs, "job"))),
        Html(bar(parts, about=about)),
        figure_of(f"job_time_s.{place}.jct_s", group.jct_s, duration(group.jct_s)),
    ]


def _part_text(part: str, seconds: float, jct_s: float) -> str:
    return f"{PARTS[part]}: {duration(seconds)}, {share_text(seconds / jct_s)}"


def _seconds_row(place: int, group: Group, shown: Sequence[str]) -> Sequence[Cell]:
    by_part = dict(zip(PARTS, group.seconds, strict=True))
    return [
        group.title,
        *(
            figure_of(f"job_time_s.{place}.seconds.{part}", by_part[part], f"{by_part[part]:,.2f}")
            for part in shown
        ),
        figure_of(f"job_time_s.{place}.jct_s", group.jct_s, f"{group.jct_s:,.2f}"),
    ]


def _distribution(values: Floats, title: str) -> str:
    x, y = cumulative(values)
    half, most = np.percentile(values, [50.0, 95.0])
    caption = f"{title}: half within {duration(float(half))}, 95 in 100 within {duration(float(most))}"
    curve = Curve(title=title, x=x, y=y, colour=0)
    svg = chart([curve], seconds_axis("", float(x[0]), float(x[-1])), share_axis(""), about=caption)
    return drawing(caption, svg)


def _timelines(line: Timeline, capacity_bytes: float) -> Iterator[str]:
    x = seconds_axis("simulated time", 0.0, float(line.time_s[-1]))
    calls = [
        Curve(title="running", x=line.time_s, y=line.running, colour=0),
        Curve(title="waiting at a replica", x=line.time_s, y=line.waiting, colour=1),
    ]
    if line.outside.any():
        calls.append(Curve(title="waiting to be admitted", x=line.time_s, y=line.outside, colour=3))
    yield _drawn("calls", calls, x, count_axis("", max(float(curve.y.max()) for curve in calls)))
    both = line.used_bytes + line.evictable_bytes
    zero = np.zeros(len(line.time_s))
    there = np.full(len(line.time_s), capacity_bytes)
    held = [
        Curve(
            title="needed by calls that run, or pinned",
            x=line.time_s,
            y=line.used_bytes,
            colour=0,
            floor=zero,
        ),
        Curve(
            title="kept in case it is needed again", x=line.time_s, y=both, colour=2, floor=line.used_bytes
        ),
        Curve(title="what there is", x=line.time_s, y=there, colour=7, dashed=True),
    ]
    yield _drawn("KV in HBM", held, x, bytes_axis("", capacity_bytes))
    if line.tiers:
        tiers = [
            Curve(title=name, x=line.time_s, y=held_bytes, colour=place)
            for place, (name, held_bytes) in enumerate(line.tiers)
        ]
        most = max(float(curve.y.max()) for curve in tiers)
        yield _drawn("KV in tiers below", tiers, x, bytes_axis("", most))


def _drawn(what: str, curves: Sequence[Curve], x: Axis, y: Axis) -> str:
    caption = f"{what}, in {y.title}" if y.title else what
    peaks = ", ".join(f"{curve.title} at most {float(curve.y.max()):,.0f}" for curve in curves)
    svg = chart(curves, x, y, about=f"{what} over time: {peaks}", steps=True)
    return drawing(caption, svg, keys=[(curve.title, curve.colour) for curve in curves])
