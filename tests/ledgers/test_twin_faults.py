"""What a broken, slow or restarted replica costs, checked on paper."""

import math
from dataclasses import replace

import pytest
from tests.paper_pool import STEP_S, TOKEN_S, calls, check_ended, conversation, paper_pool, simulated, stock

from perdure.clock import VirtualClock
from perdure.errors import BadRequest
from perdure.twin.fault import Fault
from perdure.twin.fault_text import parse_faults
from perdure.twin.kernel_records import OUTCOMES
from perdure.twin.pool_make import make_pool
from perdure.twin.result import Failures
from perdure.twin.run import run
from perdure.twin.run_json import run_json
from perdure.twin.run_words import failures_text
from perdure.twin.world import Options

DECODE_S = STEP_S + TOKEN_S
FIRST_S = STEP_S + 1000 * TOKEN_S


def broken(**others: float) -> Fault:
    """Replica 0 is gone from 615 ms on: after a prompt of 110 ms and 50 tokens of 10.1 ms."""
    return Fault(what="test", first_replica=0, at_s=FIRST_S + 50.5 * DECODE_S, **others)


def test_a_call_goes_on_elsewhere_with_what_it_had_generated() -> None:
    """51 tokens were heard of; 1,051 are computed on the other replica, and 48 steps remain of a hundred."""
    fault = broken(noticed_s=2.0)
    world = simulated(calls((1000, 100)), paper_pool(replicas=2), options=Options(faults=(fault,)))
    turn = world.turns[0]
    heard_s = fault.at_s + 2.0
    assert turn.first_s == pytest.approx(FIRST_S)
    assert turn.ended_s == pytest.approx(heard_s + STEP_S + 1051 * TOKEN_S + 48 * DECODE_S)
    assert (turn.replica, turn.rerouted) == (1, 1)
    assert world.clock[0].lost_tokens == 1050
    assert world.replicas[0].output_tokens + world.replicas[1].output_tokens == 100


def test_a_call_begins_anew_where_nothing_is_kept() -> None:
    """With restart the whole answer is generated again, and its first token counts."""
    fault = broken(noticed_s=0.5)
    options = Options(faults=(fault,), on_loss="restart")
    turn = simulated(calls((1000, 100)), paper_pool(replicas=2), options=options).turns[0]
    assert turn.first_s == pytest.approx(fault.at_s + 0.5 + FIRST_S)
    assert turn.ended_s == pytest.approx(turn.first_s + 99 * DECODE_S)


def test_a_call_ends_by_name_where_that_is_the_policy() -> None:
    """With end the client gets an error, and the outcome says which."""
    options = Options(faults=(broken(),), on_loss="end")
    turn = simulated(calls((1000, 100)), paper_pool(replicas=2), options=options).turns[0]
    assert OUTCOMES[turn.outcome] == "replica_lost"


def test_calls_wait_for_the_only_replica_to_be_mended() -> None:
    """Where no other replica is open, a call waits until its own is there again, empty."""
    fault = broken(for_s=5.0)
    world = simulated(calls((1000, 100)), paper_pool(), options=Options(faults=(fault,)))
    turn = world.turns[0]
    assert turn.ended_s == pytest.approx(fault.at_s + 5.0 + STEP_S + 1051 * TOKEN_S + 48 * DECODE_S)
    assert world.replicas[0].down_s == pytest.approx(5.0)
    check_ended(world)


def test_caches_of_a_replaced_replica_are_empty() -> None:
    """Between two calls the replica is restarted: the second prompt is computed whole."""
    restart = Fault(what="test", first_replica=0, at_s=2.0, for_s=0.1)
    plain = simulated(conversation((1000, 11), (100, 2), gap_s=5.0), paper_pool())
    world = simulated(
        conversation((1000, 11), (100, 2), gap_s=5.0), paper_pool(), options=Options(faults=(restart,))
    )
    assert plain.turns[1].cached == 1008
    assert world.turns[1].cached == 0
    assert world.replicas[0].computed_tokens == 1000 + 1111


def test_until_it_is_noticed_calls_go_to_a_broken_replica() -> None:
    """The router cannot know: a call that comes in between waits until the break is noticed."""
    fault = Fault(what="test", first_replica=0, at_s=0.5, noticed_s=3.0)
    world = simulated(
        calls((1000, 2), arrival_s=lambda _: 1.0), paper_pool(replicas=2), options=Options(faults=(fault,))
    )
    assert world.turns[0].first_s == pytest.approx(3.5 + FIRST_S)
    assert world.turns[0].replica == 1


def test_a_slow_replica_takes_so_many_times_as_long_and_no_longer() -> None:
    """Twice as slow for a second from the first token on: 49.5 of 99 steps take twice 10.1 ms."""
    fault = Fault(what="test", first_replica=0, at_s=FIRST_S, for_s=100 * DECODE_S, slowness=2.0)
    turn = simulated(calls((1000, 100)), paper_pool(), options=Options(faults=(fault,))).turns[0]
    assert turn.ended_s - turn.first_s == pytest.approx((99 + 50) * DECODE_S, abs=2 * DECODE_S)


def test_a_rolling_restart_lets_calls_end_and_loses_none() -> None:
    """Two replicas restarted in turn: what runs ends there, what comes goes to the other, nothing is lost."""
    pools = [paper_pool(replicas=2)]
    faults = parse_faults([], ["@0.2s,each=1s,drain=60s"], pools)
    world = simulated(
        calls(*[(1000, 100)] * 40, arrival_s=lambda number: 0.1 * number),
        *pools,
        options=Options(faults=faults),
    )
    assert {OUTCOMES[one] for one in world.turns.outcome} == {"done"}
    assert world.clock[0].lost_tokens == 0
    assert world.replicas.down_s.tolist() == pytest.approx([1.0, 1.0])
    check_ended(world)


def test_a_drain_that_takes_too_long_is_cut_short() -> None:
    """After drain= the call that still runs loses its KV and goes on at the other replica."""
    pools = [paper_pool(replicas=2)]
    faults = parse_faults([], ["@0.2s,each=1s,drain=0.3s"], pools)
    world = simulated(calls((1000, 1000)), *pools, options=Options(faults=faults))
    assert world.turns[0].rerouted >= 1
    assert world.clock[0].lost_tokens > 1000
    assert OUTCOMES[world.turns[0].outcome] == "done"


def test_what_is_written_befalls_whom_it_names() -> None:
    """A node of 8 chips holds four replicas of two; a rail slows a whole domain; the pool shifts them."""
    pools = [paper_pool(replicas=3), make_pool("h200x16/llama-3.1-8b:tp=2", {})]
    texts = [
        "chip@600s:replica=5,for=300s,pool=llama-3.1-8b",
        "node@10min:node=1,pool=llama-3.1-8b",
        "slow@1h:replica=2,by=2x,pool=paper",
    ]
    chip, node, slow = parse_faults(texts, [], pools)
    assert (chip.first_replica, chip.replicas, chip.at_s, chip.for_s, chip.noticed_s) == (8, 1, 600, 300, 10)
    assert (node.first_replica, node.replicas, node.at_s, node.for_s) == (3 + 4, 4, 600, math.inf)
    assert (slow.first_replica, slow.slowness, slow.at_s) == (2, 2.0, 3600)


def test_a_switch_of_the_al128_slows_all_that_it_joins() -> None:
    """One of the switches among 64 chips, eight replicas of eight: they go on, a little slower."""
    pool = make_pool("al128/qwen3-235b:tp=8", {})
    (rail,) = parse_faults(["rail@60s:replica=9,links=icn"], [], [pool])
    assert (rail.first_replica, rail.replicas) == (8, 8)
    assert rail.slowness is not None
    assert 1.0 < rail.slowness < 2.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chip:replica=1", "KIND@TIME"),
        ("chap@600s", "did you mean chip@"),
        ("chip@soon", "600s, 10min or 2h"),
        ("chip@600s:replica=4", "replica=4: write a number from 0 to 3"),
        ("slow@600s:replica=1", "by=2x"),
        ("chip@600s:fro=3s", "did you mean for="),
        ("rail@600s:links=teleport", "links are nvlink"),
    ],
)
def test_what_cannot_befall_is_refused(text: str, says: str) -> None:
    """The message says what to write."""
    with pytest.raises(BadRequest, match=says):
        parse_faults([text], [], [make_pool("h200x8/llama-3.1-8b:tp=2", {})])


def test_the_json_says_what_a_fault_cost() -> None:
    """Gone for 5 of its seconds; the call takes as much longer as that and 1,051 tokens computed again."""
    fault = broken(for_s=5.0)
    ran = run(
        calls((1000, 100)),
        [paper_pool()],
        stock(),
        Options(faults=(fault,)),
        clock=VirtualClock(),
        draws=0,
    )
    told = run_json(ran, {})["failures"]
    lost_s = 5.0 + STEP_S + 1051 * TOKEN_S - 0.5 * DECODE_S
    assert told["extra"]["e2e_s.mean"] == pytest.approx(lost_s)
    assert told["availability"] == pytest.approx(1 - 5.0 / (FIRST_S + 99 * DECODE_S + lost_s), rel=1e-3)
    assert (told["rerouted_calls"], told["lost_kv_tokens"]) == (1, 1050)


def test_times_of_other_jobs_are_not_compared() -> None:
    """Where faults let other jobs end whole, how many is said, and not by how much their mean differs."""
    extra = {"jct_s.mean": -238.0, "ttft_s.p95": 0.5, "programs": 0.0}
    failures = Failures(availability=0.9, rerouted=1, lost_kv_tokens=2, extra=extra)
    assert "job completion (mean) -238 s" in failures_text(failures)
    fewer = failures_text(replace(failures, extra={**extra, "programs": -3.0}))
    assert "-3 whole jobs" in fewer
    assert "job completion" not in fewer
    assert "time to first token (p95) +0.5 s" in fewer
