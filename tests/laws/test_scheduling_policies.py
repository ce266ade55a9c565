"""Laws of the policies: they answer anything, starve nobody, and do what their names say."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.facts import facts

from perdure.errors import BadRequest
from perdure.scheduling import admit, order, place, retain
from perdure.scheduling.facts import DROP, KEEP, SAVE, Candidate, Entering, Idle, Waiting
from perdure.scheduling.fair import Tenant, rejoined, weighted_service
from perdure.scheduling.policies import (
    BUNDLES,
    CAPABILITIES,
    CHOICES,
    KINDS,
    NAMES,
    Kind,
    bundle,
    lacking,
    named,
    needs,
)

ALL = [(kind, name) for kind in KINDS for name in NAMES[kind]]
SANE = {"largest": 1e15, "whole_max": 1 << 40}
FEW = settings(max_examples=40)  # of each policy: there are many
AGEING = [name for name in NAMES["order"] if name != "priority"]


@pytest.mark.parametrize("kind,name", ALL)
@FEW
@given(data=st.data())
def test_a_policy_answers_whatever_it_is_asked(kind: Kind, name: str, data: st.DataObject) -> None:
    """Law: no facts make a policy raise, and within thirty million years it gives a finite number."""
    answer = NAMES[kind][name](data.draw(facts(kind, **SANE)))
    choices = CHOICES[kind]
    assert math.isfinite(answer) if choices is None else answer in choices


@pytest.mark.parametrize("name", AGEING)
@FEW
@given(call=facts("order", **SANE), newcomer=facts("order", **SANE))
def test_no_order_starves(name: str, call: Waiting, newcomer: Waiting) -> None:
    """Law: whoever waits long enough goes before any newcomer, however urgent it looks."""
    policy = NAMES["order"][name]
    fresh = newcomer._replace(waited_s=0.0, program_age_s=0.0)
    long_s = 1e30
    waiting = call._replace(waited_s=long_s, program_age_s=long_s)
    assert policy(waiting) < policy(fresh)


@pytest.mark.parametrize("name", NAMES["order"])
@FEW
@given(call=facts("order", **SANE), more_s=st.floats(0, 1e9))
def test_waiting_never_hurts(name: str, call: Waiting, more_s: float) -> None:
    """Law: a call that waited longer, of a program that is older by as much, never scores worse."""
    longer = call._replace(waited_s=call.waited_s + more_s, program_age_s=call.program_age_s + more_s)
    assert NAMES["order"][name](longer) <= NAMES["order"][name](call)


@given(call=facts("order", **SANE), other=facts("order", **SANE))
def test_orders_go_by_what_they_are_named_after(call: Waiting, other: Waiting) -> None:
    """Law: of two calls that differ in one fact alone, each order prefers the one that it should."""
    same = call._replace(waited_s=0.0, program_age_s=0.0)
    older = same._replace(program_age_s=1.0)
    assert order.program_fcfs(older) < order.program_fcfs(same)
    assert order.critical_path(older._replace(declared=0)) < order.critical_path(same._replace(declared=0))
    less = same._replace(program_attained_s=1.0, session_attained_s=1.0)
    more = same._replace(program_attained_s=2.0, session_attained_s=2.0)
    assert order.plas(less) < order.plas(more)
    assert order.atlas(less) < order.atlas(more)
    urgent = same._replace(priority=other.priority + 1)
    assert order.priority(urgent) < order.priority(same._replace(priority=other.priority))
    tool = same._replace(tool_return=1)
    assert order.tool_return_first(tool) < order.tool_return_first(same._replace(tool_return=0))


@given(turns=st.integers(1, 1000), tokens=st.integers(1, 100_000))
def test_srpt_takes_fewer_turns_first_and_silence_gains_nothing(turns: int, tokens: int) -> None:
    """Law: fewer declared turns go first; a call that declares nothing counts as one of a usual session."""
    call = Waiting(0.0, tokens, 1, uncached_tokens=float(tokens), declared=1, turns_left=float(turns))
    assert order.srpt(call) < order.srpt(call._replace(turns_left=turns + 1.0))
    silent = order.srpt(call._replace(declared=0, turns_left=0.0))
    assert (order.srpt(call) <= silent) == (turns <= order.TURNS_UNDECLARED)


@given(call=facts("order", **SANE))
def test_the_longest_chain_goes_first_within_its_program(call: Waiting) -> None:
    """Law: among calls of one program, whose age is the same, more declared turns behind it go first."""
    young = call._replace(program_age_s=100.0, declared=1)
    assert order.critical_path(young._replace(critical_turns=3.0)) < order.critical_path(
        young._replace(critical_turns=2.0)
    )
    assert order.critical_path(young._replace(declared=0, critical_turns=9.0)) == order.program_fcfs(young)


@pytest.mark.parametrize("name", ["least_load", "prefix_affinity", "soft_affinity"])
@FEW
@given(candidate=facts("place", **SANE))
def test_more_load_never_attracts(name: str, candidate: Candidate) -> None:
    """Law: a replica with more of everything to do, and all else equal, never scores better."""
    busier = candidate._replace(
        running=candidate.running + 1,
        waiting=candidate.waiting + 1,
        queued_tokens=candidate.queued_tokens * 2 + 1,
        context_tokens=candidate.context_tokens * 2 + 1,
        recent_s=candidate.recent_s * 2 + 1,
    )
    assert NAMES["place"][name](candidate) <= NAMES["place"][name](busier)


@pytest.mark.parametrize("name", ["prefix_affinity", "soft_affinity"])
@FEW
@given(candidate=facts("place", **SANE), share=st.floats(0, 1), less=st.floats(0, 1))
def test_a_longer_cached_prefix_never_repels(
    name: str, candidate: Candidate, share: float, less: float
) -> None:
    """Law: of two replicas that are alike, the one that holds more of the prompt never scores worse."""
    best = candidate.prompt_tokens * share
    holds = candidate._replace(cached_tokens=best, cached_tokens_best=best)
    lacks = holds._replace(cached_tokens=best * less)
    assert NAMES["place"][name](holds) <= NAMES["place"][name](lacks)


@given(home=facts("place", **SANE), other=facts("place", **SANE))
def test_hard_affinity_stays_whatever_the_load(home: Candidate, other: Candidate) -> None:
    """Law: the replica of the last call wins, always."""
    assert place.hard_affinity(home._replace(home=1)) < place.hard_affinity(other._replace(home=0))


@pytest.mark.parametrize("name", NAMES["admit"])
@FEW
@given(program=facts("admit", **SANE))
def test_an_idle_pool_lets_anybody_in(name: str, program: Entering) -> None:
    """Law: where nothing is active a program of any size begins; nobody waits for room that nobody has."""
    assert NAMES["admit"][name](program._replace(active_programs=0)) == 1


@given(program=facts("admit", **SANE), shared=st.floats(0, 1))
def test_working_set_counts_what_is_shared_once(program: Entering, shared: float) -> None:
    """Law: sharing more of its context never keeps a program out, and half an hour lets it in."""
    assume(program.active_programs > 0)
    some = program._replace(shared_tokens=program.context_tokens * shared)
    assert admit.working_set(some._replace(shared_tokens=program.context_tokens)) >= admit.working_set(some)
    assert admit.working_set(some._replace(waited_s=admit.FORCED_S)) == 1


@pytest.mark.parametrize("name", NAMES["admit"])
@FEW
@given(program=facts("admit", **SANE), more=st.floats(0, 1e9))
def test_a_larger_pool_lets_in_no_fewer(name: str, program: Entering, more: float) -> None:
    """Law: more capacity never turns a yes into a no."""
    larger = program._replace(capacity_tokens=program.capacity_tokens + more)
    assert NAMES["admit"][name](larger) >= NAMES["admit"][name](program)


@pytest.mark.parametrize("name", [name for name in NAMES["retain"] if name != "lru"])
@FEW
@given(session=facts("retain", **SANE), ended=st.booleans())
def test_what_nobody_will_use_is_dropped(name: str, session: Idle, ended: bool) -> None:
    """Law: an ended session's context, or one that was compacted away, is not held by any policy but LRU."""
    useless = session._replace(ended=int(ended), superseded=int(not ended))
    assert NAMES["retain"][name](useless) == DROP


@pytest.mark.parametrize("name", ["ttl", "steps_to_next_use"])
@FEW
@given(session=facts("retain", **SANE))
def test_nothing_is_pinned_forever(name: str, session: Idle) -> None:
    """Law: once a gap outlasts nine in ten of its kind, the session is no longer pinned."""
    late = session._replace(gap_elapsed_s=session.gap_p90_s)
    assert NAMES["retain"][name](late) != KEEP


@given(session=facts("retain", **SANE), longer_s=st.floats(0, 1e9))
def test_a_longer_silence_never_pins_again(session: Idle, longer_s: float) -> None:
    """Law: what TTL let go of as time went by it does not take back."""
    later = session._replace(gap_elapsed_s=session.gap_elapsed_s + longer_s)
    if retain.ttl(later) == KEEP:
        assert retain.ttl(session) == KEEP


@given(session=facts("retain", **SANE))
def test_nothing_is_given_up_while_there_is_room(session: Idle) -> None:
    """Law: with no call waiting and memory to spare, InferCept's rule keeps whatever may be used again."""
    roomy = session._replace(ended=0, superseded=0, waiting=0, pressure=0.5)
    assert retain.infercept(roomy) == KEEP


@given(session=facts("retain", **SANE))
def test_without_a_lower_tier_nothing_is_saved_by_waste(session: Idle) -> None:
    """Law: the waste rule saves only where there is a tier to save to."""
    assert retain.infercept(session._replace(lower_tier=0)) != SAVE


@given(
    service_s=st.floats(0, 1e12),
    weight=st.floats(0.001, 1000),
    least=st.floats(0, 1e9),
    times=st.floats(1, 9),
)
def test_fair_share_follows_weight_and_forgives_absence(
    service_s: float, weight: float, least: float, times: float
) -> None:
    """Law: more weight never scores worse, and whoever comes back stands no better than the least served."""
    assert weighted_service(Tenant(service_s, weight * times)) <= weighted_service(Tenant(service_s, weight))
    back = Tenant(rejoined(Tenant(service_s, weight), least), weight)
    assert back.service_s >= service_s
    assert weighted_service(back) >= least * (1 - 1e-12)


def test_every_bundle_names_policies_that_exist() -> None:
    """A bundle is four names that `named` knows; an engine that can do all lacks nothing for it."""
    for each in BUNDLES.values():
        for kind in KINDS:
            name = getattr(each, kind)
            assert named(kind, name) is NAMES[kind][name]
            assert lacking(kind, name, CAPABILITIES) == ()


def test_an_engine_that_takes_calls_as_they_come_can_do_stock_only() -> None:
    """What an engine cannot do, no policy that needs it is offered on: stock needs placement alone."""
    stock = bundle("stock")
    assert [need for kind in KINDS for need in needs(kind, getattr(stock, kind))] == ["place"]
    assert lacking("retain", "infercept", ("order", "place", "admit", "drop")) == ("pin", "save", "restore")
    assert lacking("retain", "mine.py:hold", ("drop",)) == ("pin", "save", "restore")


@pytest.mark.parametrize(
    "kind,name,says",
    [
        ("order", "plass", "did you mean 'plas'"),
        ("place", "round_robin", "needs a memory"),
        ("place", "random", "needs chance"),
        ("retain", "nonsense", "FILE:FUNCTION"),
    ],
)
def test_an_unknown_name_is_answered_with_those_there_are(kind: Kind, name: str, says: str) -> None:
    """A wrong name lists the right ones, and says why some well-known ones cannot be."""
    with pytest.raises(BadRequest) as refused:
        named(kind, name)
    assert says in refused.value.message
    assert all(known in refused.value.message for known in NAMES[kind])


def test_a_hyphen_is_an_underscore_and_an_unknown_bundle_lists_those_there_are() -> None:
    """Names on a command line are written either way."""
    assert named("order", "tool-return-first") is order.tool_return_first
    assert needs("retain", "steps-to-next-use") == ("pin", "drop")
    with pytest.raises(BadRequest, match="did you mean 'agent'"):
        bundle("agents")
