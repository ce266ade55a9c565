"""Perdure: the open agent-computing stack.

The names below are the public Python API; each is loaded when it is first used, so that
`import perdure` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from perdure.version import __version__

if TYPE_CHECKING:
    from perdure.agents.agent import Agent
    from perdure.agents.session import Session
    from perdure.agents.tools import Effect, Finish, ToolContext, tool

_HOMES = {
    "Agent": "perdure.agents.agent",
    "Session": "perdure.agents.session",
    "Effect": "perdure.agents.tools",
    "Finish": "perdure.agents.tools",
    "ToolContext": "perdure.agents.tools",
    "tool": "perdure.agents.tools",
}

__all__ = ["Agent", "Effect", "Finish", "Session", "ToolContext", "__version__", "tool"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'perdure' has no attribute {name!r}")
    return getattr(import_module(home), name)
