"""Laws of the prompt: the same bytes each time, growing at the end only, and read back as written."""

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from perdure.dialects.item import (
    ArgumentsDelta,
    CallStarted,
    Event,
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Role,
    TextDelta,
    Tool,
)
from perdure.dialects.toolprompt import (
    CALL_OPEN,
    NO_WIDTH,
    ChatMessage,
    call_opening,
    call_text,
    disarm,
    render,
    render_plain,
)
from perdure.engines.call_reader import AnswerReader

texts = st.text(max_size=30)
names = st.text(alphabet="abcdefghij_-0123456789", min_size=1, max_size=12)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
arguments = st.dictionaries(texts, json_values, max_size=3).map(lambda v: msgspec.json.encode(v).decode())
tools = st.lists(
    st.builds(Tool, name=names, description=texts, parameters=st.just({"type": "object"})), max_size=3
).map(tuple)


def _says(role: Role) -> st.SearchStrategy[Message]:
    return st.builds(Message, role=st.just(role), text=texts)


turns = st.one_of(
    st.tuples(
        st.builds(Message, role=st.just("assistant"), text=texts),
        st.builds(Message, role=st.just("user"), text=texts),
    ),
    st.builds(
        lambda name, given, output: (
            FunctionCall(call_id="c", name=name, arguments=given),
            FunctionCallOutput(call_id="c", output=output),
        ),
        names,
        arguments,
        texts,
    ),
)


def _conversation(pairs: list[tuple[Item, Item]]) -> list[Item]:
    opening: list[Item] = [Message(role="system", text="Be brief."), Message(role="user", text="Begin.")]
    return opening + [item for pair in pairs for item in pair]


@given(pairs=st.lists(turns, max_size=6), given_tools=tools, cut=st.integers(0, 6))
def test_a_longer_conversation_begins_with_the_shorter(
    pairs: list[tuple[Item, Item]], given_tools: tuple[Tool, ...], cut: int
) -> None:
    """What was sent for an earlier turn is a prefix of what is sent for a later one."""
    earlier = render(_conversation(pairs[:cut]), given_tools)
    later = render(_conversation(pairs), given_tools)
    assert later[: len(earlier)] == earlier
    assert render_plain(later).startswith(render_plain(earlier).removesuffix("Assistant:"))


@given(pairs=st.lists(turns, max_size=6), given_tools=tools)
def test_no_role_speaks_twice_in_a_row(pairs: list[tuple[Item, Item]], given_tools: tuple[Tool, ...]) -> None:
    """Many chat templates refuse two messages of one role in a row, so there are none."""
    roles = [message.role for message in render(_conversation(pairs), given_tools)]
    assert all(a != b for a, b in pairwise(roles))


@given(given_tools=tools)
def test_tools_stand_in_the_one_system_message(given_tools: tuple[Tool, ...]) -> None:
    """Every tool is described at the front, whatever tool may be called."""
    first = render(_conversation([]), given_tools)[0]
    assert first.role == "system"
    assert first.content.startswith("Be brief.")
    for tool in given_tools:
        assert f'{{"name":"{tool.name}"' in first.content


def _cut(text: str, at: list[int]) -> list[str]:
    places = sorted({min(place, len(text)) for place in at})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def _read(reader: AnswerReader, pieces: list[str]) -> list[Event]:
    return [event for piece in pieces for event in reader.feed(piece)] + list(reader.end())


@given(before=texts, name=names, given_arguments=arguments, at=st.lists(st.integers(0, 120), max_size=8))
def test_a_call_is_read_as_it_was_written_however_it_arrives(
    before: str, name: str, given_arguments: str, at: list[int]
) -> None:
    """Text, name and the bytes of the arguments survive any division into pieces."""
    before = before.replace("<", "")
    before = "" if before.isspace() else before  # blanks alone before a call are dropped
    reader = AnswerReader("c")
    events = _read(reader, _cut(before + call_text(name, given_arguments) + " more", at))
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == before == reader.text
    assert [e.name for e in events if isinstance(e, CallStarted)] == [name]
    assert "".join(e.text for e in events if isinstance(e, ArgumentsDelta)) == given_arguments
    assert reader.complete


@given(text=st.text(alphabet="<tool_call>{} a", max_size=60), at=st.lists(st.integers(0, 60), max_size=8))
def test_text_without_a_call_is_text_to_the_last_letter(text: str, at: list[int]) -> None:
    """What only looks like the beginning of a call is not swallowed."""
    text = text.replace(CALL_OPEN, "")
    events = _read(AnswerReader("c"), _cut(text, at))
    assert not any(isinstance(event, CallStarted | ArgumentsDelta) for event in events)
    assert all(isinstance(event, TextDelta) for event in events)
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == text


@given(
    name=names, given_arguments=arguments, others=st.booleans(), at=st.lists(st.integers(0, 90), max_size=6)
)
def test_a_primed_call_is_read_from_where_the_prompt_ends(
    name: str, given_arguments: str, others: bool, at: list[int]
) -> None:
    """The beginning that the prompt holds and what the model adds make one call, byte for byte."""
    primed = call_opening([name, "other"] if others else [name])
    whole = call_text(name, given_arguments)
    assert whole.startswith(primed)
    reader = AnswerReader("c", primed=primed)
    events = _read(reader, _cut(whole.removeprefix(primed), at))
    assert [e.name for e in events if isinstance(e, CallStarted)] == [name]
    assert reader.arguments == given_arguments
    assert reader.complete


def test_an_answer_of_text_and_a_call_is_written_as_it_was_generated() -> None:
    """Text that turned into a call stands before the call with nothing between, as the model wrote it."""
    items = [
        Message(role="user", text="Go."),
        Message(role="assistant", text="I look."),
        FunctionCall(call_id="c", name="look", arguments='{"at":1}'),
    ]
    assert render(items, ())[-1].content == "I look." + call_text("look", '{"at":1}')


def test_blanks_before_a_call_are_no_text() -> None:
    """Models write a blank or a line end before a call; that is not an answer."""
    events = _read(
        AnswerReader("c"), [" ", "\n<tool", f"_call>{call_text('f', '{}').removeprefix(CALL_OPEN)}"]
    )
    assert [type(event) for event in events] == [CallStarted, ArgumentsDelta]


@given(
    text=st.text(alphabet="<|end>x", max_size=40),
    control_tokens=st.lists(st.text(alphabet="<|end>x", min_size=2, max_size=5), max_size=4),
)
def test_no_control_token_survives_and_the_text_looks_the_same(text: str, control_tokens: list[str]) -> None:
    """Whatever is written, nothing in it is a command to the tokenizer, and no letter is lost."""
    (message,) = disarm([ChatMessage(role="user", content=text)], control_tokens)
    assert not any(token in message.content for token in control_tokens)
    assert message.content.replace(NO_WIDTH, "") == text


def test_our_own_tags_stay_what_they_are() -> None:
    """Some models have the tags of calls among their control tokens; those are not disarmed."""
    messages = render([FunctionCall(call_id="c", name="f", arguments="{}")], ())
    assert disarm(messages, [CALL_OPEN, "</tool_call>", "<|end|>"]) == messages
