"""How an answer becomes a chat completion, whole or in chunks."""

from collections.abc import Iterable

from perdure.dialects.item import ArgumentsDelta, CallStarted, Event, Finished, TextDelta, Usage
from perdure.dialects.openai_chat import ChatRequest
from perdure.dialects.openai_wire import DONE, chat_usage, encoded, error_body, frame
from perdure.errors import PerdureError


class ChatAnswer:
    """Folds the events of one answer; only the task that generates it moves it.

    `begin`, then `add` for every event, give the frames of a stream; `end` its last ones. `whole` is the
    body for a client that did not ask for a stream, known once `Finished` was added.
    """

    def __init__(self, request: ChatRequest, *, answer_id: str, created_s: int) -> None:
        self.id = answer_id
        self._request = request
        self._created_s = created_s
        self._text: list[str] = []
        self._calls: list[tuple[CallStarted, list[str]]] = []
        self._finished: Finished | None = None
        self._prompt_tokens = 0
        self._deltas = 0

    def begin(self, prompt_tokens: int) -> bytes:
        """The first chunk, which says who speaks."""
        self._prompt_tokens = prompt_tokens
        return self._chunk({"role": "assistant", "content": ""})

    def add(self, event: Event) -> bytes:
        """Note the event and render its chunk."""
        if isinstance(event, TextDelta):
            self._text.append(event.text)
            self._deltas += 1
            return self._chunk({"content": event.text})
        if isinstance(event, CallStarted):
            self._calls.append((event, []))
            function = {"name": event.name, "arguments": ""}
            return self._chunk(self._call_delta({"id": event.call_id, "type": "function"}, function))
        if isinstance(event, ArgumentsDelta):
            self._calls[-1][1].append(event.text)
            self._deltas += 1
            return self._chunk(self._call_delta({}, {"arguments": event.text}))
        self._finished = event
        return self._chunk({}, event.reason)

    def end(self) -> bytes:
        """What follows the last chunk: the usage where asked for, and the end mark."""
        if not self._request.include_usage:
            return DONE
        none: list[object] = []
        usage_chunk = {**self._envelope(), "choices": none, "usage": chat_usage(self._final.usage)}
        return frame(usage_chunk) + DONE

    def broken(self, error: PerdureError) -> bytes:
        """The event that ends a stream whose answer broke."""
        return frame(error_body(error))

    def whole(self) -> bytes:
        """The `chat.completion` object."""
        message: dict[str, object] = {
            "role": "assistant",
            "content": "".join(self._text) if self._text or not self._calls else None,
            "refusal": None,
            "annotations": [],
        }
        if self._calls:
            message["tool_calls"] = list(self._tool_calls())
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._final.reason,
        }
        envelope = {**self._envelope(), "object": "chat.completion"}
        return encoded({**envelope, "choices": [choice], "usage": chat_usage(self._final.usage)})

    @property
    def _final(self) -> Finished:
        assert self._finished is not None, "the answer is asked for before it is finished"
        return self._finished

    def _tool_calls(self) -> Iterable[dict[str, object]]:
        for started, arguments in self._calls:
            function = {"name": started.name, "arguments": "".join(arguments)}
            yield {"id": started.call_id, "type": "function", "function": function}

    def _call_delta(self, head: dict[str, str], function: dict[str, str]) -> dict[str, object]:
        return {"tool_calls": [{"index": len(self._calls) - 1, **head, "function": function}]}

    def _chunk(self, delta: dict[str, object], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk: dict[str, object] = {**self._envelope(), "choices": [choice]}
        if self._request.continuous_usage:
            chunk["usage"] = chat_usage(self._usage_so_far())
        elif self._request.include_usage:
            chunk["usage"] = None
        return frame(chunk)

    def _usage_so_far(self) -> Usage:
        """Exact once finished; before that each delta counts as one token, and cached ones are unknown."""
        if self._finished is not None:
            return self._finished.usage
        return Usage(prompt_tokens=self._prompt_tokens, cached_tokens=0, output_tokens=self._deltas)

    def _envelope(self) -> dict[str, object]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self._created_s,
            "model": self._request.call.model,
            "service_tier": "default",
            "system_fingerprint": None,
        }
