"""The loop of a session on a scripted model, in this process: what it does with every kind of answer."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from perdure import Agent, Effect, Finish, ToolContext, tool
from perdure.agents.agent import ContextPolicy, Limits
from perdure.agents.call import OUTPUT_CHARS_MAX
from perdure.agents.client import Answer
from perdure.agents.loop import MODEL_RETRIES_MAX, Loop, load
from perdure.agents.session import Session
from perdure.clock import VirtualClock
from perdure.config import Places
from perdure.errors import (
    BadRequest,
    Busy,
    Conflict,
    ContextTooLong,
    Interrupted,
    PerdureError,
    SandboxUnavailable,
    Unavailable,
)
from perdure.journal.event import EffectChange, EffectState, NewEvent
from perdure.journal.store import Journal
from perdure.processes import identify

Said = Answer | PerdureError


class ScriptedClient:
    """Answers what it was told to, in turn; keeps what it was asked."""

    def __init__(self, *answers: Said) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []

    async def ask(self, body: dict[str, Any], *, key: str, who: object, final: bool = False) -> Answer:
        self.asked.append(body)
        self.keys.append(key)
        answer = self._answers.pop(0) if self._answers else says("the end")
        if isinstance(answer, PerdureError):
            raise answer
        return answer


def says(text: str, prompt_tokens: int = 10) -> Answer:
    return Answer(
        text=text, calls=(), reason="stop", prompt_tokens=prompt_tokens, cached_tokens=0, output_tokens=5
    )


def calls(name: str, arguments: Any, prompt_tokens: int = 10) -> Answer:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return Answer(
        text="",
        calls=(("call_1", name, text),),
        reason="tool_calls",
        prompt_tokens=prompt_tokens,
        cached_tokens=0,
        output_tokens=5,
    )


class Run:
    """One session and the loop that drives it."""

    def __init__(
        self, folder: Path, tools: Sequence[Callable[..., Any]], *answers: Said, **defined: Any
    ) -> None:
        self.clock = VirtualClock(1000.0)
        self.places = Places(cache_dir=folder, data_dir=folder, config_dir=folder)
        self.journal = Journal(self.places.journal_file, clock=self.clock)
        self.agent = Agent.define(name="a", model="m", goal="go", tools=tools, **defined)
        self.client = ScriptedClient(*answers)
        self.workspace = folder
        Session.start(self.agent, places=self.places, clock=self.clock, journal=self.journal, run_id="run_x")

    def loop(self) -> Loop:
        return Loop(
            run_id="run_x",
            agent=self.agent,
            journal=self.journal,
            client=self.client,  # type: ignore[arg-type]
            workspace=self.workspace,
            clock=self.clock,
            watch=lambda event, state: None,
        )

    def go(self) -> Any:
        return asyncio.run(self.loop().run())

    def outputs(self) -> list[str]:
        kinds = ("effect_done", "effect_unknown", "call_refused")
        return [event.body["output"] for event in self.journal.read("run_x") if event.kind in kinds]

    def leave_open(self, name: str, arguments: Any, *more: NewEvent) -> None:
        """Write what a process leaves that is killed while it runs a tool."""
        usage = {"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 5}
        call = {"call_id": "c", "name": name, "arguments": json.dumps(arguments), "key": "run_x/k"}
        intended = {"key": "run_x/k", "tool": name, "arguments": arguments, "effect": ""}
        events = [
            NewEvent(kind="model_asked", body={"key": "run_x/2", "allowed": []}),
            NewEvent(kind="model_answered", body={"text": "", "calls": [call], "usage": usage, "reason": ""}),
            NewEvent(kind="effect_intended", body=intended),
            *more,
        ]
        change = EffectChange(key="run_x/k", state=EffectState.INTENDED)
        self.journal.append("run_x", events, expected_head=1, effects=(change,))


@tool(effect=Effect.REPEATABLE)
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def test_a_tool_answers_and_the_model_ends_it(tmp_path: Path) -> None:
    """What a tool returns is told to the model; words without a call end the run."""
    run = Run(tmp_path, [add], calls("add", {"a": 2, "b": 3}), says("five"))
    state = run.go()
    assert (state.status, state.result) == ("done", {"text": "five"})
    assert run.client.asked[1]["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "5"}
    assert run.client.asked[1]["messages"][-2]["tool_calls"][0]["function"]["arguments"] == '{"a": 2, "b": 3}'


@pytest.mark.parametrize(
    ("name", "arguments", "says_"),
    [
        ("add", {"a": 2}, "'b' is a required property"),
        ("add", {"a": 2, "b": "x"}, "is not of type 'integer'"),
        ("add", "{not json", "not JSON"),
        ("subtract", {}, "no tool 'subtract'"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_and_told(
    tmp_path: Path, name: str, arguments: Any, says_: str
) -> None:
    """Wrong arguments never reach a tool, and the model reads why."""
    run = Run(tmp_path, [add], calls(name, arguments))
    state = run.go()
    assert says_ in run.outputs()[0]
    assert (state.status, state.tool_calls, run.journal.effects("run_x")) == ("done", 0, [])


def test_a_tool_that_raises_is_told(tmp_path: Path) -> None:
    """A tool's own mistake is an output like any other; the run goes on."""

    class Odd(Exception):
        pass

    @tool(effect=Effect.REPEATABLE)
    def broken() -> str:
        """Break."""
        raise Odd("no luck")

    run = Run(tmp_path, [broken], calls("broken", {}))
    assert run.go().status == "done"
    assert run.outputs() == ["error: Odd: no luck"]


def test_a_tool_without_its_sandbox_stops_the_run(tmp_path: Path) -> None:
    """When the sandbox is missing nothing is told to the model: the person must install it."""

    @tool(effect=Effect.REPEATABLE)
    def boxed() -> str:
        """Run something."""
        raise SandboxUnavailable("install bubblewrap")

    run = Run(tmp_path, [boxed], calls("boxed", {}))
    with pytest.raises(SandboxUnavailable):
        run.go()
    assert run.outputs() == []


def test_finish_ends_the_run_with_its_result(tmp_path: Path) -> None:
    """A tool that returns Finish ends the run in the same transaction as its own result."""

    @tool(effect=Effect.REPEATABLE)
    def finish(context: ToolContext) -> Finish:
        """End."""
        context.state["seen"] = True
        return Finish(output="bye", result={"n": 1})

    run = Run(tmp_path, [finish], calls("finish", {}))
    state = run.go()
    assert (state.status, state.result, state.values) == ("done", {"n": 1}, {"seen": True})
    assert len(run.client.asked) == 1


def test_a_long_output_is_cut(tmp_path: Path) -> None:
    """A tool cannot flood the context: its output is cut in the middle, and says so."""

    @tool(effect=Effect.REPEATABLE)
    def flood() -> str:
        """Talk."""
        return "x" * 1_000_000

    run = Run(tmp_path, [flood], calls("flood", {}))
    run.go()
    assert len(run.outputs()[0]) < OUTPUT_CHARS_MAX + 100
    assert "characters left out" in run.outputs()[0]


def test_choose_forces_a_call(tmp_path: Path) -> None:
    """The tools that `choose` names are the only ones allowed, and one of them must be called."""
    run = Run(tmp_path, [add], calls("add", {"a": 1, "b": 1}), choose=lambda context: ("add",))
    run.go()
    choice = run.client.asked[0]["tool_choice"]["allowed_tools"]
    assert choice == {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]}


def test_choose_cannot_name_what_is_not_there(tmp_path: Path) -> None:
    """A `choose` that allows an unknown tool is an error that names it."""
    run = Run(tmp_path, [add], choose=lambda context: ("divide",))
    with pytest.raises(BadRequest, match="'divide'"):
        run.go()


def test_a_lost_model_is_asked_again_under_the_same_key(tmp_path: Path) -> None:
    """Busy and unavailable servers are asked again, later each time, with the key of the first time."""
    run = Run(tmp_path, [add], Unavailable("gone"), Busy("full", retry_after_s=7.0), says("here"))
    state = run.go()
    assert state.status == "done"
    assert len(set(run.client.keys)) == 1
    assert run.clock.now_s() == 1000.0 + 0.5 + 7.0


def test_a_model_that_stays_away_interrupts_the_run(tmp_path: Path) -> None:
    """After the last retry the run is interrupted, and a resumed one tries again as often."""
    away = [Unavailable("gone")] * (MODEL_RETRIES_MAX + 1)
    run = Run(tmp_path, [add], *away, *away)
    for _ in range(2):
        loop = run.loop()
        if loop.state.seq > 1:
            loop.resume()
        with pytest.raises(Interrupted, match="gone"):
            asyncio.run(loop.run())
    assert len(run.client.asked) == 2 * (MODEL_RETRIES_MAX + 1)
    assert load(run.journal, "run_x").status == "running"


def test_a_prompt_that_is_refused_as_too_long_sheds_turns(tmp_path: Path) -> None:
    """When the server says that the prompt does not fit, the oldest turns leave it and the call goes on."""
    refused = ContextTooLong(prompt_tokens=9, max_output_tokens=1, window_tokens=8, remedy="")
    some = [calls("add", {"a": n, "b": 0}, prompt_tokens=100 * (n + 1)) for n in range(4)]
    run = Run(tmp_path, [add], *some, refused, says("ok"), context=ContextPolicy(budget_tokens=1000))
    state = run.go()
    assert state.status == "done"
    assert state.turns_dropped > 0
    assert len(run.client.asked[-1]["messages"]) < len(run.client.asked[-2]["messages"])
    assert "are no longer shown" in run.client.asked[-1]["messages"][1]["content"]


def test_a_goal_that_does_not_fit_fails(tmp_path: Path) -> None:
    """When nothing can leave the prompt, the run fails with the server's words."""
    refused = ContextTooLong(prompt_tokens=9, max_output_tokens=1, window_tokens=8, remedy="Shorten it.")
    state = Run(tmp_path, [add], refused).go()
    assert state.status == "failed"
    assert "Shorten it." in (state.ended_because or "")


def test_limits_fail_the_run_by_name(tmp_path: Path) -> None:
    """max_turns and deadline_s end a run as failed, and say which it was."""
    answers = [calls("add", {"a": 1, "b": 1}) for _ in range(9)]
    state = Run(tmp_path / "a", [add], *answers, limits=Limits(max_turns=3)).go()
    assert (state.status, state.turns_total, state.ended_because) == ("failed", 3, "max_turns = 3 reached")

    slow = Run(tmp_path / "b", [], limits=Limits(deadline_s=60))

    @tool(effect=Effect.REPEATABLE)
    def wait() -> str:
        """Wait."""
        slow.clock.advance(61)
        return "waited"

    slow.agent = Agent.define(name="a", model="m", goal="go", tools=[wait], limits=Limits(deadline_s=60))
    slow.client = ScriptedClient(calls("wait", {}), calls("wait", {}))
    state = slow.go()
    assert (state.status, state.turns_total, state.ended_because) == ("failed", 1, "deadline_s = 60 reached")


def test_time_between_processes_is_not_work(tmp_path: Path) -> None:
    """`wall_s` counts what processes worked, not the days between them."""
    run = Run(tmp_path, [add], Unavailable("gone"), says("ok"))
    run.clock.advance(5)
    run.leave_open("add", {"a": 1, "b": 2})
    run.clock.advance(86_400)
    loop = run.loop()
    loop.resume()
    state = asyncio.run(loop.run())
    assert state.wall_s == pytest.approx(5.5)
    assert state.resumes == 1


def test_survivors_are_ended_before_anything_acts(tmp_path: Path) -> None:
    """A recorded process that outlived its session is ended on resume, before the open call is settled."""
    survivor = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        process = identify(survivor.pid)
        assert process is not None
        body = {"pid": process.pid, "start_ticks": process.start_ticks, "boot_id": process.boot_id}
        alive_when_run: list[bool] = []

        @tool(effect=Effect.REPEATABLE)
        def probe() -> str:
            """Look whether the survivor still runs."""
            alive_when_run.append(survivor.poll() is None)
            return "looked"

        run = Run(tmp_path, [probe])
        run.leave_open("probe", {}, NewEvent(kind="process_started", body={"process": body}))
        loop = run.loop()
        loop.resume()
        assert survivor.wait(timeout=10) == -9
        asyncio.run(loop.run())
        assert alive_when_run == [False]
    finally:
        survivor.kill()
        survivor.wait()


def test_a_stopped_session_ignores_its_tool(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A tool that returns after its session was told to stop changes nothing and prints nothing."""

    @tool(effect=Effect.BLIND)
    def linger() -> str:
        """Take a while."""
        time.sleep(0.4)
        return "late"

    run = Run(tmp_path, [linger], calls("linger", {}))

    async def stop_half_way() -> None:
        work = asyncio.ensure_future(run.loop().run())
        await asyncio.sleep(0.1)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(stop_half_way())
    time.sleep(0.6)
    assert run.outputs() == []
    assert [effect.state for effect in run.journal.open_effects("run_x")] == [EffectState.INTENDED]
    assert capfd.readouterr().err == ""


def unjournalable_output() -> set[int]:
    """Return what is no JSON."""
    return {1}


def half_a_letter() -> str:
    """Return text that no encoding has."""
    return "a\ud800b"


def unjournalable_state(context: ToolContext) -> str:
    """Keep what is no JSON."""
    context.state["seen"] = {1}
    return "kept"


def unjournalable_result() -> Finish:
    """End with what is no JSON."""
    return Finish(output="bye", result={"seen": {1}})


def leaves() -> str:
    """Try to end the process."""
    raise SystemExit(3)


@pytest.mark.parametrize(
    "mistake", [unjournalable_output, half_a_letter, unjournalable_state, unjournalable_result, leaves]
)
def test_a_tool_that_gives_nonsense_is_told(tmp_path: Path, mistake: Callable[..., Any]) -> None:
    """What cannot be journaled is an error that the model reads; the run goes on, nothing is repeated."""
    run = Run(tmp_path, [tool(effect=Effect.KEYED)(mistake)], calls(mistake.__name__, {}))
    state = run.go()
    assert (state.status, state.result, state.values) == ("done", {"text": "the end"}, {})
    assert run.outputs()[0].startswith("error: ")
    assert run.journal.open_effects("run_x") == []


def test_a_tool_that_fails_keeps_no_half_of_its_state(tmp_path: Path) -> None:
    """What a tool changed in the state before it raised is not kept."""

    @tool(effect=Effect.TRANSACTIONAL)
    def half(context: ToolContext) -> str:
        """Change, then break."""
        context.state["counter"] = 1
        raise ValueError("no")

    assert Run(tmp_path, [half], calls("half", {})).go().values == {}


def test_choose_that_raises_interrupts_the_run(tmp_path: Path) -> None:
    """A mistake in the agent's `choose` stops the run, says which, and leaves it resumable."""

    def choose(context: ToolContext) -> tuple[str, ...]:
        raise KeyError("notes")

    run = Run(tmp_path, [add], choose=choose)
    with pytest.raises(Interrupted, match=r"choose\(\) raised KeyError"):
        run.go()
    assert load(run.journal, "run_x").status == "running"


def test_a_verify_that_raises_never_redoes(tmp_path: Path) -> None:
    """While nobody can look up a verifiable effect, it is not done again."""
    done: list[str] = []

    def verify() -> str:
        raise OSError("the other side is down")

    @tool(effect=Effect.VERIFIABLE, verify=verify)
    def send() -> str:
        """Send."""
        done.append("sent")
        return "sent"

    run = Run(tmp_path, [send])
    run.leave_open("send", {})
    with pytest.raises(Interrupted, match="verify function of send raised OSError"):
        run.go()
    assert done == []


def test_a_question_that_changed_gets_another_key(tmp_path: Path) -> None:
    """When a tool's words are edited while a model call stands open, the call is asked as it is now."""
    run = Run(tmp_path, [add], *[Unavailable("gone")] * (MODEL_RETRIES_MAX + 1), says("new"))
    with pytest.raises(Interrupted):
        run.go()

    @tool(effect=Effect.REPEATABLE)
    def other(a: int) -> int:
        """Something else."""
        return a

    run.agent = Agent.define(name="a", model="m", goal="go", tools=[other])
    assert run.go().status == "done"
    before, after = run.client.keys[0], run.client.keys[-1]
    assert before != after
    assert before.rpartition("/")[0] == after.rpartition("/")[0]


def test_the_deadline_cuts_a_model_call_off(tmp_path: Path) -> None:
    """A model that does not answer does not keep a run beyond its deadline."""

    class Silent(ScriptedClient):
        async def ask(self, body: dict[str, Any], *, key: str, who: object, final: bool = False) -> Answer:
            await asyncio.sleep(60)
            raise AssertionError("it was cut off")

    run = Run(tmp_path, [add], limits=Limits(deadline_s=0.2))
    run.client = Silent()
    state = run.go()
    assert (state.status, state.ended_because) == ("failed", "deadline_s = 0.2 reached")


async def test_a_session_is_held_until_its_tool_returned(tmp_path: Path) -> None:
    """A session that was stopped while a tool runs cannot be opened again before the tool returned."""
    done: list[str] = []

    def verify() -> str | None:
        return "sent" if done else None

    @tool(effect=Effect.VERIFIABLE, verify=verify)
    def send() -> str:
        """Send, slowly."""
        time.sleep(0.6)
        done.append("sent")
        return "sent"

    run = Run(tmp_path, [send])
    run.leave_open("send", {})
    known = {
        "agent": run.agent,
        "places": run.places,
        "clock": run.clock,
        "journal": run.journal,
        "base_url": "http://127.0.0.1:9/v1",
    }
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Session.open("run_x", **known).arun(), 0.2)
    with pytest.raises(Conflict, match="another process"):
        await Session.open("run_x", **known).arun()
    await asyncio.sleep(0.8)
    with pytest.raises(Interrupted, match=r"Session\.open"):  # the model is away: the tool's fate was settled
        await Session.open("run_x", **known).arun()
    assert done == ["sent"]
