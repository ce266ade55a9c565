"""Laws of OpenAI's answers: a stream and a whole answer say the same, whatever the model does."""

import json

from hypothesis import given
from hypothesis import strategies as st

from perdure.clock import VirtualClock
from perdure.dialects.item import (
    ArgumentsDelta,
    Caller,
    CallStarted,
    Event,
    Finished,
    TextDelta,
    Usage,
)
from perdure.dialects.openai_chat import read_chat
from perdure.dialects.openai_chat_answer import ChatAnswer
from perdure.dialects.openai_responses import read_responses
from perdure.dialects.openai_responses_answer import ResponsesAnswer

texts = st.text(max_size=8)
spoken = st.lists(texts, min_size=1, max_size=4).map(lambda parts: [TextDelta(text=part) for part in parts])
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@st.composite
def called(draw: st.DrawFn) -> list[Event]:
    call_id, name = f"call_{draw(st.integers(0, 10**9))}", draw(names)
    parts = draw(st.lists(texts, max_size=3))
    return [
        CallStarted(call_id=call_id, name=name),
        *(ArgumentsDelta(call_id=call_id, text=part) for part in parts),
    ]


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """What an engine may yield: any mix of text and calls, then Finished."""
    parts = draw(st.lists(st.one_of(spoken, called()), max_size=4))
    prompt = draw(st.integers(1, 1000))
    usage = Usage(
        prompt_tokens=prompt,
        cached_tokens=draw(st.integers(0, prompt)),
        output_tokens=draw(st.integers(0, 99)),
    )
    reason = draw(st.sampled_from(["stop", "length", "tool_calls"]))
    return [*(event for part in parts for event in part), Finished(reason=reason, usage=usage)]


def frames(stream: bytes) -> list[dict]:
    """The JSON of every event but the end mark."""
    lines = [line for line in stream.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]


def chat(**options: object) -> ChatAnswer:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **options}
    return ChatAnswer(read_chat(body, Caller()), answer_id="chatcmpl_1", created_s=1)


@given(events=answers())
def test_chunks_put_together_are_the_completion(events: list[Event]) -> None:
    """Law: text, tool calls, reason and usage of the chunks equal those of the whole object."""
    answer = chat(stream_options={"include_usage": True})
    stream = answer.begin(7) + b"".join(answer.add(event) for event in events) + answer.end()
    whole = json.loads(answer.whole())
    *chunks, last = frames(stream)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    calls: list[dict] = []
    for part in (part for delta in deltas for part in delta.get("tool_calls", ())):
        if part["index"] == len(calls):
            calls.append(
                {"id": part["id"], "type": part["type"], "function": {**part["function"], "arguments": ""}}
            )
        calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    message = whole["choices"][0]["message"]
    assert "".join(delta.get("content", "") for delta in deltas) == (message["content"] or "")
    assert calls == message.get("tool_calls", [])
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert last["usage"] == whole["usage"]


@given(events=answers())
def test_responses_events_put_together_are_the_response(events: list[Event]) -> None:
    """Law: items are added, filled and done in order, and the last event carries the whole response."""
    request = read_responses({"model": "m", "input": "x"}, Caller())
    answer = ResponsesAnswer(request, answer_id="resp_1", clock=VirtualClock(5.0))
    said = frames(answer.begin(7) + b"".join(answer.add(event) for event in events) + answer.end())
    whole = json.loads(answer.whole())
    assert [event["sequence_number"] for event in said] == list(range(len(said)))
    assert said[-1]["response"] == whole
    done = [event for event in said if event["type"] == "response.output_item.done"]
    assert [event["item"] for event in done] == whole["output"]
    assert [event["output_index"] for event in done] == list(range(len(done)))
    for index, item in enumerate(whole["output"]):
        mine = [event for event in said if event.get("output_index") == index]
        assert mine[0]["type"] == "response.output_item.added"
        text = "".join(event["delta"] for event in mine if event["type"].endswith(".delta"))
        assert text == (item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"])
        assert {event["item_id"] for event in mine if "item_id" in event} <= {item["id"]}
    assert len({item["id"] for item in whole["output"]}) == len(whole["output"])


@given(events=answers())
def test_a_response_keeps_what_it_said_for_its_chain(events: list[Event]) -> None:
    """Law: the items kept for `previous_response_id` are the output items, in order."""
    request = read_responses({"model": "m", "input": "x"}, Caller())
    answer = ResponsesAnswer(request, answer_id="resp_1", clock=VirtualClock())
    answer.begin(7)
    for event in events:
        answer.add(event)
    output = json.loads(answer.whole())["output"]
    kept = [getattr(item, "text", None) or getattr(item, "arguments", "") for item in answer.items]
    assert kept == [
        item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
        for item in output
    ]
