"""What an agent is: its model, its words, its tools and its limits, from Python or from an AGENT.toml.

The words and numbers (`AgentSpec`) are written into the journal when a run starts and stay as they were for
that run; the functions are code, and come from where the agent is defined.
"""

import hashlib
import importlib.util
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import msgspec

from perdure.agents.shell import shell
from perdure.agents.tools import ToolContext, ToolSpec, spec_of
from perdure.errors import BadRequest

Choose = Callable[[ToolContext], Sequence[str]]
"""Which tools the model may call next, by name; a call of one of them is then forced."""

Setting = bool | int | float | str


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a run stops even if the model would go on.

    max_turns      model calls that may be answered
    deadline_s     seconds of work, summed over all processes that worked on the run
    program_s_max  seconds that one sandboxed program may run, whatever its tool asks for
    """

    max_turns: int = 200
    deadline_s: float = 35 * 3600.0
    program_s_max: float = 600.0


class ContextPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of the past stays in the prompt.

    budget_tokens  a prompt longer than this ends the epoch: the oldest turns leave the prompt
    keep_share     share of the budget that the newest turns may keep when an epoch ends
    """

    budget_tokens: int = 6000
    keep_share: float = 0.35


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The words and numbers of an agent: all of it JSON, kept in the journal of each of its runs."""

    name: str
    model: str
    system: str
    goal: str
    temperature: float = 1.0
    max_output_tokens: int | None = None
    limits: Limits = Limits()
    context: ContextPolicy = ContextPolicy()
    settings: dict[str, Setting] = {}
    source: str | None = None
    source_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent that can be run: `spec` in words, `tools` and `choose` in code.

    `folder` is where files that the tools name relative to the agent lie. `changed`: the files that define
    it are no longer those that its run was started with.

        @tool(effect="repeatable")
        def add(a: int, b: int) -> str:
            "Add two numbers."
            return str(a + b)

        agent = Agent.define(name="adder", model="smollm2-135m", goal="What is 2 + 3?", tools=[add])
        outcome = Session.start(agent).run()
    """

    spec: AgentSpec
    tools: tuple[ToolSpec, ...]
    choose: Choose | None = None
    folder: Path = field(default_factory=Path.cwd)
    changed: bool = False

    @staticmethod
    def define(
        *,
        name: str,
        model: str,
        goal: str,
        system: str = "You are a careful agent. Use the tools you have.",
        tools: Sequence[Callable[..., Any] | ToolSpec] = (),
        choose: Choose | None = None,
        folder: Path | None = None,
        temperature: float = 1.0,
        max_output_tokens: int | None = None,
        limits: Limits | None = None,
        context: ContextPolicy | None = None,
        settings: dict[str, Setting] | None = None,
    ) -> "Agent":
        """An agent in Python. Raises BadRequest for what makes no sense, naming it."""
        specs = tuple(one if isinstance(one, ToolSpec) else spec_of(one) for one in tools)
        names = [spec.name for spec in specs]
        twice = sorted({one for one in names if names.count(one) > 1})
        if twice:
            raise BadRequest(f"agent {name!r} has two tools called {twice[0]!r}; rename one")
        spec = AgentSpec(
            name=name,
            model=model,
            system=system,
            goal=goal,
            temperature=temperature,
            max_output_tokens=max_output_tokens,
            limits=limits or Limits(),
            context=context or ContextPolicy(),
            settings=settings or {},
        )
        return Agent(spec=spec, tools=specs, choose=choose, folder=folder or Path.cwd())

    @staticmethod
    def load(
        path: Path, *, settings: Sequence[str] = (), model: str | None = None, goal: str | None = None
    ) -> "Agent":
        """The agent of an AGENT.toml (schema: docs/agents.md), with `NAME=VALUE` settings laid over it."""
        return _load(path, settings=settings, model=model, goal=goal)


class _AgentTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    model: str
    goal: str
    system: str = "You are a careful agent. Use the tools you have."
    tools: list[str] = []
    choose: str | None = None
    shell: bool = False
    temperature: float = 1.0
    max_output_tokens: int | None = None


class _AgentFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    agent: _AgentTable
    limits: Limits = Limits()
    context: ContextPolicy = ContextPolicy()
    settings: dict[str, Setting] = {}


def _load(path: Path, *, settings: Sequence[str], model: str | None, goal: str | None) -> Agent:
    path = path.resolve()
    if path.is_dir():
        path = path / "AGENT.toml"
    if not path.is_file():
        raise BadRequest(
            f"there is no {path}; give the path of an AGENT.toml, or make one: perdure init NAME"
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        parsed = msgspec.convert(table, _AgentFile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as wrong:
        raise BadRequest(f"{path}: {wrong}. The keys of an AGENT.toml are in docs/agents.md") from wrong
    modules = {name: _module(path.parent / name) for name in parsed.agent.tools}
    found = [spec for module in modules.values() for spec in _tools_of(module)]
    if parsed.agent.shell:
        found.append(spec_of(shell))
    spec = AgentSpec(
        name=parsed.agent.name,
        model=model or parsed.agent.model,
        system=parsed.agent.system.strip(),
        goal=goal or parsed.agent.goal.strip(),
        temperature=parsed.agent.temperature,
        max_output_tokens=parsed.agent.max_output_tokens,
        limits=parsed.limits,
        context=parsed.context,
        settings=override(parsed.settings, settings),
        source=str(path),
        source_sha256=_digest([path, *sorted(path.parent.glob("*.py"))]),
    )
    choose = None if parsed.agent.choose is None else _choose(path, parsed.agent.choose, modules)
    return Agent(spec=spec, tools=tuple(found), choose=choose, folder=path.parent)


def override(defaults: dict[str, Setting], assignments: Sequence[str]) -> dict[str, Setting]:
    """`defaults` with each `NAME=VALUE` laid over it, read as the default's type; no new names."""
    settings = dict(defaults)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in defaults:
            known = ", ".join(sorted(defaults)) or "none"
            raise BadRequest(
                f"--set {assignment}: write NAME=VALUE with one of the agent's settings: {known}"
            )
        kind = type(defaults[name])
        try:
            settings[name] = msgspec.convert(text, kind, strict=False)
        except msgspec.ValidationError as wrong:
            raise BadRequest(f"--set {assignment}: {name} is a {kind.__name__} ({wrong})") from wrong
    return settings


def _module(path: Path) -> ModuleType:
    """The Python file `path`, run once under a name of its own; it may import the files beside it."""
    if not path.is_file():
        raise BadRequest(f"the agent names {path.name}, but there is no {path}")
    spec = importlib.util.spec_from_file_location(f"perdure_agent_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as wrong:  # the edge of a task: the user's own code
        raise BadRequest(f"{path} cannot be loaded: {type(wrong).__name__}: {wrong}") from wrong
    return module


def _tools_of(module: ModuleType) -> list[ToolSpec]:
    """The tools that a module defines, in order of definition."""
    return [
        spec_of(value)
        for value in vars(module).values()
        if callable(value) and hasattr(value, "__perdure_tool__") and value.__module__ == module.__name__
    ]


def _choose(path: Path, written: str, modules: dict[str, ModuleType]) -> Choose:
    file, colon, name = written.partition(":")
    function = getattr(modules.get(file), name, None)
    if not colon or not callable(function):
        raise BadRequest(
            f"{path}: choose = {written!r}: write 'FILE.py:FUNCTION' with a file that `tools` lists"
        )
    return cast(Choose, function)


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
