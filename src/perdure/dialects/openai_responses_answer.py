"""How an answer becomes a Responses object, whole or as its events."""

from collections.abc import Mapping

from perdure.clock import Clock
from perdure.dialects.item import (
    ArgumentsDelta,
    CallStarted,
    Event,
    Finished,
    FunctionCall,
    Item,
    Message,
    TextDelta,
    Tool,
    ToolChoice,
)
from perdure.dialects.openai_responses import ResponsesRequest
from perdure.dialects.openai_wire import encoded, frame, responses_usage
from perdure.errors import Busy, PerdureError


class ResponsesAnswer:
    """Folds the events of one answer; only the task that generates it moves it.

    `begin`, then `add` for every event, give the frames of a stream; `end` is empty, since no mark follows.
    `whole` is the response object, known once `Finished` was added.
    """

    def __init__(self, request: ResponsesRequest, *, answer_id: str, clock: Clock) -> None:
        self.id = answer_id
        self.items: list[Item] = []
        self._request = request
        self._clock = clock
        self._created_s = int(clock.now_s())
        self._output: list[dict[str, object]] = []
        self._open: _Part | None = None
        self._sequence = 0
        self._finished: Finished | None = None
        self._completed_s: int | None = None

    def begin(self, prompt_tokens: int) -> bytes:
        """The two events that open every stream. (How long the prompt is, Responses says at the end only.)"""
        opening = self._response("in_progress")
        return self._event("response.created", {"response": opening}) + self._event(
            "response.in_progress", {"response": opening}
        )

    def add(self, event: Event) -> bytes:
        """Note the event and render what it means on the wire."""
        if isinstance(event, TextDelta):
            frames = b"" if isinstance(self._open, _Text) else self._close("completed") + self._text()
            return frames + self._delta(event.text)
        if isinstance(event, CallStarted):
            return self._close("completed") + self._start(_Arguments(self._item_id("fc"), event))
        if isinstance(event, ArgumentsDelta):
            return self._delta(event.text)
        self._finished = event
        self._completed_s = int(self._clock.now_s())
        frames = b"" if self._output or self._open else self._text()
        frames += self._close("incomplete" if event.reason == "length" else "completed")
        status = self._status
        return frames + self._event(f"response.{status}", {"response": self._response(status)})

    def end(self) -> bytes:
        return b""

    def broken(self, error: PerdureError) -> bytes:
        """What ends a stream whose answer broke: the error, then the response as it failed."""
        failed = self._response("failed")
        code = "rate_limit_exceeded" if isinstance(error, Busy) else "server_error"
        failed["error"] = {"code": code, "message": error.message}
        said = {"code": error.code, "message": error.message, "param": error.param}
        return self._event("error", said) + self._event("response.failed", {"response": failed})

    def whole(self) -> bytes:
        """The response object."""
        return encoded(self._response(self._status))

    @property
    def _status(self) -> str:
        assert self._finished is not None, "the answer is asked for before it is finished"
        return "incomplete" if self._finished.reason == "length" else "completed"

    def _text(self) -> bytes:
        return self._start(_Text(self._item_id("msg")))

    def _start(self, part: "_Part") -> bytes:
        self._open = part
        return self._events(part.started())

    def _delta(self, text: str) -> bytes:
        assert self._open is not None, "a delta belongs to something that was started"
        self._open.pieces.append(text)
        return self._events([self._open.delta(text)])

    def _close(self, status: str) -> bytes:
        part, self._open = self._open, None
        if part is None:
            return b""
        item = part.item(status)
        frames = self._events([*part.done(), {"type": "response.output_item.done", "item": item}])
        self._output.append(item)
        self.items.append(part.kept())
        return frames

    def _item_id(self, prefix: str) -> str:
        return f"{prefix}_{self.id.partition('_')[2]}_{len(self._output)}"

    def _events(self, events: list[dict[str, object]]) -> bytes:
        frames: list[bytes] = []
        for body in events:
            name = str(body.pop("type"))
            frames.append(self._event(name, {"output_index": len(self._output), **body}))
        return b"".join(frames)

    def _event(self, name: str, body: Mapping[str, object]) -> bytes:
        event = {"type": name, "sequence_number": self._sequence, **body}
        self._sequence += 1
        return frame(event, name)

    def _response(self, status: str) -> dict[str, object]:
        """Every field that OpenAI's object has, null where this server has nothing to say."""
        request = self._request
        usage = None if self._finished is None else responses_usage(self._finished.usage)
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created_s,
            "completed_at": self._completed_s if status == "completed" else None,
            "status": status,
            "background": False,
            "conversation": None,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": request.instructions,
            "max_tool_calls": None,
            "model": request.model,
            "output": list(self._output),
            "parallel_tool_calls": True,
            "previous_response_id": request.previous_id,
            "prompt": None,
            "prompt_cache_retention": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": request.store,
            "temperature": request.sampling.temperature,
            "tool_choice": _choice(request.tool_choice),
            "tools": [_tool(tool) for tool in request.tools],
            "top_logprobs": 0,
            "top_p": request.sampling.top_p,
            "truncation": "disabled",
            "usage": usage,
            **request.echoed,
        }


class _Text:
    """A message that is being written."""

    def __init__(self, item_id: str) -> None:
        self.pieces: list[str] = []
        self._id = item_id

    def started(self) -> list[dict[str, object]]:
        item = {**self.item("in_progress"), "content": list[object]()}
        return [
            {"type": "response.output_item.added", "item": item},
            {"type": "response.content_part.added", **self._place(), "part": self._part()},
        ]

    def delta(self, text: str) -> dict[str, object]:
        said: dict[str, object] = {"delta": text, "logprobs": list[object]()}
        return {"type": "response.output_text.delta", **self._place(), **said}

    def done(self) -> list[dict[str, object]]:
        said: dict[str, object] = {"text": "".join(self.pieces), "logprobs": list[object]()}
        return [
            {"type": "response.output_text.done", **self._place(), **said},
            {"type": "response.content_part.done", **self._place(), "part": self._part()},
        ]

    def item(self, status: str) -> dict[str, object]:
        head = {"id": self._id, "type": "message", "status": status, "role": "assistant"}
        return {**head, "content": [self._part()]}

    def kept(self) -> Item:
        return Message(role="assistant", text="".join(self.pieces))

    def _place(self) -> dict[str, object]:
        return {"item_id": self._id, "content_index": 0}

    def _part(self) -> dict[str, object]:
        nothing: list[object] = []
        text = "".join(self.pieces)
        return {"type": "output_text", "text": text, "annotations": nothing, "logprobs": nothing}


class _Arguments:
    """A function call that is being written."""

    def __init__(self, item_id: str, started: CallStarted) -> None:
        self.pieces: list[str] = []
        self._id = item_id
        self._started = started

    def started(self) -> list[dict[str, object]]:
        return [{"type": "response.output_item.added", "item": self.item("in_progress")}]

    def delta(self, text: str) -> dict[str, object]:
        return {"type": "response.function_call_arguments.delta", "item_id": self._id, "delta": text}

    def done(self) -> list[dict[str, object]]:
        said = {"item_id": self._id, "name": self._started.name, "arguments": "".join(self.pieces)}
        return [{"type": "response.function_call_arguments.done", **said}]

    def item(self, status: str) -> dict[str, object]:
        head = {"id": self._id, "type": "function_call", "status": status}
        call = self.kept()
        return {**head, "call_id": call.call_id, "name": call.name, "arguments": call.arguments}

    def kept(self) -> FunctionCall:
        arguments = "".join(self.pieces)
        return FunctionCall(call_id=self._started.call_id, name=self._started.name, arguments=arguments)


_Part = _Text | _Arguments


def _tool(tool: Tool) -> dict[str, object]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description or None,
        "parameters": tool.parameters,
        "strict": True,
    }


def _choice(choice: ToolChoice) -> object:
    if not choice.allowed:
        return choice.mode
    if choice.mode == "required" and len(choice.allowed) == 1:
        return {"type": "function", "name": choice.allowed[0]}
    tools = [{"type": "function", "name": name} for name in choice.allowed]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": tools}
