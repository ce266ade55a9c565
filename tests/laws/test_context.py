"""Laws of the context: a pure function of the journal, append-only within an epoch, bounded over many."""

from typing import Any

import msgspec
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.agents.agent import Agent, AgentSpec, ContextPolicy
from perdure.agents.context import chat_request, recite, turns_to_drop
from perdure.agents.state import SessionState, apply
from perdure.agents.tools import Effect, tool
from perdure.journal.event import Event

BUDGET_TOKENS = 400


@tool(effect=Effect.REPEATABLE)
def look(n: int) -> str:
    """Look at something."""
    return str(n)


AGENT = Agent.define(
    name="a", model="m", goal="go", tools=[look], context=ContextPolicy(budget_tokens=BUDGET_TOKENS)
)

turns = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=40)


class Story:
    """A journal in memory, written as the loop writes it; a turn's tokens are given, not counted."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.state = SessionState()
        self.prompt_tokens = 30
        self.add("run_started", {"spec": msgspec.to_builtins(AGENT.spec), "program": "p"})

    def add(self, kind: str, body: dict[str, Any]) -> None:
        event = Event(seq=len(self.events) + 1, kind=kind, at_s=float(len(self.events)), body=body)
        self.events.append(event)
        apply(self.state, event)

    def turn(self, output_tokens: int, result_tokens: int) -> None:
        drop = turns_to_drop(AGENT.spec, self.state)
        if drop:
            kept = self.state.turns[drop].prompt_tokens - self.state.turns[0].prompt_tokens
            self.add(
                "epoch_started", {"drop_turns": drop, "recitation": recite(self.state, drop), "because": ""}
            )
            self.prompt_tokens -= kept
        key = f"k{len(self.events)}"
        self.add("model_asked", {"key": key, "allowed": []})
        usage = {"prompt_tokens": self.prompt_tokens, "cached_tokens": 0, "output_tokens": output_tokens}
        call = {"call_id": key, "name": "look", "arguments": '{"n":1}', "key": key}
        self.add("model_answered", {"text": "", "calls": [call], "usage": usage})
        self.add(
            "effect_intended", {"key": key, "tool": "look", "arguments": {"n": 1}, "effect": "repeatable"}
        )
        self.add("effect_done", {"key": key, "tool": "look", "output": "x" * result_tokens, "values": {}})
        self.prompt_tokens += output_tokens + result_tokens


def prompt(state: SessionState) -> bytes:
    spec = msgspec.convert(state.spec, AgentSpec)
    return orjson.dumps(chat_request(spec, AGENT.tools, state, ()))


@given(turns=turns)
@settings(max_examples=50)
def test_folding_the_journal_again_gives_the_same_prompt(turns: list[tuple[int, int]]) -> None:
    """Law: a fresh fold, and a snapshot taken anywhere before, give the byte-identical prompt."""
    story = Story()
    for output, result in turns:
        story.turn(output, result)
    for cut in range(0, len(story.events), 7):
        state = SessionState()
        for event in story.events[:cut]:
            apply(state, event)
        state = msgspec.json.decode(msgspec.json.encode(state), type=SessionState)
        for event in story.events[cut:]:
            apply(state, event)
        assert prompt(state) == prompt(story.state)
        assert state == story.state


@given(turns=turns)
@settings(max_examples=50)
def test_within_an_epoch_the_prompt_only_grows(turns: list[tuple[int, int]]) -> None:
    """Law: unless a turn was dropped, the messages of one call begin with those of the call before."""
    story = Story()
    spec = AGENT.spec
    before: list[Any] = []
    dropped = 0
    for output, result in turns:
        story.turn(output, result)
        now = chat_request(spec, AGENT.tools, story.state, ())["messages"]
        if story.state.turns_dropped == dropped:
            assert now[: len(before)] == before
        before, dropped = now, story.state.turns_dropped


@given(turns=turns)
@settings(max_examples=50)
def test_the_prompt_stays_within_budget_plus_one_turn(turns: list[tuple[int, int]]) -> None:
    """Law: no prompt outgrows the budget by more than the tool result that crossed it."""
    story = Story()
    for output, result in turns:
        story.turn(output, result)
        assert story.state.turns[-1].prompt_tokens <= BUDGET_TOKENS + 60


def test_an_epoch_says_what_was_dropped() -> None:
    """When turns leave the prompt, the goal is followed by counts and each tool's latest output."""
    story = Story()
    for _ in range(20):
        story.turn(20, 20)
    assert story.state.turns_dropped > 0
    epochs = sum(event.kind == "epoch_started" for event in story.events)
    assert epochs <= 4, "an epoch that ends every few turns busts the prefix cache every few turns"
    goal = chat_request(AGENT.spec, AGENT.tools, story.state, ())["messages"][1]["content"]
    assert goal.startswith("go\n\nThe first ")
    assert "look: called" in goal
