"""How one tool call is checked, carried out in a thread, and what of it may be journaled."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import jsonschema
import orjson

from perdure.agents.shell import shorten
from perdure.agents.state import ToolCall
from perdure.agents.tools import ToolContext, ToolSpec

OUTPUT_CHARS_MAX = 16_000

Value = TypeVar("Value")


def refusal(call: ToolCall, tool: ToolSpec | None) -> str | None:
    """Why a call cannot be run, in words for the model; None when it can."""
    if tool is None:
        return f"error: there is no tool {call.name!r}"
    try:
        jsonschema.validate(orjson.loads(call.arguments), tool.parameters)
    except orjson.JSONDecodeError as broken:
        return f"error: the arguments are not JSON ({broken})"
    except jsonschema.ValidationError as wrong:
        return f"error: the arguments do not fit: {wrong.message[:200]}"
    return None


def with_context(tool: ToolSpec, arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    """The arguments that the function of `tool` is called with."""
    return {**arguments, "context": context} if tool.takes_context else arguments


def checked(value: Value) -> Value:
    """`value`, which is JSON and can be journaled; TypeError when it is not."""
    orjson.dumps(value)
    return value


def mistake(failed: Exception) -> str:
    """What a tool raised, for the model."""
    text = f"error: {type(failed).__name__}: {failed}"
    return shorten(text.encode(errors="replace").decode(), OUTPUT_CHARS_MAX)


def text_of(returned: Any) -> str:
    """What a tool returned, as text of limited length; TypeError when it is neither text nor JSON."""
    return shorten(
        returned if isinstance(returned, str) else orjson.dumps(returned).decode(), OUTPUT_CHARS_MAX
    )


async def in_thread(
    function: Callable[..., Any], arguments: dict[str, Any], started: Callable[[threading.Thread], None]
) -> Any:
    """Call a tool off the event loop, in a thread that does not keep a stopped process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(error: BaseException | None, value: Any) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    def work() -> None:
        error: BaseException | None = None
        value: Any = None
        try:
            value = function(**arguments)
        except (SystemExit, StopIteration) as raised:  # they would end the loop, or be no future's error
            error = RuntimeError(f"{type(raised).__name__}: {raised}")
        except BaseException as raised:  # noqa: BLE001 - the edge of a thread: handed to the loop as it is
            error = raised
        with suppress(RuntimeError):  # the loop is closed: we were told to stop, and the call stands open
            loop.call_soon_threadsafe(settle, error, value)

    thread = threading.Thread(target=work, daemon=True, name="tool")
    thread.start()
    started(thread)
    return await future
