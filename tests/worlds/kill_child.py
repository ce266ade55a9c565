"""A process that runs one durable session and is killed where the test says; started by test_kill.py.

    kill_child.py HOME BASE_URL WORLD RUN_ID TURNS HOW

HOW is `never`, `after:N` (SIGKILL right after the process's Nth commit), `before:N` (right before it),
`inside:N:begin` or `inside:N:end` (inside the Nth tool call of the process, before or after its effect).
The world outside is a folder of append-only files, one per tool, that this process's death does not touch.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perdure import Agent, Effect, Session, ToolContext, tool
from perdure.clock import SystemClock
from perdure.config import read_places
from perdure.errors import NotFound
from perdure.journal.event import Event, NewEvent
from perdure.journal.store import Journal


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class MortalJournal(Journal):
    """A journal whose process is killed at one of its commits."""

    def __init__(self, path: Path, how: Sequence[str]) -> None:
        super().__init__(path, clock=SystemClock())
        self._when = how[0]
        self._left = int(how[1]) if len(how) > 1 else 0

    def append(self, stream: str, events: Sequence[NewEvent], **given: Any) -> list[Event]:
        self._left -= 1
        if self._when == "before" and self._left == 0:
            die()
        written = super().append(stream, events, **given)
        if self._when == "after" and self._left == 0:
            die()
        return written


class World:
    """What the session does to the world, and where the process dies inside a tool."""

    def __init__(self, folder: Path, how: Sequence[str]) -> None:
        self._folder = folder
        self._how = how
        self._calls = 0

    def lines(self, name: str) -> list[str]:
        path = self._folder / name
        return path.read_text().splitlines() if path.exists() else []

    def act(self, name: str, key: str) -> None:
        """Write one line into the world, dying before or after it where the test says so."""
        self._calls += 1
        here = self._how[0] == "inside" and int(self._how[1]) == self._calls
        if here and self._how[2] == "begin":
            die()
        with (self._folder / name).open("a") as file:
            file.write(f"{key}\n")
        if here and self._how[2] == "end":
            die()


def agent(world: World, turns: str) -> Agent:
    """Five tools, one of each class of effect."""

    @tool(effect=Effect.REPEATABLE)
    def look(context: ToolContext, n: int) -> str:
        """Look at the world: no effect, so it may be done again."""
        world.act("look", context.key)
        return f"looked {n}"

    @tool(effect=Effect.TRANSACTIONAL)
    def count(context: ToolContext, n: int) -> str:
        """Add to the session's own counter."""
        world.act("count", context.key)
        context.state["counter"] = context.state.get("counter", 0) + n
        return f"counter {context.state['counter']}"

    @tool(effect=Effect.KEYED)
    def pay(context: ToolContext, n: int) -> str:
        """Pay: the other side keeps the keys it has seen and does each once."""
        if context.key not in world.lines("pay"):
            world.act("pay", context.key)
        return f"paid {n}"

    def was_sent(context: ToolContext, n: int) -> str | None:
        return f"sent {n}" if context.key in world.lines("send") else None

    @tool(effect=Effect.VERIFIABLE, verify=was_sent)
    def send(context: ToolContext, n: int) -> str:
        """Send a letter: whether it arrived can be looked up."""
        world.act("send", context.key)
        return f"sent {n}"

    @tool(effect=Effect.BLIND)
    def shout(context: ToolContext, n: int) -> str:
        """Shout: nobody can tell afterwards."""
        world.act("shout", context.key)
        return f"shouted {n}"

    return Agent.define(
        name="mortal",
        model="scripted",
        goal=f"Use every tool in turn. Calls in all: {turns}",
        tools=[look, count, pay, send, shout],
    )


def main() -> None:
    home, base_url, folder, run_id, turns, how = sys.argv[1:]
    world = World(Path(folder), how.split(":"))
    places = read_places({"PERDURE_HOME": home})
    journal = MortalJournal(places.journal_file, how.split(":"))
    known: dict[str, Any] = {
        "base_url": base_url,
        "api_key": os.environ["WORLD_KEY"],
        "places": places,
        "journal": journal,
    }
    try:
        journal.stream(run_id)
    except NotFound:
        session = Session.start(agent(world, turns), run_id=run_id, **known)
    else:
        session = Session.open(run_id, agent=agent(world, turns), **known)
    print("begins", flush=True)
    print(session.run().status)


if __name__ == "__main__":
    main()
