"""What holds for the report of every run: times add up, figures are those of the JSON, names stay names."""

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fleets import policies, pool, tier
from tests.reports import Page, flat
from tests.workloads import workloads

from perdure.traces.programs import Programs
from perdure.traces.sessions import ProgramsBuilder, Turn
from perdure.twin.perfetto import trace_of
from perdure.twin.pool import Pool
from perdure.twin.report_endings import endings_of
from perdure.twin.report_figures import report_json, report_of
from perdure.twin.report_page import run_page
from perdure.twin.report_time import PARTS, groups_of, job_times
from perdure.twin.result import result_of
from perdure.twin.run import Run
from perdure.twin.run_json import run_json
from perdure.twin.run_text import COLUMNS, run_text
from perdure.twin.simulate import run_world
from perdure.twin.world import Options, lay_out, make_world

FACTS = {
    "workload": "a workload",
    "on": "a fleet",
    "policies": {"order": "fcfs"},
    "hypothetical": [],
    "seed": 0,
    "wall_s": 1.0,
    "kernel_s": 0.5,
    "draws": 0,
    "guessed": False,
}


@cache
def stock() -> tuple[Any, Any, Any, Any]:
    """The stock policies, compiled once."""
    return policies().compiled()


def ran(programs: Programs, pools: list[Pool], *, tools: int | None = None) -> Run:
    """A run of a workload as the command line makes it."""
    layout, mids = lay_out(programs, pools), [one.mid for one in pools]
    world = run_world(make_world(layout, Options(tools=tools), mids), stock())
    result = result_of(world, pools, mids, [None for _ in pools])
    return Run(layout=layout, world=world, result=result, kernel_s=0.5)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Runs of all kinds: with tiers and without, with room and without, cut short, with few tools."""
    tiers = draw(
        st.sampled_from([(), (tier(blocks=2_000),), (tier(blocks=50), tier(name="ssd", blocks=4_000))])
    )
    fleet = [
        pool(
            name=name,
            blocks=draw(st.integers(200, 3_000)),
            sequences=draw(st.integers(1, 4)),
            batch=draw(st.sampled_from([16, 512])),
            replicas=draw(st.integers(1, 2)),
            tiers=tiers,
        )
        for name in ("planner", "worker")
    ]
    programs = draw(workloads())
    if draw(st.booleans()):  # all at once, rather than one after another
        programs = replace(programs, arrival_s=programs.arrival_s * 1e-4, gap_s=programs.gap_s * 1e-6)
    return ran(programs, fleet, tools=draw(st.sampled_from([None, 1])))


@given(run=runs())
@settings(max_examples=30)
def test_the_parts_of_a_job_add_up_to_it(run: Run) -> None:
    """Law: of every whole program the parts are not negative, and together they are its time."""
    times = job_times(run.world, run.layout.programs)
    assert times.seconds.shape == (len(times.program), len(PARTS))
    np.testing.assert_allclose(times.seconds.sum(axis=1), times.jct_s, rtol=1e-9, atol=1e-6)
    assert (times.seconds >= -1e-6).all()
    assert len(times.program) == run.result.programs
    for group in groups_of(times):
        assert abs(sum(group.seconds) - group.jct_s) <= 1e-9 * group.jct_s + 1e-6


@given(run=runs())
@settings(max_examples=30)
def test_programs_end_in_one_way_each(run: Run) -> None:
    """Law: whole, failed, cut and unstarted programs together are all of them."""
    endings = endings_of(run.world)
    assert endings.programs == run.result.programs_all
    assert endings.whole == run.result.programs


@given(run=runs())
@settings(max_examples=20)
def test_every_figure_of_the_page_is_one_of_the_json(run: Run) -> None:
    """Law: a figure on the page has its name and its value in the JSON, to the last bit."""
    report = report_of(run.world, run.layout.programs, run.layout.pools)
    known = flat({**run_json(run, FACTS), **report_json(report)})
    page = Page(run_page(run, FACTS))
    assert page.figures
    for name, values in page.figures.items():
        assert set(values) == {known[name]}, name


@given(run=runs())
@settings(max_examples=20)
def test_a_page_needs_nothing_else(run: Run) -> None:
    """Law: no script, and nothing that a browser would fetch."""
    text = run_page(run, FACTS)
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "img", "base"} & set(page.tags)
    assert page.addresses == []
    assert "@import" not in text
    assert "url(" not in text


@given(run=runs())
@settings(max_examples=20)
def test_text_fits_eighty_columns(run: Run) -> None:
    """Law: no line of the text is wider than a terminal, whatever the figures."""
    for line in run_text(run, FACTS).splitlines():
        assert len(line) <= COLUMNS, line


@given(run=runs())
@settings(max_examples=20)
def test_slices_of_one_lane_lie_within_or_after_one_another(run: Run) -> None:
    """Law: slices of one track never overlap by halves, which a viewer could not draw, and none runs late."""
    lanes: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in trace_of(run).content["traceEvents"]:
        if event["ph"] == "X":
            assert event["dur"] >= 0
            lane = lanes.setdefault((event["pid"], event["tid"]), [])
            lane.append((event["ts"], event["ts"] + event["dur"]))
    end_us = run.result.simulated_s * 1e6
    for slices in lanes.values():
        outer: list[float] = []
        for start, end in sorted(slices, key=lambda one: (one[0], -one[1])):
            while outer and outer[-1] <= start + 0.01:
                outer.pop()
            assert not outer or end <= outer[-1] + 0.01
            assert end <= end_us + 0.01
            outer.append(end)


@given(run=runs())
@settings(max_examples=20)
def test_every_served_call_is_on_its_replica(run: Run) -> None:
    """Law: a trace that leaves nothing out has each call that began once on a replica."""
    trace = trace_of(run)
    assert trace.left_out is None
    replicas = [
        event
        for event in trace.content["traceEvents"]
        if event["ph"] == "X" and 1_000 <= event["pid"] < 1_000_000 and "args" in event
    ]
    assert len(replicas) == int((~np.isnan(run.world.turns.started_s)).sum())
    times = sorted(event["ts"] for event in trace.content["traceEvents"] if event["ph"] == "C")
    assert all(before <= after for before, after in pairwise(times))


@given(name=st.text(st.characters(exclude_characters="\r\0", exclude_categories=("Cs",)), max_size=20))
@settings(max_examples=20)
def test_names_from_files_stay_names(name: str) -> None:
    """Law: whatever stands in a file, a page has the same tags for it as for a plain name, and shows it."""
    marked = f"<script>{name}</script>\"'><b onclick=x>&amp;"
    plain, hostile = (Page(run_page(named_run(one), named_facts(one))) for one in ("plain", marked))
    assert hostile.tags == plain.tags
    shown = "".join(hostile.words)
    assert shown.count(marked) >= 5, "workload, deployment, policy, pool, tenant"


def named_run(name: str) -> Run:
    """A run whose pool and tenant have that name."""
    builder = ProgramsBuilder()
    for tenant in (name, f"other {name}"):
        builder.program(0.0, tenant)
        session = builder.session("model")
        builder.turn(session, Turn(kept_tokens=0, new_tokens=8, output_tokens=2, gap_s=0.0))
    return ran(builder.build(), [pool(name=name)])


def named_facts(name: str) -> dict[str, Any]:
    """Facts in which everything that a user typed is that name."""
    return {**FACTS, "workload": name, "on": name, "policies": {name: name}, "hypothetical": [name]}
