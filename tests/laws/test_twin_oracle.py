"""No decision depends on what has not happened yet, and a run is a pure function of its inputs."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fleets import column, digest, play, policies, pool, tier
from tests.twin_workloads import small_workloads

from perdure.scheduling.facts import Candidate, Entering, Idle, Waiting
from perdure.traces.programs import Programs
from perdure.twin.kernel_arrays import World
from perdure.twin.simulate import Policies, run_world, simulate
from perdure.twin.world import Options, lay_out, make_world


def nosy_order(call: Waiting) -> float:
    """All that is known of a call, each fact with a weight of its own."""
    known = 1.1 * call.prompt_tokens + 0.7 * call.max_output_tokens + 1.3 * call.uncached_tokens
    known += 1.7 * call.output_tokens_expected + 0.3 * call.tool_return + 0.9 * call.program_age_s
    known += 2.3 * call.program_attained_s + 1.9 * call.session_attained_s + call.turns_left
    return known + call.critical_turns + call.declared - 0.2 * call.waited_s


def nosy_place(candidate: Candidate) -> float:
    """All that is known of a replica."""
    known = 1.1 * candidate.cached_tokens + 0.7 * candidate.queued_tokens + 0.3 * candidate.context_tokens
    known += 5.0 * candidate.running + 7.0 * candidate.waiting + 0.1 * candidate.recent_s
    return known + candidate.home + candidate.output_tokens_expected * candidate.decode_s_per_token


def nosy_admit(program: Entering) -> int:
    """All that is known of a program."""
    asked = program.context_tokens - program.shared_tokens + program.output_tokens_expected
    asked += program.active_context_tokens + program.waiting_programs + 0.01 * program.waited_s
    return 1 if program.active_programs < 1 or asked <= 0.4 * program.capacity_tokens + program.active else 0


def nosy_retain(session: Idle) -> int:
    """All that is known of an idle session, rolled into one of three."""
    known = session.context_tokens + session.gap_expected_s + session.gap_p90_s + session.gap_elapsed_s
    known += session.recompute_s + session.save_s + session.restore_s + session.pressure + session.waiting
    known += session.waiting_tokens + session.running + session.tool
    if known < 30.0:
        return 0
    return 1 if known < 45.0 else 2


NOSY = Policies(order=nosy_order, place=nosy_place, admit=nosy_admit, retain=nosy_retain)


FLEET = [pool(blocks=48, replicas=2, sequences=1, batch=32, tiers=(tier(blocks=40, bytes_per_s=2e4),))]
OPTIONS = Options(first_come=False, asks_admit=True, asks_retain=True, run_steps_max=1, tools=2, fair=True)


def run(programs: Programs) -> World:
    """Two short replicas, one call at a time, with a tier below, under policies that look at everything."""
    return simulate(lay_out(programs, FLEET), NOSY, OPTIONS)


def same_until(one: World, other: World, end_s: float) -> None:
    """Fail where what happened before `end_s` differs."""
    for name in ("ready_s", "started_s", "first_s", "ended_s"):
        ours, theirs = column(one, name), column(other, name)
        ours, theirs = np.where(ours < end_s, ours, np.inf), np.where(theirs < end_s, theirs, np.inf)
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    begun = column(one, "started_s") < end_s
    for name in ("replica", "cached", "loaded"):
        assert (column(one, name)[begun] == column(other, name)[begun]).all(), name


@settings(max_examples=60)
@given(programs=small_workloads(tokens_max=24, tools=True), data=st.data())
def test_a_longer_answer_changes_nothing_before_its_end(programs: Programs, data: st.DataObject) -> None:
    """Law: with one answer longer, all goes as before until the shorter one is complete."""
    turn = data.draw(st.integers(0, len(programs.new_tokens) - 1))
    longer = programs.output_tokens.copy()
    longer[turn] += data.draw(st.integers(1, 20))
    one, other = run(programs), run(replace(programs, output_tokens=longer))
    ends = [float(column(world, "ended_s")[turn]) for world in (one, other)]
    same_until(one, other, min(end for end in (*ends, 1e9) if not np.isnan(end)))


@settings(max_examples=60)
@given(programs=small_workloads(tokens_max=24, tools=True), data=st.data())
def test_a_longer_gap_changes_nothing_before_its_end(programs: Programs, data: st.DataObject) -> None:
    """Law: with one gap longer, all goes as before until the shorter one is over."""
    turn = data.draw(st.integers(0, len(programs.new_tokens) - 1))
    longer = programs.gap_s.copy()
    longer[turn] += data.draw(st.floats(0.5, 20))
    one, other = run(programs), run(replace(programs, gap_s=longer))
    same_until(one, other, float(column(one, "ready_s")[turn]))


@settings(max_examples=20)
@given(programs=small_workloads(tokens_max=24, tools=True))
def test_a_run_is_the_same_however_many_run_beside_it(programs: Programs) -> None:
    """Law: the same inputs give the same bytes of every array, alone or on four threads at once."""
    layout, functions = lay_out(programs, FLEET), NOSY.compiled()

    def again(number: int) -> World:
        del number
        return run_world(make_world(layout, OPTIONS, [FLEET[0].mid]), functions)

    with ThreadPoolExecutor(4) as workers:
        worlds = [run(programs), *workers.map(again, range(4))]
    assert len({digest(world) for world in worlds}) == 1


@settings(max_examples=40)
@given(programs=small_workloads(tokens_max=24, tools=True), blocks=st.integers(40, 60))
def test_every_call_is_answered_and_every_time_is_in_order(programs: Programs, blocks: int) -> None:
    """Law: where all fits, nobody is lost, no token is made twice, and no call begins before it is made."""
    world = play(programs, [pool(blocks=blocks, replicas=2)], policies(order="atlas", retain="infercept"))
    assert (column(world, "outcome") == 1).all()
    assert (world.programs.open_sessions == 0).all()
    ready_s, started_s, first_s, ended_s = (
        column(world, name) for name in ("ready_s", "started_s", "first_s", "ended_s")
    )
    assert (ready_s <= started_s).all()
    assert (started_s < first_s).all()
    assert (first_s <= ended_s).all()
    assert int(world.replicas.output_tokens.sum()) == int(programs.output_tokens.sum())
    for holder in world.holders[1:]:
        assert holder.peak_blocks <= holder.capacity_blocks
        assert holder.used_blocks == holder.evictable_blocks
