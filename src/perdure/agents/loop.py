"""How a session goes on, one recorded step at a time, until it is done.

Every step is journaled before and after. What stands open in the journal when a process starts is settled
first: survivors are ended, a model call is asked again under its key, a tool call is treated as its declared
effect allows. A kill at any instant therefore loses nothing and repeats no completed effect.
"""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import orjson

from perdure.agents.agent import Agent, AgentSpec
from perdure.agents.call import checked, in_thread, mistake, refusal, text_of, with_context
from perdure.agents.client import Answer, Identity, ModelClient
from perdure.agents.context import chat_request, recite, turns_to_drop
from perdure.agents.sandbox import Bubblewrap
from perdure.agents.state import STATE_VERSION, SessionState, ToolCall, apply
from perdure.agents.tools import Effect, Finish, Past, ToolContext, ToolSpec
from perdure.clock import Clock
from perdure.errors import (
    BadRequest,
    Busy,
    Conflict,
    ContextTooLong,
    EngineFailed,
    Interrupted,
    SandboxUnavailable,
    StorageFailed,
    Unavailable,
    UnknownModel,
)
from perdure.journal.event import EffectChange, EffectState, Event, NewEvent, Snapshot
from perdure.journal.store import Journal
from perdure.processes import ProcessId, end

SNAPSHOT_EVERY_EVENTS = 64
MODEL_RETRIES_MAX = 6
RETRY_S_FIRST = 0.5
RETRY_S_MAX = 20.0

UNKNOWN_FATE = (
    "The process died while this call ran. Whether it took effect is unknown, and it was not done again. "
    "Look before you repeat it."
)


class Loop:
    """The one owner of a session's state in this process."""

    def __init__(
        self,
        *,
        run_id: str,
        agent: Agent,
        journal: Journal,
        client: ModelClient,
        workspace: Path,
        clock: Clock,
        watch: Callable[[Event, SessionState], None],
    ) -> None:
        self.state = load(journal, run_id)
        self.tool_thread: threading.Thread | None = None  # the last one; it may outlive a stopped loop
        self._run_id = run_id
        self._agent = agent
        self._spec = msgspec.convert(self.state.spec, AgentSpec)
        self._journal = journal
        self._client = client
        self._workspace = workspace
        self._clock = clock
        self._watch = watch
        self._who = Identity(session=run_id, program=self.state.program)
        self._tools = {tool.name: tool for tool in agent.tools}
        self._past = history(journal, run_id)
        self._intended: dict[str, Any] = _intended(self.state)
        self._sandbox = Bubblewrap(
            workspace=workspace,
            clock=clock,
            on_start=self._started_process,
            program_s_max=self._spec.limits.program_s_max,
        )

    async def run(self) -> SessionState:
        """Go on until the run has ended. Raises Interrupted when the model stays out of reach."""
        while self.state.status == "running":
            await self._step()
        return self.state

    def resume(self) -> None:
        """Settle what a dead process left: end its survivors, then say in the journal that we go on."""
        ended = sum(end(ProcessId(**survivor)) for survivor in self.state.survivors)
        self._record("run_resumed", {"survivors_ended": ended})

    async def _step(self) -> None:
        """The next thing to do, read off the state alone."""
        state = self.state
        open_calls = state.open_calls
        if open_calls:
            await self._settle(open_calls[0])
        elif state.turns and not state.turns[-1].calls and state.asked is None:
            self._end("done", "the model answered without calling a tool", {"text": state.turns[-1].text})
        elif state.turns_total >= self._spec.limits.max_turns:
            self._end("failed", f"max_turns = {self._spec.limits.max_turns} reached", state.result)
        elif self._left_s() <= 0:
            self._end("failed", self._deadline_reached, state.result)
        else:
            await self._ask()

    def _left_s(self) -> float:
        """Seconds of work that the deadline leaves."""
        since_s = self._clock.now_s() - self.state.last_at_s
        return self._spec.limits.deadline_s - self.state.wall_s - max(0.0, since_s)

    @property
    def _deadline_reached(self) -> str:
        return f"deadline_s = {self._spec.limits.deadline_s:g} reached"

    async def _ask(self) -> None:
        """Record that the model is asked, ask it, record the answer."""
        if self.state.asked is None:
            drop = turns_to_drop(self._spec, self.state)
            if drop:
                self._drop(drop, "the prompt outgrew the budget")
            key = f"{self._run_id}/{self.state.seq + 1}"
            self._record("model_asked", {"key": key, "allowed": self._allowed()})
        asked = self.state.asked
        assert asked is not None
        body = chat_request(self._spec, self._agent.tools, self.state, asked.allowed)
        # The body's hash is in the key: when a tool's words were edited since, an answer that may wait at the
        # server belongs to another question.
        key = f"{asked.key}/{hashlib.sha256(orjson.dumps(body)).hexdigest()[:16]}"
        try:
            async with asyncio.timeout(self._left_s()):
                answer = await self._client.ask(body, key=key, who=self._who)
        except TimeoutError:
            self._end("failed", self._deadline_reached, self.state.result)
        except ContextTooLong as refused:
            drop = turns_to_drop(self._spec, self.state, refused=True)
            if not drop:
                self._end("failed", refused.message, None)
                return
            self._drop(drop, "the server refused the prompt as too long")
        except (Busy, EngineFailed, Unavailable) as lost:
            await self._wait_to_retry(lost)
        except UnknownModel as gone:
            raise Interrupted(f"the server does not have the model of this run: {gone.message}") from gone
        except BadRequest as refused:
            self._end("failed", f"the server refused the request: {refused.message}", None)
        else:
            self._record_answer(answer)

    def _record_answer(self, answer: Answer) -> None:
        calls = [
            {
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
                "key": f"{self._run_id}/{self.state.seq + 1}.{place}",
            }
            for place, (call_id, name, arguments) in enumerate(answer.calls)
        ]
        usage = {
            "prompt_tokens": answer.prompt_tokens,
            "cached_tokens": answer.cached_tokens,
            "output_tokens": answer.output_tokens,
        }
        self._record(
            "model_answered", {"text": answer.text, "calls": calls, "usage": usage, "reason": answer.reason}
        )

    async def _wait_to_retry(self, lost: Busy | EngineFailed | Unavailable) -> None:
        assert self.state.asked is not None
        tried = self.state.asked.retries
        if tried >= MODEL_RETRIES_MAX:
            raise Interrupted(f"the model cannot be reached: {lost.message}")
        self._record("model_failed", {"error": lost.message})
        wait_s = lost.retry_after_s if isinstance(lost, Busy) else RETRY_S_FIRST * 2**tried
        await self._clock.sleep(min(wait_s, RETRY_S_MAX))

    def _allowed(self) -> list[str]:
        """What the agent's own `choose` says may be called next; nothing: the model is free."""
        if self._agent.choose is None:
            return []
        try:
            allowed = list(self._agent.choose(self._context("choose")))
        except Exception as wrong:  # the edge of a task: the agent's own code
            raise Interrupted(f"choose() raised {type(wrong).__name__}: {wrong}; mend it") from wrong
        unknown = [name for name in allowed if name not in self._tools]
        if unknown:
            raise BadRequest(
                f"choose() of agent {self._spec.name!r} allows {unknown[0]!r}, which is no tool of it"
            )
        return allowed

    async def _settle(self, call: ToolCall) -> None:
        """Bring one tool call to its end: refuse it, run it, or say that its fate is unknown."""
        tool = self._tools.get(call.name)
        why_not = refusal(call, tool)
        if tool is None or why_not is not None:
            self._record("call_refused", {"key": call.key, "tool": call.name, "output": why_not})
            return
        arguments: dict[str, Any] = orjson.loads(call.arguments)
        if self.state.running == call.key:  # a process died between intent and result
            if tool.effect is Effect.BLIND:
                body = {"key": call.key, "tool": tool.name, "output": UNKNOWN_FATE}
                change = EffectChange(key=call.key, state=EffectState.UNKNOWN)
                self._record("effect_unknown", body, effects=(change,), power=True)
                return
            if tool.effect is Effect.VERIFIABLE and await self._was_done(call, tool, arguments):
                return
        else:
            self._record(
                "effect_intended",
                {"key": call.key, "tool": tool.name, "arguments": arguments, "effect": tool.effect.value},
                effects=(EffectChange(key=call.key, state=EffectState.INTENDED),),
                power=tool.effect is not Effect.REPEATABLE,
            )
        await self._perform(call, tool, arguments)

    async def _was_done(self, call: ToolCall, tool: ToolSpec, arguments: dict[str, Any]) -> bool:
        """Look up whether the effect of a dead process took place; if so, record it as done."""
        assert tool.verify is not None
        context = self._context(call.key)
        try:
            found = await self._in_thread(tool.verify, with_context(tool, arguments, context))
            output = None if found is None else checked(text_of(found))
        except Exception as wrong:  # the edge of a task: the agent's own code
            raise Interrupted(
                f"the verify function of {tool.name} raised {type(wrong).__name__}: {wrong}; mend it: "
                "until it can say whether the call took effect, nothing goes on"
            ) from wrong
        if output is not None:
            self._record_done(call, tool, {}, output, None, wall_s=0.0)
        return output is not None

    async def _perform(self, call: ToolCall, tool: ToolSpec, arguments: dict[str, Any]) -> None:
        context = self._context(call.key)
        started_s = self._clock.monotonic_s()
        finish: Finish | None = None
        changed: dict[str, Any] = {}
        try:
            returned = await self._in_thread(tool.function, with_context(tool, arguments, context))
            finish = returned if isinstance(returned, Finish) else None
            output = checked(text_of(returned if finish is None else finish.output))
            checked(None if finish is None else finish.result)
            before = self.state.values
            changed = checked({k: v for k, v in context.state.items() if before.get(k) != v})
        except (Conflict, SandboxUnavailable, StorageFailed):
            raise
        except Exception as failed:  # noqa: BLE001 - the edge of a task: a tool's own mistake is told to the model
            output, finish, changed = mistake(failed), None, {}
        wall_s = self._clock.monotonic_s() - started_s
        self._record_done(call, tool, changed, output, finish, wall_s=wall_s)

    def _record_done(
        self,
        call: ToolCall,
        tool: ToolSpec,
        changed: dict[str, Any],
        output: str,
        finish: Finish | None,
        *,
        wall_s: float,
    ) -> None:
        """Record a result, what the tool changed in the state, and the end it may be, in one transaction."""
        body = {"key": call.key, "tool": tool.name, "output": output, "values": changed, "wall_s": wall_s}
        events = [NewEvent(kind="effect_done", body=body)]
        if finish is not None:
            ended = {"status": "done", "because": f"{tool.name} ended it", "result": finish.result}
            events.append(NewEvent(kind="run_ended", body=ended))
        change = EffectChange(key=call.key, state=EffectState.DONE)
        self._append(events, effects=(change,), power=tool.effect is not Effect.REPEATABLE)

    async def _in_thread(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        def started(thread: threading.Thread) -> None:
            self.tool_thread = thread

        return await in_thread(function, arguments, started)

    def _context(self, key: str) -> ToolContext:
        state: dict[str, Any] = orjson.loads(orjson.dumps(self.state.values))
        return ToolContext(
            run_id=self._run_id,
            key=key,
            workspace=self._workspace,
            folder=self._agent.folder,
            settings=self._spec.settings,
            state=state,
            history=tuple(self._past),
            sandbox=self._sandbox,
            clock=self._clock,
        )

    def _started_process(self, process: ProcessId) -> None:
        self._record("process_started", {"process": asdict(process)})

    def _drop(self, turns: int, because: str) -> None:
        recitation = recite(self.state, turns)
        self._record("epoch_started", {"drop_turns": turns, "because": because, "recitation": recitation})

    def _end(self, status: str, because: str, result: dict[str, Any] | None) -> None:
        self._record("run_ended", {"status": status, "because": because, "result": result}, power=True)

    def _record(
        self, kind: str, body: dict[str, Any], *, effects: Sequence[EffectChange] = (), power: bool = False
    ) -> None:
        self._append([NewEvent(kind=kind, body=body)], effects=effects, power=power)

    def _append(
        self, events: Sequence[NewEvent], *, effects: Sequence[EffectChange] = (), power: bool = False
    ) -> None:
        """Write events, then fold them: the state never runs ahead of the journal."""
        head = self.state.seq
        snapshot = None
        if head and head // SNAPSHOT_EVERY_EVENTS != (head + len(events)) // SNAPSHOT_EVERY_EVENTS:
            snapshot = Snapshot(seq=head, version=STATE_VERSION, body=msgspec.json.encode(self.state))
        written = self._journal.append(
            self._run_id, events, expected_head=head, effects=effects, snapshot=snapshot, power=power
        )
        for event in written:
            apply(self.state, event)
            if event.kind == "effect_intended":
                self._intended = event.body["arguments"]
            elif event.kind == "effect_done":
                self._past.append(_past(self._intended, event))
            self._watch(event, self.state)


def load(journal: Journal, run_id: str) -> SessionState:
    """The state of a session: its newest snapshot of this version, and the events after it."""
    state = SessionState()
    snapshot = journal.latest_snapshot(run_id)
    if snapshot is not None and snapshot.version == STATE_VERSION:
        state = msgspec.json.decode(snapshot.body, type=SessionState)
    for event in journal.read(run_id, after=state.seq):
        apply(state, event)
    return state


def history(journal: Journal, run_id: str) -> list[Past]:
    """The finished tool calls of a session, oldest first."""
    intended: dict[str, Any] = {}
    past: list[Past] = []
    for event in journal.read(run_id):
        if event.kind == "effect_intended":
            intended = event.body["arguments"]
        elif event.kind == "effect_done":
            past.append(_past(intended, event))
    return past


def _intended(state: SessionState) -> dict[str, Any]:
    """The arguments of the tool call that stands open, if one does."""
    if state.running is None:
        return {}
    call = next(call for call in state.open_calls if call.key == state.running)
    arguments: dict[str, Any] = orjson.loads(call.arguments)
    return arguments


def _past(arguments: dict[str, Any], done: Event) -> Past:
    """One call of a tool: tools run one at a time, so a result belongs to the intent before it."""
    return Past(tool=done.body["tool"], arguments=arguments, output=done.body["output"])
