"""What a grammar is told of schemas that it cannot say whole, checked on paper."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.hard_schemas import HARD

from perdure.dialects.item import Call, Message, Tool, ToolChoice
from perdure.engines.llamacpp_constraint import DRAWS_EACH, constrain
from perdure.engines.schema_bounds import TIGHTEST, narrow
from perdure.engines.schema_loosen import loosen
from perdure.engines.smallest import smallest


@pytest.mark.parametrize("schema", HARD.values(), ids=HARD.keys())
def test_the_smallest_of_what_a_grammar_is_told_fits_the_whole(schema: dict[str, Any]) -> None:
    """Each condition is met by the first way that the grammar is offered, and it is known to need a check."""
    loose = loosen(schema)
    assert loose.checked
    assert Draft202012Validator(schema).is_valid(smallest(narrow(loose.schema, TIGHTEST).schema))


def test_what_an_array_must_contain_comes_first() -> None:
    """Two of `b` are the first two items, and the rest may be any."""
    items = {"enum": ["a", "b"]}
    loose = loosen({"type": "array", "items": items, "contains": {"const": "b"}, "minContains": 2})
    assert narrow(loose.schema, TIGHTEST).schema["prefixItems"] == [{"enum": ["b"]}] * 2
    assert loose.checked == {"contains", "minContains"}


def test_a_schema_that_a_grammar_can_say_stays_as_it_is() -> None:
    """Nothing is left out of it, and what validators do not act on is dropped."""
    schema = {"type": "object", "properties": {"not": {"type": "integer"}, "if": True}, "$anchor": "here"}
    loose = loosen(schema)
    assert loose.checked == frozenset()
    assert loose.schema == {"type": "object", "properties": {"not": {"type": "integer"}, "if": True}}


def test_what_has_to_be_checked_is_drawn_several_times() -> None:
    """Each narrowing has its draws, numbered through, none of them certain; an ordinary tool has none."""
    tool = Tool(name="odd", parameters={"type": "object", "not": {"properties": {"a": {"const": 1}}}})
    call = Call(
        model="m",
        items=(Message(role="user", text="Go"),),
        tools=(tool,),
        tool_choice=ToolChoice(mode="required"),
    )
    attempts = constrain(call, 400, guided=True).attempts
    assert [attempt.draw for attempt in attempts] == list(range(len(attempts)))
    assert len(attempts) % DRAWS_EACH == 0
    assert not any(attempt.certain for attempt in attempts)
