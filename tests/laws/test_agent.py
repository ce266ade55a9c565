"""Laws of agent definitions: what is declared is what the model sees; nonsense is refused by name."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from perdure.agents.agent import Agent, override
from perdure.agents.tools import Effect, ToolContext, spec_of, tool
from perdure.cli.init import AGENT_TOML, TOOLS_PY
from perdure.errors import BadRequest


@tool(effect=Effect.KEYED)
def pay(
    context: ToolContext,
    to: Literal["ann", "bob"],
    cents: Annotated[int, msgspec.Meta(ge=1, le=100)],
    note: str = "",
) -> str:
    """Pay someone."""
    return f"{to} {cents} {note}"


def test_a_tool_is_described_by_its_annotations() -> None:
    """Choices, bounds and defaults become the JSON schema; the context is hidden from the model."""
    spec = spec_of(pay)
    assert (spec.name, spec.description, spec.effect) == ("pay", "Pay someone.", Effect.KEYED)
    assert spec.parameters == {
        "type": "object",
        "properties": {
            "to": {"enum": ["ann", "bob"]},
            "cents": {"type": "integer", "minimum": 1, "maximum": 100},
            "note": {"type": "string"},
        },
        "required": ["to", "cents"],
        "additionalProperties": False,
    }


def test_an_undeclared_effect_is_blind() -> None:
    """A tool that says nothing of its effect is treated as the class that is never done again."""

    @tool
    def fire() -> str:
        """Fire."""
        return "fired"

    assert spec_of(fire).effect is Effect.BLIND


def test_verifiable_needs_a_verify_function() -> None:
    """A verifiable tool without a way to verify is refused, and so is a `verify` on another class."""

    def send() -> str:
        """Send."""
        return "sent"

    with pytest.raises(BadRequest, match="verify"):
        tool(effect=Effect.VERIFIABLE)(send)
    with pytest.raises(BadRequest, match="verify"):
        tool(effect=Effect.BLIND, verify=send)(send)


def test_a_parameter_without_a_type_is_refused() -> None:
    """A tool's parameter must say its type."""

    def look(where):  # type: ignore[no-untyped-def]
        """Look."""
        return where

    with pytest.raises(BadRequest, match="'where' has no type"):
        tool(effect=Effect.REPEATABLE)(look)


def test_settings_are_read_as_the_type_of_their_default() -> None:
    """`--set` keeps the type of what it replaces and refuses what is no such type or no such name."""
    defaults = {"n": 3, "share": 0.5, "on": False, "name": "x"}
    assert override(defaults, ["n=30", "share=1", "on=true", "name=a=b"]) == {
        "n": 30,
        "share": 1.0,
        "on": True,
        "name": "a=b",
    }
    with pytest.raises(BadRequest, match="n is a int"):
        override(defaults, ["n=many"])
    with pytest.raises(BadRequest, match="one of the agent's settings: n, name, on, share"):
        override(defaults, ["m=3"])
    with pytest.raises(BadRequest, match="NAME=VALUE"):
        override(defaults, ["n"])


def written(folder: Path, toml: str, tools: str = TOOLS_PY) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tools.py").write_text(tools)
    (folder / "AGENT.toml").write_text(toml)
    return folder / "AGENT.toml"


def test_the_scaffold_is_an_agent(tmp_path: Path) -> None:
    """What `perdure init` writes loads, with its tools in order and its settings changeable."""
    path = written(tmp_path, AGENT_TOML.replace("{name}", "mine"))
    agent = Agent.load(path, settings=["notes=5"], model="other")
    assert [one.name for one in agent.tools] == ["note", "finish"]
    assert (agent.spec.name, agent.spec.model, agent.spec.settings["notes"]) == ("mine", "other", 5)
    assert agent.choose is not None


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[agent]\nname = 'x'\nmodel = 'm'\ngoal = 'g'\ncolour = 'red'", "colour"),
        ("[agent]\nname = 'x'\nmodel = 'm'", "goal"),
        ("[agent\n", "AGENT.toml"),
        ("[agent]\nname = 'x'\nmodel = 'm'\ngoal = 'g'\ntools = ['nothing.py']", "nothing.py"),
        (
            "[agent]\nname = 'x'\nmodel = 'm'\ngoal = 'g'\ntools = ['tools.py']\nchoose = 'tools.py:no'",
            "choose",
        ),
        ("[agent]\nname = 'x'\nmodel = 'm'\ngoal = 'g'\n[limits]\nmax_turns = 'many'", "max_turns"),
    ],
)
def test_a_broken_agent_file_is_refused_by_name(tmp_path: Path, toml: str, says: str) -> None:
    """An AGENT.toml with an unknown, missing, mistyped or dangling key says which."""
    with pytest.raises(BadRequest, match=says):
        Agent.load(written(tmp_path, toml))


def test_a_tools_file_that_does_not_load_is_refused(tmp_path: Path) -> None:
    """A syntax error in a tools file is reported with the file's name."""
    path = written(tmp_path, AGENT_TOML.replace("{name}", "mine"), tools="def broken(:\n")
    with pytest.raises(BadRequest, match=r"tools\.py cannot be loaded: SyntaxError"):
        Agent.load(path)


def test_two_tools_of_one_name_are_refused() -> None:
    """An agent's tools have different names."""
    with pytest.raises(BadRequest, match="two tools called 'pay'"):
        Agent.define(name="x", model="m", goal="g", tools=[pay, pay])
