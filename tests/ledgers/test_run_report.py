"""Where jobs' time went, hit rates, endings and tiers of made-up runs that can be followed on paper."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.fleets import DECODE_S, PAIR_S, READ_S, STEP_S, TOKEN_S, pool, tier
from tests.laws.test_run_report import FACTS, ran
from tests.reports import Page

from perdure.traces.sessions import ProgramsBuilder, Turn
from perdure.twin.kernel_arrays import World
from perdure.twin.perfetto import trace_of
from perdure.twin.pool import Pool
from perdure.twin.report_endings import endings_of
from perdure.twin.report_figures import report_of
from perdure.twin.report_page import run_page
from perdure.twin.report_series import cumulative, hits_by_turn, holdings, timeline
from perdure.twin.report_svg import bytes_axis, count_axis, seconds_axis
from perdure.twin.report_time import groups_of, job_times
from perdure.twin.run import Run
from perdure.twin.run_text import run_text
from perdure.twin.run_words import duration, energy_text, money_text, share_text


def turn(
    new: int, output: int, gap_s: float, *, kept: int = 0, tool: bool = False, attempts: int = 1
) -> Turn:
    """One call."""
    return Turn(
        kept_tokens=kept, new_tokens=new, output_tokens=output, gap_s=gap_s, tool=tool, attempts=attempts
    )


def parts_of(run: Run, program: int = 0) -> dict[str, float]:
    """Where the time of one program went; of parts that took none nothing."""
    times = job_times(run.world, run.layout.programs)
    row = times.seconds[list(times.program).index(program)]
    return {name: float(value) for name, value in zip(times.means(), row, strict=True) if value > 1e-12}


def prompt_s(new: int, cached: int = 0) -> float:
    """A step that computes one prompt alone."""
    return STEP_S + new * TOKEN_S + new * cached * PAIR_S


def decodes_s(contexts: range) -> float:
    """Steps of one sequence alone, that read so many entries each."""
    return sum(STEP_S + TOKEN_S + DECODE_S + context * READ_S for context in contexts)


def test_one_session_with_a_tool() -> None:
    """A second of pause, a prompt of 8, two decode steps reading 9 and 10, a tool of 2 s run twice, a prompt.

    Of its 16 tokens two blocks of 4 are found.
    """
    builder = ProgramsBuilder()
    builder.program(0.0)
    main = builder.session("model")
    builder.turn(main, turn(8, 3, 1.0))
    builder.turn(main, turn(5, 1, 2.0, kept=11, tool=True, attempts=2))
    run = ran(builder.build(), [pool()])
    expected = {
        "person": 1.0,
        "tool": 4.0,
        "prefill": prompt_s(8) + prompt_s(8, 8),
        "decode": decodes_s(range(9, 11)),
    }
    assert parts_of(run) == pytest.approx(expected, rel=1e-12)
    first, second = hits_by_turn(run.world, run.layout.programs)
    assert (first.hit_rate, second.hit_rate) == (0.0, 8 / 16)


def test_sub_agents_and_a_worker_for_tools() -> None:
    """The main session waits 3 s and a prompt for the one it forks; then its tool waits for the one worker.

    The other program's tool has that worker until second 10.
    """
    builder = ProgramsBuilder()
    builder.program(0.0)
    main = builder.session("model")
    builder.turn(main, turn(8, 1, 0.0))
    child = builder.session("model", fork=(main, 0))
    builder.turn(child, turn(4, 1, 3.0))
    builder.sessions[child].join_turn = 1
    builder.turn(main, turn(3, 1, 1.0, kept=9, tool=True))
    builder.program(0.0)
    builder.turn(builder.session("model"), turn(8, 1, 10.0, tool=True))
    run = ran(builder.build(), [pool(replicas=2)], tools=1)
    found = parts_of(run)
    joined_s = prompt_s(8) + 3.0 + prompt_s(4)
    assert found["sub_agents"] == pytest.approx(3.0 + prompt_s(4), rel=1e-12)
    assert found["tool_queue"] == pytest.approx(10.0 - joined_s, rel=1e-12)
    assert found["tool"] == pytest.approx(1.0, rel=1e-12)
    assert sum(found.values()) == pytest.approx(11.0 + prompt_s(4, 8), rel=1e-12)


def test_a_forked_session_that_ends_last_is_told_from_the_fork() -> None:
    """Nobody waits for the fork: the chain is two calls and the tool between, the fork's pause, its call."""
    builder = ProgramsBuilder()
    builder.program(2.0)
    main = builder.session("model")
    builder.turn(main, turn(8, 1, 0.0))
    builder.turn(main, turn(3, 1, 1.0, kept=9, tool=True))
    builder.turn(main, turn(3, 1, 1.0, kept=13, tool=True))
    builder.turn(builder.session("model", fork=(main, 1)), turn(4, 1, 5.0))
    found = parts_of(ran(builder.build(), [pool()]))
    prompts_s = prompt_s(8) + prompt_s(4, 8) + prompt_s(4)
    assert found == pytest.approx({"person": 5.0, "tool": 1.0, "prefill": prompts_s}, rel=1e-12)


def test_hits_are_told_by_powers_of_two() -> None:
    """Five calls of a session: the first, the second, the third and fourth, the fifth to eighth."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    main = builder.session("model")
    for number in range(5):
        builder.turn(main, turn(7, 1, 0.0, kept=8 * number))
    found = hits_by_turn((run := ran(builder.build(), [pool()])).world, run.layout.programs)
    assert [(one.first, one.last, one.calls) for one in found] == [(1, 1, 1), (2, 2, 1), (3, 4, 2), (5, 8, 1)]
    assert found[2].hit_rate == pytest.approx((12 + 20) / (23 + 31))


def loading() -> Run:
    """A context of 16 tokens, of which another of 24 drives 8 out of 32 into the tier below."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    main = builder.session("model")
    builder.turn(main, turn(16, 1, 0.0))
    builder.turn(main, turn(3, 1, 10.0, kept=17, tool=True))
    builder.program(5.0)
    builder.turn(builder.session("model"), turn(24, 1, 0.0))
    below = replace(tier(bytes_per_s=2.0**14, blocks=100), write_bytes_per_s=1e30)
    return ran(builder.build(), [pool(blocks=8, sequences=1, batch=32, tiers=(below,))])


def test_what_was_loaded_took_its_time() -> None:
    """8 tokens of a byte each at 2^14 bytes a second take 2^-11 s, which is load and not prefill."""
    run = loading()
    found = parts_of(run)
    assert found["load"] == pytest.approx(8 / 2.0**14, rel=1e-9)
    assert found["prefill"] == pytest.approx(prompt_s(16) + prompt_s(4, 16), rel=1e-9)
    hbm, host = holdings(run.world, run.layout.pools)
    # The end of each context leaves HBM, as much as is wanted; all of it is copied down then.
    assert (hbm.moved_bytes, host.written_bytes, host.read_bytes) == (8.0 + 12.0, 16.0 + 24.0, 8.0)
    assert (hbm.capacity_bytes, host.capacity_bytes) == (32.0, 400.0)


def test_a_shared_tier_is_counted_once() -> None:
    """Two replicas over one tier: what it holds is held once, whoever looks at it."""
    builder = ProgramsBuilder()
    for number in range(12):
        builder.program(float(number))
        builder.turn(builder.session("model"), turn(24, 1, 0.0))
    below = tier(bytes_per_s=2.0**14, blocks=1_000, shared=True)
    run = ran(builder.build(), [pool(blocks=8, sequences=1, batch=32, replicas=2, tiers=(below,))])
    (held,) = [sizes for _, sizes in timeline(run.world, run.layout.pools[0], 0).tiers]
    assert held.max() <= run.result.tier_peak_bytes
    assert held.max() > run.result.tier_peak_bytes / 2


def test_who_gave_way_was_set_back() -> None:
    """Two calls of 8 tokens with answers of 12 want 10 blocks of the 8 there are: the second gives way."""
    builder = ProgramsBuilder()
    for _ in range(2):
        builder.program(0.0)
        builder.turn(builder.session("model"), turn(8, 12, 0.0))
    run = ran(builder.build(), [pool(blocks=8, sequences=2)])
    first, second = parts_of(run, 0), parts_of(run, 1)
    assert run.result.preemptions == 1
    assert "preempted" not in first
    assert second["preempted"] > 0
    ends_s = np.array(run.world.turns.ended_s)
    back_s = second.get("queue", 0.0)
    assert back_s + second["preempted"] + second["prefill"] + second["decode"] == pytest.approx(ends_s[1])


def test_programs_that_were_cut_or_failed_are_counted_apart() -> None:
    """One is whole, one asks for more than the window, one is cut in its tool, one would start too late."""
    builder = ProgramsBuilder()
    for arrival_s, new, gap_s in ((0.0, 8, 0.0), (0.0, 200, 0.0), (0.0, 8, 50.0), (90.0, 8, 0.0)):
        builder.program(arrival_s)
        builder.turn(builder.session("model"), turn(new, 1, gap_s))
    run = ran(builder.build(end_s=20.0), [pool(window=100)])
    endings = endings_of(run.world)
    assert (endings.whole, endings.cut, endings.unstarted) == (1, 1, 1)
    assert dict(endings.failed) == {"too_long": 1}
    text = " ".join(run_text(run, FACTS).split())
    assert "1 of 4 programs ended whole (25%)" in text
    assert "1 ended early because a call could not be served (1 too long)" in text
    assert "1 (25%) were cut off by the end of the run; 1 had not begun by then" in text
    assert "window of 100 tokens" in text


def test_tenths_of_jobs_are_in_order_of_length() -> None:
    """Twenty jobs of 1, 2, .. 20 s and a step make ten groups of two, after the one of all."""
    builder = ProgramsBuilder()
    for number in range(20, 0, -1):
        builder.program(0.0)
        builder.turn(builder.session("model"), turn(4, 1, float(number)))
    run = ran(builder.build(), [pool()])
    whole, *tenths = groups_of(job_times(run.world, run.layout.programs))
    assert (whole.title, whole.jobs) == ("all jobs", 20)
    assert [group.jobs for group in tenths] == [2] * 10
    assert [group.jct_s for group in tenths] == pytest.approx(
        [2 * number + 1.5 + prompt_s(4) for number in range(10)]
    )


def test_the_page_shows_what_it_was_made_of() -> None:
    """Policies, seed and the mark of a hypothetical policy stand on the page; a pool's table has its pool."""
    facts: dict[str, Any] = {**FACTS, "seed": 77, "hypothetical": ["ttl"], "policies": {"retain": "ttl"}}
    words = " ".join(Page(run_page(loading(), facts)).words)
    for wanted in ("retain ttl", "77", "Hypothetical", "made up", "loading KV from below HBM"):
        assert wanted in words


def test_a_page_of_a_run_in_which_nothing_ended() -> None:
    """No job ended: the page says so instead of drawing nothing."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    builder.turn(builder.session("model"), turn(8, 1, 50.0))
    run = ran(builder.build(end_s=1.0), [pool()])
    words = " ".join(Page(run_page(run, FACTS)).words)
    assert "No program ended whole" in words
    assert "0 of 1 program ended whole" in words
    assert trace_of(run).left_out is None


def test_a_trace_says_what_it_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two calls and one program, the sentence names both numbers, and the trace has no more."""
    monkeypatch.setattr("perdure.twin.perfetto.CALLS_MAX", 2)
    monkeypatch.setattr("perdure.twin.perfetto.PROGRAMS_MAX", 1)
    trace = trace_of(loading())
    assert trace.left_out is not None
    assert "the first 2 of 3 calls" in trace.left_out
    assert "the first 1 of 2 programs" in trace.left_out
    assert trace.content["otherData"]["left out"] == trace.left_out
    named = [event for event in trace.content["traceEvents"] if event["ph"] == "X" and "args" in event]
    assert len(named) == 2 + 2, "two calls on replicas, and two of the one program"


def test_slices_of_a_call_are_its_queue_load_prefill_and_decode() -> None:
    """The second call of the first program loads for 2^-11 s and then computes 4 tokens."""
    events = trace_of(loading()).content["traceEvents"]
    lane = [event for event in events if event["pid"] == 1_000_000 and event["ph"] == "X"]
    assert [event["name"] for event in lane] == [
        "program 0 call 1",
        "prefill",
        "tool",
        "program 0 call 2",
        "load",
        "prefill",
    ]
    assert lane[4]["dur"] == pytest.approx(8 / 2.0**14 * 1e6, abs=0.001)
    assert lane[5]["dur"] == pytest.approx(prompt_s(4, 16) * 1e6, abs=0.002)
    assert lane[3]["args"]["loaded_tokens"] == 8


def test_a_call_takes_the_lowest_lane_that_is_free() -> None:
    """A long call, a short one beside it, one that comes when only the long one runs: lanes 0, 1, 1."""
    builder = ProgramsBuilder()
    for arrival_s, output in ((0.0, 1_000), (1.0, 10), (10.0, 10)):
        builder.program(arrival_s)
        builder.turn(builder.session("model"), turn(4, output, 0.0))
    events = trace_of(ran(builder.build(), [pool(blocks=1_000)])).content["traceEvents"]
    calls = [event for event in events if event["pid"] == 1_000 and "outcome" in event.get("args", {})]
    assert [(event["name"], event["tid"]) for event in calls] == [
        ("program 0 call 1", 0),
        ("program 1 call 1", 1),
        ("program 2 call 1", 1),
    ]


def test_axes_have_round_ticks() -> None:
    """Counts to 7 tick by 2 up to 8; 3 GB in GB; two minutes in seconds; far apart times in tens."""
    assert [text for _, text in count_axis("", 7).ticks] == ["0", "2", "4", "6", "8"]
    assert [text for _, text in count_axis("", 1).ticks] == ["0", "1"], "there is no half of a call"
    sizes = bytes_axis("", 3e9)
    assert (sizes.title, sizes.ticks[-1]) == ("GB", (3e9, "3.0"))
    assert [text for _, text in seconds_axis("", 0.0, 120.0).ticks] == [
        "0",
        "20",
        "40",
        "60",
        "80",
        "100",
        "120",
    ]
    wide = seconds_axis("", 0.02, 30.0)
    assert [text for _, text in wide.ticks] == ["10 ms", "100 ms", "1 s", "10 s", "1 min"]
    assert wide.share(0.01) == 0.0


def test_figures_are_told_in_units_that_fit() -> None:
    """Energy in J, Wh and kWh; times from microseconds to hours; dollars with cents where they matter."""
    assert [energy_text(one) for one in (332.0, 51_120.0, 3.6e6, 3.6e9)] == [
        "332 J",
        "14.2 Wh",
        "1.00 kWh",
        "1,000 kWh",
    ]
    assert [duration(one) for one in (2e-6, 0.0123, 0.5, 1.5, 90.0)] == [
        "0.002 ms",
        "12.3 ms",
        "500 ms",
        "1.50 s",
        "1 min 30 s",
    ]
    assert [money_text(one) for one in (0.00034, 12.5, 12_345.6)] == ["$0.0003", "$12.50", "$12,346"]
    assert [share_text(one) for one in (0.0, 0.5751, 1.0)] == ["0.0 %", "57.5 %", "100 %"]


def test_a_distribution_ends_at_all() -> None:
    """Of 1 to 1,000 the curve has POINTS_MAX points, from the first to all at 1,000."""
    values, shares = cumulative(np.arange(1000, 0, -1.0))
    assert (len(values), values[0], values[-1], shares[-1]) == (200, 1.0, 1000.0, 1.0)


def test_each_pool_and_tenant_has_its_own_figures() -> None:
    """Two tenants and two pools: calls are counted where they ran and for whom."""
    builder = ProgramsBuilder()
    for tenant, model, calls in (("acme", "one", 2), ("zeta", "two", 1)):
        builder.program(0.0, tenant)
        session = builder.session(model)
        for _ in range(calls):
            builder.turn(session, turn(8, 2, 0.0))
    pools: list[Pool] = [pool(name="one"), pool(name="two", replicas=2)]
    run = ran(builder.build(), pools)
    world: World = run.world
    report = report_of(world, run.layout.programs, pools)
    assert [(one.name, one.calls, one.output_tokens) for one in report.pools] == [
        ("one", 2, 4),
        ("two", 1, 2),
    ]
    assert [(one.name, one.programs, one.calls) for one in report.tenants] == [("acme", 1, 2), ("zeta", 1, 1)]
