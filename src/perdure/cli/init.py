"""`perdure init`: a folder with an agent to start from."""

import argparse
import re
from pathlib import Path

from perdure.errors import BadRequest

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")

AGENT_TOML = """\
# An agent of Perdure. Every key is explained in docs/agents.md.

[agent]
name = "{name}"
model = "smollm2-135m"      # a load generator; name a bigger one here or with --model
system = "You keep short notes. Answer with one tool call."
goal = "Write three short notes about durable agents, then finish with a one-line summary."
tools = ["tools.py"]        # every function decorated with @tool in these files
choose = "tools.py:choose"  # which tools may be called next; leave it out to let the model decide
temperature = 0.8
max_output_tokens = 120

[limits]
max_turns = 20              # answered model calls
deadline_s = 600            # seconds of work, over all processes

[context]
budget_tokens = 4000        # a longer prompt drops its oldest turns

[settings]                  # yours; change one with --set notes=5
notes = 3
"""

TOOLS_PY = '''\
"""The tools of this agent: what it can do, and what may be done again after a crash."""

from typing import Annotated

import msgspec

from perdure import Effect, Finish, ToolContext, tool

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]


@tool(effect=Effect.TRANSACTIONAL)
def note(context: ToolContext, text: Line) -> str:
    """Keep one short note."""
    notes = context.state.setdefault("notes", [])
    notes.append(text)
    return f"note {len(notes)} kept"


@tool(effect=Effect.REPEATABLE)
def finish(context: ToolContext, summary: Line) -> Finish:
    """End with a one-line summary."""
    return Finish(output="finished", result={"summary": summary, "notes": context.state.get("notes", [])})


def choose(context: ToolContext) -> tuple[str, ...]:
    """Notes first, then the end."""
    return ("note",) if len(context.state.get("notes", [])) < context.settings["notes"] else ("finish",)
'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure init`."""
    parser.add_argument("name", help="the agent's name: lower-case letters, digits and dashes")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where (default: a new folder of that name)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write AGENT.toml and tools.py; nothing that is there is overwritten."""
    if NAME.fullmatch(arguments.name) is None:
        raise BadRequest(f"{arguments.name!r}: use lower-case letters, digits and dashes, a letter first")
    folder: Path = arguments.folder or Path(arguments.name)
    files = {
        folder / "AGENT.toml": AGENT_TOML.replace("{name}", arguments.name),
        folder / "tools.py": TOOLS_PY,
    }
    there = [path for path in files if path.exists()]
    if there:
        raise BadRequest(f"{there[0]} exists already; choose another name or --folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    print(f"run it: perdure run {folder}/AGENT.toml")
    return 0
