"""A policy compiled is the policy itself: the same number, bit for bit, for any facts."""

import struct
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.facts import ENDS
from tests.facts import facts as any_facts

from perdure.scheduling import compiled, facts
from perdure.scheduling.decision_log import Decision, replay
from perdure.scheduling.facts import exp, log
from perdure.scheduling.fair import Tenant, weighted_service
from perdure.scheduling.policies import KINDS, NAMES, Kind, decide, facts_of

ALL = [(kind, name) for kind in KINDS for name in NAMES[kind]]


@cache
def compiled_policy(kind: Kind, name: str) -> Any:
    return compiled.compile_policy(kind, NAMES[kind][name])


def bits(number: float) -> bytes:
    """The number's own bits: -0.0 is not 0.0, and no not-a-number is another."""
    return struct.pack("<d", number)


@pytest.mark.parametrize("kind,name", ALL)
@settings(max_examples=40)
@given(data=st.data())
def test_compiled_and_plain_give_the_same_number(kind: Kind, name: str, data: st.DataObject) -> None:
    """Law: whatever a policy is asked, from nothing to the largest float, both forms answer alike."""
    asked = data.draw(any_facts(kind))
    assert bits(compiled_policy(kind, name)(asked)) == bits(NAMES[kind][name](asked))


@pytest.mark.parametrize("kind,name", ALL)
@settings(max_examples=15)
@given(data=st.data())
def test_compiled_and_plain_choose_the_same(kind: Kind, name: str, data: st.DataObject) -> None:
    """Law: among several candidates, equal ones among them, both forms take the same one."""
    few = st.lists(any_facts(kind, largest=1e6, whole_max=3), min_size=1, max_size=6)
    candidates = tuple(data.draw(few))
    candidates += candidates[:1]
    choice = decide(kind, NAMES[kind][name], candidates)
    decision = Decision(kind=kind, policy=name, candidates=candidates, choice=choice)
    again = replay([decision], {(kind, name): compiled_policy(kind, name)})
    assert (again.decisions, again.differing) == (1, 0)


@given(service_s=st.floats(0, 1e300), weight=st.sampled_from(ENDS) | st.floats(0, 1e6))
def test_fair_share_is_the_same_compiled(service_s: float, weight: float) -> None:
    """Law: the outermost decision, which tenant goes first, is the same in both forms."""
    tenant = Tenant(service_s, weight)
    assert bits(compiled_share()(tenant)) == bits(weighted_service(tenant))


@cache
def compiled_share() -> Any:
    return compiled.compile_function(compiled.SHARE_SIGNATURE, weighted_service)


def power(call: facts.Waiting) -> float:
    return exp(call.waited_s)


def nature(call: facts.Waiting) -> float:
    return log(call.waited_s)


@pytest.mark.parametrize("function", [power, nature])
@given(number=st.floats(allow_nan=False))
def test_exp_and_log_agree_at_their_ends(function: Any, number: float) -> None:
    """Law: the two functions beyond arithmetic, held within limits, agree on all floats, infinite too."""
    asked = facts.Waiting(waited_s=number, prompt_tokens=1, max_output_tokens=1)
    assert bits(_once(function)(asked)) == bits(function(asked))


@cache
def _once(function: Any) -> Any:
    return compiled.compile_policy("order", function)


def test_facts_have_the_types_that_the_compiled_form_expects() -> None:
    """A field's type in the NamedTuple is its type in the signature, in the same place."""
    for kind in KINDS:
        asked = facts_of(kind, range(len(compiled.SIGNATURES[kind].args[0])))
        named = {
            name: str(member)
            for name, member in zip(asked._fields, compiled.SIGNATURES[kind].args[0], strict=True)
        }
        assert named == {
            name: "int64" if isinstance(value, int) else "float64" for name, value in asked._asdict().items()
        }
