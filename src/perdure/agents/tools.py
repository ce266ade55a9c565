"""What a tool is, what it does to the world, and what it is told when it is called."""

import inspect
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import msgspec

from perdure.clock import Clock
from perdure.errors import BadRequest

Function = TypeVar("Function", bound=Callable[..., Any])


class Effect(StrEnum):
    """What a tool does to the world, which decides what happens when a crash cuts it off.

    repeatable     it has no outside effect: run it again
    transactional  its only effect is on `context.state`, which commits with the event: run it again
    keyed          the remote side does it once per `context.key`: call it again with the same key
    verifiable     a `verify` function can look up whether it was done: done if absent
    blind          nobody can tell: never redone; the unknown fate is put before the model or a person
    """

    REPEATABLE = "repeatable"
    TRANSACTIONAL = "transactional"
    KEYED = "keyed"
    VERIFIABLE = "verifiable"
    BLIND = "blind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a sandboxed program ended. `exit_code` is None when the time limit ended it."""

    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float


class Runs(Protocol):
    """Runs programs where they can do no harm: no network, no home folder, own process tree.

    `argv` runs in the session's workspace, which alone is writable; the files and folders in
    `read_only` are visible at their own paths. Output beyond 1 MiB each is cut. Raises
    SandboxUnavailable rather than run anything unprotected.
    """

    def run(
        self,
        argv: list[str],
        *,
        timeout_s: float = 60.0,
        stdin: str = "",
        read_only: tuple[Path, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> Completed: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One finished call of a tool in this session, oldest first in `ToolContext.history`."""

    tool: str
    arguments: dict[str, Any]
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool is told when it is called: handed to the parameter named `context`.

    key        idempotency key of this call, the same again after a crash
    workspace  the session's own folder, kept across crashes
    folder     where AGENT.toml lies
    settings   `[settings]` of AGENT.toml, as `--set` changed them
    state      the session's own JSON values; what a tool changes here commits with its result, or not at all
    history    the finished tool calls of this session
    sandbox    where to run programs
    clock      what time it is
    """

    run_id: str
    key: str
    workspace: Path
    folder: Path
    settings: Mapping[str, Any]
    state: MutableMapping[str, Any]
    history: tuple[Past, ...]
    sandbox: Runs
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Returned by a tool that ends the run: what the model is told, and the run's `result` for people."""

    output: str
    result: dict[str, Any] = field(default_factory=dict[str, Any])


Verify = Callable[..., Any]
"""Called like its tool after a crash; returns the tool's output if the effect took place, else None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A Python function as a tool: what the model sees of it, and what may be done after a crash."""

    name: str
    description: str
    parameters: dict[str, Any]
    effect: Effect
    function: Callable[..., Any]
    verify: Verify | None = None
    takes_context: bool = False


@overload
def tool(function: Function, /) -> Function: ...
@overload
def tool(
    *,
    effect: Effect | str = Effect.BLIND,
    verify: Verify | None = None,
    parameters: dict[str, Any] | None = None,
) -> Callable[[Function], Function]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect | str = Effect.BLIND,
    verify: Verify | None = None,
    parameters: dict[str, Any] | None = None,
) -> Any:
    """Make a function a tool. Undeclared effects are blind, the class that is never redone.

    The function's docstring is the tool's description. The JSON schema of its arguments comes from its
    annotations (use `Literal` for choices and `Annotated[int, msgspec.Meta(ge=0, le=8)]` for bounds), or
    from `parameters` where given. A parameter named `context` is ours and hidden from the model.
    Raises BadRequest when the declaration makes no sense.
    """
    declared = Effect(effect)

    def decorate(target: Callable[..., Any]) -> Callable[..., Any]:
        if (declared is Effect.VERIFIABLE) != (verify is not None):
            raise BadRequest(
                f"tool {target.__name__}: `verify` goes with effect 'verifiable', and only with it"
            )
        spec = ToolSpec(
            name=target.__name__,
            description=inspect.cleandoc(target.__doc__ or ""),
            parameters=parameters if parameters is not None else _schema_of(target),
            effect=declared,
            function=target,
            verify=verify,
            takes_context="context" in inspect.signature(target).parameters,
        )
        target.__perdure_tool__ = spec  # type: ignore[attr-defined]
        return target

    return decorate if function is None else decorate(function)


def spec_of(function: Callable[..., Any]) -> ToolSpec:
    """The tool that `function` was made into, or BadRequest if it was not."""
    spec = getattr(function, "__perdure_tool__", None)
    if not isinstance(spec, ToolSpec):
        raise BadRequest(f"{getattr(function, '__name__', function)!r} is not a tool; decorate it with @tool")
    return spec


def _schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON schema of the arguments object of `function`, from its annotations."""
    hints = inspect.get_annotations(function, eval_str=True)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "context":
            continue
        if name not in hints:
            raise BadRequest(f"tool {function.__name__}: parameter {name!r} has no type annotation")
        properties[name] = msgspec.json.schema(hints[name])
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
