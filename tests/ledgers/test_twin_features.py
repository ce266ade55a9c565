"""Each thing that the twin can do, on a case whose outcome can be followed on paper."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.fleets import DECODE_S, READ_S, STEP_S, TOKEN_S, column, play, policies, pool, tier

from perdure.errors import BadRequest
from perdure.scheduling.facts import Candidate, Entering, Waiting
from perdure.traces.programs import Programs
from perdure.traces.sessions import ProgramsBuilder, Turn
from perdure.twin.fault import Fault
from perdure.twin.kernel_records import NO_ROOM, OPEN, PREEMPTED_TOO_OFTEN, REFUSED, TOO_LONG


def turn(kept: int, new: int, output: int, gap_s: float = 0.0, **more: Any) -> Turn:
    """One turn."""
    return Turn(kept_tokens=kept, new_tokens=new, output_tokens=output, gap_s=gap_s, **more)


def one_each(*turns: Turn, arrivals_s: tuple[float, ...] | None = None, **more: Any) -> Programs:
    """A program of one session of one turn for each of `turns`."""
    builder = ProgramsBuilder()
    for number, one in enumerate(turns):
        builder.program(arrivals_s[number] if arrivals_s else 0.0)
        builder.turn(builder.session("model"), one)
    return builder.build(**more)


def family(*, join: bool, child_output: int = 30) -> Programs:
    """A parent of two turns; a child forked from its first answer with all of its context of 24 tokens."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    parent = builder.session("model")
    builder.turn(parent, turn(0, 16, 8))
    child = builder.session("model", fork=(parent, 0), prefix=(parent, 24))
    if join:
        builder.sessions[child].join_turn = 1
    builder.turn(child, turn(24, 4, child_output))
    builder.turn(parent, turn(24, 4, 1, gap_s=0.5))
    return builder.build()


def test_a_step_costs_what_the_table_says() -> None:
    """A prompt of 16 tokens, then two decodes that read 17 and 18 entries."""
    world = play(one_each(turn(0, 16, 3)), [pool()])
    first_s = STEP_S + 16 * TOKEN_S
    assert column(world, "first_s")[0] == first_s
    decode_s = STEP_S + TOKEN_S + DECODE_S
    assert column(world, "ended_s")[0] == pytest.approx(first_s + 2 * decode_s + 35 * READ_S, rel=1e-12)


def test_a_fork_finds_its_parents_kv_and_a_join_waits_for_the_child() -> None:
    """Of 24 tokens 23 are held, 20 in whole blocks; the child computes the last, and the parent finds 24.

    Joined, the parent's gap of half a second counts from the child's end.
    """
    apart, joined = (play(family(join=join), [pool()]) for join in (False, True))
    for world in (apart, joined):
        assert column(world, "cached").tolist() == [0, 24, 20]
    parent, _, child = 0, 1, 2
    assert column(apart, "ready_s")[1] == column(apart, "ended_s")[parent] + 0.5
    assert column(joined, "ready_s")[1] == column(joined, "ended_s")[child] + 0.5


def test_a_fork_has_attained_what_its_parent_had() -> None:
    """ATLAS charges a branch for the chain that led to it."""
    world = play(family(join=False), [pool()])
    parent, child = world.sessions.attained_s
    first_s = column(world, "ended_s")[0]
    assert child > first_s - 1e-9
    assert parent > first_s - 1e-9


def test_prefixes_of_different_models_are_never_shared() -> None:
    """Sessions that start alike share KV where their model is one, not where it is two, even in one pool."""
    for models, cached in ((("a", "a"), 16), (("a", "b"), 0)):
        builder = ProgramsBuilder()
        builder.program(0.0)
        first = builder.session(models[0])
        builder.turn(first, turn(0, 20, 1))
        builder.program(9.0)
        builder.turn(builder.session(models[1], prefix=(first, 18)), turn(18, 4, 1))
        programs = builder.build()
        if models[0] != models[1]:
            programs = replace(programs, prefixed=np.array([False, True]), prefix_tokens=np.array([0, 18]))
        assert column(play(programs, [pool()]), "cached")[1] == cached


def test_each_model_runs_on_its_own_pool() -> None:
    """A planner and a worker: one replica each, and neither's tokens are computed by the other."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    builder.turn(builder.session("planner"), turn(0, 20, 2))
    builder.turn(builder.session("worker"), turn(0, 8, 2))
    world = play(builder.build(), [pool(name="planner"), pool(name="worker")])
    assert world.replicas.computed_tokens.tolist() == [20, 8]
    with pytest.raises(BadRequest, match="'worker'"):
        play(builder.build(), [pool(name="planner"), pool(name="critic")])


def test_a_compacted_context_finds_what_it_kept() -> None:
    """24 tokens, of which the next prompt keeps 10: two whole blocks are found."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    session = builder.session("model")
    builder.turn(session, turn(0, 16, 8))
    builder.turn(session, turn(10, 6, 2, gap_s=1.0))
    assert column(play(builder.build(), [pool()]), "cached").tolist() == [0, 8]


def test_superseded_kv_goes_at_once_and_what_was_kept_stays() -> None:
    """As above: what follows the tenth token is freed when the call comes; the first two blocks are found."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    session = builder.session("model")
    builder.turn(session, turn(0, 16, 8))
    builder.turn(session, turn(10, 6, 2, gap_s=1.0))
    world = play(builder.build(end_s=1.5), [pool()], policies(retain="supersession"))
    assert column(world, "cached").tolist() == [0, 8]
    # The session ended, and nothing of it is left; by LRU all of it would be.
    assert world.holders[1].used_blocks == 0
    assert play(builder.build(), [pool()]).holders[1].used_blocks > 0


def test_tools_wait_for_a_worker_and_run_as_often_as_they_fail() -> None:
    """Two tools of 2 s that fail once: with one worker the second call comes 4 s after the first."""
    builder = ProgramsBuilder()
    for _ in range(2):
        builder.program(0.0)
        session = builder.session("model")
        builder.turn(session, turn(0, 4, 1))
        builder.turn(session, turn(5, 4, 1, gap_s=2.0, tool=True, attempts=2))
    programs = builder.build()
    ready = [column(play(programs, [pool()], tools=tools), "ready_s")[[1, 3]] for tools in (None, 1)]
    assert ready[0][1] == ready[0][0]
    assert ready[1][1] == ready[1][0] + 4.0
    assert ready[0][0] == ready[1][0]


def test_a_closed_loop_starts_a_program_when_one_ends() -> None:
    """Three programs, two at once: the third begins when the first of them ends."""
    programs = one_each(turn(0, 4, 2), turn(0, 4, 9), turn(0, 4, 2), concurrency=2)
    world = play(programs, [pool()])
    assert world.programs.began_s.tolist() == [0.0, 0.0, column(world, "ended_s")[0]]


def test_what_cannot_be_served_ends_with_its_name() -> None:
    """Over the window; over all KV; both at once when they call, and the next program is served."""
    programs = one_each(turn(0, 300, 1), turn(0, 90, 20), turn(0, 4, 2))
    world = play(programs, [pool(blocks=25, window=200)])
    assert column(world, "outcome").tolist() == [TOO_LONG, NO_ROOM, 1]
    assert column(world, "ended_s")[:2].tolist() == [0.0, 0.0]


def test_whoever_is_preempted_too_often_ends_with_that_outcome() -> None:
    """Four blocks, two calls that grow to three each: the second gives way once, which is once too often."""
    programs = one_each(turn(0, 8, 4), turn(0, 8, 4))
    spared = play(programs, [pool(blocks=4)], preemptions_max=1)
    assert column(spared, "preempted").tolist() == [0, 1]
    assert column(spared, "outcome").tolist() == [1, 1]
    ended = play(programs, [pool(blocks=4)], preemptions_max=0)
    assert column(ended, "outcome").tolist() == [1, PREEMPTED_TOO_OFTEN]


def nobody(program: Entering) -> int:
    """Never."""
    return 0


def test_programs_that_nobody_ever_admits_are_refused_and_the_run_ends() -> None:
    """An hour alone outside, asked every minute: the run neither spins nor waits forever."""
    never = replace(policies(), admit=nobody)
    world = play(one_each(turn(0, 4, 2), turn(0, 4, 2)), [pool()], never)
    assert column(world, "outcome").tolist() == [REFUSED, REFUSED]
    assert 3600.0 <= world.clock[0].now_s <= 3720.0


def test_a_program_is_set_aside_at_its_tools_return_while_the_pool_is_overfull() -> None:
    """Two contexts of 1000 tokens are over 95 % of 2048: who returns first waits for the other's end."""
    builder = ProgramsBuilder()
    for number in range(2):
        builder.program(0.1 * number)
        session = builder.session("model")
        builder.turn(session, turn(0, 600, 400))
        builder.turn(session, turn(1000, 10, 10, gap_s=1.0 + number, tool=True))
    fleet = [pool(blocks=512, batch=1024)]
    free = play(builder.build(), fleet)
    assert (column(free, "started_s") == column(free, "ready_s"))[1]
    world = play(builder.build(), fleet, policies(admit="working_set"))
    ready_s, started_s, ended_s = (column(world, name) for name in ("ready_s", "started_s", "ended_s"))
    assert (column(world, "outcome") == 1).all()
    assert started_s[1] >= ended_s[3]
    assert started_s[3] == ready_s[3]


def test_a_tenant_with_twice_the_weight_has_twice_the_service() -> None:
    """One slot, two tenants with many equal calls: of the first nine that run, six are the heavier one's."""
    builder = ProgramsBuilder()
    for number in range(24):
        builder.program(0.0, ("light", "heavy")[number % 2])
        builder.turn(builder.session("model"), turn(0, 8, 4))
    world = play(builder.build(), [pool(sequences=1)], fair=True, weights=(1.0, 2.0))
    first = np.argsort(column(world, "started_s"))[:9]
    assert int((first % 2).sum()) == 6
    with pytest.raises(BadRequest, match="one above zero for each of 2 tenants"):
        play(builder.build(), [pool()], fair=True, weights=(1.0,))


def test_a_tenant_that_was_away_comes_back_level() -> None:
    """A tenant that comes late does not own the engine until it has had as much as the one that was there."""
    builder = ProgramsBuilder()
    for number in range(30):
        builder.program(0.0 if number < 20 else 0.5, "early" if number < 20 else "late")
        builder.turn(builder.session("model"), turn(0, 8, 4))
    world = play(builder.build(), [pool(sequences=1)], fair=True)
    started_s = column(world, "started_s")
    late = np.sort(started_s[20:])
    between = ((started_s[:20] > late[0]) & (started_s[:20] < late[5])).sum()
    assert between >= 4


def test_evicted_kv_comes_back_from_the_tier_below() -> None:
    """Of 15 blocks 11 made room for 16 others; they are loaded at 1 MB/s, which is faster than computing."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    session = builder.session("model")
    builder.turn(session, turn(0, 60, 4))
    builder.turn(session, turn(64, 4, 1, gap_s=5.0))
    builder.program(2.0)
    builder.turn(builder.session("model"), turn(0, 60, 4))
    for tiers, loaded in (((), 0), ((tier(blocks=40),), 44)):
        world = play(builder.build(), [pool(blocks=20, batch=64, tiers=tiers)])
        assert column(world, "loaded").tolist() == [0, loaded, 0]


def test_kept_kv_is_let_go_when_room_is_short() -> None:
    """A pinned context gives way to a call that has no room otherwise; without need it is found again."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    session = builder.session("model")
    builder.turn(session, turn(0, 40, 4))
    builder.turn(session, turn(44, 4, 1, gap_s=5.0, tool=True))
    alone = builder.build()
    builder.program(2.0)
    builder.turn(builder.session("model"), turn(0, 60, 4))
    kept = policies(retain="infercept")
    assert column(play(alone, [pool(blocks=20, batch=64)], kept), "cached")[1] == 40
    crowded = play(builder.build(), [pool(blocks=20, batch=64)], kept)
    assert (column(crowded, "outcome") == 1).all()
    assert column(crowded, "cached")[1] < 40


def test_the_router_believes_what_it_was_not_told_yet() -> None:
    """Evicted KV draws its session back as long as the router has not heard of it, and not when it has."""
    builder = ProgramsBuilder()
    builder.program(0.0)
    session = builder.session("model")
    builder.turn(session, turn(0, 60, 4))
    builder.turn(session, turn(64, 4, 1, gap_s=5.0))
    builder.program(2.0)
    builder.turn(builder.session("model"), turn(0, 72, 4))
    fleet = [pool(blocks=20, batch=80)]
    for lag_s, held in ((None, 63), (1.0, 4), (60.0, 63)):
        world = play(builder.build(end_s=5.1), fleet, policies(), belief_lag_s=lag_s)
        assert world.beliefs[world.turns[0].leaf, 0] >= held if held == 63 else world.clock[0].believed > 0


def test_a_run_is_cut_off_at_its_end() -> None:
    """At half a second the answer is not complete: it stays open, and whole steps until then are counted."""
    world = play(one_each(turn(0, 16, 1000), end_s=0.5), [pool(blocks=400)])
    assert column(world, "outcome").tolist() == [OPEN]
    assert world.clock[0].now_s == 0.5
    replica = world.replicas[0]
    assert 0.4 < replica.busy_s <= 0.5
    assert replica.steps == replica.output_tokens > 20


def test_a_batch_too_small_for_its_sequences_is_refused() -> None:
    """vLLM does not start with fewer tokens to a batch than sequences; nor do we."""
    with pytest.raises(BadRequest, match="no smaller than sequences="):
        play(one_each(turn(0, 4, 1)), [pool(sequences=8, batch=4)])


def test_of_answers_that_end_together_the_one_admitted_first_is_evicted_first() -> None:
    """Two contexts of two whole blocks are left in one step; a third prompt takes a block of the first's."""
    builder = ProgramsBuilder()
    for gap_s in (20.0, 10.0):
        builder.program(0.0)
        session = builder.session("model")
        builder.turn(session, turn(0, 8, 4))
        builder.turn(session, turn(12, 4, 1, gap_s=gap_s))
    builder.program(5.0)
    builder.turn(builder.session("model"), turn(0, 12, 1))
    world = play(builder.build(), [pool(blocks=6)])
    first, second = column(world, "ended_s")[[0, 2]]
    assert first == second
    assert column(world, "cached")[3] == 8


@pytest.mark.parametrize("outputs", [(9, 3, 7, 2, 5), (9, 8, 1, 6, 4), (9, 2, 3, 4, 5), (9, 5, 4, 3, 2)])
def test_an_order_by_length_of_answers_does_not_know_them(outputs: tuple[int, ...]) -> None:
    """Five calls alike but for answers nobody has seen yet go as they came, whatever the lengths will be."""

    def by_length(call: Waiting) -> float:
        return call.max_output_tokens + 2.0 * call.output_tokens_expected

    programs = one_each(*(turn(0, 8, output) for output in outputs))
    order = replace(policies(), order=by_length)
    world = play(programs, [pool(sequences=1)], order)
    assert np.argsort(column(world, "started_s"), kind="stable").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("breaks", "replica"), [(False, 1), (True, 0)])
def test_of_a_replica_that_broke_the_router_believes_nothing_more(breaks: bool, replica: int) -> None:
    """Calls shun replicas that are believed to hold their prompt: one that lost it is not shunned again."""

    def shun(candidate: Candidate) -> float:
        return 1.0 if candidate.cached_tokens > 0.0 else 0.0

    builder = ProgramsBuilder()
    builder.program(0.0)
    session = builder.session("model")
    builder.turn(session, turn(0, 16, 4))
    builder.turn(session, turn(20, 4, 1, gap_s=10.0))
    faults = (Fault(what="test", first_replica=0, at_s=3.0, for_s=1.0),) if breaks else ()
    chosen = replace(policies(), place=shun)
    # Engines that tell nothing of what they evict: only the break itself can be heard of.
    world = play(builder.build(), [pool(replicas=2)], chosen, faults=faults, belief_lag_s=None)
    assert column(world, "replica").tolist() == [0, replica]
