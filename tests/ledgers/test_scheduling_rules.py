"""Each rule on numbers that can be followed on paper: the papers' own trade-offs, worked out once."""

import math

import pytest

from perdure.scheduling import admit, order, place, retain
from perdure.scheduling.facts import DROP, KEEP, SAVE, Candidate, Entering, Idle, Waiting
from perdure.scheduling.fair import Tenant, rejoined, weighted_service

CALL = Waiting(waited_s=0.0, prompt_tokens=1000, max_output_tokens=100)

# 4,000 prompt tokens at 10,000 a second; 200 of an answer at 50 a second.
HERE = Candidate(
    prompt_tokens=4000,
    cached_tokens=0.0,
    cached_tokens_best=3000.0,
    output_tokens_expected=200.0,
    home=0,
    running=0,
    waiting=0,
    queued_tokens=0.0,
    context_tokens=0.0,
    capacity_tokens=100_000.0,
    recent_s=0.0,
    prefill_s_per_token=1e-4,
    decode_s_per_token=0.02,
    replicas=2,
)

# 50,000 tokens of context on a replica that holds 500,000; a tool takes ten seconds on average.
SESSION = Idle(
    context_tokens=50_000.0,
    capacity_tokens=500_000.0,
    gap_expected_s=10.0,
    gap_p90_s=30.0,
    gap_elapsed_s=0.0,
    tool=1,
    recompute_s=5.0,
    save_s=0.5,
    restore_s=0.5,
    lower_tier=1,
    pressure=1.0,
    waiting=4,
    waiting_tokens=0.0,
    running=8,
    ended=0,
    superseded=0,
    turns_to_next_use=1.0,
)


def first(policy: object, *calls: Waiting) -> int:
    assert callable(policy)
    return min(range(len(calls)), key=lambda index: policy(calls[index]))


def test_plas_lets_ten_seconds_of_waiting_pay_for_one_of_service() -> None:
    """A program that had 3 s goes before one that had 4 s, until the other has waited 10 s longer."""
    light, heavy = CALL._replace(program_attained_s=3.0), CALL._replace(program_attained_s=4.0)
    assert first(order.plas, heavy, light) == 1
    assert first(order.plas, heavy._replace(waited_s=9.9), light) == 1
    assert first(order.plas, heavy._replace(waited_s=10.1), light) == 0


def test_atlas_charges_the_chain_and_plas_the_whole_program() -> None:
    """A fan-out of ten branches of 2 s each: 20 s for PLAS, 2 s for ATLAS; a chain of 10 s lies between."""
    branch = CALL._replace(program_attained_s=20.0, session_attained_s=2.0)
    chain = CALL._replace(program_attained_s=10.0, session_attained_s=10.0)
    assert first(order.plas, branch, chain) == 1
    assert first(order.atlas, branch, chain) == 0


def test_srpt_multiplies_turns_by_their_work() -> None:
    """Five turns of 1,000 + 4 * 250 tokens are 10,000; three of 4,000 are 12,000; 15 s waited are 3,000."""
    five = CALL._replace(declared=1, turns_left=5.0, uncached_tokens=1000.0, output_tokens_expected=250.0)
    three = CALL._replace(declared=1, turns_left=3.0, uncached_tokens=4000.0)
    assert order.srpt(five) == 10_000.0
    assert order.srpt(three) == 12_000.0
    assert order.srpt(three._replace(waited_s=15.0)) == 9_000.0
    assert order.srpt(three._replace(declared=0)) == 43 * 4000.0


def test_a_returned_tool_is_worth_ten_minutes() -> None:
    """A tool's result goes before a newcomer that waited 599 s, and after one that waited 601 s."""
    tool = CALL._replace(tool_return=1)
    assert first(order.tool_return_first, CALL._replace(waited_s=599.0), tool) == 1
    assert first(order.tool_return_first, CALL._replace(waited_s=601.0), tool) == 0


def test_preble_exploits_a_prefix_that_is_most_of_the_prompt() -> None:
    """3,000 of 4,000 tokens held: there, however busy. 1,000: wherever recent work and prompt are least."""
    holds = HERE._replace(cached_tokens=3000.0, recent_s=100.0)
    assert place.prefix_affinity(holds) < place.prefix_affinity(HERE)
    some = HERE._replace(cached_tokens=1000.0, cached_tokens_best=1000.0, recent_s=0.2)
    none = HERE._replace(cached_tokens_best=1000.0)
    assert place.prefix_affinity(some) == pytest.approx(0.2 + 0.3)
    assert place.prefix_affinity(none) == pytest.approx(0.4)
    full = none._replace(context_tokens=99_000.0)  # 99,000 + 4,000 + 200 - 100,000 = 3,200 to push out
    assert place.prefix_affinity(full) == pytest.approx(0.4 + 0.32)


def test_soft_affinity_leaves_a_prefix_once_the_queue_costs_more() -> None:
    """A held prefix of 3,000 tokens saves 0.3 s: worth a queue of 2,900 tokens, not one of 3,100."""
    holds = HERE._replace(cached_tokens=3000.0)
    assert place.soft_affinity(HERE) == pytest.approx(0.4 + 4.0)
    assert place.soft_affinity(holds._replace(queued_tokens=2900.0)) < place.soft_affinity(HERE)
    assert place.soft_affinity(holds._replace(queued_tokens=3100.0)) > place.soft_affinity(HERE)


def test_soft_affinity_spreads_answers_by_how_full_replicas_are() -> None:
    """On a replica whose KV is half full an answer of 4 s is expected to take 6 s."""
    half = HERE._replace(context_tokens=50_000.0)
    assert place.soft_affinity(half) - place.soft_affinity(HERE) == pytest.approx(2.0)


def test_a_session_stays_where_its_context_is_though_one_call_more_is_there() -> None:
    """Both replicas overfull: 99,000 tokens are held here, nothing there, which has one such call less.

    Here it computes 1,000, pushes out 1,200 and decodes at a third of the pace; there it
    computes 100,000 and pushes out 100,200.
    """
    here = HERE._replace(
        prompt_tokens=100_000, cached_tokens=99_000.0, capacity_tokens=1e6, context_tokens=2e6
    )
    there = here._replace(cached_tokens=0.0, context_tokens=1.9e6)
    assert place.soft_affinity(here) == pytest.approx(0.1 + 0.12 + 4.0 * 3.0)
    assert place.soft_affinity(there) == pytest.approx(10.0 + 10.02 + 4.0 * 2.9)


def test_hard_affinity_places_a_first_call_by_load() -> None:
    """Two calls there, none here: here, unless the session's last call went there."""
    busy = HERE._replace(running=1, waiting=1)
    assert place.hard_affinity(busy) == place.least_load(busy) == 2.0
    assert place.hard_affinity(busy._replace(home=1)) < place.hard_affinity(HERE)


def test_the_working_set_is_what_fits_below_its_share() -> None:
    """A pool of 100,000 tokens admits up to 85,000; of a 20,000-token context 15,000 are held already."""
    entering = Entering(
        waited_s=0.0,
        active_programs=5,
        waiting_programs=2,
        context_tokens=20_000.0,
        shared_tokens=15_000.0,
        active_context_tokens=79_000.0,
        capacity_tokens=100_000.0,
        output_tokens_expected=1000.0,
    )
    assert admit.working_set(entering) == 1  # 79,000 + 5,000 + 1,000
    assert admit.working_set(entering._replace(active_context_tokens=79_001.0)) == 0
    assert admit.working_set(entering._replace(shared_tokens=0.0)) == 0
    assert admit.cap(entering._replace(active_programs=4, capacity_tokens=500_000.0)) == 1
    assert admit.cap(entering._replace(capacity_tokens=500_000.0)) == 0


def test_ttl_pins_as_long_as_the_chance_is_worth_the_room() -> None:
    """Ten percent of the memory and four waiting calls: 0.4 s a second. Without a tier 5 s are saved.

    t = 10 s * log(5 / (0.4 * 10)) = 2.23 s. With a tier 0.5 s are saved, less than the 4 s that a gap costs.
    """
    alone = SESSION._replace(lower_tier=0)
    limit_s = 10.0 * math.log(5.0 / 4.0)
    assert retain.ttl(alone._replace(gap_elapsed_s=limit_s - 0.01)) == KEEP
    assert retain.ttl(alone._replace(gap_elapsed_s=limit_s + 0.01)) == SAVE
    assert retain.ttl(SESSION) == SAVE
    # A queue of 40,000 tokens, at 10,000 a second, would cost another 4 s: 10 * log(4.5 / 4) = 1.18 s.
    queue = SESSION._replace(waiting_tokens=40_000.0)
    assert retain.ttl(queue._replace(gap_elapsed_s=1.17)) == KEEP
    assert retain.ttl(queue._replace(gap_elapsed_s=1.19)) == SAVE
    assert retain.ttl(SESSION._replace(waiting=0)) == KEEP
    assert retain.ttl(SESSION._replace(waiting=0, tool=0)) == SAVE


def test_waste_decides_between_keeping_saving_and_dropping() -> None:
    """Held for 10 s: 500,000 token-seconds. Moved in 1 s: 50,000. Computed anew in 5 s: 2,500,000."""
    assert retain.infercept(SESSION) == SAVE
    assert retain.infercept(SESSION._replace(gap_expected_s=0.9)) == KEEP
    assert retain.infercept(SESSION._replace(lower_tier=0)) == KEEP
    # Without a tier, keeping a person's context of 60 s (3,000,000) wastes more than computing it anew.
    assert retain.infercept(SESSION._replace(lower_tier=0, gap_expected_s=60.0)) == DROP
    # A gap that outlasts what was expected is presumed to last as long again.
    overdue = SESSION._replace(gap_expected_s=0.9, gap_elapsed_s=2.0)
    assert retain.infercept(overdue) == SAVE


def test_steps_decide_by_how_full_the_replica_is() -> None:
    """Full, only the next step is kept; with a quarter in use, four steps are."""
    assert retain.steps_to_next_use(SESSION) == KEEP
    assert retain.steps_to_next_use(SESSION._replace(turns_to_next_use=2.0)) == SAVE
    quarter = SESSION._replace(pressure=0.25)
    assert retain.steps_to_next_use(quarter._replace(turns_to_next_use=4.0)) == KEEP
    assert retain.steps_to_next_use(quarter._replace(turns_to_next_use=5.0)) == SAVE


def test_a_tenant_of_double_weight_gets_double_service() -> None:
    """20 s at weight 2 stand where 10 s at weight 1 do; one that was away comes back level with the least."""
    assert weighted_service(Tenant(20.0, 2.0)) == weighted_service(Tenant(10.0, 1.0)) == 10.0
    assert rejoined(Tenant(1.0, 2.0), 10.0) == 20.0
    assert rejoined(Tenant(50.0, 2.0), 10.0) == 50.0
